"""An assembler over a real journal and state, driven step by step."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.assemble import AssembleConfig, Assembler, Conclusion, assembling
from otel_bridge.batch import Batch
from otel_bridge.journal.parts import Part
from otel_bridge.journal.segments import Segments, open_segments
from otel_bridge.journal.state import State, open_state
from otel_bridge.telemetry import Counters
from otel_bridge.testing.clock import SteppingClock
from otel_bridge.trace import Answer, Decision, Known

REMOTE, LOCAL = 0x300, 0x100


class Assembly:
    """What an assembler settled, and short ways to feed it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = AssembleConfig()
        self.clock = SteppingClock()
        self.counters = Counters()
        self.settled: list[Part] = []
        self.decision = Decision.KEPT
        self.known = Known(attributes={"name": "run"}, root_id="aa")
        self.answers: dict[str, Answer] = {}
        self.journal: Segments
        self.state: State
        self.assembler: Assembler
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Open everything, and begin where the files say."""
        enter = self._stack.enter_async_context
        self.state = await enter(open_state(self.directory / "state.db", self.counters))
        self.journal = await enter(
            open_segments(self.directory / "journal", durability="os", least_seq=self.state.least_seq)
        )
        self.state.exporters.register("main", "langfuse", settled=True, start_seq=self.journal.next_seq, accepted={})
        self.assembler = await enter(
            assembling("main", self.journal, self.state, self.config, counters=self.counters, clock=self.clock)
        )
        await self.assembler.recover()

    async def stop(self) -> None:
        """Close everything, as at the end of the process."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def restart(self) -> None:
        """New objects over the same files."""
        await self.stop()
        await self.start()

    async def spans(self, trace: int, *spans: tuple[int, int | None] | tuple[int, int, int], tenant: str = "t") -> None:
        """Append spans of one trace: (id, parent id or None, flags)."""
        request = ExportTraceServiceRequest()
        scoped = request.resource_spans.add().scope_spans.add()
        for span_id, parent, *flags in spans:
            scoped.spans.add(
                trace_id=trace.to_bytes(16),
                span_id=span_id.to_bytes(8),
                parent_span_id=b"" if parent is None else parent.to_bytes(8),
                name=f"span {span_id}",
                flags=flags[0] if flags else LOCAL,
            )
        await self.append(Batch.from_request(request, tenant=tenant))

    async def logs(self, trace: int, *event_names: str, tenant: str = "t") -> None:
        """Append log records of one trace; 0 stands for none."""
        request = ExportLogsServiceRequest()
        scoped = request.resource_logs.add().scope_logs.add()
        for name in event_names:
            scoped.log_records.add(trace_id=trace.to_bytes(16) if trace else b"", event_name=name)
        await self.append(Batch.from_request(request, tenant=tenant))

    async def judgement(self, named: str, tenant: str = "t", *, of: str = "gen_ai.response.id") -> None:
        """Append a judgement that names a response, or a session, and no trace."""
        request = ExportLogsServiceRequest()
        record = request.resource_logs.add().scope_logs.add().log_records.add(event_name="gen_ai.evaluation.result")
        record.attributes.add(key=of).value.string_value = named
        await self.append(Batch.from_request(request, tenant=tenant))

    async def metrics(self, items: int, tenant: str = "t") -> None:
        """Append metrics."""
        request = ExportMetricsServiceRequest()
        scoped = request.resource_metrics.add().scope_metrics.add()
        for number in range(items):
            scoped.metrics.add(name=f"metric {number}")
        await self.append(Batch.from_request(request, tenant=tenant))

    async def append(self, batch: Batch) -> None:
        """Append to the pipeline, and let the assembler take it in."""
        await self.journal.append([("main", batch)])
        await self.step()

    async def step(self) -> Sequence[Part]:
        """Let the assembler work; returns all parts that have settled so far."""
        await self.assembler.step(self._conclude)
        return self.settled

    async def after(self, seconds: float) -> Sequence[Part]:
        """Let time pass and the assembler work."""
        await self.clock.advance(seconds)
        return await self.step()

    async def _conclude(self, part: Part) -> Conclusion:
        self.settled.append(part)
        return Conclusion(replace(part, decision=self.decision), self.known, self.answers)


@pytest.fixture
async def assembly(tmp_path: Path) -> AsyncIterator[Assembly]:
    made = Assembly(tmp_path)
    await made.start()
    yield made
    await made.stop()
