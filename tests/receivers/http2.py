"""HTTP/2 as raw frames, for what no honest library sends."""

import asyncio
from typing import Self

EXPORT = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
CANCEL = (8).to_bytes(4, "big")
ENHANCE_YOUR_CALM = 0xB


def frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def hpack(*headers: tuple[bytes, bytes]) -> bytes:
    """Literals, of which the receiver is to remember none."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers)


def _text(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes([size]) + text
    size, prefix = size - 127, b"\x7f"
    while size >= 128:
        prefix += bytes([size % 128 + 128])
        size //= 128
    return prefix + bytes([size]) + text


def call(*more: tuple[bytes, bytes], **changed: bytes) -> bytes:
    """The headers of a call: of `Export` for traces, but for what is changed."""
    usual = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": EXPORT,
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    return hpack(*(usual | {name.encode(): value for name, value in changed.items()}).items(), *more)


def message(wire: bytes) -> bytes:
    """As gRPC frames it: not compressed, and its length."""
    return b"\0" + len(wire).to_bytes(4, "big") + wire


class Http2:
    """A connection that says exactly what it is told to."""

    def __init__(self, address: tuple[str, int], first: bytes = PREFACE + frame(SETTINGS)) -> None:
        self._address = address
        self._first = first

    async def __aenter__(self) -> Self:
        self._reader, self.writer = await asyncio.open_connection(*self._address)
        self.writer.write(self._first)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def say(self, raw: bytes) -> bool:
        """Whether the other side still listens."""
        try:
            self.writer.write(raw)
            await self.writer.drain()
        except ConnectionError:
            return False
        return not self._reader.at_eof()

    async def frames_until_closed(self) -> list[tuple[int, int, bytes]]:
        """Kind, stream and payload of all that comes."""
        raw = b""
        try:
            while part := await self._reader.read(1 << 16):
                raw += part
        except ConnectionError:
            pass
        return list(_frames(raw))

    async def next(self, kind: int) -> bytes:
        """The payload of the next frame of a kind."""
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == kind:
                return payload


def _frames(raw: bytes) -> "list[tuple[int, int, bytes]]":
    found = []
    while len(raw) >= 9:
        size = int.from_bytes(raw[:3], "big")
        found.append((raw[3], int.from_bytes(raw[5:9], "big"), raw[9 : 9 + size]))
        raw = raw[9 + size :]
    return found
