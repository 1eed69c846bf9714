"""How a lane fills its requests, and what it does when everything is refused."""

import asyncio
import time
from typing import Any

import pytest

from otel_bridge.delivery import DeliverConfig
from otel_bridge.errors import RefusedError, RetryableError, SlowError, TooLargeError
from otel_bridge.trace import Trace
from tests.delivery.conftest import BACKOFF_S, PROBE_S, House, Sink


async def test_batches_are_cut_by_count(house: House, sink: Sink) -> None:
    house.config = house.config.model_copy(update={"max_batch_items": 10})
    await house.start(batches={"store": sink})
    names = [f"span {number}" for number in range(25)]
    await house.append(*names)
    assert await sink.has(25) == names
    assert max(map(len, sink.calls)) <= 10
    await house.stop()
    assert house.outcomes("store") == {"delivered": 25}


async def test_batches_are_cut_by_bytes(house: House, sink: Sink) -> None:
    house.config = house.config.model_copy(update={"max_batch_bytes": 10_000})
    await house.start(batches={"store": sink})
    await house.append(*("x" * 900 for _ in range(50)))
    await sink.has(50)
    assert max(map(len, sink.wires)) <= 10_000
    assert len(sink.wires) <= 6


async def test_too_large_to_everything_is_not_the_items_fault(house: House, sink: Sink) -> None:
    """After 64 single items it is parked; once fixed, all of them arrive."""
    sink.trouble = lambda _names: TooLargeError("413: from a proxy")
    await house.start(batches={"store": sink})
    await house.append(*(f"span {number}" for number in range(300)))
    await house.clock.asleep(PROBE_S)
    assert house.delivery.status()["exporters"]["main/store"]["t"]["parked"] == "systemic_refusal"
    sink.trouble = lambda _names: None
    await house.clock.advance(PROBE_S)
    await sink.has(300)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 300}


async def test_a_destination_that_cannot_be_reached_is_told_of_once_and_so_is_its_return(
    house: House, sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    sink.trouble = lambda _names: RetryableError("nosuch.example: no such host \x1b[2J", retry_after_s=7)
    await house.start(batches={"store": sink})
    await house.append("a")
    await sink.called(1)
    for tries in (2, 3, 4):
        await house.clock.asleep(7)
        await house.clock.advance(7)
        await sink.called(tries)
    await house.clock.asleep(7)
    assert house.delivery.status()["exporters"]["main/store"]["t"]["why"] == "nosuch.example: no such host \\x1b[2J"
    sink.trouble = lambda _names: None
    await house.clock.advance(7)
    await sink.has(1)
    await house.stop()
    told = capsys.readouterr().err
    assert told.count("no such host") == 1
    assert told.count("delivering again") == 1


async def test_a_huge_item_says_nothing_of_how_much_may_go_together(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: TooLargeError("413") if any(len(name) > 30_000 for name in names) else None
    await house.start(batches={"store": sink})
    await house.append("huge" * 10_000)
    await sink.has(1)
    await house.append(*("x" * 10_000 for _ in range(8)))
    await sink.has(9)
    assert len(sink.calls) == 3


async def test_what_is_too_large_alone_arrives_with_its_largest_texts_cut(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: TooLargeError("413") if sum(map(len, names)) > 10_000 else None
    await house.start(batches={"store": sink})
    await house.append("small", "ü" * 50_000)
    small, cut = await sink.has(2)
    assert small == "small"
    assert 4_000 < len(cut) <= 10_000
    assert cut.startswith("üüü")
    assert cut.endswith("… [cut]")
    await house.stop()
    assert house.outcomes("store") == {"delivered": 2}
    assert house.counters.value("truncated", exporter="store") == 1


async def test_a_destination_that_takes_nothing_of_a_huge_item_leaves_a_whole_letter(house: House, sink: Sink) -> None:
    sink.trouble = lambda _names: TooLargeError("413")
    await house.start(batches={"store": sink})
    await house.append("huge" * 10_000)
    while not house.counters.value("dead_lettered"):  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(0)
    [letter] = await house.dead_letters.list()
    assert b"huge" * 10_000 in letter.content


async def test_what_is_not_taken_in_time_is_sent_in_smaller_pieces_and_grows_back(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: SlowError("no answer in 30 s") if len(names) > 5 else None
    await house.start(batches={"store": sink})
    names = [str(number) * 100_000 for number in range(8)]
    await house.append(*names)
    for tries in (1, 2):
        await sink.called(tries)
        await house.clock.asleep(BACKOFF_S)
        await house.clock.advance(BACKOFF_S)
    assert await sink.has(8) == names
    assert [len(call) for call in sink.calls] == [8, 8, 3, 3, 2]
    sink.trouble = lambda _names: None
    for _ in range(20):
        await house.append(*names)
        await sink.has(len(sink.names) + 8)
    assert len(sink.calls[-1]) == 8
    await house.stop()
    assert house.outcomes("store") == {"delivered": 168}


async def test_what_is_little_is_read_once(house: House, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment in which more may come is waited for first."""
    house.config = DeliverConfig()
    await house.start(batches={"store": sink})
    reads: list[int] = []
    scan = house.journal.scan

    def counted(start_seq: int, *args: Any, **kwargs: Any) -> Any:
        reads.append(start_seq)
        return scan(start_seq, *args, **kwargs)

    monkeypatch.setattr(house.journal, "scan", counted)
    for number in (1, 2, 3):
        await house.append("a")
        await house.clock.asleep(0.5)
        await house.clock.advance(0.5)
        await sink.has(number)
    assert reads == [1, 2, 3]


async def test_what_is_set_aside_is_told(house: House, sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    sink.trouble = lambda names: RefusedError("answered 400: no") if "b" in names else None
    await house.start(batches={"store": sink})
    await house.append("a", "b")
    await sink.has(1)
    await house.stop()
    assert "set aside: `otel-bridge dead-letter list` has it" in (told := capsys.readouterr().err)
    assert "answered 400: no" in told


@pytest.mark.parametrize("disturbed", [False, True])
async def test_what_follows_is_read_while_a_destination_takes_its_time(
    house: House, sinks: type[Sink], monkeypatch: pytest.MonkeyPatch, disturbed: bool
) -> None:
    """Once; and where it can not be read, that is nothing to what is being sent."""
    begun, passing = asyncio.Event(), asyncio.Semaphore(0)

    class Held(sinks):  # type: ignore[misc, valid-type]
        async def __call__(self, piece: Any) -> None:
            begun.set()
            await passing.acquire()
            await super().__call__(piece)

    sink = Held()
    house.config = house.config.model_copy(update={"max_batch_items": 1})
    await house.start(batches={"store": sink})
    loop, read, reads = asyncio.get_running_loop(), asyncio.Event(), []
    scan = house.journal.scan

    def counted(start_seq: int, *args: Any, **kwargs: Any) -> Any:
        reads.append(start_seq)
        if start_seq == 3:
            loop.call_soon_threadsafe(read.set)
            if disturbed and reads.count(3) == 1:
                raise OSError(5, "Input/output error")
        return scan(start_seq, *args, **kwargs)

    monkeypatch.setattr(house.journal, "scan", counted)
    await house.append("a")
    await begun.wait()  # else what follows may be read when a part of it is there, and the rest not ahead
    await house.append("b")
    await house.append("c")
    passing.release()
    await read.wait()
    assert sink.names == ["a"]
    passing.release()
    passing.release()
    assert await sink.has(3) == ["a", "b", "c"]
    assert reads.count(3) == 1 + disturbed
    assert len(sink.calls) == 3


async def test_parts_are_made_once_for_all_exporters(house: House, sinks: type[Sink]) -> None:
    """Also where they come to them at the same time."""
    first, second = sinks(), sinks()
    down = True
    first.trouble = second.trouble = lambda _names: RetryableError("down") if down else None
    made: list[str] = []

    async def slowly(trace: Trace) -> Trace:
        made.append(trace.key)
        await asyncio.sleep(0)
        return trace

    exporters = {"langfuse": first, "store": second}
    await house.start(settled=exporters, process=slowly)
    for trace in range(1, 31):
        await house.append("x" * 100, trace=trace)
    await house.settle()
    await house.stop()
    down = False
    made.clear()
    await house.start(settled=exporters, process=slowly)
    await first.has(30)
    await second.has(30)
    assert len(made) == len(set(made)) == 30


async def test_what_is_kept_of_parts_stays_within_its_limit(
    house: House, sinks: type[Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_bridge.delivery.parts.KEPT_BYTES", 2000)
    first, second = sinks(), sinks()
    await house.start(settled={"langfuse": first, "store": second})
    for trace in range(1, 31):
        await house.append("x" * 100, trace=trace)
    await house.settle()
    await first.has(30)
    await second.has(30)
    parts = house.delivery._parts["main"]
    assert 1000 < parts._kept_bytes == sum(of_bytes for of_bytes, _ in parts._kept.values()) <= 2000
    assert not house.counters.value("task_restarts")


@pytest.mark.slow
async def test_a_huge_batch_does_not_hold_the_loop(house: House, sink: Sink) -> None:
    """200,000 spans in one request are cut while others go on; on the loop it would take a second and more."""
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            longest_s, last = max(longest_s, time.perf_counter() - last), time.perf_counter()

    taken = 0
    done = asyncio.Event()

    async def take(piece: Any) -> None:
        nonlocal taken
        taken += piece.item_count
        if taken == 200_000:
            done.set()

    await house.start()
    await house.append(*("n" for _ in range(200_000)))
    house.state.exporters.register("main", "store", settled=False, start_seq=1, accepted={})
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        await house.delivery.batches("main", "store", take)
        await done.wait()
        watching.cancel()
    assert longest_s < 0.3


async def test_an_exporter_may_wait_less_for_more_than_others(house: House, sink: Sink, sinks: type[Sink]) -> None:
    """As the store does, whose user looks on; requests to Langfuse are counted."""
    other = sinks()
    house.config = house.config.model_copy(update={"max_batch_age": 10.0})
    await house.start(batches={"langfuse": other})
    await house.delivery.batches("main", "store", sink, max_batch_age_s=0.5)
    await house.append("a")
    await house.clock.asleep(10)
    await house.clock.asleep(0.5)
    await house.clock.advance(0.5)
    assert await sink.has(1) == ["a"]
    assert other.names == []
    await house.clock.advance(9.5)
    assert await other.has(1) == ["a"]
