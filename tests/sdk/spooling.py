"""Agents over a spool, as far as that knows of them, and a bridge that answers as it is told."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_bridge.sdk.batch import BatchSpanProcessor


@dataclass
class Answer:
    status_code: int | None
    reason: str = ""
    error: Exception | None = None

    @property
    def success(self) -> bool:
        return self.status_code == 200


class Client:
    """Takes requests as OpenTelemetry's does, answers as it is told, and may be held up."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.status = 200
        self.statuses: dict[str, int] = {}  # for a request with a span of this name
        self.open = threading.Event()
        self.open.set()

    def export(self, wire: bytes) -> Answer:
        self.open.wait(30)
        request = ExportTraceServiceRequest.FromString(wire)
        names = [span.name for block in request.resource_spans for scoped in block.scope_spans for span in scoped.spans]
        for name in names:
            if name in self.statuses:
                return Answer(self.statuses[name])
        if self.status == 200:
            self.names += names
        return Answer(self.status)


class Exporter(SpanExporter):
    """By HTTP."""

    by_http = True
    where = "http://bridge"

    def __init__(self) -> None:
        self.client = Client()
        self._client = self.client
        self.straight: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.client.status != 200:
            return SpanExportResult.FAILURE
        self.straight += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.client.open.set()


class Agent:
    """A process, as far as a spool knows: a processor of its own over a folder."""

    def __init__(self, folder: Path, *, exit_s: float = 20) -> None:
        exporter = Exporter()
        self.client, self.straight = exporter.client, exporter.straight
        self.processor = BatchSpanProcessor(exporter, delay_s=60, max_batch=1, exit_s=exit_s, spool=folder)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.processor)
        self._tracer = provider.get_tracer("test")

    def end(self, *names: str) -> bool:
        """End spans; whether the bridge has them."""
        for name in names:
            self._tracer.start_span(name).end()
        return self.processor.force_flush(20_000)


def ended(name: str) -> ReadableSpan:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("agent").start_span(name)
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def left(folder: Path) -> list[int]:
    return sorted(path.stat().st_size for path in folder.iterdir())


def until_kept(folder: Path, name: str) -> None:
    """Return when a span is on disk."""
    until_s = time.monotonic() + 20
    while not any(name.encode() in path.read_bytes() for path in folder.glob("*")):
        assert time.monotonic() < until_s
        threading.Event().wait(0.002)


def leave(folder: Path, *names: str) -> Path:
    """What a process left that had no bridge."""
    agent = Agent(folder)
    agent.client.status = 503
    agent.end(*names)
    before = set(folder.iterdir())
    agent.processor.shutdown()
    [path] = before
    return path
