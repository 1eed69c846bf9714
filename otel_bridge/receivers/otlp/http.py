"""OTLP over HTTP/1.1: one coroutine for each connection, reading on until something takes too long or is too much.

No Python server bounds the time that a sender takes for its headers or its body, so this one is ours; httptools parses
the heads.
"""

import asyncio
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # published without types

from otel_bridge import otlp_json
from otel_bridge.batch import Signal
from otel_bridge.component import Host
from otel_bridge.errors import BridgeError, MalformedError, TooLargeError
from otel_bridge.receivers.otlp.address import unbindable
from otel_bridge.receivers.otlp.admission import Admission, Close, Hold, Unpack, response
from otel_bridge.receivers.otlp.unpack import ENCODINGS

if TYPE_CHECKING:
    from otel_bridge.receivers.otlp import OtlpConfig

PATHS = {f"/v1/{signal}".encode(): signal for signal in Signal}
PROTOBUF = b"application/x-protobuf"
JSON = b"application/json"
MAX_HEAD = 32 << 10
MAX_TRAILERS = 64
LINGER_S = 2.0  # for a refused sender to read its answer before the connection goes
CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
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
    keep_alive: bool = False
    headers: dict[bytes, bytes] = field(default_factory=dict)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers[name] = b", ".join((self.headers[name], value)) if name in self.headers else value

    def get(self, name: bytes) -> bytes:
        return self.headers.get(name, b"").strip().lower()

    @property
    def content_type(self) -> bytes:
        return self.get(b"content-type").partition(b";")[0].strip()


async def serve_http(config: "OtlpConfig", endpoint: str, admission: Admission, host: Host) -> tuple[str, Close]:
    """Serve until it is closed; the address that was bound, as host:port, and how to close it.

    Raises:
        FilesError: the address can not be bound.
    """
    name, _, port = endpoint.rpartition(":")
    door = _Door(config, admission, host)
    try:
        server = await asyncio.start_server(door.accept, name.strip("[]"), int(port), limit=MAX_HEAD)
    except OSError as error:
        raise unbindable("http", endpoint, error) from error

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
        self.closing = False
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closing or len(self._connections) >= self.config.max_connections:
            self.host.counters.add("refused", reason="too_many_connections")
            writer.write(_refusal(503, 14, "too many connections", JSON, b"Retry-After: 1\r\n", last=True))
            writer.close()
            return
        connection = _Connection(self, reader, writer)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._connections[task] = connection
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._connections[task]
        if not task.cancelled() and (error := task.exception()):
            # A bug, in us or in a processor: it costs this connection, not the bridge. The sender has no answer, and
            # sends again.
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

    def __init__(self, door: _Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._door = door
        self._reader = reader
        self._writer = writer
        self.busy = False

    async def run(self) -> None:
        idle_s = self._door.config.header_timeout  # who connects has something to say
        try:
            while await self._next(idle_s):
                idle_s = self._door.config.idle_timeout
        except (ConnectionError, asyncio.IncompleteReadError):
            if self.busy:
                self._door.host.counters.add("client_gone")
        finally:
            self._writer.close()

    async def _next(self, idle_s: float) -> bool:
        """Answer the next request; False when it was the last."""
        try:
            async with asyncio.timeout(idle_s):
                first = await self._reader.read(1)
        except TimeoutError:
            return False
        if not first:
            return False
        self.busy = True
        content_type = JSON
        body_read = False
        try:
            head = await self._head(first)
            content_type = head.content_type if head.content_type == PROTOBUF else JSON
            signal = _signal_of(head)
            unpack = _unpack_of(head)
            with self._door.admission.holding() as hold:
                raw = await self._body(head, hold)
                body_read = True
                rejected = await self._door.admission.take(
                    signal, raw, hold, transport="http", json=content_type == JSON, unpack=unpack
                )
            last = not head.keep_alive or self._door.closing
            await self._send(_answer(200, content_type, _encode(response(signal, rejected), content_type), last=last))
        except _AnswerError as error:
            last = not body_read
            self._door.host.counters.add("refused", reason=error.reason)
            await self._send(_refusal(error.status, error.code, str(error), content_type, error.header, last=last))
        except BridgeError as error:
            last = not body_read or not head.keep_alive or self._door.closing
            refused = self._door.admission.refused(error)
            header = b"" if refused.retry_after_s is None else b"Retry-After: %d\r\n" % round(refused.retry_after_s)
            await self._send(_refusal(refused.status, refused.code, refused.message, content_type, header, last=last))
        if not body_read:
            await self._linger()
        self.busy = False
        return not last

    async def _head(self, first: bytes) -> _Head:
        if not first.isalpha():
            raise self._wrong_protocol("not TLS or anything else")
        try:
            async with asyncio.timeout(self._door.config.header_timeout):
                raw = first + await self._reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            raise _AnswerError(408, 4, "slow_client", "the headers took too long") from None
        except asyncio.LimitOverrunError:
            raise _AnswerError(431, 8, "headers_too_large", f"headers may have {MAX_HEAD} bytes") from None
        if raw.startswith(b"PRI * HTTP/2"):
            raise self._wrong_protocol("not HTTP/2 or gRPC, which has a port of its own")
        head = _Head()
        parser = httptools.HttpRequestParser(head)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # an offer to change to HTTP/2, which may be declined
        except httptools.HttpParserError:
            raise _AnswerError(400, 3, "malformed_http", "this is not HTTP/1.1") from None
        if parser.get_http_version() == "1.1" and b"host" not in head.headers:
            raise _AnswerError(400, 3, "malformed_http", "HTTP/1.1 needs a Host header")
        head.method = parser.get_method()
        head.keep_alive = parser.should_keep_alive()
        return head

    def _wrong_protocol(self, but: str) -> _AnswerError:
        self._door.host.counters.add("wrong_protocol")
        return _AnswerError(400, 3, "wrong_protocol", f"{WHAT_THIS_IS} over HTTP/1.1, {but}")

    async def _body(self, head: _Head, hold: Hold) -> bytes:
        transfer = head.get(b"transfer-encoding")
        if transfer not in (b"", b"chunked"):
            raise _AnswerError(501, 12, "unsupported_encoding", "Transfer-Encoding may be chunked, or left out")
        length = int(head.get(b"content-length") or 0)
        self._check_size(length)
        hold(length)
        if head.get(b"expect") == b"100-continue":
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(self._door.config.body_timeout):
                return await self._chunks(hold) if transfer else await self._reader.readexactly(length)
        except TimeoutError:
            raise _AnswerError(408, 4, "slow_client", "the body took too long") from None

    async def _chunks(self, hold: Hold) -> bytes:
        parts: list[bytes] = []
        total = 0
        while size := await self._chunk_size():
            total += size
            self._check_size(total)
            hold(size)
            parts.append(await self._reader.readexactly(size))
            if await self._reader.readexactly(2) != b"\r\n":
                raise MalformedError("a chunk of the body does not end where it says")
        for _ in range(MAX_TRAILERS):
            if await self._line() == b"\r\n":
                return b"".join(parts)
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

    def _check_size(self, size: int) -> None:
        if size > self._door.config.max_body:
            raise TooLargeError(f"the body is larger than {self._door.config.max_body} bytes")

    async def _send(self, answer: bytes) -> None:
        self._writer.write(answer)
        try:
            async with asyncio.timeout(self._door.config.body_timeout):
                await self._writer.drain()
        except TimeoutError:
            raise ConnectionAbortedError from None

    async def _linger(self) -> None:
        """Closing at once would reset the connection under the sender, before it has read why."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        try:
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(MAX_HEAD):
                    pass
        except TimeoutError:
            pass  # it is still sending: it had its chance


def _signal_of(head: _Head) -> Signal:
    signal = PATHS.get(head.target)
    if signal is None:
        raise _AnswerError(404, 5, "not_found", f"nothing is here: {WHAT_THIS_IS}")
    if head.method != b"POST":
        raise _AnswerError(405, 12, "method", WHAT_THIS_IS, b"Allow: POST\r\n")
    if b"origin" in head.headers:
        raise _AnswerError(403, 7, "browser_origin", "web pages may not send telemetry here")
    if head.content_type not in (PROTOBUF, JSON):
        raise _AnswerError(415, 3, "content_type", "Content-Type must be application/x-protobuf or application/json")
    return signal


def _unpack_of(head: _Head) -> Unpack | None:
    encoding = head.get(b"content-encoding")
    if encoding in (b"", b"identity"):
        return None
    if encoding not in ENCODINGS:
        raise _AnswerError(415, 3, "unsupported_encoding", "Content-Encoding must be gzip, deflate, zstd or identity")
    return ENCODINGS[encoding]


def _refusal(status: int, code: int, message: str, content_type: bytes, header: bytes, *, last: bool) -> bytes:
    return _answer(status, content_type, _encode(Status(code=code, message=message), content_type), header, last=last)


def _encode(message: Message, content_type: bytes) -> bytes:
    return otlp_json.dump(message) if content_type == JSON else message.SerializeToString()


def _answer(status: int, content_type: bytes, body: bytes, header: bytes = b"", *, last: bool) -> bytes:
    return b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s%s\r\n%s" % (
        status,
        HTTPStatus(status).phrase.encode(),
        content_type,
        len(body),
        header,
        b"Connection: close\r\n" if last else b"",
        body,
    )
