"""What arrives, what is tried again, what is set aside, and that every item is accounted for."""

import asyncio
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.delivery import DeliverConfig
from otel_bridge.errors import ParkedError, RetryableError
from otel_bridge.trace import Trace
from tests.delivery.conftest import BACKOFF_S, PROBE_S, House, Sink


async def test_batches_arrive_merged_and_in_order(house: House, sink: Sink) -> None:
    await house.start(batches={"store": sink})
    for number in range(20):
        await house.append(f"span {number}")
    assert await sink.has(20) == [f"span {number}" for number in range(20)]
    await house.stop()
    assert house.outcomes("store") == {"delivered": 20}


async def test_settled_traces_arrive_whole_and_batches_at_once(house: House, sink: Sink, sinks: type[Sink]) -> None:
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


async def test_a_retry_sends_identical_bytes(house: House, sink: Sink) -> None:
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
async def test_retry_after_is_honoured_within_limits(house: House, sink: Sink, asked_s: float, waits_s: float) -> None:
    errors = [RetryableError("429", asked_s)]
    sink.trouble = lambda _names: errors.pop() if errors else None
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(waits_s)
    await house.clock.advance(waits_s)
    await sink.has(1)


async def test_parked_keeps_everything_and_probes(house: House, sink: Sink) -> None:
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
            "destination": None,
        }
        await house.clock.advance(PROBE_S)
        await sink.called(tries + 1)
    await house.clock.asleep(PROBE_S)
    sink.trouble = lambda _names: None
    await house.clock.advance(PROBE_S)
    await sink.has(1)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1}


async def test_a_stuck_tenant_delays_no_other(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: ParkedError("403", "forbidden") if "a" in names else None
    await house.start(batches={"store": sink}, settled={"langfuse": sink})
    await house.append("a", tenant="stuck")
    await house.clock.asleep(PROBE_S)
    await house.append("b", tenant="well")
    await sink.has(1)
    await house.settle()
    assert await sink.has(2) == ["b", "b"]
    assert house.outcomes("store") == {"delivered": 1, "waiting": 1}


async def test_a_dead_exporter_delays_no_other_and_keeps_the_journal(house: House, sinks: type[Sink]) -> None:
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


async def test_what_is_confirmed_is_trimmed(house: House, sink: Sink) -> None:
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


async def test_late_spans_arrive_as_a_further_part(house: House, sink: Sink) -> None:
    await house.start(settled={"langfuse": sink})
    for names in (["agent"], ["late"]):
        await house.append(*names)
        await house.settle()
        await sink.has(len(sink.names) + 1)
    assert sink.names == ["agent", "late"]
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 2}


async def test_what_is_kept_made_is_counted_with_what_it_knows(house: House, sink: Sink) -> None:
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


async def test_a_bug_in_translation_costs_one_trace(house: House, sink: Sink) -> None:
    await house.start(settled={"langfuse": sink})
    await house.append("bug", "neighbour", trace=1)
    await house.append("well", trace=2)
    await house.settle()
    assert await sink.has(1) == ["well"]
    await house.stop(drain=True)
    assert house.outcomes("langfuse") == {"delivered": 1, "dead_lettered": 2}


async def test_the_built_in_translator_is_the_default(house: House, sink: Sink) -> None:
    await house.start(settled={"langfuse": sink}, built_in=True)
    await house.append("agent", "llm")
    await house.settle()
    assert sorted(await sink.has(2)) == ["agent", "llm"]
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 2}


async def test_many_observations_are_cut_by_count(house: House, sink: Sink) -> None:
    house.config = house.config.model_copy(update={"max_batch_items": 10})
    await house.start(settled={"langfuse": sink})
    await house.append(*(f"span {number}" for number in range(25)))
    await house.settle()
    await sink.has(25)
    assert max(map(len, sink.calls)) <= 10


async def test_little_is_sent_after_a_moment_together(house: House, sink: Sink) -> None:
    house.config = DeliverConfig()
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(0.5)
    await house.append("b")
    await house.clock.advance(0.5)
    await sink.has(2)
    assert sink.calls == [["a", "b"]]


async def test_what_is_too_old_is_given_up_and_counted(house: House, sink: Sink) -> None:
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


async def test_a_trace_that_a_processor_drops_is_filtered_and_so_are_its_late_spans(house: House, sink: Sink) -> None:
    async def without_health(trace: Trace) -> Trace | None:
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


async def test_what_is_accepted_while_auditing_balances(house: House, sink: Sink) -> None:
    """An audit of a running bridge sees one moment, with items waiting, delivered and in open traces."""
    await house.start(batches={"store": sink}, settled={"langfuse": sink})
    for number in range(30):
        await house.append("agent", "llm", trace=number + 1)
        found = await asyncio.to_thread(house.audit)
        assert found.balanced, found.to_dict()
        assert {line.accepted for line in found.lines} == {2 * (number + 1)}


async def test_what_is_told_of_left_out_traces_is_tried_until_it_is_taken(house: House, sink: Sink) -> None:
    """The store, which has had them as they came, would else show them as open for ever."""

    async def nothing(_trace: Trace) -> None:
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
