"""What a stop leaves, and the next start goes on with."""

import asyncio

from otel_bridge.batch import Signal
from otel_bridge.errors import RetryableError
from tests.delivery.conftest import BACKOFF_S, House, Sink


async def test_a_clean_restart_sends_nothing_twice(house: House, sink: Sink) -> None:
    for trace in (1, 2, 3):
        await house.start(batches={"store": sink}, settled={"langfuse": sink})
        await house.append(f"trace {trace}", trace=trace)
        await sink.has(len(sink.names) + 1)
        await house.settle()
        await sink.has(trace * 2)
        await house.stop()
    assert sorted(sink.names) == sorted(f"trace {trace}" for trace in (1, 2, 3) for _ in range(2))
    assert house.outcomes("langfuse") == house.outcomes("store") == {"delivered": 3}


async def test_open_traces_survive_a_stop_and_settle_whole(house: House, sink: Sink) -> None:
    await house.start(settled={"langfuse": sink})
    await house.append("agent", "llm")
    await house.clock.asleep(6.0)
    await house.stop()
    assert not sink.names
    assert house.outcomes("langfuse") == {"waiting": 2}
    await house.start(settled={"langfuse": sink})
    await house.settle()
    await sink.has(2)
    assert len(sink.calls) == 1


async def test_parts_that_wait_for_an_exporter_are_delivered_after_a_restart(house: House, sink: Sink) -> None:
    sink.trouble = lambda _names: RetryableError("down")
    await house.start(settled={"langfuse": sink})
    for trace in range(1, 6):
        await house.append(f"trace {trace}", trace=trace)
    await house.settle()
    await house.clock.asleep(BACKOFF_S)
    await house.stop()
    assert house.outcomes("langfuse") == {"waiting": 5}
    sink.trouble = lambda _names: None
    await house.start(settled={"langfuse": sink})
    await sink.has(5)
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 5}


async def test_stopping_does_not_wait_for_a_dead_destination(house: House, sink: Sink) -> None:
    sink.trouble = lambda _names: RetryableError("down", 900)
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(900.0)
    await asyncio.wait_for(house.stop(), 5)
    assert house.outcomes("store") == {"waiting": 1}


async def test_no_exporter_is_called_after_the_drain(house: House, sink: Sink) -> None:
    """One that never answers is cut off, and gets it again after the restart."""
    hanging = asyncio.Event()
    seen: list[str] = []

    async def never(_piece: object) -> None:
        seen.append("called")
        try:
            hanging.set()
            await asyncio.Event().wait()
        finally:
            seen.append("cut off")

    await house.start()
    await house.delivery.batches("main", "store", never)
    await house.append("a")
    await hanging.wait()
    drained = asyncio.ensure_future(house.delivery.drain(3))
    await house.clock.asleep(3)
    await house.clock.advance(3)
    await drained
    assert seen == ["called", "cut off"]
    await house.stop(drain=False)
    assert house.outcomes("store") == {"waiting": 1}
    await house.start(batches={"store": sink})
    await sink.has(1)


async def test_an_exporter_that_is_added_later_begins_with_what_comes_next(house: House, sinks: type[Sink]) -> None:
    first, second = sinks(), sinks()
    await house.start(batches={"store": first})
    await house.append("before")
    await first.has(1)
    await house.stop()
    await house.start(batches={"store": first, "otlp": second}, settled={"langfuse": second})
    await house.append("after")
    await second.has(1)
    await house.settle()
    assert await second.has(2) == ["after", "after"]
    await house.stop()
    assert house.outcomes("otlp") == house.outcomes("langfuse") == {"delivered": 1}
    assert house.outcomes("store") == {"delivered": 2}


async def test_what_both_sides_of_an_exporter_lack_is_left_once(house: House, sinks: type[Sink]) -> None:
    """Of each pipeline and tenant; what one side has, the other may lack."""
    sink = sinks()
    sink.trouble = lambda _names: RetryableError("down")
    await house.start(batches={"store": sink}, settled={"store.settled": sink, "langfuse": sinks()})
    await house.append("root", "child")
    await house.append("root", tenant="another")
    await house.settle()
    await house.clock.asleep(BACKOFF_S)
    await house.stop()
    assert house.delivery.left() == {"store": {Signal.TRACES: 3}}
    sides = house.delivery.status()["exporters"]
    assert {side: of["t"]["settled"] for side, of in sides.items()} == {
        "main/store": False,
        "main/store.settled": True,
        "main/langfuse": True,
    }
