"""`LANGFUSE_SAMPLE_RATE` in an agent: the share of traces that the bridge keeps too, where nobody else decides."""

import logging
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_bridge.ratio import is_kept
from otel_bridge.sdk.sampling import sampled_by, sampler
from tests.sdk.programs import ENDED, INSTALL, INSTRUMENT, PROGRAM, finished
from tests.sdk.sink import Sink


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANGFUSE_SAMPLE_RATE", "LANGFUSE_SAMPLING_RATE", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)


def test_whole_traces_are_made_and_those_that_the_bridge_would_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_SAMPLE_RATE", "0.3")
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    made = []
    for _ in range(200):
        with provider.get_tracer("agent").start_as_current_span("root") as root:
            provider.get_tracer("agent").start_span("child").end()
        made.append(root.get_span_context().trace_id)
    found = [span.context.trace_id for span in exporter.get_finished_spans() if span.context]
    assert sorted(found) == sorted(2 * [one for one in made if is_kept(one, 0.3)])
    assert 30 < len(found) / 2 < 90


@pytest.mark.parametrize("is_sampled", [True, False])
def test_a_caller_has_decided(monkeypatch: pytest.MonkeyPatch, is_sampled: bool) -> None:
    monkeypatch.setenv("LANGFUSE_SAMPLE_RATE", "0" if is_sampled else "0.999999")
    flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT)
    above = NonRecordingSpan(SpanContext((1 << 127) - 1, 1, is_remote=True, trace_flags=flags))
    tracer = TracerProvider(sampler=sampler(), shutdown_on_exit=False).get_tracer("agent")
    span = tracer.start_span("within", context=trace.set_span_in_context(above))
    assert isinstance(span, ReadableSpan) is is_sampled


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, ""),
        ({"LANGFUSE_SAMPLE_RATE": "1"}, ""),
        ({"LANGFUSE_SAMPLE_RATE": "half"}, "LANGFUSE_SAMPLE_RATE='half' is no number from 0 to 1, and ignored"),
        (
            {"LANGFUSE_SAMPLING_RATE": "0.5", "OTEL_TRACES_SAMPLER": "always_on"},
            "LANGFUSE_SAMPLING_RATE is not used, as OTEL_TRACES_SAMPLER=always_on decides here",
        ),
    ],
)
def test_where_it_does_not_count_opentelemetrys_own_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, said: dict[str, str], told: str
) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING, "otel_bridge"):
        assert sampler() is None
    assert told in caplog.text
    assert bool(caplog.text) is bool(told)


def test_a_provider_that_was_set_before_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sampled_by("the provider")
    assert not caplog.text
    monkeypatch.setenv("LANGFUSE_SAMPLE_RATE", "0.5")
    sampled_by("the provider")
    assert "LANGFUSE_SAMPLE_RATE is not used, as the provider decides here" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("way", ["install", "instrument"])
@pytest.mark.parametrize("rate", ["0", "1"])
def test_a_program_sends_as_much_as_it_says(arrived: Sink, way: str, rate: str) -> None:
    program = PROGRAM.format(first=INSTALL if way == "install" else "", then="still.end()")
    starter = [INSTRUMENT] if way == "instrument" else []
    done = finished(*starter, sys.executable, "-c", program, url=arrived.url, LANGFUSE_SAMPLING_RATE=rate)
    assert done.stderr.count("LANGFUSE_SAMPLING_RATE is taken for LANGFUSE_SAMPLE_RATE") == 1
    assert arrived.names == ([*ENDED, "open"] if rate == "1" else [])
