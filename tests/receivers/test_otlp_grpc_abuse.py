"""The gRPC door among senders that are slow, broken or hostile: they are let go, and the others do not notice."""

import asyncio
import resource
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from otel_bridge.receivers.otlp import OtlpConfig
from otel_bridge.receivers.otlp import grpc as door
from otel_bridge.receivers.otlp.grpc import ARRIVING
from tests.receivers import http2
from tests.receivers.http1 import ONE
from tests.receivers.http2 import Http2, call, frame, message
from tests.waiting import until

TRACES = http2.EXPORT.decode()


@asynccontextmanager
async def calling(taken: Any) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel("{}:{}".format(*taken.address("grpc"))) as channel:
        yield channel.unary_unary(TRACES)


@pytest.mark.parametrize(
    "first",
    [b"", http2.PREFACE[:10], http2.PREFACE, http2.PREFACE + frame(http2.SETTINGS)],
    ids=["nothing", "half a preface", "preface", "preface and settings"],
)
@pytest.mark.slow
async def test_who_says_nothing_is_let_go(receiving: Any, first: bytes) -> None:
    """The last of them is a connection without a call: `idle_timeout` is for it."""
    async with (
        receiving(header_timeout=0.2, idle_timeout=1) as taken,
        Http2(taken.address("grpc"), first) as silent,
        asyncio.timeout(5),
    ):
        await silent.frames_until_closed()


async def test_more_connections_than_allowed_are_closed(receiving: Any) -> None:
    async with receiving(max_connections=2) as taken, AsyncExitStack() as stack:
        address = taken.address("grpc")
        allowed = [await stack.enter_async_context(Http2(address)) for _ in range(2)]
        for one in allowed:
            await one.next(http2.SETTINGS)
        third = await stack.enter_async_context(Http2(address))
        async with asyncio.timeout(5):
            assert await third.frames_until_closed() == []
        await allowed[0].say(frame(http2.PING, b"are you?"))
        assert await allowed[0].next(http2.PING) == b"are you?"


async def test_a_message_that_stops_after_three_bytes(receiving: Any) -> None:
    async with receiving(body_timeout=0.1) as taken, Http2(taken.address("grpc")) as stalled:
        started = frame(http2.HEADERS, call(), 1, http2.END_HEADERS)
        await stalled.say(started + frame(http2.DATA, message(bytes(1_000_000))[:8], 1))
        assert b"grpc-status" in await stalled.next(http2.HEADERS)  # of the answer
        assert taken.count("refused", reason="slow_client") == 1
        async with calling(taken) as export:
            assert await export(ONE) == b""


@pytest.mark.slow
async def test_a_bomb_is_refused_before_it_is_large(receiving: Any) -> None:
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packing.compress(bytes(1 << 20)) for _ in range(60)) + packing.flush()
    async with receiving(max_body=1 << 20) as taken, calling(taken) as export:
        assert await export(ONE) == b""
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with Http2(taken.address("grpc")) as hostile:
            await hostile.say(frame(http2.HEADERS, call((b"grpc-encoding", b"gzip")), 1, http2.END_HEADERS))
            for at in range(0, len(bomb), 16_000):
                head = b"" if at else b"\1" + len(bomb).to_bytes(4, "big")
                await hostile.say(frame(http2.DATA, head + bomb[at : at + 16_000], 1))
            assert b"grpc-status" in await hostile.next(http2.HEADERS)

        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 16 << 10
        assert taken.items == 1
        assert await export(ONE) == b""


def stalled_calls(count: int) -> bytes:
    return b"".join(frame(http2.HEADERS, call(), 2 * n + 1, http2.END_HEADERS) for n in range(count))


@pytest.mark.slow
async def test_who_has_sent_before_is_not_held_up_by_those_who_stall(
    receiving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 60)
    async with receiving() as taken, calling(taken) as export, AsyncExitStack() as stack:
        assert await export(ONE) == b""
        for _ in range(5):
            stalling = await stack.enter_async_context(Http2(taken.address("grpc")))
            await stalling.say(stalled_calls(90) + frame(http2.PING, b"all came"))
            await stalling.next(http2.PING)

        async with asyncio.timeout(20):
            assert await asyncio.gather(*(export(ONE) for _ in range(20))) == [b""] * 20


@pytest.mark.slow
async def test_who_has_sent_before_waits_no_longer_however_many_strangers_do() -> None:
    arriving = door._Arriving(OtlpConfig())

    class Call:
        def __init__(self, peer: str, message: asyncio.Future[bytes]) -> None:
            self._peer, self._message = peer, message

        def peer(self) -> str:
            return self._peer

        async def read(self) -> bytes:
            return await self._message

    def call(peer: str, message: bytes | None) -> asyncio.Task[bytes]:
        said = asyncio.get_running_loop().create_future()
        if message is not None:
            said.set_result(message)
        made: Any = Call(peer, said)
        return asyncio.create_task(arriving.next(made))

    async def quickest_s() -> float:
        """Of hundred messages, the best of three times."""
        took_s = []
        for _ in range(3):
            began_s = time.perf_counter()
            for _ in range(100):
                await call("known", b"more")
            took_s.append(time.perf_counter() - began_s)
        return min(took_s)

    await call("known", b"first")
    strangers = [call(f"stranger {number}", None) for number in range(ARRIVING)]
    few_s = await quickest_s()
    strangers += [call(f"stranger {number}", None) for number in range(20_000)]
    many_s = await quickest_s()
    for stranger in strangers:
        stranger.cancel()
    await asyncio.gather(*strangers, return_exceptions=True)

    assert many_s < 5 * few_s


async def test_who_stalls_gives_way_to_who_is_new(receiving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 0.1)
    async with receiving() as taken, Http2(taken.address("grpc")) as stalling:
        await stalling.say(stalled_calls(90) + frame(http2.PING, b"all came"))
        await stalling.next(http2.PING)
        async with calling(taken) as export:
            assert await export(ONE, timeout=20) == b""
        assert taken.count("refused", reason="slow_client") > 0


async def test_nobody_is_hurried_while_there_is_room(receiving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 0)
    async with receiving() as taken, Http2(taken.address("grpc")) as slow, calling(taken) as export:
        await slow.say(stalled_calls(ARRIVING - door.KEPT - 1) + frame(http2.PING, b"all came"))
        await slow.next(http2.PING)
        assert await export(ONE) == b""
        await slow.say(frame(http2.DATA, message(ONE), 1, http2.END_STREAM))
        await slow.next(http2.HEADERS)

        assert taken.items == 2
        assert taken.count("refused") == 0


def resets(count: int) -> bytes:
    return b"".join(
        frame(http2.HEADERS, call(), 2 * n + 1, http2.END_HEADERS) + frame(http2.RST_STREAM, http2.CANCEL, 2 * n + 1)
        for n in range(count)
    )


FLOODS = {
    "reset": resets(20_000),
    "continuation": frame(http2.HEADERS, call(), 1)
    + b"".join(frame(http2.CONTINUATION, http2.hpack((b"x-%d" % n, b"y" * 100)), 1) for n in range(20_000)),
    "empty continuation": frame(http2.HEADERS, call(), 1) + frame(http2.CONTINUATION, b"", 1) * 200_000,
    "settings": frame(http2.SETTINGS, b"\0\4\0\0\xff\xff") * 50_000,
    "ping": frame(http2.PING, b"and now?") * 2_000,
    "empty data": frame(http2.HEADERS, call(), 1, http2.END_HEADERS) + frame(http2.DATA, b"", 1) * 50_000,
    "priority": frame(http2.PRIORITY, b"\0\0\0\0\1", 1) * 50_000,
    "no window": frame(http2.SETTINGS, b"\0\4\0\0\0\0")
    + b"".join(
        frame(http2.HEADERS, call(), 2 * n + 1, http2.END_HEADERS)
        + frame(http2.DATA, message(b""), 2 * n + 1, http2.END_STREAM)
        for n in range(1_000)
    ),
    "te": b"".join(
        frame(http2.HEADERS, call(te=b"x"), 2 * n + 1, http2.END_HEADERS | http2.END_STREAM) for n in range(50)
    ),
    "endless number in hpack": frame(http2.HEADERS, b"\x7f" + b"\xff" * 200, 1, http2.END_HEADERS),
    "table size in hpack": frame(http2.HEADERS, b"\x3f\xff\xff\xff\x7f" * 100 + call(), 1, http2.END_HEADERS),
    "index out of the table": frame(http2.HEADERS, b"\xfe", 1, http2.END_HEADERS),
    "frame too long": b"\xff\xff\xff" + bytes([http2.DATA, 0]) + bytes(4),
    "data without a call": frame(http2.DATA, b"x", 7),
    "push": frame(http2.PUSH_PROMISE, b"\0\0\0\2" + call(), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS)
async def test_floods_reach_nobody_else(receiving: Any, flood: str) -> None:
    async with receiving() as taken, calling(taken) as export:
        assert await export(ONE) == b""
        async with Http2(taken.address("grpc")) as hostile:
            raw = FLOODS[flood]
            for at in range(0, len(raw), 1 << 16):
                if not await hostile.say(raw[at : at + (1 << 16)]):
                    break
            assert await export(ONE, timeout=20) == b"", "during it"
        assert await export(ONE, timeout=20) == b"", "and after"
        assert taken.items == 3


async def test_who_pings_too_often_is_told_and_let_go(receiving: Any) -> None:
    async with receiving() as taken, Http2(taken.address("grpc")) as hostile, asyncio.timeout(10):
        await hostile.say(frame(http2.PING, b"and now?") * 500)
        goodbyes = [payload for kind, _, payload in await hostile.frames_until_closed() if kind == http2.GOAWAY]

        assert int.from_bytes(goodbyes[-1][4:8], "big") == http2.ENHANCE_YOUR_CALM


async def test_too_much_metadata(receiving: Any) -> None:
    async with receiving() as taken, calling(taken) as export:
        for size in (40_000, 200_000):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await export(ONE, metadata=[("x", "y" * size)])
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert taken.batches == []
        assert await export(ONE) == b""


async def test_a_deadline_of_a_millisecond(receiving: Any) -> None:
    """Its sender is told by its own clock; the request is taken or not, and nothing of it stays behind."""
    async with receiving() as taken, calling(taken) as export:
        assert await export(ONE) == b""
        before = len(asyncio.all_tasks())
        taken.gate = asyncio.Event()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await export(ONE, timeout=0.001)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        taken.gate.set()
        assert await export(ONE) == b""
        assert taken.items in (2, 3)
        await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_a_call_that_is_cancelled_while_it_is_stored_is_counted(receiving: Any) -> None:
    async with receiving() as taken, calling(taken) as export:
        taken.gate = asyncio.Event()
        cancelled = export(ONE)
        await taken.waiting.wait()
        cancelled.cancel()
        await until(lambda: taken.count("client_gone"))
        taken.gate.set()
        assert await export(ONE) == b""
        assert taken.count("client_gone") == 1
        assert taken.count("refused") == 0


async def test_new_calls_are_unavailable_while_the_door_closes(receiving: Any) -> None:
    bridge = receiving()
    taken = await bridge.__aenter__()
    async with grpc.aio.insecure_channel("{}:{}".format(*taken.address("grpc"))) as channel:
        export = channel.unary_unary(TRACES)
        taken.gate = asyncio.Event()
        async with Http2(taken.address("grpc")) as watching:
            running = asyncio.ensure_future(export(ONE))
            await taken.waiting.wait()
            closing = asyncio.create_task(bridge.__aexit__(None, None, None))
            await watching.next(http2.GOAWAY)
        # Before it knows of the closing, the channel would put the call on the old connection, which cancels it.
        while channel.get_state() is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await export(ONE)
        taken.gate.set()

        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await running == b""
        await closing
        assert taken.items == 1
