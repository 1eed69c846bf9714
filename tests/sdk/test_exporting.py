"""`OTEL_TRACES_EXPORTER=otel_bridge`, with the processors of OpenTelemetry's SDK."""

import logging
import sys
from importlib.metadata import entry_points

import pytest
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from otel_bridge.embedded import LangfuseSpanExporter
from otel_bridge.sdk import installing
from otel_bridge.sdk.exporting import BridgeLogExporter, BridgeSpanExporter
from tests.sdk.programs import INSTRUMENT, finished
from tests.sdk.sink import sink

NOBODY = "http://127.0.0.1:9"


def ended(name: str) -> ReadableSpan:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("agent").start_span(name)
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


@pytest.mark.parametrize(
    ("group", "name", "kind"),
    [
        ("opentelemetry_traces_exporter", "otel_bridge", BridgeSpanExporter),
        ("opentelemetry_traces_exporter", "otel_bridge_langfuse", LangfuseSpanExporter),
        ("opentelemetry_logs_exporter", "otel_bridge", BridgeLogExporter),
    ],
)
def test_they_are_found_by_their_names(group: str, name: str, kind: type) -> None:
    [found] = entry_points(group=group, name=name)
    assert found.load() is kind


@pytest.mark.slow
def test_with_the_stock_processor_spans_arrive() -> None:
    with sink() as arrived:
        exporter = BridgeSpanExporter(arrived.url)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        provider.get_tracer("agent").start_span("a").end()
        provider.shutdown()
    assert arrived.names == ["a"]
    assert exporter.force_flush()
    assert exporter.dropped == {}


def test_what_is_lost_is_counted_and_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    exporter = BridgeSpanExporter(NOBODY)
    with caplog.at_level(logging.WARNING, "otel_bridge"):
        assert [exporter.export([ended("a")]) for _ in range(2)] == [SpanExportResult.FAILURE] * 2
    assert exporter.dropped == {"unsent": 2}
    assert not exporter.force_flush()
    assert [record.message for record in caplog.records] == [
        f"otel-bridge: 1 span not sent to {NOBODY}/v1/traces: it was not taken"
    ]


def test_under_our_own_processor_what_is_tried_again_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = BridgeSpanExporter(NOBODY)
    spans = installing.Spans("otel_bridge", None)
    monkeypatch.setattr(installing, "_made", lambda *_: exporter)
    monkeypatch.setattr(exporter._exporter, "prepare", lambda: None)
    monkeypatch.setattr(exporter._exporter, "export", lambda _: SpanExportResult.FAILURE)
    spans.prepare()
    assert spans.export([ended("a")]) is SpanExportResult.FAILURE
    assert exporter.dropped == {}

    def refuse(_spans: object) -> SpanExportResult:
        raise TypeError("not to be encoded")

    monkeypatch.setattr(exporter._exporter, "export", refuse)
    with pytest.raises(TypeError):  # by which the processor knows what can never be sent
        spans.export([ended("b")])


def test_a_protocol_that_is_not_installed_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    assert BridgeSpanExporter().export([ended("a")]) is SpanExportResult.FAILURE
    assert BridgeLogExporter().export([]) is LogRecordExportResult.FAILURE


@pytest.mark.slow
def test_install_and_auto_instrumentation_take_it_too() -> None:
    program = "from otel_bridge.sdk import install, span\ninstall()\nwith span('a'): pass"
    with sink() as arrived:
        named = {"OTEL_TRACES_EXPORTER": "otel_bridge", "OTEL_LOGS_EXPORTER": "otel_bridge"}
        for command in ([sys.executable], [INSTRUMENT, sys.executable]):
            done = finished(*command, "-c", program, url=arrived.url, **named)
            assert (done.stdout, done.stderr) == ("", "")
    assert arrived.names == ["a", "a"]
