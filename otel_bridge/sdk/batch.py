"""Processors of spans and of log records that send in batches, for OpenTelemetry's exporters."""

import contextlib
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode, TraceFlags

from otel_bridge.sdk.losses import told_together
from otel_bridge.sdk.saying import log, public
from otel_bridge.sdk.sending import EXIT_S, MAX_QUEUE_BYTES, Sender

if TYPE_CHECKING:
    from otel_bridge.sdk.spool import Spool

T = TypeVar("T")

DELAY_S = 1.0
ITEM_BYTES, ATTRIBUTE_BYTES = 400, 60  # of memory, beside the text
FLAT = frozenset((int, float, bool))
SAMPLED, ERROR = TraceFlags.SAMPLED, StatusCode.ERROR  # looking into a class takes longer


class _Batching:
    """What a processor has of its sender."""

    _sender: "Sender[Any] | Spool[Any]"

    @property
    def dropped(self) -> Counter[str]:
        """Spans or records by the reason for which they were given up."""
        return self._sender.dropped

    def force_flush(self, timeout_millis: int | None = 30_000) -> bool:
        """Whether all that came before was sent in this time; False at once when the destination refuses it."""
        return self._sender.flush(None if timeout_millis is None else timeout_millis / 1000)

    async def aflush(self, timeout_s: float = 30.0) -> bool:
        """`force_flush` for async code: the loop goes on meanwhile. Works under asyncio and trio."""
        return await self._sender.aflush(timeout_s)

    def close(self) -> None:
        """Begin to shut down, without waiting."""
        self._sender.close()

    def shutdown(self) -> None:
        """Send what waits, for `exit_s` at most; the rest is in the spool, or counted as dropped (`exit`)."""
        self._sender.shutdown()


class BatchSpanProcessor(_Batching, SpanProcessor):
    """Sends ended spans; where there is no room, those with an error stay longest.

    max_queue_bytes: of spans that wait or are being sent, about.
    delay_s: how long a span waits for others (`OTEL_BSP_SCHEDULE_DELAY`, 1 s); max_batch: spans in one request
        (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, 512).
    exit_s: the most that shutdown takes (`OTEL_BRIDGE_EXIT_SECONDS`, 1.7 s).
    spool: a folder that keeps what ended until the bridge has it; for an exporter by OTLP/HTTP.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        delay_s: float | None = None,
        max_batch: int | None = None,
        exit_s: float | None = None,
        spool: Path | None = None,
    ) -> None:
        def export(spans: Sequence[ReadableSpan]) -> bool:
            return exporter.export(spans) is SpanExportResult.SUCCESS

        limits = _limits("BSP", max_queue_bytes, delay_s, max_batch, exit_s)
        self._sender = _sender("span", "traces", exporter, export, spool, limits)
        self._put = self._sender.put

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span; costs microseconds."""
        context = span.context
        if context is not None and context.trace_flags & SAMPLED:
            self._put(span, _size_of_span(span), precious=span.status.status_code is ERROR)


class BatchLogRecordProcessor(_Batching, LogRecordProcessor):
    """The same for log records (`OTEL_BLRP_*`)."""

    def __init__(
        self,
        exporter: LogRecordExporter,
        *,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        delay_s: float | None = None,
        max_batch: int | None = None,
        exit_s: float | None = None,
        spool: Path | None = None,
    ) -> None:
        def export(records: Sequence[ReadableLogRecord]) -> bool:
            return exporter.export(records) is LogRecordExportResult.SUCCESS

        limits = _limits("BLRP", max_queue_bytes, delay_s, max_batch, exit_s)
        self._sender = _sender("log record", "logs", exporter, export, spool, limits)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Take a record; costs microseconds."""
        record = ReadableLogRecord(
            log_record=log_record.log_record,
            resource=log_record.resource or Resource.get_empty(),
            instrumentation_scope=log_record.instrumentation_scope,
            limits=log_record.limits,
        )
        said = log_record.log_record
        self._sender.put(record, ITEM_BYTES + _size(said.body) + _size(dict(said.attributes or {})))


def _where(exporter: object) -> str | None:
    """The address that an exporter of OpenTelemetry's sends to, as far as it lets on."""
    found = getattr(exporter, "where", None) or getattr(exporter, "_endpoint", None)
    return public(found) if isinstance(found, str) else None


def _sender(
    what: str,
    signal: Literal["traces", "logs"],
    exporter: Any,
    export: Callable[[Sequence[T]], bool],
    folder: Path | None,
    limits: "_Limits",
) -> "Sender[T] | Spool[T]":
    where = _where(exporter)
    if folder is not None:
        from otel_bridge.sdk.spool import Spool, can_spool

        if can_spool(exporter):
            return Spool(folder, signal, what, where, exporter, export, **limits)
        log.warning(
            "otel-bridge: %ss%s go without the spool, which takes OTLP by http/protobuf (OTEL_EXPORTER_OTLP_PROTOCOL)",
            what,
            f" to {where}" if where else "",
        )
    prepare, helps = getattr(exporter, "prepare", None), getattr(exporter, "helps", None)
    return Sender(what, where, export, exporter.shutdown, prepare=prepare, helps=helps, **limits)


class _Limits(TypedDict):
    """As `Sender` takes them."""

    max_queue_bytes: int
    max_queue: int
    delay_s: float
    max_batch: int
    exit_s: float


def _limits(
    prefix: str, max_queue_bytes: int, delay_s: float | None, max_batch: int | None, exit_s: float | None
) -> _Limits:
    """What was given, else what the variables of a signal (`OTEL_BSP_…`, `OTEL_BLRP_…`) say."""
    if delay_s is None:
        delay_s = environ(f"OTEL_{prefix}_SCHEDULE_DELAY", DELAY_S * 1000, least=0) / 1000
    return {
        "max_queue_bytes": max_queue_bytes,
        "max_queue": int(environ(f"OTEL_{prefix}_MAX_QUEUE_SIZE", sys.maxsize, least=1)),
        "delay_s": delay_s,
        "max_batch": max_batch or int(environ(f"OTEL_{prefix}_MAX_EXPORT_BATCH_SIZE", 512, least=1)),
        "exit_s": exit_seconds() if exit_s is None else exit_s,
    }


def exit_seconds() -> float:
    """The most that the end of a program may take."""
    return environ("OTEL_BRIDGE_EXIT_SECONDS", EXIT_S, least=0)


def environ(name: str, default: float, *, least: float) -> float:
    """A variable that is a number, and not too small."""
    said = os.environ.get(name, "").strip()
    try:
        found = float(said or default)
    except ValueError:
        found = math.nan
    if math.isfinite(found) and found >= least:
        return found
    log.warning("otel-bridge: %s=%r is no number from %g on, and ignored", name, said, least)
    return default


def shut_down(processors: Sequence[BatchSpanProcessor | BatchLogRecordProcessor]) -> None:
    """All of them at once: it takes as long as the one that takes longest. Each is, whatever another raises.

    What is lost by it is told in one line.
    """
    with told_together(), contextlib.ExitStack() as each:
        for processor in reversed(processors):
            each.callback(processor.shutdown)
            processor.close()


def _size_of_span(span: ReadableSpan) -> int:
    """About how many bytes it holds."""
    try:
        values, events = span._attributes._dict.values(), span._events  # type: ignore[union-attr]  # noqa: SLF001
    except AttributeError:  # this is another SDK's; what is public is twenty times slower
        values, events = dict(span.attributes or {}).values(), span.events
    size = ITEM_BYTES + ATTRIBUTE_BYTES * len(values)
    for value in values:
        if value.__class__ is str:
            size += len(value)
        elif value.__class__ not in FLAT:
            size += _size(value)
    if events:
        for event in span.events:
            size += ITEM_BYTES + _size(dict(event.attributes or {}))
    return size


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(ATTRIBUTE_BYTES + _size(item) for item in value.values())
    if isinstance(value, tuple | list):
        return sum(ATTRIBUTE_BYTES + _size(item) for item in value)
    return 0
