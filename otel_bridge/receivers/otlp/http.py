"""OTLP over HTTP/1.1: one coroutine for each connection, reading on until something takes too long or is too much.

No Python server bounds the time that a sender takes for its headers or its body, so this one is ours; httptools parses
the heads.
"""

import asyncio
import math
import re
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

import httptools
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # published without types

from otel_bridge import otlp_json
from otel_bridge.batch import Signal
from otel_bridge.component import Host
from otel_bridge.errors import BridgeError, MalformedError, RetryableError, TooLargeError
from otel_bridge.listening import is_loopback
from otel_bridge.receivers.otlp.address import unbindable
from otel_bridge.receivers.otlp.admission import FAILED_HERE, Admission, Close, Hold, Unpack, response
from otel_bridge.receivers.otlp.guard import allowing, is_local_name, preflight, sharing_address
from otel_bridge.receivers.otlp.senders import Sender, Shown, seconds
from otel_bridge.receivers.otlp.unpack import ENCODINGS
from otel_bridge.tls import Certificates, names_of

if TYPE_CHECKING:
    from otel_bridge.receivers.otlp import OtlpConfig

PATHS = {f"/v1/{signal}".encode(): signal for signal in Signal}
PROTOBUF = b"application/x-protobuf"
JSON = b"application/json"
MAX_HEAD = 32 << 10
MAX_HEADERS = 128
MAX_TRAILERS = 64
LET_OTHERS = 64  # requests, or chunks of one: so many may lie ready that the loop would be held up
MAX_SKIPPED = 64 << 10  # bytes of a body that nobody wants; another connection for the next costs both sides more
LINGER_S = 2.0  # for a refused sender to read its answer before the connection goes
CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
GONE = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)  # the sender, or any sense in what it says
TLS_HANDSHAKE = b"\x16"  # what the first byte of it is
CHALLENGE = b'WWW-Authenticate: Bearer realm="otel-bridge", Basic realm="otel-bridge"\r\n'
WHAT_THIS_IS = "this port takes OTLP: POST /v1/traces, /v1/logs or /v1/metrics"


class _AnswerError(BridgeError):
    """A request that ends before it is taken in; `reason` is for the counter `refused`."""

    def __init__(self, status: int, code: int, reason: str, message: str, header: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.reason = reason
        self.header = header


@dataclass(slots=True)
class _Head:
    """The request line and headers; httptools calls the two methods."""

    method: bytes = b""
    target: bytes = b""
    version: str = "1.0"
    headers: dict[bytes, bytes] = field(default_factory=dict)
    allowing: bytes = b""  # headers of the answer, for the web page that asked

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers[name] = b", ".join((self.headers[name], value)) if name in self.headers else value

    def get(self, name: bytes) -> bytes:
        return self.headers.get(name, b"").strip().lower()

    @property
    def keep_alive(self) -> bool:
        """Whether the sender wants the connection to stay. (The parser forgets it where there is no body.)"""
        said = {token.strip() for token in self.get(b"connection").split(b",")}
        return b"close" not in said if self.version == "1.1" else b"keep-alive" in said

    @property
    def expects(self) -> bool:
        """Whether it sends the body once it is told to; what a sender of before 1.1 says of that means nothing."""
        return self.version == "1.1" and self.get(b"expect") == b"100-continue"

    @property
    def content_type(self) -> bytes:
        return self.get(b"content-type").partition(b";")[0].strip()

    @property
    def answer_type(self) -> bytes:
        return PROTOBUF if self.content_type == PROTOBUF else JSON

    @property
    def length(self) -> int:
        return int(self.get(b"content-length") or 0)


@dataclass(slots=True, frozen=True)
class _Answer:
    status: int
    message: Message | None = None
    header: bytes = b""

    def encode(self, head: _Head, *, last: bool) -> bytes:
        body = b"" if self.message is None else _encode(self.message, head.answer_type)
        return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b%b\r\n%b" % (
            self.status,
            HTTPStatus(self.status).phrase.encode(),
            head.answer_type,
            len(body),
            head.allowing,
            self.header,
            b"Connection: close\r\n" if last else b"",
            b"" if head.method == b"HEAD" else body,
        )


async def serve_http(config: "OtlpConfig", endpoint: str, admission: Admission, host: Host) -> tuple[str, Close]:
    """Serve until it is closed; the address that was bound, as host:port, and how to close it.

    Raises:
        FilesError: the address can not be bound.
    """
    name, _, port = endpoint.rpartition(":")
    door = _Door(config, admission, host)
    try:
        server = await asyncio.start_server(
            door.accept, name.strip("[]"), int(port), limit=MAX_HEAD, start_serving=False
        )
    except OSError as error:
        raise unbindable("http", endpoint, error) from error
    door.on_loopback = all(is_loopback(socket.getsockname()[0]) for socket in server.sockets)
    await server.start_serving()

    async def close() -> None:
        server.close()
        await door.close()

    return f"{name}:{server.sockets[0].getsockname()[1]}", close


class _Door:
    """The connections of one port, each with its task."""

    def __init__(self, config: "OtlpConfig", admission: Admission, host: Host) -> None:
        self.config = config
        self.admission = admission
        self.host = host
        self.on_loopback = False
        self.closing = False
        self.certificates = Certificates(config.tls, host) if config.tls is not None else None
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._sharing: Counter[str] = Counter()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: str = writer.get_extra_info("peername")[0]
        shared = sharing_address(peer)
        if (
            self.closing
            or len(self._connections) >= self.config.max_connections
            or (shared is not None and self._sharing[shared] >= self.config.max_connections_per_address)
        ):
            self.admission.refusals.add("too_many_connections", "too many connections", peer)
            busy = _refusal(503, 14, "too many connections", b"Retry-After: 1\r\n")
            writer.write(busy.encode(_Head(), last=True))
            writer.close()
            return
        connection = _Connection(self, reader, writer, peer)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._connections[task] = connection
        if shared is not None:
            self._sharing[shared] += 1
        task.add_done_callback(partial(self._ended, shared))

    def _ended(self, shared: str | None, task: "asyncio.Task[None]") -> None:
        del self._connections[task]
        if shared is not None:
            self._sharing[shared] -= 1
            if not self._sharing[shared]:
                del self._sharing[shared]
        if not task.cancelled() and (error := task.exception()):
            # A bug beside the request: it costs this connection, not the bridge.
            self.host.counters.add("connection_failures")
            self.host.log.error("a connection failed", exc_info=error)

    async def close(self) -> None:
        """Let running requests end, for at most `close_timeout`."""
        self.closing = True
        for task, connection in self._connections.items():
            if not connection.busy:
                task.cancel()
        for timeout in (self.config.close_timeout, None):
            if not self._connections:
                return
            _, running = await asyncio.wait(self._connections, timeout=timeout)
            for task in running:
                task.cancel()


class _Connection:
    """One sender's connection; its requests are answered in their order."""

    def __init__(self, door: _Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        self._door = door
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._unread = math.inf  # bytes of a request's body; where it does not say how many, until it is read
        self._certificate: list[str] = []
        self.busy = False

    async def run(self) -> None:
        idle_s = self._door.config.header_timeout  # who connects has something to say
        try:
            if self._door.certificates is not None and not await self._secure(self._door.certificates.context()):
                return
            for number in count(1):
                if not await self._next(idle_s):
                    break
                idle_s = self._door.config.idle_timeout
                if number % LET_OTHERS == 0:
                    await asyncio.sleep(0)
        except GONE:
            if self.busy:
                self._door.host.counters.add("client_gone")
        finally:
            self._writer.close()

    async def _secure(self, context: ssl.SSLContext) -> bool:
        """Whether the sender speaks TLS as it has to; that it does not was counted."""
        try:
            await self._writer.start_tls(context, ssl_handshake_timeout=self._door.config.header_timeout)
        except ssl.SSLError:
            return False
        self._certificate = names_of(self._writer.get_extra_info("peercert"))
        return True

    async def _next(self, idle_s: float) -> bool:
        """Answer the next request; False when it was the last."""
        try:
            async with asyncio.timeout(idle_s):
                first = await self._reader.read(1)
                if first == b"\r" and await self._reader.read(1) == b"\n":
                    first = await self._reader.read(1)  # some senders end a body with an empty line
        except TimeoutError:
            return False
        if not first:
            return False
        self.busy = True
        self._unread = math.inf
        head = _Head()
        try:
            await self._read_head(head, first)
            answer = await self._take(head)
        except _AnswerError as error:
            self._refused(error.reason, str(error))
            answer = _refusal(error.status, error.code, str(error), error.header)
        except BridgeError as error:
            refused = self._door.admission.refused(error, self._peer)
            header = b"" if refused.retry_after_s is None else b"Retry-After: %d\r\n" % seconds(refused.retry_after_s)
            if refused.status == 401:
                header = CHALLENGE
            answer = _refusal(refused.status, refused.code, refused.message, header)
        except GONE:  # its sender is gone
            raise
        except Exception:  # a bug, in us or in a processor: many senders come again to a 503, and not to no answer
            self._door.host.counters.add("connection_failures")
            self._door.host.log.exception("a request failed")
            failed = self._door.admission.refused(RetryableError(FAILED_HERE), self._peer)
            self._unread = math.inf  # nobody knows how much of it was read
            answer = _refusal(failed.status, failed.code, failed.message, b"Retry-After: 1\r\n")
        last = self._unread > MAX_SKIPPED or not head.keep_alive or self._door.closing
        await self._send(answer.encode(head, last=last))
        self.busy = False
        if self._unread and (last or not await self._skip_body()):
            return await self._end()
        return not last

    async def _skip_body(self) -> bool:
        """Whether the rest came in time."""
        try:
            async with asyncio.timeout(LINGER_S):
                await self._reader.readexactly(int(self._unread))
        except TimeoutError:
            return False
        return True

    def _refused(self, reason: str, message: str) -> None:
        if reason == "wrong_protocol":
            self._door.host.counters.add("wrong_protocol")
        self._door.admission.refusals.add(reason, message, self._peer)

    async def _end(self) -> bool:
        """Closing at once would reset the connection under the sender, before it has read why."""
        try:
            if self._writer.can_write_eof():  # not within TLS
                self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(MAX_HEAD):
                    pass
        except (TimeoutError, OSError):
            pass  # it is still sending, and had its chance; or it has read enough
        return False

    async def _read_head(self, head: _Head, first: bytes) -> None:
        if first == TLS_HANDSHAKE and self._door.certificates is None:
            raise _wrong_protocol("not TLS: the address has to begin with http://")
        if not first.isalpha():
            raise _wrong_protocol("not TLS or anything else")
        try:
            async with asyncio.timeout(self._door.config.header_timeout):
                raw = first + await self._reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            raise _AnswerError(408, 4, "slow_client", "the headers took too long") from None
        except asyncio.LimitOverrunError:
            raise _AnswerError(431, 8, "headers_too_large", f"headers may have {MAX_HEAD} bytes") from None
        if raw.startswith(b"PRI * HTTP/2"):
            # Told in HTTP/1.1, as gRPC's clients know that. A GOAWAY would make them try again at once, for ever.
            raise _wrong_protocol("not HTTP/2 or gRPC, which has a port of its own")
        if raw.count(b"\n") > MAX_HEADERS + 2:
            raise _AnswerError(431, 8, "headers_too_large", f"there may be {MAX_HEADERS} headers")
        parser = httptools.HttpRequestParser(head)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # an offer to change to HTTP/2, which may be declined
        except httptools.HttpParserError:
            raise _AnswerError(400, 3, "malformed_http", "this is not HTTP/1.1") from None
        head.method = parser.get_method()
        head.version = parser.get_http_version()
        if b"host" in head.headers or head.version == "1.1":
            self._check_host(head.get(b"host"))
        if b"transfer-encoding" not in head.headers and b"expect" not in head.headers:
            self._unread = head.length

    def _check_host(self, host: bytes) -> None:
        if not host or b"," in host:
            raise _AnswerError(400, 3, "malformed_http", "a request needs one Host header")
        if self._door.on_loopback and not is_local_name(host, self._door.config.allowed_hosts):
            why = "this host name is not served: add it to the receiver's `allowed_hosts`"
            raise _AnswerError(421, 7, "wrong_host", why)

    async def _take(self, head: _Head) -> _Answer:
        if b"origin" in head.headers:
            origin = head.get(b"origin")
            if origin.decode("latin-1") not in self._door.config.allowed_origins:
                why = "web pages may not send telemetry here, but those of the receiver's `allowed_origins`"
                raise _AnswerError(403, 7, "browser_origin", why)
            head.allowing = allowing(origin)
            if head.method == b"OPTIONS" and head.target in PATHS:
                return _Answer(200, None, preflight(head.get(b"access-control-request-headers")))
        sender = self._sender(head)
        signal, unpack = _wanted(head)
        if head.length > self._door.config.max_body:
            raise self._too_large()
        with self._door.admission.holding(sender, head.length) as hold:
            raw = await self._read_body(head, hold)
            rejected = await self._door.admission.take(
                signal, raw, hold, sender, transport="http", json=head.content_type == JSON, unpack=unpack
            )
        return _Answer(200, response(signal, rejected))

    def _sender(self, head: _Head) -> Sender:
        if b"?" in head.target and self._door.host.tenants.required:
            # Not looked at: what stands there is in the logs of every proxy on the way, and is to be shown to nobody.
            why = "nothing is taken from the address after a ?: show the key in the header `Authorization: Bearer`"
            raise _AnswerError(401, 16, "query_string", why, CHALLENGE)

        def header(name: str) -> str | None:
            value = head.headers.get(name.encode())
            return None if value is None else value.strip().decode("latin-1")

        shown = Shown(
            [head.headers[b"authorization"]] if b"authorization" in head.headers else [],
            [head.headers[b"x-api-key"]] if b"x-api-key" in head.headers else [],
            self._certificate,
        )
        return self._door.admission.sender(shown, self._peer, header)

    async def _read_body(self, head: _Head, hold: Hold) -> bytes:
        transfer = head.get(b"transfer-encoding")
        if transfer not in (b"", b"chunked"):
            raise _AnswerError(501, 12, "unsupported_encoding", "Transfer-Encoding may be chunked, or left out")
        if head.expects:
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not transfer:
            self._unread = head.length
        config = self._door.config
        began_s = asyncio.get_running_loop().time()
        body = bytearray()

        async def read(size: int) -> None:
            """Add so many bytes to the body; each that comes gives its sender a little more time."""
            while size:
                part = await self._reader.read(size)
                if not part:
                    raise asyncio.IncompleteReadError(b"", size)
                self._unread -= len(part)
                hold(len(part))
                body.extend(part)
                size -= len(part)
                if size or transfer:  # there is more to wait for
                    paced_s = max(config.min_rate_after, len(body) / config.min_rate)
                    until.reschedule(began_s + min(config.body_timeout, paced_s))

        try:
            async with asyncio.timeout(min(config.body_timeout, config.min_rate_after)) as until:
                await (self._read_chunks(read) if transfer else read(head.length))
        except TimeoutError:
            self._unread = math.inf  # or it would be waited for once more
            raise _AnswerError(408, 4, "slow_client", "the body took too long") from None
        self._unread = 0
        return bytes(body)

    async def _read_chunks(self, read: Callable[[int], Awaitable[None]]) -> None:
        total = 0
        for number in count(1):
            size = await self._chunk_size()
            total += size
            if total > self._door.config.max_body:
                raise self._too_large()
            if not size:
                break
            await read(size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise MalformedError("a chunk of the body does not end where it says")
            if number % LET_OTHERS == 0:
                await asyncio.sleep(0)
        for _ in range(MAX_TRAILERS):
            if await self._line() == b"\r\n":
                return
        raise MalformedError(f"more than {MAX_TRAILERS} trailers after the body")

    async def _chunk_size(self) -> int:
        found = CHUNK_SIZE.fullmatch(await self._line())
        if found is None:
            raise MalformedError("a chunk of the body does not begin with its size")
        return int(found[1], 16)

    async def _line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError:
            raise MalformedError("a line between the chunks of the body has no end") from None

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._door.config.max_body} bytes")

    async def _send(self, answer: bytes) -> None:
        self._writer.write(answer)
        try:
            async with asyncio.timeout(self._door.config.body_timeout):
                await self._writer.drain()
        except TimeoutError:
            raise ConnectionAbortedError from None


def _wrong_protocol(but: str) -> _AnswerError:
    return _AnswerError(400, 3, "wrong_protocol", f"{WHAT_THIS_IS} over HTTP/1.1, {but}")


def _not_found() -> _AnswerError:
    return _AnswerError(404, 5, "not_found", f"nothing is here: {WHAT_THIS_IS}")


def _wanted(head: _Head) -> tuple[Signal, Unpack | None]:
    """What a request brings, and how it is unpacked."""
    if head.target not in PATHS:
        raise _not_found()
    if head.method != b"POST":
        raise _AnswerError(405, 12, "method", WHAT_THIS_IS, b"Allow: POST\r\n")
    if head.content_type not in (PROTOBUF, JSON):
        raise _AnswerError(415, 3, "content_type", "Content-Type must be application/x-protobuf or application/json")
    encoding = head.get(b"content-encoding")
    if encoding in (b"", b"identity"):
        return PATHS[head.target], None
    if encoding not in ENCODINGS:
        raise _AnswerError(415, 3, "unsupported_encoding", "Content-Encoding must be gzip, deflate, zstd or identity")
    return PATHS[head.target], ENCODINGS[encoding]


def _refusal(status: int, code: int, message: str, header: bytes) -> _Answer:
    return _Answer(status, Status(code=code, message=message), header)


def _encode(message: Message, content_type: bytes) -> bytes:
    return otlp_json.dump(message) if content_type == JSON else message.SerializeToString()
