"""A whole delivery over a real journal and state, with exporters that the test makes up."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.assemble import AssembleConfig
from otel_bridge.batch import Batch
from otel_bridge.delivery import (
    DEAD_LETTERS_FILE,
    JOURNAL_DIR,
    STATE_FILE,
    Audit,
    DeadLetters,
    DeliverConfig,
    Delivery,
    Process,
    audit,
    delivering,
    open_dead_letters,
)
from otel_bridge.delivery.retry import Pace
from otel_bridge.journal.segments import Segments, open_segments
from otel_bridge.journal.state import State, open_state
from otel_bridge.model import Observation, ObservationType, TraceAttributes, Translation
from otel_bridge.telemetry import Counters
from otel_bridge.testing.clock import SteppingClock
from otel_bridge.trace import Known, LogEntry, SpanRecord, Trace
from tests.delivery.joining import Joins

BACKOFF_S, PROBE_S = 7.0, 60.0


class EvenPace(Pace):
    """The same delay each time, so that a test knows for how long to step."""

    def backoff(self, tries: int, retry_after_s: float | None = None) -> float:
        return super().backoff(tries, retry_after_s) if retry_after_s else BACKOFF_S

    def probe(self) -> float:
        return PROBE_S


class Sink:
    """Takes names of spans or observations; raises what it was told to, for the pieces that a test chooses.

    trouble: an error for a piece's names, or None to take it.
    again: names that came because somebody had asked for them once more.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.again: list[str] = []
        self.calls: list[list[str]] = []
        self.wires: list[bytes] = []
        self._news = asyncio.Condition()

    def trouble(self, names: list[str]) -> Exception | None:
        return None

    async def __call__(self, piece: Batch | Translation) -> None:
        if isinstance(piece, Batch):
            names = [
                span.name
                for block in piece.request.resource_spans
                for scoped in block.scope_spans
                for span in scoped.spans
            ]
            self.wires.append(piece.wire)
        else:
            names = [observation.name for observation in piece.observations]
            self.again += names if piece.again else []
        self.calls.append(names)
        async with self._news:
            self._news.notify_all()
        if trouble := self.trouble(names):
            raise trouble
        self.names.extend(names)
        async with self._news:
            self._news.notify_all()

    async def has(self, count: int) -> list[str]:
        """Wait until that many arrived."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.names) >= count)
        return self.names

    async def called(self, count: int) -> None:
        """Wait until it was tried that often."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.calls) >= count)


class House:
    """The files of a bridge, and the delivery that runs on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pipeline = "main"
        self.config = DeliverConfig().model_copy(update={"max_batch_age": 0})  # no test steps for it
        self.assemble = AssembleConfig()
        self.letter_bytes = 1 << 20
        self.max_age_s: float | None = None
        self.segment_bytes = 64 << 20
        self.max_bytes = 8 << 30
        self.keep_bytes = 0
        self.drop_oldest = False
        self.clock = SteppingClock()
        self.counters = Counters()
        self.delivery: Delivery
        self.journal: Segments
        self.state: State
        self.dead_letters: DeadLetters
        self._stack = AsyncExitStack()

    async def start(
        self,
        *,
        batches: Mapping[str, Sink] | None = None,
        settled: Mapping[str, Sink] | None = None,
        process: Process | None = None,
        built_in: bool = False,
    ) -> None:
        """Open all files and deliver to these exporters."""
        enter = self._stack.enter_async_context
        self.state = await enter(open_state(self.directory / STATE_FILE, self.counters))
        self.journal = await enter(
            open_segments(
                self.directory / JOURNAL_DIR,
                durability="os",
                segment_bytes=self.segment_bytes,
                max_bytes=self.max_bytes,
                keep_bytes=self.keep_bytes,
                least_seq=self.state.least_seq,
            )
        )
        self.dead_letters = await enter(
            open_dead_letters(self.directory / DEAD_LETTERS_FILE, self.counters, max_bytes=self.letter_bytes)
        )
        self.delivery = await enter(
            delivering(
                self.journal,
                self.state,
                self.dead_letters,
                self.config,
                counters=self.counters,
                clock=self.clock,
                pace=EvenPace(),
                max_age_s=self.max_age_s,
            )
        )
        if self.drop_oldest:
            self.journal.make_room = self.delivery.make_room
        if built_in:
            await self.delivery.assemble(self.pipeline, self.assemble, process=process)
        elif settled is not None:
            await self.delivery.assemble(
                self.pipeline, self.assemble, process=process, gather=gather, translate=translate
            )
        for exporter, sink in (batches or {}).items():
            await self.delivery.batches(self.pipeline, exporter, sink)
        for exporter, sink in (settled or {}).items():
            await self.delivery.settled(self.pipeline, exporter, sink)

    async def stop(self, *, drain: bool = True) -> None:
        """End well, or as if killed (as far as a test of one process can)."""
        if drain:
            await self.delivery.drain(5)
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def kill(self) -> None:
        """Go on with the files as they are at this moment, and with nothing that was only in memory."""
        left = self.directory.with_name(f"{self.directory.name}-k")
        copy = partial(shutil.copytree, self.directory, left)
        # On one thread while the other waits, so that neither changes a file in the meantime.
        await self.state._changes._database.run(lambda _connection: self.journal._thread.submit(copy).result())
        await self.stop(drain=False)
        self.directory = left

    async def append(self, *names: str, trace: int = 1, tenant: str = "t", ids: int = 0) -> None:
        """Accept spans: the first is a root, the others its children; their ids follow `ids`."""
        request = ExportTraceServiceRequest()
        scoped = request.resource_spans.add().scope_spans.add()
        for number, name in enumerate(names, start=1):
            scoped.spans.add(
                trace_id=trace.to_bytes(16),
                span_id=(ids + number).to_bytes(8),
                parent_span_id=b"" if number == 1 else (ids + 1).to_bytes(8),
                name=name,
                start_time_unix_nano=10**18,
                end_time_unix_nano=10**18 + 5,
            )
        await self.journal.append([(self.pipeline, Batch.from_request(request, tenant=tenant))])

    def damage(self, name: str) -> bool:
        """Flip a bit of a span in the journal of a bridge that does not run; False where the span is not there."""
        for path in (self.directory / JOURNAL_DIR).glob("*.seg"):
            content = bytearray(path.read_bytes())
            if (at := content.find(name.encode())) >= 0:
                content[at] ^= 1
                path.write_bytes(content)
                return True
        return False

    async def settle(self) -> None:
        """Let all traces whose roots were appended settle."""
        await self.caught_up()
        await self.clock.asleep(self.assemble.grace)
        await self.clock.advance(self.assemble.grace)
        await self.caught_up()

    async def caught_up(self) -> None:
        """Wait until assembly has taken in all that was appended, and all that is due has settled."""
        async with asyncio.timeout(10):
            while any(of["unread_entries"] or of["due_traces"] for of in self.assembly().values()):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.001)

    def assembly(self) -> dict[str, dict[str, int]]:
        """What the status says of each pipeline."""
        told: dict[str, dict[str, int]] = self.delivery.status()["assembly"]
        return told

    def audit(self) -> Audit:
        return audit(self.directory, gather)

    def outcomes(self, exporter: str) -> dict[str, int]:
        """What the audit says of an exporter, over all tenants; it must balance."""
        found = self.audit()
        assert found.balanced, found.to_dict()
        lines = [line for line in found.lines if line.account.exporter == exporter]
        counted: dict[str, int] = {}
        for line in lines:
            for outcome, items in line.outcomes.items():
                counted[outcome] = counted.get(outcome, 0) + items
        waiting = sum(line.waiting for line in lines)
        return counted | ({"waiting": waiting} if waiting else {})


def gather(batch: Batch) -> dict[str, tuple[list[SpanRecord], list[LogEntry]]]:
    found: dict[str, tuple[list[SpanRecord], list[LogEntry]]] = {}
    for block in batch.request.resource_spans:
        for scoped in block.scope_spans:
            for span in scoped.spans:
                group = found.setdefault(span.trace_id.hex(), ([], []))
                group[0].append(SpanRecord(span, scoped.scope, block.resource))
    return found


def translate(trace: Trace) -> Translation:
    """One observation for each span; a span named `bug` is one."""
    of = TraceAttributes(trace.key)
    observations = []
    for record in trace.spans:
        span = record.span
        if span.name == "bug":
            raise ValueError("a dialect's bug")
        observations.append(
            Observation(span.span_id.hex(), trace.key, None, ObservationType.SPAN, span.name, 1, 2, of, size=100)
        )
    return Translation([of], observations, known=Known(root_id="aa"), tenant=trace.tenant)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def sinks() -> type[Sink]:
    return Sink


@pytest.fixture
def houses() -> type[House]:
    return House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made._stack.aclose()


@pytest.fixture
async def joins(house: House) -> Joins:
    made = Joins(house)
    await made.start()
    return made
