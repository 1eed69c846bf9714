"""`OTEL_TRACES_EXPORTER=otel_bridge`: to a bridge, for whoever sets up OpenTelemetry without `install`.

Over `otlp` it has this: the protocol and the address are the bridge's where nobody says others, what is lost is counted
and said in a line a minute, and nothing is raised. Under the processors of `otel_bridge.sdk` that is their part.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_bridge.sdk.installing import Logs, Spans, otlp, quiet
from otel_bridge.sdk.sending import is_time_to_say
from otel_bridge.sdk.values import words

log = logging.getLogger("otel_bridge.sdk")


class _Sending:
    """Items by way of somebody's exporter; what it does not take is counted."""

    def __init__(self, what: str, exporter: Any, where: str) -> None:
        self.dropped: Counter[str] = Counter()
        self._what = what
        self._exporter = exporter
        self._where = where
        self._prepared = self._lost = False
        self._is_tried_again = False  # by a processor of ours, which knows what is lost and says it

    def prepare(self) -> None:
        self._is_tried_again = True
        self._prepare()

    def _prepare(self) -> None:
        quiet()
        self._exporter.prepare()
        self._prepared = True

    def send(self, items: Sequence[Any], is_success: Callable[[Any], bool]) -> bool:
        if self._is_tried_again:
            return is_success(self._exporter.export(items))
        try:
            if not self._prepared:
                self._prepare()
            taken, why = is_success(self._exporter.export(items)), "it was not taken"
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises must not reach the agent
            taken, why = False, f"{type(error).__name__}: {words(error)}"
        if not taken:
            self.dropped["unsent"] += len(items)
            self._lost = True
            if is_time_to_say("unsent"):
                log.warning("otel-bridge: %d %s are not sent to %s: %s", len(items), self._what, self._where, why)
        return taken

    def flush(self) -> bool:
        lost, self._lost = self._lost, False
        return not lost


class BridgeSpanExporter(SpanExporter):
    """Spans to a bridge by OTLP; for a BatchSpanProcessor of anybody's.

    It blocks as long as OpenTelemetry's own does (`OTEL_EXPORTER_OTLP_TIMEOUT`, 10 s). Nothing is kept beyond `export`,
    so `force_flush` tells whether anything was lost since the last one.

    endpoint: without a path; else `OTEL_EXPORTER_OTLP_ENDPOINT`, else a bridge on this machine.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        exporter = Spans(*otlp("TRACES", endpoint))
        self.where = exporter.where
        self._exporter = exporter
        self._sending = _Sending("spans", exporter, exporter.where)

    @property
    def dropped(self) -> Counter[str]:
        """Spans by the reason for which they were given up."""
        return self._sending.dropped

    def prepare(self) -> None:
        """Import what sends; called by a processor that tries again, and counts what it gives up."""
        self._sending.prepare()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; whether it was taken."""
        taken = self._sending.send(spans, lambda result: result is SpanExportResult.SUCCESS)
        return SpanExportResult.SUCCESS if taken else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether nothing was lost since the last time."""
        return self._sending.flush()

    def shutdown(self) -> None:
        """Stop what is being tried again."""
        self._exporter.shutdown()


class BridgeLogExporter(LogRecordExporter):
    """The same for log records."""

    def __init__(self, endpoint: str | None = None) -> None:
        exporter = Logs(*otlp("LOGS", endpoint))
        self.where = exporter.where
        self._exporter = exporter
        self._sending = _Sending("log records", exporter, exporter.where)

    @property
    def dropped(self) -> Counter[str]:
        """Records by the reason for which they were given up."""
        return self._sending.dropped

    def prepare(self) -> None:
        """Import what sends; called by a processor that tries again, and counts what it gives up."""
        self._sending.prepare()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send a batch; whether it was taken."""
        taken = self._sending.send(batch, lambda result: result is LogRecordExportResult.SUCCESS)
        return LogRecordExportResult.SUCCESS if taken else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether nothing was lost since the last time."""
        return self._sending.flush()

    def shutdown(self) -> None:
        """Stop what is being tried again."""
        self._exporter.shutdown()
