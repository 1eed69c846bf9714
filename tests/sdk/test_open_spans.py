"""What is open is known, told of, and ended when the process is."""

import gc
import threading
from typing import Any

import pytest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, set_span_in_context

from otel_bridge.sdk.open_spans import MOST_REFERENCES, OpenSpans


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


def test_what_ends_while_others_are_told_of_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    open_spans = OpenSpans(beat_s=None, told_from_s=0)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    first, second = (provider.get_tracer("test").start_span(name) for name in ("first", "second"))
    told: list[str] = []

    def emit(_name: str, span: Span, _now_ns: int) -> None:
        told.append(span.name)
        second.end()

    monkeypatch.setattr(open_spans, "_emit", emit)
    open_spans.tell()
    assert (told, open_spans.all) == (["first"], [first])


def test_one_that_can_not_be_told_of_is_told_of_later_and_the_others_now(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its attributes changed over it, or somebody's processor of log records raised."""
    open_spans = OpenSpans(beat_s=None, told_from_s=0)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    spans = [provider.get_tracer("test").start_span(name) for name in ("first", "second")]
    told: list[tuple[str, str]] = []

    def emit(name: str, span: Span, _now_ns: int) -> None:
        if span.name == "first" and not told:
            raise KeyError("model")
        told.append((name, span.name))

    monkeypatch.setattr(open_spans, "_emit", emit)
    open_spans.tell()
    open_spans.tell()
    assert told == [("otel_bridge.span.started", "second"), ("otel_bridge.span.started", "first")]
    assert [record.message for record in caplog.records] == ["otel-bridge: a span that is open could not be told of"]
    assert len(spans) == 2


def test_an_interrupt_ends_all_the_innermost_first() -> None:
    exporter = InMemorySpanExporter()
    open_spans = OpenSpans(beat_s=None)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    outer = tracer.start_span("outer")
    inner = tracer.start_span("inner", context=set_span_in_context(outer))
    open_spans.interrupt("SIGTERM")

    ended = exporter.get_finished_spans()
    assert [span.name for span in ended] == ["inner", "outer"]
    assert {span.status.description for span in ended} == {"interrupted: SIGTERM"}
    assert (inner.is_recording(), open_spans.all) == (False, [])


def test_what_nobody_can_end_any_more_is_not_kept() -> None:
    open_spans = OpenSpans(beat_s=None, told_from_s=0)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    kept = provider.get_tracer("test").start_span("kept")
    for _ in range(2 * MOST_REFERENCES):
        provider.get_tracer("test").start_span("forgotten", attributes={"input.value": "x" * 1000})
    gc.collect()
    assert open_spans.all == [kept]
    assert len(open_spans._started) <= MOST_REFERENCES + 1


def test_a_processor_that_raises_does_not_keep_the_others_open() -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("broken")

    open_spans = OpenSpans(beat_s=None)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    provider.add_span_processor(Broken())
    kept = [provider.get_tracer("test").start_span(name) for name in "ab"]
    open_spans.interrupt("SIGTERM")
    assert [span.is_recording() for span in kept] == [False, False]


def test_a_thread_that_can_not_start_is_no_matter_of_the_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(threading.Thread, "start", no)
    provider.add_span_processor(OpenSpans())
    assert provider.get_tracer("test").start_span("a").is_recording()


def test_spans_that_begin_at_once_have_one_thread_to_tell_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(threading.Thread):
        """Others begin spans before it is there; or, as after a signal, the one that starts it."""

        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            made.append(self)
            if len(made) == 1:
                provider.get_tracer("test").start_span("of a signal's handler")
                other = Thread(target=provider.get_tracer("test").start_span, args=("of another thread",))
                other.start()
                other.join(20)

    Thread = threading.Thread  # noqa: N806 - as it is
    made: list[threading.Thread] = []
    open_spans = OpenSpans()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    monkeypatch.setattr(threading, "Thread", Slow)
    provider.get_tracer("test").start_span("first")
    assert len(made) == 1
    assert made[0].is_alive()
    open_spans.shutdown()
    made[0].join(20)
