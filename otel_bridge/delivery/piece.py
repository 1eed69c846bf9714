"""What is handed to an exporter in one call: a batch or a translation, which can be cut down to a single item."""

from collections.abc import Iterator
from typing import TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import REQUESTS, Batch, Signal
from otel_bridge.model import Observation, Score, Translation
from otel_bridge.trace import Trace

Piece: TypeAlias = Batch | Translation

BLOCKS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}


def signal_of(piece: Piece) -> Signal:
    """The signal that its items are counted under; what was translated counts as spans."""
    return piece.signal if isinstance(piece, Batch) else Signal.TRACES


def count(piece: Piece) -> int:
    """Its items; scores are no items, they come with a span or a record."""
    return piece.item_count if isinstance(piece, Batch) else len(piece.observations)


def size(piece: Piece) -> int:
    """About how many bytes it is on the wire."""
    return len(piece.wire) if isinstance(piece, Batch) else piece.size


def split(piece: Piece) -> tuple[Piece, Piece] | None:
    """Two halves, or None where there is but one item."""
    return _split_batch(piece) if isinstance(piece, Batch) else _split_translation(piece)


def cut(piece: Piece, max_bytes: int, max_items: int | None = None) -> Iterator[Piece]:
    """Pieces within the limits, in order; a single item may exceed them."""
    within = size(piece) <= max_bytes and (max_items is None or count(piece) <= max_items)
    halves = None if within else split(piece)
    if halves is None:
        yield piece
        return
    for half in halves:
        yield from cut(half, max_bytes, max_items)


def _split_batch(batch: Batch) -> tuple[Batch, Batch] | None:
    """The first half and the rest of its items, each under copies of their resources and scopes."""
    if batch.item_count <= 1:
        return None
    resources, scopes, items = BLOCKS[batch.signal]
    left = batch.item_count // 2
    halves = (REQUESTS[batch.signal](), REQUESTS[batch.signal]())
    for block in getattr(batch.request, resources):
        for scoped in getattr(block, scopes):
            whole = getattr(scoped, items)
            for half, some in ((halves[0], whole[:left]), (halves[1], whole[left:])):
                if some:
                    into = getattr(half, resources).add(resource=block.resource, schema_url=block.schema_url)
                    under = getattr(into, scopes).add(scope=scoped.scope, schema_url=scoped.schema_url)
                    getattr(under, items).extend(some)
            left = max(0, left - len(whole))
    first, second = (Batch.from_request(half, tenant=batch.tenant) for half in halves)
    return first, second


def _split_translation(whole: Translation) -> tuple[Translation, Translation] | None:
    """Observations first, then scores; a trace's attributes go with each half that has something of it."""
    items: list[Observation | Score] = [*whole.observations, *whole.scores]
    if len(items) <= 1:
        return None
    middle = len(items) // 2
    of_second = {item.trace_id for item in items[middle:]}
    of_first = {item.trace_id for item in items[:middle]}
    first, second = (
        Translation(
            observations=[item for item in some if isinstance(item, Observation)],
            scores=[item for item in some if isinstance(item, Score)],
            tenant=whole.tenant,
        )
        for some in (items[:middle], items[middle:])
    )
    second.traces = [trace for trace in whole.traces if trace.trace_id in of_second]
    first.traces = [trace for trace in whole.traces if trace.trace_id in of_first or trace.trace_id not in of_second]
    return first, second


def batches_of(trace: Trace) -> list[Batch]:
    """The spans and log records of a part of a trace, as they would have come alone."""
    spans, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    for record in trace.spans:
        resource_spans = spans.resource_spans.add(resource=record.resource)
        resource_spans.scope_spans.add(scope=record.scope, spans=[record.span])
    for entry in trace.logs:
        resource_logs = logs.resource_logs.add(resource=entry.resource)
        resource_logs.scope_logs.add(scope=entry.scope, log_records=[entry.record])
    made = [Batch.from_request(request, tenant=trace.tenant) for request in (spans, logs)]
    return [batch for batch in made if batch.item_count]
