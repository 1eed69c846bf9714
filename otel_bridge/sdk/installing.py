"""OpenTelemetry's SDK set up for an agent: in one call, or by the processors added to one that is there already."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_bridge.sdk.batch import BatchLogRecordProcessor, BatchSpanProcessor
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.open_spans import BEAT_S, OpenSpans
from otel_bridge.sdk.signals import on_sigterm

log = logging.getLogger("otel_bridge.sdk")

ENDPOINT = "http://127.0.0.1:4318"
ENABLED, HEARTBEAT = "OTEL_BRIDGE_ENABLED", "OTEL_BRIDGE_HEARTBEAT_SECONDS"
NO = ("false", "0", "no", "off")
TALKATIVE = (  # of what cannot be sent, the processors say one line a minute
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.http.transport",
)


@dataclass(slots=True)
class Installed:
    """What `install` set up; nothing at all where telemetry is off."""

    spans: BatchSpanProcessor | None = None
    logs: BatchLogRecordProcessor | None = None
    open_spans: OpenSpans | None = None

    async def aflush(self, timeout_s: float = 30.0) -> bool:
        """Whether all that ended and was emitted before was sent in this time; the loop goes on meanwhile."""
        spans = await self.spans.aflush(timeout_s) if self.spans else True
        return (await self.logs.aflush(timeout_s) if self.logs else True) and spans

    def flush(self, timeout_s: float = 30.0) -> bool:
        """The same for sync code."""
        millis = int(timeout_s * 1000)
        spans = self.spans.force_flush(millis) if self.spans else True
        return (self.logs.force_flush(millis) if self.logs else True) and spans


_installed: Installed | None = None


def install(endpoint: str | None = None, *, service: str | None = None) -> Installed:
    """Send this process's spans and log records to a bridge; the second call changes nothing.

    All `OTEL_*` variables are honoured. A provider that somebody has set already is kept, and gets the processors.

    endpoint: of OTLP/HTTP, without a path; else `OTEL_EXPORTER_OTLP_ENDPOINT`, else a bridge on this machine.
    """
    global _installed  # noqa: PLW0603 - a process has one
    if _installed is None:
        _installed = _set_up(endpoint, service) if is_enabled() else Installed()
    return _installed


def is_enabled() -> bool:
    """Whether telemetry is wanted: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER=none`, `OTEL_BRIDGE_ENABLED=false`."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return not disabled and exporter != "none" and os.environ.get(ENABLED, "").strip().lower() not in NO


def prepare(spans: BatchSpanProcessor | None, logs: BatchLogRecordProcessor | None) -> Installed:
    """What is to be done beside sending: ids on spans, heartbeats, and a good end by SIGTERM.

    The provider of spans must be set; what stands in it already comes after.
    """
    quiet()
    found = Installed(spans, logs, OpenSpans(_beat_s() if logs is not None else None))
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider) and found.open_spans is not None:
        provider.add_span_processor(ContextProcessor())
        provider.add_span_processor(found.open_spans)

    def last() -> None:
        if found.open_spans is not None:
            found.open_spans.interrupt("SIGTERM")
        for processor in (found.spans, found.logs):
            if processor is not None:
                processor.shutdown()

    on_sigterm(last)
    return found


def quiet() -> None:
    """The exporters' own word for each failed try is left out."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _set_up(endpoint: str | None, service: str | None) -> Installed:
    from opentelemetry.sdk._logs import LoggerProvider

    base = endpoint or (None if _says_where("TRACES") else ENDPOINT)
    traces_url = f"{base.rstrip('/')}/v1/traces" if base else None
    logs_url = f"{base.rstrip('/')}/v1/logs" if base and (endpoint or not _says_where("LOGS")) else None
    spans = BatchSpanProcessor(_Spans(traces_url))
    logs = BatchLogRecordProcessor(_Logs(logs_url))
    resource = Resource.create({"service.name": service} if service else None)
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=resource)
        trace.set_tracer_provider(provider)
    found = prepare(spans, logs)
    provider.add_span_processor(spans)
    logger_provider = _logs.get_logger_provider()
    if not isinstance(logger_provider, LoggerProvider):
        logger_provider = LoggerProvider(resource=resource)
        _logs.set_logger_provider(logger_provider)
    logger_provider.add_log_record_processor(logs)
    log.info("otel-bridge: exporting to %s (http/protobuf)", base or "where OTEL_EXPORTER_OTLP_ENDPOINT says")
    return found


class _Spans(SpanExporter):
    """OpenTelemetry's exporter, imported on the thread that sends: that takes a good part of a second."""

    def __init__(self, url: str | None) -> None:
        self.where = url or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        self._url = url
        self._made: SpanExporter | None = None

    def prepare(self) -> None:
        """Import it."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        self._made = OTLPSpanExporter(endpoint=self._url)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE if self._made is None else self._made.export(spans)

    def shutdown(self) -> None:
        if self._made is not None:
            self._made.shutdown()


class _Logs(LogRecordExporter):
    """The same for log records."""

    def __init__(self, url: str | None) -> None:
        self.where = url or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        self._url = url
        self._made: LogRecordExporter | None = None

    def prepare(self) -> None:
        """Import it."""
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        self._made = OTLPLogExporter(endpoint=self._url)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return LogRecordExportResult.FAILURE if self._made is None else self._made.export(batch)

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True

    def shutdown(self) -> None:
        if self._made is not None:
            self._made.shutdown()  # type: ignore[no-untyped-call]


def _says_where(signal: str) -> bool:
    return bool(
        os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


def _beat_s() -> float | None:
    try:
        beat_s = float(os.environ.get(HEARTBEAT, "") or BEAT_S)
    except ValueError:
        log.warning("otel-bridge: %s=%r is no number, and ignored", HEARTBEAT, os.environ[HEARTBEAT])
        return BEAT_S
    return beat_s if beat_s > 0 else None
