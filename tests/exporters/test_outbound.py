"""Requests to destinations that do not behave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from otel_bridge.errors import ParkedError
from otel_bridge.outbound import LostError, compress, http


@asynccontextmanager
async def saying(*pieces: bytes, endless: bytes = b"") -> AsyncIterator[str]:
    """A server that reads a request, says these bytes, then the endless ones until nobody listens."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
            while endless:
                writer.write(endless)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # who asked has heard enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_endless_answer_is_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    async with saying(head, endless=chunk) as url, http(30) as connections:
        answer = await connections.request("POST", url, body=b"{}", max_answer=100_000)
    assert answer.body == b"x" * 100_000


async def test_a_packed_answer_is_not_unpacked() -> None:
    bomb = await compress(bytes(1 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with saying(head, bomb) as url, http(30) as connections:
        assert (await connections.request("GET", url)).body == bomb


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"\x00\x00\x18\x04\x00\x00\x00\x00\x00",  # HTTP/2
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_half_an_answer_or_none_is_lost(said: bytes) -> None:
    async with saying(said) as url, http(30) as connections:
        with pytest.raises(LostError):
            await connections.request("POST", url, body=b"{}")


async def test_an_address_that_is_none_parks() -> None:
    async with http(30) as connections:
        with pytest.raises(ParkedError) as parked:
            await connections.request("GET", "http://")
        assert parked.value.reason == "address"


async def test_packing_twice_gives_the_same_bytes() -> None:
    for size in (10, 1 << 20):
        assert await compress(b"x" * size) == await compress(b"x" * size)
