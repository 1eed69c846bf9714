"""The HTTP door waits for nobody too long, and gives nobody too much of its room."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.receivers.otlp import http
from otel_bridge.receivers.otlp.http import MAX_SKIPPED
from tests.receivers.http1 import ONE, Client, request, spans


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"POST /v1/traces HT", 408),
        (request(b"", content_length="100") + b"some", 408),
        (request(b"", content_length="", transfer_encoding="chunked") + b"4\r\nsome\r\n", 408),
    ],
)
async def test_who_is_too_slow_is_let_go(receiving: Any, sent: bytes, status: int | None) -> None:
    async with (
        receiving(header_timeout=0.05, body_timeout=0.05) as taken,
        Client(taken.address("http")) as client,
    ):
        client.say(sent)
        if status is not None:
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert taken.count("refused", reason="slow_client") == 1
        assert await client.closed()


@pytest.mark.parametrize("body", [b"some", b""])
async def test_a_body_has_to_keep_its_pace(receiving: Any, body: bytes) -> None:
    """Long before `body_timeout`."""
    async with receiving(min_rate=1 << 20, min_rate_after=0.05) as taken, Client(taken.address("http")) as client:
        client.say(request(b"", content_length="1000") + body)
        assert (await client.answer()).status == 408
        assert taken.count("refused", reason="slow_client") == 1
        assert await client.closed()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_keeps_its_pace_has_its_time(receiving: Any, chunked: bool) -> None:
    async with receiving(min_rate=1, min_rate_after=0.05) as taken, Client(taken.address("http")) as client:
        if chunked:
            client.say(request(b"", content_length="", transfer_encoding="chunked") + b"5\r\n" + ONE[:5] + b"\r\n")
        else:
            client.say(request(ONE).removesuffix(ONE[5:]))
        with pytest.raises(TimeoutError):  # five bytes are worth five seconds
            async with asyncio.timeout(0.15):
                await client.reader.read()
        client.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(ONE) - 5, ONE[5:]) if chunked else ONE[5:])
        assert (await client.answer()).status == 200
        assert taken.batches[0].wire == ONE


async def test_an_idle_connection_is_closed(receiving: Any) -> None:
    async with receiving(idle_timeout=0.05) as taken, Client(taken.address("http")) as client:
        assert (await client.post(ONE)).status == 200
        assert await client.closed()


async def test_too_many_connections_are_turned_away(receiving: Any) -> None:
    async with (
        receiving(max_connections=1) as taken,
        Client(taken.address("http")) as first,
        Client(taken.address("http")) as second,
    ):
        turned_away = await second.answer()
        assert turned_away.status == 503
        assert int(turned_away.headers["retry-after"]) >= 1
        assert await second.closed()
        assert taken.count("refused", reason="too_many_connections") == 1
        assert (await first.post(ONE)).status == 200


async def test_one_machine_does_not_get_all_connections(receiving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "sharing_address", lambda _: "198.51.100.7")
    async with (
        receiving(max_connections_per_address=2) as taken,
        Client(taken.address("http")) as first,
        Client(taken.address("http")) as second,
    ):
        assert [(await one.post(ONE)).status for one in (first, second)] == [200, 200]
        async with Client(taken.address("http")) as third:
            assert (await third.answer()).status == 503
        second.writer.write_eof()
        assert await second.closed()
        async with Client(taken.address("http")) as again:
            assert (await again.post(ONE)).status == 200


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
async def test_a_flood_of_connections_leaves_nothing_behind(receiving: Any) -> None:
    async with receiving(max_connections=20, idle_timeout=0.2, header_timeout=0.2) as taken:
        async with Client(taken.address("http")) as client:
            assert (await client.post(ONE)).status == 200
        before = open_files()
        async with AsyncExitStack() as stack:
            flood = [await stack.enter_async_context(Client(taken.address("http"))) for _ in range(300)]
            assert open_files() < before + 300 + 50, "those that are turned away hold nothing"
            for client in flood:
                await client.reader.read()
            assert open_files() <= before + 300, "idle ones were closed"
        assert open_files() <= before
        assert taken.count("refused", reason="too_many_connections") > 0
        async with Client(taken.address("http")) as client:
            assert (await client.post(ONE)).status == 200


BIG = spans("n" * 560).SerializeToString()


async def test_bytes_in_flight_are_bounded(receiving: Any) -> None:
    async with (
        receiving(max_body=1000, max_inflight=1000) as taken,
        Client(taken.address("http")) as first,
        Client(taken.address("http")) as second,
    ):
        taken.gate = asyncio.Event()
        first.say(request(BIG))
        await taken.waiting.wait()
        second.say(request(BIG).removesuffix(BIG))
        busy = await second.answer()
        taken.gate.set()

        assert busy.status == 503
        assert int(busy.headers["retry-after"]) >= 1
        assert taken.count("refused", reason="busy") == 1
        assert (await first.answer()).status == 200
        assert (await first.post(BIG)).status == 200, "what was held is given back"


async def test_who_is_refused_keeps_the_connection_if_the_body_is_small(receiving: Any) -> None:
    async with (
        receiving(max_body=MAX_SKIPPED * 2, max_inflight=MAX_SKIPPED * 2) as taken,
        Client(taken.address("http")) as first,
        Client(taken.address("http")) as second,
    ):
        taken.gate = asyncio.Event()
        first.say(request(spans("n" * MAX_SKIPPED).SerializeToString()))
        await taken.waiting.wait()
        again = await second.post(spans("n" * (MAX_SKIPPED - 100)).SerializeToString())
        large = await second.post(b"x" * (MAX_SKIPPED + 1))
        taken.gate.set()

        assert (again.status, again.headers.get("connection")) == (503, None)
        assert (large.status, large.headers.get("connection")) == (503, "close")
        assert (await first.answer()).status == 200
