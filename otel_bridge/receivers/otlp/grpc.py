"""OTLP over gRPC. Raw bytes are taken and decoded by ourselves: grpc would answer UNKNOWN to what it can not decode.

gRPC keeps a whole message in memory before it says how large it is. So it is asked for a few at a time, and the others
stay with their senders.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # published without types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # published without types

from otel_bridge.batch import Signal
from otel_bridge.errors import BridgeError, MalformedError
from otel_bridge.receivers.otlp.address import unbindable
from otel_bridge.receivers.otlp.admission import Admission, BusyError, Close, Refusal, SlowError, response

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


def _options(config: "OtlpConfig") -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", min(config.max_body, config.max_inflight // ARRIVING)),
        ("grpc.http2.bdp_probe", 0),  # it lets senders send far ahead of what is asked for
        ("grpc.max_concurrent_streams", 100),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.server_handshake_timeout_ms", 5000),
        ("grpc.max_connection_idle_ms", round(config.idle_timeout * 1000)),
        ("grpc.max_connection_age_ms", MAX_AGE_S * 1000),
        ("grpc.max_connection_age_grace_ms", MAX_AGE_GRACE_S * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # senders with keep-alive are no attackers
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),  # or a second bridge would bind the same port, and each get half
    ]


async def serve_grpc(config: "OtlpConfig", endpoint: str, admission: Admission) -> tuple[str, Close]:
    """Serve until it is closed; the address that was bound, as host:port, and how to close it.

    Raises:
        FilesError: the address can not be bound.
    """
    server = grpc.aio.server(options=_options(config))
    arriving = _Arriving(config)
    for signal, service in SERVICES.items():
        # On the wire the same as unary_unary, which would ask for the message before we are asked.
        export = grpc.stream_unary_rpc_method_handler(_exporting(signal, admission, arriving))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
    try:
        port = server.add_insecure_port(endpoint)
    except RuntimeError as error:
        raise unbindable("grpc", endpoint) from error
    await server.start()
    return f"{endpoint.rpartition(':')[0]}:{port}", partial(server.stop, config.close_timeout)


class _Arriving:
    """Lets `ARRIVING` messages in at a time; the memory of those that wait is their senders'."""

    def __init__(self, config: "OtlpConfig") -> None:
        self._within_s = config.body_timeout
        self._slots = asyncio.Semaphore(ARRIVING)

    async def next(self, context: Context) -> bytes:
        """The message of a call.

        Raises:
            BusyError, SlowError: it did not come in time, for others that came, or for its sender.
            MalformedError: it did not come whole.
        """
        asked = False
        try:
            async with asyncio.timeout(self._within_s), self._slots:
                asked = True
                raw = await context.read()
        except TimeoutError:
            raise SlowError("the message took too long") if asked else BusyError("too many messages come in") from None
        if not isinstance(raw, bytes):
            raise MalformedError("no whole message came")  # cut off, or too large, of which gRPC has told the sender
        return raw


def _exporting(signal: Signal, admission: Admission, arriving: _Arriving) -> Callable[[Any, Context], Awaitable[bytes]]:
    async def take(context: Context) -> bytes:
        raw = await arriving.next(context)
        with admission.holding() as hold:
            hold(len(raw))
            rejected = await admission.take(signal, raw, hold, transport="grpc")
        return response(signal, rejected).SerializeToString()

    async def export(_requests: object, context: Context) -> bytes:
        try:
            return await take(context)
        except BridgeError as error:
            refused = admission.refused(error)
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
