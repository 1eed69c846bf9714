"""The door in this process: from any thread, and closed when the receiver is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.component import Consume, Host
from otel_bridge.errors import RefusedError, RetryableError, UnreachableError
from otel_bridge.receivers.in_process import InProcessConfig, door, in_process

SPAN = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "start_time_unix_nano": 1, "end_time_unix_nano": 2}
BATCH = Batch.from_request(ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [SPAN, {}]}]}]))


@asynccontextmanager
async def running(consume: Consume, data_dir: Path) -> AsyncIterator[Host]:
    host = Host(id="in_process/agent", data_dir=data_dir)
    async with asynccontextmanager(in_process.open)(InProcessConfig(), consume, host):
        yield host


async def test_a_thread_hands_over_and_learns_what_was_rejected(tmp_path: Path) -> None:
    taken: list[Batch] = []

    async def consume(batch: Batch) -> None:
        taken.append(batch)

    async with running(consume, tmp_path) as host:
        rejected = await asyncio.to_thread(lambda: door("in_process/agent").send(BATCH).result(timeout=5))

        assert [omitted.reason for omitted in rejected] == ["no_trace_id"]
        assert [batch.item_count for batch in taken] == [1]
        assert host.counters.value("received", transport="in_process") == 2


async def test_a_refusal_reaches_the_sender(tmp_path: Path) -> None:
    async def consume(_batch: Batch) -> None:
        raise RefusedError("never")

    async with running(consume, tmp_path):
        with pytest.raises(RefusedError, match="never"):
            await asyncio.to_thread(lambda: door("in_process/agent").send(BATCH).result(timeout=5))


async def test_what_is_being_taken_ends_before_the_door_closes(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def consume(_batch: Batch) -> None:
        begun.set()
        await go_on.wait()

    receiver = running(consume, tmp_path)
    await receiver.__aenter__()
    opened = door("in_process/agent")
    sent = opened.send(BATCH)
    await begun.wait()
    closing = asyncio.create_task(receiver.__aexit__(None, None, None))
    await asyncio.sleep(0)
    with pytest.raises(RetryableError, match="stopped"):
        opened.send(BATCH)
    with pytest.raises(UnreachableError, match="in_process/agent"):
        door("in_process/agent")
    go_on.set()
    await closing

    assert len(await asyncio.wrap_future(sent)) == 1
