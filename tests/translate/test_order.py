"""Order does not matter: the recorded payloads in other requests, in any order, become the same."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.assemble import AssembleConfig, Conclusion, assembling
from otel_bridge.batch import Batch
from otel_bridge.journal.parts import Part
from otel_bridge.journal.segments import open_segments
from otel_bridge.journal.state import open_state
from otel_bridge.otlp_files import read_batches
from otel_bridge.telemetry import Counters
from otel_bridge.testing.clock import SteppingClock
from otel_bridge.trace import Known, LogEntry, SpanRecord, Trace
from otel_bridge.translate import gather, to_json, traces_of, translate

CORPUS = Path(__file__).parents[1] / "corpus"
EMITTERS = [folder.name for folder in sorted(CORPUS.iterdir())]
LONGEST_S = AssembleConfig().idle


def recorded(emitter: str) -> list[Batch]:
    paths = sorted((CORPUS / emitter).glob("*.pb"))
    return [batch for path in paths if ".metrics." not in path.name for batch in read_batches(path)]


def one_by_one(batches: Iterable[Batch]) -> Iterator[SpanRecord | LogEntry]:
    for batch in batches:
        for spans, logs in gather(batch).values():
            yield from spans
            yield from logs


def request(items: Iterable[SpanRecord | LogEntry]) -> Batch:
    """Items of one signal, each with its resource and scope."""
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    for item in items:
        if isinstance(item, SpanRecord):
            block = traces.resource_spans.add(resource=item.resource)
            block.scope_spans.add(scope=item.scope).spans.append(item.span)
        else:
            block = logs.resource_logs.add(resource=item.resource)
            block.scope_logs.add(scope=item.scope).log_records.append(item.record)
    return Batch.from_request(traces if traces.resource_spans else logs)


def shuffled(batches: list[Batch], seed: int) -> list[Batch]:
    """The same items in requests of one to eight, spans and log records, all in an order that the seed says."""
    chance = random.Random(seed)
    items = list(one_by_one(batches))
    chance.shuffle(items)
    requests = []
    for kind in (SpanRecord, LogEntry):
        left = [item for item in items if isinstance(item, kind)]
        while left:
            size = chance.randint(1, 8)
            requests.append(request(left[:size]))
            del left[:size]
    chance.shuffle(requests)
    return requests


def outcome(traces: Iterable[Trace]) -> dict[str, Any]:
    """What each trace became."""
    found = {}
    for trace in traces:
        said = to_json(translate(trace))
        said["scores"].sort(key=lambda score: score["id"])
        found[trace.key] = said
    return found


@pytest.mark.parametrize("emitter", EMITTERS)
def test_a_closed_input_becomes_the_same_in_any_order(emitter: str) -> None:
    batches = recorded(emitter)
    wanted = outcome(traces_of(batches))

    for seed in range(5):
        assert outcome(traces_of(shuffled(batches, seed))) == wanted, f"seed {seed}"


async def assembled(directory: Path, batches: Iterable[Batch], chance: random.Random) -> dict[str, Any]:
    """What the traces became that settled, with time going by between the requests, but too little to settle any."""
    clock, counters, settled = SteppingClock(), Counters(), []

    async def conclude(part: Part) -> Conclusion:
        settled.append(part)
        return Conclusion(part, Known())

    async with (
        open_state(directory / "state.db", counters) as state,
        open_segments(directory / "journal", durability="os") as journal,
        assembling("main", journal, state, AssembleConfig(), counters=counters, clock=clock) as assembler,
    ):
        state.exporters.register("main", "langfuse", settled=True, start_seq=journal.next_seq, accepted={})
        await assembler.recover()
        for batch in batches:
            await journal.append([("main", batch)])
            if chance.random() < 0.5:
                await assembler.step(conclude)
        await assembler.step(conclude)
        assert not settled
        await clock.advance(LONGEST_S)
        await assembler.step(conclude)
        return outcome([(await assembler.trace(part))[0] for part in settled])


@pytest.mark.slow
async def test_a_settled_trace_becomes_the_same_in_any_order(tmp_path: Path) -> None:
    batches = [batch for emitter in EMITTERS for batch in recorded(emitter)]
    wanted = await assembled(tmp_path / "in order", batches, random.Random(0))

    for seed in range(3):
        found = await assembled(tmp_path / str(seed), shuffled(batches, seed), random.Random(seed))
        assert found == wanted, f"seed {seed}"

    assert len(wanted) > 80
