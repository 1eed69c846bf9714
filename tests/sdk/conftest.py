"""Spans as they end, kept in memory; a fresh provider for each test."""

import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_bridge.sdk import saying, sending
from tests.sdk.sink import Sink, sink


class Spans:
    """What was recorded, by name."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def __getitem__(self, name: str) -> ReadableSpan:
        [found] = [span for span in self.all if span.name == name]
        return found

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def parent(self, name: str) -> str | None:
        """The name of the span's parent; None for a root."""
        parent = self[name].parent
        if parent is None:
            return None
        return next(span.name for span in self.all if span.context and span.context.span_id == parent.span_id)

    def traces(self) -> set[int]:
        return {span.context.trace_id for span in self.all if span.context}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Spans]:
    """No test may leave a context token behind that could not be given back."""
    made = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made.provider)
    with caplog.at_level(logging.WARNING, "opentelemetry"):
        yield made
    said = [record.message for phase in ("call", "teardown") for record in caplog.get_records(phase)]
    assert not [line for line in said if "Failed to detach context" in line or "ended span" in line]


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> InMemoryLogRecordExporter:
    """The log records of a test, as they were emitted."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", provider)  # type: ignore[attr-defined]
    return exporter


@pytest.fixture
def arrived() -> Iterator[Sink]:
    with sink() as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings that are given once a minute are given to each test."""
    monkeypatch.setattr(saying, "_told", {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a spool."""
    return tmp_path / "spool"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be sent is tried again at once."""
    monkeypatch.setattr(sending, "FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(sending, "LAST_BACKOFF_S", 0.001)


Main = Callable[[], Coroutine[Any, Any, Any]]


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    """Runs an async function on each of the libraries."""
    return lambda main: anyio.run(main, backend=request.param)
