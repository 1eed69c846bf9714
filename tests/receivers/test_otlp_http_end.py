"""The HTTP door when it closes, and when a sender does."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio
import pytest

from tests.receivers.http1 import ONE, Client, request

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


async def test_running_requests_end_before_the_receiver_does(receiving: Any) -> None:
    async with AsyncExitStack() as stack:
        bridge = receiving()
        taken = await bridge.__aenter__()
        running, idle = [await stack.enter_async_context(Client(taken.address("http"))) for _ in range(2)]
        assert (await idle.post(ONE)).status == 200
        taken.gate = asyncio.Event()
        taken.waiting.clear()
        running.say(request(ONE))
        await taken.waiting.wait()
        closing = asyncio.create_task(bridge.__aexit__(None, None, None))
        assert await idle.closed()
        taken.gate.set()
        answer = await running.answer()
        await closing

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert taken.items == 2


@pytest.mark.slow
async def test_both_doors_close_together(receiving: Any) -> None:
    """`close_timeout` is for the receiver, not for each door."""
    bridge = receiving(close_timeout=1)
    taken = await bridge.__aenter__()
    taken.gate = asyncio.Event()
    async with (
        Client(taken.address("http")) as client,
        grpc.aio.insecure_channel(taken.host.endpoints["grpc"].removeprefix("http://")) as to,
    ):
        client.say(request(ONE))
        await taken.waiting.wait()
        taken.waiting.clear()
        by_grpc = asyncio.ensure_future(to.unary_unary(EXPORT)(ONE))
        await taken.waiting.wait()
        async with asyncio.timeout(1.8):
            await bridge.__aexit__(None, None, None)
        with pytest.raises(grpc.aio.AioRpcError):
            await by_grpc


async def test_a_request_that_never_ends_does_not_hold_up_the_end(receiving: Any) -> None:
    async with receiving(close_timeout=0.05) as taken:
        taken.gate = asyncio.Event()
        async with Client(taken.address("http")) as client:
            client.say(request(ONE))
            await taken.waiting.wait()


async def test_a_sender_that_leaves_is_counted_and_its_request_is_taken(receiving: Any) -> None:
    async with receiving() as taken:
        taken.gate = asyncio.Event()
        async with Client(taken.address("http")) as client:
            client.say(request(ONE))
            client.writer.write_eof()
            await taken.waiting.wait()
            taken.gate.set()
            assert (await client.answer()).status == 200
        assert taken.items == 1


async def test_a_sender_that_resets_is_counted_once_and_its_request_is_taken(receiving: Any) -> None:
    async with receiving() as taken:
        taken.gate = asyncio.Event()
        client = await Client(taken.address("http")).__aenter__()
        client.say(request(ONE))
        await taken.waiting.wait()
        client.reset()
        taken.gate.set()
        async with Client(taken.address("http")) as another:
            assert (await another.post(ONE)).status == 200
        assert (taken.items, taken.count("client_gone"), taken.count("connection_failures")) == (2, 1, 0)
