"""The proxy does what it is told, so that tests behind it mean something."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from otel_bridge.testing.fault_proxy import FaultProxy


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """Before a server that says everything twice."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(1000):
            writer.write(said * 2)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, FaultProxy(url).running() as made:
        yield made


async def say(proxy: FaultProxy, text: bytes, *, wait_s: float = 5) -> bytes:
    """What comes back until the connection ends or the time is up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    try:
        writer.write(text)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), wait_s)
    finally:
        writer.close()


async def test_it_passes_everything_on(proxy: FaultProxy) -> None:
    assert await say(proxy, b"x" * 1000) == b"x" * 2000
    assert proxy.connections == 1


async def test_it_is_late(proxy: FaultProxy) -> None:
    proxy.delay_s = 0.05
    began = time.monotonic()
    assert await say(proxy, b"ab") == b"abab"
    assert time.monotonic() - began >= 0.1


async def test_it_cuts_an_answer(proxy: FaultProxy) -> None:
    proxy.answer_bytes = 3
    assert await say(proxy, b"ab") == b"aba"


async def test_it_resets_in_the_middle_of_an_answer(proxy: FaultProxy) -> None:
    proxy.answer_bytes, proxy.ends = 3, "reset"
    with pytest.raises(ConnectionResetError):
        await say(proxy, b"ab")


async def test_it_resets_at_once(proxy: FaultProxy) -> None:
    proxy.does = "reset"
    with pytest.raises(ConnectionResetError):
        await say(proxy, b"ab")


async def test_it_swallows(proxy: FaultProxy) -> None:
    proxy.does = "swallow"
    with pytest.raises(TimeoutError):
        await say(proxy, b"ab", wait_s=0.1)
