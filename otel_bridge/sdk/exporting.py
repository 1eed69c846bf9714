"""`OTEL_TRACES_EXPORTER=otel_bridge`: to a bridge, for whoever sets up OpenTelemetry without `install`.

Over `otlp` it has this: the protocol and the address are the bridge's where nobody says others, what is lost is counted
and said in a line a minute, and nothing is raised. Under the processors of `otel_bridge.sdk` that is their part.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_bridge.counts import plural
from otel_bridge.sdk.installing import Logs, Spans, otlp, quiet
from otel_bridge.sdk.refusals import HEARD, raised
from otel_bridge.sdk.saying import is_time_to_say, log


class _ToBridge:
    """Items by way of OpenTelemetry's exporter.

    It blocks as long as that does (`OTEL_EXPORTER_OTLP_TIMEOUT`, 10 s). Nothing is kept beyond `export`, so
    `force_flush` tells whether anything was lost since the last one.

    dropped: items by the reason for which they were given up.
    """

    def __init__(self, what: str, exporter: "Spans | Logs", results: Any) -> None:
        self.dropped: Counter[str] = Counter()
        self.where = exporter.where
        self.by_http = exporter.by_http
        self._what = what
        self._exporter: Any = exporter
        self._results = results
        self._prepared = self._lost = False
        self._is_tried_again = False  # by a processor of ours, which knows what is lost and says it

    def prepare(self) -> None:
        """Import what sends; called by a processor that tries again, and counts what it gives up."""
        self._is_tried_again = True
        self._prepare()

    def export(self, items: Sequence[Any], /) -> Any:
        """Send a batch; whether it was taken."""
        if self._is_tried_again:
            return self._exporter.export(items)
        try:
            with HEARD.listening():
                if not self._prepared:
                    self._prepare()
                result = self._exporter.export(items)
                why = HEARD.take(threading.current_thread()) or "it was not taken"
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises must not reach the agent
            result, why = self._results.FAILURE, raised(error)
        if result is not self._results.SUCCESS:
            self.dropped["unsent"] += len(items)
            self._lost = True
            if is_time_to_say("unsent"):
                log.warning("otel-bridge: %s not sent to %s: %s", plural(len(items), self._what), self.where, why)
        return result

    @property
    def _client(self) -> Any:
        return self._exporter._client  # noqa: SLF001 - of ours

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether nothing was lost since the last time."""
        lost, self._lost = self._lost, False
        return not lost

    def shutdown(self) -> None:
        """Stop what is being tried again."""
        self._exporter.shutdown()

    def _prepare(self) -> None:
        quiet()
        self._exporter.prepare()
        self._prepared = True


class BridgeSpanExporter(_ToBridge, SpanExporter):
    """Spans to a bridge by OTLP; for a BatchSpanProcessor of anybody's.

    endpoint: without a path; else `OTEL_EXPORTER_OTLP_ENDPOINT`, else a bridge on this machine.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        super().__init__("span", Spans(*otlp("TRACES", endpoint)), SpanExportResult)


class BridgeLogExporter(_ToBridge, LogRecordExporter):
    """The same for log records."""

    def __init__(self, endpoint: str | None = None) -> None:
        super().__init__("log record", Logs(*otlp("LOGS", endpoint)), LogRecordExportResult)
