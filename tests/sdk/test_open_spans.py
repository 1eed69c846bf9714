"""What is open is known, told of, and ended when the process is."""

import pytest
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, set_span_in_context

from otel_bridge.sdk.open_spans import OpenSpans


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> InMemoryLogRecordExporter:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", provider)  # type: ignore[attr-defined]
    return exporter


def test_long_work_is_told_of_until_it_ends(logs: InMemoryLogRecordExporter) -> None:
    open_spans = OpenSpans(beat_s=None, told_from_s=0)  # no thread: the test tells
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    tracer = provider.get_tracer("test")
    outer = tracer.start_span("outer", attributes={"gen_ai.agent.name": "a"})
    inner = tracer.start_span("inner", context=set_span_in_context(outer))
    open_spans._beat_s = 1e-9
    open_spans.tell()
    inner.end()
    open_spans.tell()

    told = [found.log_record for found in logs.get_finished_logs()]
    assert [(record.event_name, (record.attributes or {})["otel_bridge.span.name"]) for record in told] == [
        ("otel_bridge.span.started", "outer"),
        ("otel_bridge.span.started", "inner"),
        ("otel_bridge.span.heartbeat", "outer"),
    ]
    assert [span.name for span in open_spans.all] == ["outer"]
    assert told[0].span_id == outer.get_span_context().span_id
    assert (told[0].attributes or {})["gen_ai.agent.name"] == "a"
    assert (told[1].attributes or {})["otel_bridge.span.parent_id"] == format_span_id(outer.get_span_context().span_id)


def test_an_interrupt_ends_all_the_innermost_first() -> None:
    exporter = InMemorySpanExporter()
    open_spans = OpenSpans(beat_s=None)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    outer = tracer.start_span("outer")
    tracer.start_span("inner", context=set_span_in_context(outer))
    open_spans.interrupt("SIGTERM")

    ended = exporter.get_finished_spans()
    assert [span.name for span in ended] == ["inner", "outer"]
    assert {span.status.description for span in ended} == {"interrupted: SIGTERM"}
    assert open_spans.all == []
