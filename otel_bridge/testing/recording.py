"""A bridge in memory: the spans and log records of the test's own process, translated as the bridge translates."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import _logs, trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_bridge.batch import Batch
from otel_bridge.model import Score, Translation
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.open_spans import OpenSpans
from otel_bridge.testing.tree import Expected, Seen, differences, grown
from otel_bridge.trace import Trace
from otel_bridge.translate import Prices, gather, translate


class Recording:
    """What ended and was emitted since the test began; ask it at any time."""

    def __init__(self, open_spans: OpenSpans) -> None:
        self.spans: list[ReadableSpan] = []
        self.logs: list[ReadableLogRecord] = []
        self._open_spans = open_spans
        self._open_before = set(map(id, open_spans.all))

    @property
    def translations(self) -> list[Translation]:
        """Each trace as the bridge would send it, in the order in which their first spans ended."""
        found: dict[str, Trace] = {}
        for batch in self._batches():
            for key, (spans, logs) in gather(batch).items():
                known = found.get(key) or Trace(key)
                found[key] = Trace(key, [*known.spans, *spans], [*known.logs, *logs])
        prices = Prices({})
        return [translate(one, prices) for one in found.values()]

    @property
    def traces(self) -> list[Seen]:
        """The observations at the top, with all below them."""
        return [top for translation in self.translations for top in grown(translation.observations)]

    @property
    def scores(self) -> list[Score]:
        """All scores."""
        return [score for translation in self.translations for score in translation.scores]

    def assert_trace(self, expected: Expected) -> Seen:
        """That a trace looks like this; returns it. Where there are several, the nearest is compared.

        Raises:
            AssertionError: none does; says how the nearest differs, and what is still open.
        """
        __tracebackhide__ = True
        tops = [grown(translation.observations) for translation in self.translations if translation.observations]
        compared = sorted(((*differences(expected, found), found) for found in tops), key=lambda one: one[0])
        if compared and compared[0][0] == 0:
            return compared[0][2][0]
        if not compared:
            raise AssertionError(f"no span has ended{self._still_open()}")
        count, lines, _ = compared[0]
        counted = f"{count} difference{'s' if count > 1 else ''}"
        of = f", the nearest of {len(compared)} traces" if len(compared) > 1 else ""
        raise AssertionError(f"the trace is not as expected ({counted}{of}):\n{lines}{self._still_open()}")

    def _still_open(self) -> str:
        names = [span.name for span in self._open_spans.all if id(span) not in self._open_before]
        return f"\nstill open, and so not there: {', '.join(names)}" if names else ""

    def _batches(self) -> Iterator[Batch]:
        if self.spans:
            yield Batch.from_request(encode_spans(list(self.spans)))
        if self.logs:
            yield Batch.from_request(encode_logs(list(self.logs)))


class _ToRecording(SpanProcessor, LogRecordProcessor):
    """Hands what ends to the recording that is on; a process has one provider, and many tests."""

    def __init__(self) -> None:
        self.open_spans = OpenSpans(beat_s=None)
        self.on: Recording | None = None

    def on_end(self, span: ReadableSpan) -> None:
        if self.on is not None and span.context is not None and span.context.trace_flags.sampled:
            self.on.spans.append(span)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        if self.on is not None:
            self.on.logs.append(
                ReadableLogRecord(
                    log_record=log_record.log_record,
                    resource=log_record.resource or Resource.get_empty(),
                    instrumentation_scope=log_record.instrumentation_scope,
                    limits=log_record.limits,
                )
            )

    def shutdown(self) -> None:
        """Nothing to let go of."""

    def force_flush(self, timeout_millis: int | None = 30_000) -> bool:
        return True


_joined: list[tuple[object, object, _ToRecording]] = []


@contextmanager
def recording() -> Iterator[Recording]:
    """Record what this process traces meanwhile, with whatever providers it has, else with some of our own."""
    to = _join()
    before, to.on = to.on, Recording(to.open_spans)
    try:
        yield to.on
    finally:
        to.on = before


def _join() -> _ToRecording:
    """Once for each pair of providers: what was added to one can not be taken away again."""
    tracers: Any = trace.get_tracer_provider()
    loggers: Any = _logs.get_logger_provider()
    resource = Resource({"service.name": "test"})
    if not hasattr(tracers, "add_span_processor"):  # the SDK's has it, and those around that, as Logfire's
        tracers = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        trace.set_tracer_provider(tracers)
    if not hasattr(loggers, "add_log_record_processor"):
        loggers = LoggerProvider(resource, shutdown_on_exit=False)
        _logs.set_logger_provider(loggers)
    for known_tracers, known_loggers, to in _joined:
        if known_tracers is tracers and known_loggers is loggers:
            return to
    to = _ToRecording()
    processors: Sequence[SpanProcessor] = (ContextProcessor(), to.open_spans, to)
    for processor in processors:
        tracers.add_span_processor(processor)
    loggers.add_log_record_processor(to)
    _joined.append((tracers, loggers, to))
    return to
