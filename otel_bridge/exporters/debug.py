"""Print what passes to standard error: a line for each batch, or every span, log record and metric."""

import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Literal

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.answers import excerpt
from otel_bridge.batch import Batch
from otel_bridge.component import Consume, Host, exporter
from otel_bridge.config import Config
from otel_bridge.counts import plural

MAX_VALUE = 300  # characters shown of one value


class DebugConfig(Config):
    """`basic`: one line for each batch. `detailed`: everything in it, content included."""

    verbosity: Literal["basic", "detailed"] = "basic"


@exporter(DebugConfig)
async def debug(config: DebugConfig, host: Host) -> AsyncIterator[Consume]:
    """Print what passes to standard error: a line for each batch, or every span, log record and metric."""

    async def consume(batch: Batch) -> None:
        lines = [summary(batch), *(details(batch) if config.verbosity == "detailed" else ())]
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()

    yield consume


def summary(batch: Batch) -> str:
    """One line, safe for a terminal."""
    size = f"{plural(batch.item_count, 'item')}, {plural(len(batch.wire), 'byte')}"
    return f"{batch.signal}: {size}, tenant {excerpt(batch.tenant)}"


def details(batch: Batch) -> Iterator[str]:
    """A line for each item and for each attribute, safe for a terminal."""
    request = batch.request
    if isinstance(request, ExportTraceServiceRequest):
        for block in request.resource_spans:
            yield from _attributes("resource", block.resource.attributes)
            for scoped in block.scope_spans:
                for span in scoped.spans:
                    yield from _span(span, scoped.scope.name)
    elif isinstance(request, ExportLogsServiceRequest):
        for logs in request.resource_logs:
            yield from _attributes("resource", logs.resource.attributes)
            for scope in logs.scope_logs:
                for record in scope.log_records:
                    name = record.event_name or record.severity_text or "log"
                    yield f"  {_shown(name)} trace {record.trace_id.hex() or '-'}: {_value(record.body)}"
                    yield from _attributes("", record.attributes)
    else:
        for metrics in request.resource_metrics:
            yield from _attributes("resource", metrics.resource.attributes)
            for group in metrics.scope_metrics:
                for metric in group.metrics:
                    yield f"  {_shown(metric.name)} ({metric.WhichOneof('data')}, {_shown(metric.unit)})"


def _span(span: Span, scope: str) -> Iterator[str]:
    took_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    yield f"  {_shown(span.name)} {took_ms:.1f} ms, scope {_shown(scope)}"
    yield f"    trace {span.trace_id.hex()} span {span.span_id.hex()} parent {span.parent_span_id.hex() or '-'}"
    if span.status.code:
        yield f"    status {span.status.code}: {_shown(span.status.message)}"
    yield from _attributes("", span.attributes)
    for event in span.events:
        yield f"    event {_shown(event.name)}"
        yield from _attributes("event", event.attributes)


def _attributes(of: str, attributes: Iterable[KeyValue]) -> Iterator[str]:
    for pair in attributes:
        yield f"    {of + ' ' if of else ''}{_shown(pair.key)} = {_value(pair.value)}"


def _value(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return "-"
    if kind in ("array_value", "kvlist_value"):
        return _shown(" ".join(str(value).split()))
    return _shown(str(getattr(value, kind)))


def _shown(text: str) -> str:
    return excerpt(text, MAX_VALUE)
