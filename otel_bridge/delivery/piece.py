"""What is handed to an exporter in one call: a batch or a translation, which can be cut down to a single item."""

import sys
from collections.abc import Iterator
from typing import TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import REQUESTS, Batch, Request, Signal
from otel_bridge.model import Observation, Score, TraceAttributes, Translation
from otel_bridge.trace import Trace

Piece: TypeAlias = Batch | Translation

BLOCKS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}

LENGTH_BYTES = 6  # of a field's tag and length, at most


def signal_of(piece: Piece) -> Signal:
    """The signal that its items are counted under; what was translated counts as spans."""
    return piece.signal if isinstance(piece, Batch) else Signal.TRACES


def count(piece: Piece) -> int:
    """Its items; scores are no items, they come with a span or a record."""
    return piece.item_count if isinstance(piece, Batch) else len(piece.observations)


def score_count(piece: Piece) -> int:
    """Its scores."""
    return 0 if isinstance(piece, Batch) else len(piece.scores)


def size(piece: Piece) -> int:
    """About how many bytes it is on the wire."""
    return len(piece.wire) if isinstance(piece, Batch) else piece.size


def is_single(piece: Piece) -> bool:
    """Whether it can not be cut any more."""
    return _length(piece) <= 1


def split(piece: Piece) -> list[Piece]:
    """Two halves of what is not single."""
    return cut(piece, sys.maxsize, (_length(piece) + 1) // 2)


def cut(piece: Piece, max_bytes: int, max_items: int) -> list[Piece]:
    """Pieces within the limits, in order and as full as can be; a single item may exceed `max_bytes`.

    What was cut of a batch has its bytes already. To be called in a thread: it takes a microsecond for each item.
    """
    if size(piece) <= max_bytes and _length(piece) <= max_items:
        return [piece]
    if isinstance(piece, Batch):
        return list(_cut_batch(piece, max_bytes, max_items))
    return list(_cut_translation(piece, max_bytes, max_items))


def _length(piece: Piece) -> int:
    """How many pieces it can be cut into: scores count as well."""
    return piece.item_count if isinstance(piece, Batch) else len(piece.observations) + len(piece.scores)


def _cut_batch(batch: Batch, max_bytes: int, max_items: int) -> Iterator[Batch]:
    """Each piece has copies of the resources and scopes that its items came under."""
    resources, scopes, items = BLOCKS[batch.signal]
    kind = REQUESTS[batch.signal]
    request, length, filled = kind(), 0, 0
    for block in getattr(batch.editable(), resources):  # parsed for now only: what waits to be sent stays bytes
        for scoped in getattr(block, scopes):
            head = getattr(kind(), resources).add(resource=block.resource, schema_url=block.schema_url)
            getattr(head, scopes).add(scope=scoped.scope, schema_url=scoped.schema_url)
            head_bytes = head.ByteSize() + 3 * LENGTH_BYTES
            into = None
            for item in getattr(scoped, items):
                item_bytes = item.ByteSize() + LENGTH_BYTES
                needed_bytes = item_bytes + (head_bytes if into is None else 0)
                if length and (length == max_items or filled + needed_bytes > max_bytes):
                    yield _packed(request, length, batch)
                    request, length, filled, into = kind(), 0, 0, None
                if into is None:
                    getattr(request, resources).append(head)
                    into = getattr(getattr(getattr(request, resources)[-1], scopes)[-1], items)
                    filled += head_bytes
                into.append(item)
                length += 1
                filled += item_bytes
    yield _packed(request, length, batch)


def _packed(request: Request, length: int, of: Batch) -> Batch:
    return Batch.from_wire(of.signal, request.SerializeToString(), tenant=of.tenant, item_count=length)


def _cut_translation(whole: Translation, max_bytes: int, max_items: int) -> Iterator[Translation]:
    """Observations first, then scores; a trace's attributes go with each piece that has something of it.

    Those of traces that have nothing go with the first, and so does what is left out.
    """
    groups: list[list[Observation | Score]] = []
    filled = 0
    items: list[Observation | Score] = [*whole.observations, *whole.scores]
    for item in items:
        item_bytes = item.size if isinstance(item, Observation) else Translation(scores=[item]).size
        if not groups or len(groups[-1]) == max_items or filled + item_bytes > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(item)
        filled += item_bytes
    traces: dict[str | None, list[TraceAttributes]] = {}
    for trace in whole.traces:
        traces.setdefault(trace.trace_id, []).append(trace)
    owners = [dict.fromkeys(item.trace_id for item in group) for group in groups]
    for owner in set(traces).difference(*owners):
        owners[0][owner] = None
    for number, (group, of_group) in enumerate(zip(groups, owners, strict=True)):
        yield Translation(
            traces=[trace for owner in of_group for trace in traces.get(owner, ())],
            observations=[item for item in group if isinstance(item, Observation)],
            scores=[item for item in group if isinstance(item, Score)],
            dropped=[] if number else whole.dropped,
            tenant=whole.tenant,
        )


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
