"""What is handed to an exporter in one call: a batch or a translation, which can be cut down to a single item."""

import sys
from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_bridge.batch import BLOCKS, REQUESTS, Batch, Request, Signal
from otel_bridge.model import Observation, Score, TraceAttributes, Translation
from otel_bridge.trace import LogEntry, SpanRecord, Trace

Piece: TypeAlias = Batch | Translation
R = TypeVar("R", SpanRecord, LogEntry)

LENGTH_BYTES = 6  # of a field's tag and length, at most
COPIED_BYTES = 16 << 20  # of resources and scopes whose items come to be in several pieces; more only in a larger whole


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

    So may what comes under a large resource, or many items under one would be a bomb: the pieces together are larger
    than `piece` by COPIED_BYTES, or as much as it again twice. What is not single is cut once in any case.

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
    spare = max(COPIED_BYTES, size(batch))  # for what comes to be in one more piece; one cut can always be made
    request, length, filled = kind(), 0, 0
    for block in getattr(batch.editable(), resources):  # parsed for now only: what waits to be sent stays bytes
        block_head = type(block)(resource=block.resource, schema_url=block.schema_url)
        block_bytes = block_head.ByteSize() + LENGTH_BYTES
        into_block = None
        for scoped in getattr(block, scopes):
            scope_head = type(scoped)(scope=scoped.scope, schema_url=scoped.schema_url)
            scope_bytes = scope_head.ByteSize() + LENGTH_BYTES
            into_scope = None
            for item in getattr(scoped, items):
                item_bytes = item.ByteSize() + LENGTH_BYTES
                copied: int = 0 if into_block is None else block_bytes
                copied += 0 if into_scope is None else scope_bytes
                needed = block_bytes + scope_bytes + item_bytes - copied
                is_full = length >= max_items or filled + needed > max_bytes
                if length and is_full and copied <= spare:
                    yield _packed(request, length, batch)
                    request, length, filled, into_block, into_scope = kind(), 0, 0, None, None
                    spare -= copied
                    needed += copied
                if into_block is None:
                    getattr(request, resources).append(block_head)
                    into_block = getattr(getattr(request, resources)[-1], scopes)
                if into_scope is None:
                    into_block.append(scope_head)
                    into_scope = getattr(into_block[-1], items)
                into_scope.append(item)
                length += 1
                filled += needed
                spare += item_bytes
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
            again=whole.again,
        )


def batches_of(trace: Trace) -> list[Batch]:
    """The spans and log records of a part of a trace, as they would have come alone."""
    spans, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    for resource, scopes in _under_each(trace.spans):
        block = spans.resource_spans.add(resource=resource)
        for scope, records in scopes:
            block.scope_spans.add(scope=scope, spans=[record.span for record in records])
    for resource, scopes_of_logs in _under_each(trace.logs):
        block_of_logs = logs.resource_logs.add(resource=resource)
        for scope, entries in scopes_of_logs:
            block_of_logs.scope_logs.add(scope=scope, log_records=[entry.record for entry in entries])
    made = [Batch.from_request(request, tenant=trace.tenant) for request in (spans, logs)]
    return [batch for batch in made if batch.item_count]


def _under_each(records: Sequence[R]) -> Iterator[tuple[Resource, list[tuple[InstrumentationScope, list[R]]]]]:
    """Those that came under one resource and one scope together, so that neither is copied for each."""
    under: dict[int, dict[int, list[R]]] = {}
    for record in records:
        under.setdefault(id(record.resource), {}).setdefault(id(record.scope), []).append(record)
    for scopes in under.values():
        of_scope = list(scopes.values())
        yield of_scope[0][0].resource, [(of_one[0].scope, of_one) for of_one in of_scope]
