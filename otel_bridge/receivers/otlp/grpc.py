"""OTLP over gRPC. Raw bytes are taken and decoded by ourselves: grpc would answer UNKNOWN to what it can not decode.

gRPC keeps a whole message in memory before it says how large it is. So it is asked for a few at a time, and the others
stay with their senders. Nobody can keep the others out by sending slowly: who takes long gives way to who waits, and
a part is kept for connections that have sent a whole message before.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # published without types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # published without types

from otel_bridge.batch import Signal
from otel_bridge.component import Host
from otel_bridge.errors import BridgeError, MalformedError, RetryableError
from otel_bridge.receivers.otlp.address import unbindable
from otel_bridge.receivers.otlp.admission import (
    FAILED_HERE,
    Admission,
    Close,
    InflightFullError,
    Refusal,
    SlowSenderError,
    response,
)
from otel_bridge.receivers.otlp.senders import Shown
from otel_bridge.tls import Certificates, TlsConfig

if TYPE_CHECKING:
    from otel_bridge.receivers.otlp import OtlpConfig

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
CODES = {code.value[0]: code for code in grpc.StatusCode}
MAX_AGE_S = 300  # a request that stalls holds its connection and its bytes no longer than this and the next
MAX_AGE_GRACE_S = 30
ARRIVING = 8  # messages at a time, which together are no more than max_inflight
KEPT = 2  # of them for connections that have sent a whole message before
MAX_KNOWN = 4096  # of those connections
PATIENCE_S = 2.0  # for a message to arrive while others wait
MAX_HANDSHAKE_S = 5.0


def _options(config: "OtlpConfig") -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", min(config.max_body, config.max_inflight // ARRIVING)),
        ("grpc.http2.bdp_probe", 0),  # it lets senders send far ahead of what is asked for
        ("grpc.max_concurrent_streams", 100),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.server_handshake_timeout_ms", round(min(config.header_timeout, MAX_HANDSHAKE_S) * 1000)),
        ("grpc.max_connection_idle_ms", round(config.idle_timeout * 1000)),
        ("grpc.max_connection_age_ms", MAX_AGE_S * 1000),
        ("grpc.max_connection_age_grace_ms", MAX_AGE_GRACE_S * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # senders with keep-alive are no attackers
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),  # or a second bridge would bind the same port, and each get half
    ]


async def serve_grpc(config: "OtlpConfig", endpoint: str, admission: Admission, host: Host) -> tuple[str, Close]:
    """Serve until it is closed; the address that was bound, as host:port, and how to close it.

    Raises:
        FilesError: the address can not be bound.
    """
    server = grpc.aio.server(options=_options(config))
    arriving = _Arriving(config)
    for signal, service in SERVICES.items():
        # On the wire the same as unary_unary, which would ask for the message before we are asked.
        export = grpc.stream_unary_rpc_method_handler(_exporting(signal, admission, arriving, host))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
    try:
        if config.tls is None:
            port = server.add_insecure_port(endpoint)
        else:
            port = server.add_secure_port(endpoint, _credentials(config.tls, host))
    except RuntimeError as error:
        raise unbindable("grpc", endpoint) from error
    await server.start()
    return f"{endpoint.rpartition(':')[0]}:{port}", partial(server.stop, config.close_timeout)


class _Arriving:
    """Lets `ARRIVING` messages in at a time; the memory of those that wait is their senders'."""

    def __init__(self, config: "OtlpConfig") -> None:
        self._within_s = config.body_timeout
        self._free = ARRIVING
        self._arriving: dict[asyncio.Timeout, float] = {}  # since when; oldest first
        self._waiting: dict[bool, dict[asyncio.Future[None], None]] = {True: {}, False: {}}  # by whether they are known
        self._known: OrderedDict[str, None] = OrderedDict()

    async def next(self, context: Context) -> bytes:
        """The message of a call.

        Raises:
            InflightFullError, SlowSenderError: it did not come in time, for others that came, or for its sender.
            MalformedError: it did not come whole.
        """
        peer = context.peer()
        asked = False
        try:
            async with asyncio.timeout(self._within_s) as until, self._place(until, known=peer in self._known):
                asked = True
                raw = await context.read()
        except TimeoutError:
            if asked:
                raise SlowSenderError("the message took too long") from None
            raise InflightFullError("too many messages come in") from None
        if not isinstance(raw, bytes):
            raise MalformedError("no whole message came")  # cut off, or too large, of which gRPC has told the sender
        self._known[peer] = None
        self._known.move_to_end(peer)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return raw

    @asynccontextmanager
    async def _place(self, until: asyncio.Timeout, *, known: bool) -> AsyncIterator[None]:
        """A place for a message to arrive at, for as long as this lasts; `until` is when it has to be given up."""
        if self._has_room(known):
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            waiting = self._waiting[known]
            waiting[turn] = None
            self._hurry()
            try:
                await turn  # who gives it to us has taken the place for us
            except asyncio.CancelledError:
                if turn in waiting:
                    del waiting[turn]
                else:
                    self._give_back()
                raise
        self._arriving[until] = asyncio.get_running_loop().time()
        self._hurry()
        try:
            yield
        finally:
            del self._arriving[until]
            self._give_back()

    def _has_room(self, known: bool) -> bool:
        return self._free > (0 if known else KEPT)

    def _give_back(self) -> None:
        self._free += 1
        known = (turn for turn in self._waiting[True] if not turn.done())
        # Of the others the newest, as those before it may be many that never send.
        others = (turn for turn in reversed(self._waiting[False]) if not turn.done())
        turn = next(known, None) or next(others, None)
        if turn is not None and self._has_room(is_known := turn in self._waiting[True]):
            del self._waiting[is_known][turn]
            self._free -= 1
            turn.set_result(None)

    def _hurry(self) -> None:
        """Of those that arrive, as many as others wait have no longer than `PATIENCE_S`; the oldest first."""
        for until, began_s in islice(self._arriving.items(), sum(map(len, self._waiting.values()))):
            at_s = began_s + PATIENCE_S
            if not until.expired() and at_s < (until.when() or 0):
                until.reschedule(at_s)


def _credentials(config: TlsConfig, host: Host) -> grpc.ServerCredentials:
    """Those that are in the files when somebody connects. Handshakes that fail gRPC keeps to itself."""
    certificates = Certificates(config, host)
    given = 0

    def newer() -> Any:
        nonlocal given
        pem = certificates.pem()
        if certificates.version == given:
            return None
        given = certificates.version
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.client_ca)

    return grpc.dynamic_ssl_server_credentials(newer(), newer, config.client_ca_file is not None)


def _shown(context: Context) -> Shown:
    """What a call shows of its sender."""
    metadata = context.invocation_metadata() or ()
    found = context.auth_context()
    names = [*found.get("peer_dns", ()), *found.get("peer_uri", ()), *found.get("peer_email", ())]
    return Shown(
        _values(metadata, "authorization"),
        _values(metadata, "x-api-key"),
        [name.decode("latin-1") for name in names or found.get("x509_common_name", ())],
    )


def _values(metadata: Iterable[tuple[str, str | bytes]], name: str) -> list[bytes]:
    values = [value for key, value in metadata if key == name]
    return [value.encode("latin-1") if isinstance(value, str) else value for value in values]


def _exporting(
    signal: Signal, admission: Admission, arriving: _Arriving, host: Host
) -> Callable[[Any, Context], Awaitable[bytes]]:
    async def take(context: Context) -> bytes:
        def header(name: str) -> str | None:
            values = _values(context.invocation_metadata() or (), name)
            return b", ".join(values).decode("latin-1") if values else None

        sender = admission.sender(_shown(context), context.peer(), header)
        with admission.holding(sender) as hold:
            raw = await arriving.next(context)
            hold(len(raw))
            rejected = await admission.take(signal, raw, hold, sender, transport="grpc")
        return response(signal, rejected).SerializeToString()

    async def export(_requests: object, context: Context) -> bytes:
        try:
            return await take(context)
        except BridgeError as error:
            refused = admission.refused(error, context.peer())
        except asyncio.CancelledError:
            host.counters.add("client_gone")  # or we go: what it sent is on disk or not, and it has no OK
            raise
        except Exception:  # a bug, in us or in a processor: to UNKNOWN, which gRPC would answer, no sender comes again
            host.counters.add("connection_failures")
            host.log.exception("a call failed")
            refused = admission.refused(RetryableError(FAILED_HERE), context.peer())
        # Out here what is raised has no hold on the error, and with it on the message.
        details = (("grpc-status-details-bin", _status(refused)),)
        await context.abort(CODES[refused.code], refused.message, trailing_metadata=details)
        raise AssertionError("abort raises")

    return export


def _status(refused: Refusal) -> bytes:
    """A google.rpc.Status; a sender retries RESOURCE_EXHAUSTED only where it finds a RetryInfo in it."""
    status = Status(code=refused.code, message=refused.message)
    if refused.retry_after_s is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(round(refused.retry_after_s * 1000))
        status.details.add().Pack(retry)
    wire: bytes = status.SerializeToString()
    return wire
