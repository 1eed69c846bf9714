"""What arrives, what is tried again, what is set aside, and that every item is accounted for."""

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch, Signal
from otel_bridge.delivery import DeliverConfig
from otel_bridge.errors import ParkedError, RefusedError, RetryableError, TooLargeError

if TYPE_CHECKING:
    from otel_bridge.trace import Trace
    from tests.delivery.conftest import House, Sink

BACKOFF_S, PROBE_S = 7.0, 60.0


async def test_batches_arrive_merged_and_in_order(house: "House", sink: "Sink") -> None:
    await house.start(batches={"store": sink})
    for number in range(20):
        await house.append(f"span {number}")
    assert await sink.has(20) == [f"span {number}" for number in range(20)]
    await house.stop()
    assert house.outcomes("store") == {"delivered": 20}


async def test_settled_traces_arrive_whole_and_batches_at_once(
    house: "House", sink: "Sink", sinks: "type[Sink]"
) -> None:
    store = sinks()
    await house.start(batches={"store": store}, settled={"langfuse": sink})
    await house.append("agent", "llm", "tool")
    await store.has(3)
    assert not sink.names
    await house.settle()
    assert sorted(await sink.has(3)) == ["agent", "llm", "tool"]
    assert len(sink.calls) == 1
    await house.stop()
    assert house.outcomes("langfuse") == house.outcomes("store") == {"delivered": 3}


async def test_a_retry_sends_identical_bytes(house: "House", sink: "Sink") -> None:
    errors = [RetryableError("503"), RetryableError("timeout"), OSError("an exporter's bug")]
    sink.trouble = lambda _names: errors.pop(0) if errors else None
    await house.start(batches={"store": sink})
    await house.append("a", "b")
    for tries in (1, 2, 3):
        await sink.called(tries)
        await house.clock.asleep(BACKOFF_S)
        await house.clock.advance(BACKOFF_S)
    await sink.has(2)
    assert len(sink.wires) == 4
    assert len(set(sink.wires)) == 1
    assert house.counters.value("task_restarts") == 1
    await house.stop()
    assert house.outcomes("store") == {"delivered": 2}


@pytest.mark.parametrize(("asked_s", "waits_s"), [(7.5, 7.5), (0.01, 1.0), (-3600.0, 1.0), (99_999_999.0, 900.0)])
async def test_retry_after_is_honoured_within_limits(
    house: "House", sink: "Sink", asked_s: float, waits_s: float
) -> None:
    errors = [RetryableError("429", asked_s)]
    sink.trouble = lambda _names: errors.pop() if errors else None
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(waits_s)
    await house.clock.advance(waits_s)
    await sink.has(1)


async def test_poison_spares_its_neighbours(house: "House", sink: "Sink") -> None:
    """One span in 512 that the destination refuses is set aside alone, within 20 requests."""
    sink.trouble = lambda names: RefusedError("bad span") if "poison" in names else None
    await house.start(batches={"store": sink})
    names = [f"span {number}" for number in range(512)]
    names[300] = "poison"
    await house.append(*names)
    await sink.has(511)
    assert len(sink.calls) <= 20
    await house.stop()
    assert house.outcomes("store") == {"delivered": 511, "dead_lettered": 1}


async def test_a_dead_letter_can_be_read_tried_again_and_dropped(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda names: RefusedError("400: bad \x1b[31m span") if "poison" in names else None
    await house.start(batches={"store": sink}, settled={"langfuse": sink})
    await house.append("agent", "poison")
    await sink.has(1)
    await house.settle()
    await sink.has(2)
    await house.delivery.drain(5)
    letters = {letter.exporter: letter for letter in await house.dead_letters.list()}
    assert {(letter.reason, letter.answer) for letter in letters.values()} == {("refused", "400: bad \x1b[31m span")}
    sink.trouble = lambda _names: None
    for letter in letters.values():
        await sink(letter.piece())
    assert sink.names[-2:] == ["poison", "poison"]
    assert [letter.exporter for letter in await house.dead_letters.list(exporter="store")] == ["store"]
    assert await house.dead_letters.show(letters["store"].id) == letters["store"]
    assert await house.dead_letters.drop(letters["store"].id)
    assert not await house.dead_letters.drop(letters["store"].id)
    assert await house.dead_letters.show(letters["store"].id) is None


async def test_refusal_of_everything_is_not_poison(house: "House", sink: "Sink") -> None:
    """After 64 single refusals with one answer it is parked; once fixed, also those 64 arrive."""
    sink.trouble = lambda _names: RefusedError("400: no such version")
    await house.start(batches={"store": sink})
    await house.append(*(f"span {number}" for number in range(100)))
    await house.clock.asleep(PROBE_S)
    assert house.delivery.status()["exporters"]["main/store"]["t"]["parked"] == "systemic_refusal"
    sink.trouble = lambda _names: None
    await house.clock.advance(PROBE_S)
    await sink.has(100)
    assert not await house.dead_letters.list()
    await house.stop()
    assert house.outcomes("store") == {"delivered": 100}


async def test_refusals_over_many_leases_are_at_most_64(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda _names: RefusedError("400: no such version")
    house.config = house.config.model_copy(update={"max_batch_items": 1})
    await house.start(batches={"store": sink})
    for number in range(80):
        await house.append(f"span {number}")
    await house.clock.asleep(PROBE_S)
    assert len(await house.dead_letters.list()) == 64
    sink.trouble = lambda _names: None
    await house.clock.advance(PROBE_S)
    await sink.has(16)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 16, "dead_lettered": 64}


async def test_what_is_too_large_is_halved_and_the_limit_learned(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda names: TooLargeError("413") if len(names) > 3 else None
    await house.start(batches={"store": sink})
    await house.append(*("x" * 20_000 for _ in range(8)))
    await sink.has(8)
    before = len(sink.calls)
    await house.append(*("y" * 20_000 for _ in range(8)))
    await sink.has(16)
    assert all(len(names) <= 3 for names in sink.calls[before:])
    await house.stop()
    assert house.outcomes("store") == {"delivered": 16}


async def test_a_single_item_that_is_too_large_is_set_aside(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda names: TooLargeError("413") if "huge" in names else None
    await house.start(batches={"store": sink})
    await house.append("small", "huge")
    await sink.has(1)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1, "dead_lettered": 1}


async def test_parked_keeps_everything_and_probes(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda _names: ParkedError("401: wrong key", "unauthorized")
    await house.start(batches={"store": sink})
    appended_s = time.time()
    await house.append("a")
    for tries in (1, 2, 3):
        await house.clock.asleep(PROBE_S)
        assert house.delivery.status()["exporters"]["main/store"]["t"] == {
            "waiting": 1,
            "parked": "unauthorized",
            "why": "401: wrong key",
            "tries": tries,
            "oldest_s": pytest.approx(house.clock.steady_ns() / 1e9 - appended_s, abs=10),
            "postponed": 0,
            "settled": False,
        }
        await house.clock.advance(PROBE_S)
        await sink.called(tries + 1)
    await house.clock.asleep(PROBE_S)
    sink.trouble = lambda _names: None
    await house.clock.advance(PROBE_S)
    await sink.has(1)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1}


async def test_a_stuck_tenant_delays_no_other(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda names: ParkedError("403", "forbidden") if "a" in names else None
    await house.start(batches={"store": sink}, settled={"langfuse": sink})
    await house.append("a", tenant="stuck")
    await house.clock.asleep(PROBE_S)
    await house.append("b", tenant="well")
    await sink.has(1)
    await house.settle()
    assert await sink.has(2) == ["b", "b"]
    assert house.outcomes("store") == {"delivered": 1, "waiting": 1}


async def test_a_dead_exporter_delays_no_other_and_keeps_the_journal(house: "House", sinks: "type[Sink]") -> None:
    dead, well = sinks(), sinks()
    dead.trouble = lambda _names: RetryableError("connection refused")
    house.segment_bytes = 4096
    await house.start(batches={"dead": dead, "well": well})
    for number in range(60):
        await house.append(f"{number} {'x' * 200}")
    await well.has(60)
    await house.delivery.tidy()
    assert house.journal.read(1) is not None
    await house.clock.asleep(BACKOFF_S)
    dead.trouble = lambda _names: None
    await house.clock.advance(BACKOFF_S)
    await dead.has(60)
    await house.stop()
    assert house.outcomes("dead") == house.outcomes("well") == {"delivered": 60}


async def test_what_is_confirmed_is_trimmed(house: "House", sink: "Sink") -> None:
    house.segment_bytes = 4096
    await house.start(batches={"store": sink}, settled={"langfuse": sink})
    for number in range(60):
        await house.append(f"{number} {'x' * 200}", trace=number + 1)
    await sink.has(60)
    await house.clock.asleep(6.0)
    await house.delivery.tidy()
    assert house.journal.read(1) is not None, "its trace is open"
    await house.clock.advance(6)
    await sink.has(120)
    await house.delivery.drain(5)
    await house.delivery.tidy()
    await house.stop(drain=False)
    assert len(list((house.directory / "journal").glob("*"))) < 8
    assert house.outcomes("store") == house.outcomes("langfuse") == {"delivered": 60}


async def test_late_spans_arrive_as_a_further_part(house: "House", sink: "Sink") -> None:
    await house.start(settled={"langfuse": sink})
    for names in (["agent"], ["late"]):
        await house.append(*names)
        await house.settle()
        await sink.has(len(sink.names) + 1)
    assert sink.names == ["agent", "late"]
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 2}


async def test_what_is_kept_made_is_counted_with_what_it_knows(house: "House", sink: "Sink") -> None:
    """A small late part may know a lot: what was said of its trace, and of each span that was sent."""
    await house.start(settled={"langfuse": sink}, built_in=True)
    for number, said in enumerate(("x" * 10_000, ""), start=1):
        request = ExportTraceServiceRequest()
        span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, name=f"{number}")
        span.span_id, span.start_time_unix_nano, span.end_time_unix_nano = number.to_bytes(8), 1, 2
        span.attributes.add(key="langfuse.trace.metadata.said").value.string_value = said
        await house.journal.append([(house.pipeline, Batch.from_request(request, tenant="t"))])
        await house.settle()
        await sink.has(number)
    parts = house.delivery._parts[house.pipeline]
    assert sum(size for size, _ in parts._kept.values()) > 30_000


async def test_a_clean_restart_sends_nothing_twice(house: "House", sink: "Sink") -> None:
    for trace in (1, 2, 3):
        await house.start(batches={"store": sink}, settled={"langfuse": sink})
        await house.append(f"trace {trace}", trace=trace)
        await sink.has(len(sink.names) + 1)
        await house.settle()
        await sink.has(trace * 2)
        await house.stop()
    assert sorted(sink.names) == sorted(f"trace {trace}" for trace in (1, 2, 3) for _ in range(2))
    assert house.outcomes("langfuse") == house.outcomes("store") == {"delivered": 3}


async def test_open_traces_survive_a_stop_and_settle_whole(house: "House", sink: "Sink") -> None:
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


async def test_parts_that_wait_for_an_exporter_are_delivered_after_a_restart(house: "House", sink: "Sink") -> None:
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


async def test_stopping_does_not_wait_for_a_dead_destination(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda _names: RetryableError("down", 900)
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(900.0)
    await asyncio.wait_for(house.stop(), 5)
    assert house.outcomes("store") == {"waiting": 1}


async def test_no_exporter_is_called_after_the_drain(house: "House", sink: "Sink") -> None:
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


async def test_a_bug_in_translation_costs_one_trace(house: "House", sink: "Sink") -> None:
    await house.start(settled={"langfuse": sink})
    await house.append("bug", "neighbour", trace=1)
    await house.append("well", trace=2)
    await house.settle()
    assert await sink.has(1) == ["well"]
    await house.stop(drain=True)
    assert house.outcomes("langfuse") == {"delivered": 1, "dead_lettered": 2}


async def test_the_built_in_translator_is_the_default(house: "House", sink: "Sink") -> None:
    await house.start(settled={"langfuse": sink}, built_in=True)
    await house.append("agent", "llm")
    await house.settle()
    assert sorted(await sink.has(2)) == ["agent", "llm"]
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 2}


async def test_many_observations_are_cut_by_count(house: "House", sink: "Sink") -> None:
    house.config = house.config.model_copy(update={"max_batch_items": 10})
    await house.start(settled={"langfuse": sink})
    await house.append(*(f"span {number}" for number in range(25)))
    await house.settle()
    await sink.has(25)
    assert max(map(len, sink.calls)) <= 10


async def test_little_is_sent_after_a_moment_together(house: "House", sink: "Sink") -> None:
    house.config = DeliverConfig()
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(0.5)
    await house.append("b")
    await house.clock.advance(0.5)
    await sink.has(2)
    assert sink.calls == [["a", "b"]]


async def test_what_is_too_old_is_given_up_and_counted(house: "House", sink: "Sink") -> None:
    """Also while it is being tried; the clock of the test begins far after the wall clock, but not for what is new."""
    house.max_age_s = 100
    sink.trouble = lambda _names: RetryableError("down", 90)
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(90.0)
    await house.clock.advance(90)
    await sink.called(2)
    while not house.state.exporters.ledger:
        await house.clock.advance(10)
    await house.stop()
    assert house.outcomes("store") == {"expired": 1}


async def test_an_exporter_that_is_added_later_begins_with_what_comes_next(house: "House", sinks: "type[Sink]") -> None:
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


async def test_a_trace_that_a_processor_drops_is_filtered_and_so_are_its_late_spans(
    house: "House", sink: "Sink"
) -> None:
    async def without_health(trace: "Trace") -> "Trace | None":
        return None if any(record.span.name == "health" for record in trace.spans) else trace

    await house.start(settled={"langfuse": sink}, process=without_health)
    await house.append("health", trace=1)
    await house.append("agent", trace=2)
    await house.settle()
    await house.append("late", trace=1)
    await house.append("late", trace=2)
    await house.settle()
    assert await sink.has(2) == ["agent", "late"]
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 2, "filtered": 2}


async def test_the_oldest_letters_go_when_there_are_too_many(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda names: RefusedError(f"no {names}")
    house.letter_bytes = 1000
    await house.start(batches={"store": sink})
    for number in range(10):
        await house.append(f"{number} {'x' * 300}")
    while house.counters.value("dead_lettered") < 10:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(0)
    letters = await house.dead_letters.list()
    assert sum(len(letter.content) for letter in letters) <= 1000
    assert letters[0].content.count(b"9 xxx") == 1
    assert house.counters.value("dead_letters_removed") == 10 - len(letters)


async def test_what_is_accepted_while_auditing_balances(house: "House", sink: "Sink") -> None:
    """An audit of a running bridge sees one moment, with items waiting, delivered and in open traces."""
    await house.start(batches={"store": sink}, settled={"langfuse": sink})
    for number in range(30):
        await house.append("agent", "llm", trace=number + 1)
        found = await asyncio.to_thread(house.audit)
        assert found.balanced, found.to_dict()
        assert {line.accepted for line in found.lines} == {2 * (number + 1)}


async def test_what_is_told_of_left_out_traces_is_tried_until_it_is_taken(house: "House", sink: "Sink") -> None:
    """The store, which has had them as they came, would else show them as open for ever."""

    async def nothing(_trace: "Trace") -> None:
        return None

    sink.trouble = lambda _names: RetryableError("busy") if len(sink.calls) == 1 else None
    await house.start(settled={}, process=nothing)
    await house.delivery.settled("main", "store.settled", sink, tell_omitted=True)  # type: ignore[arg-type]  # it takes both
    await house.append("agent")
    await house.settle()
    await sink.called(1)
    await house.clock.asleep(BACKOFF_S)
    await house.clock.advance(BACKOFF_S)
    await sink.called(2)
    await house.stop()
    assert house.outcomes("store.settled") == {"filtered": 1}


async def test_what_both_sides_of_an_exporter_lack_is_left_once(house: "House", sinks: "type[Sink]") -> None:
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
