"""A single item that is too large for its destination, made smaller: its largest texts are cut, and it says so."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import BLOCKS, Batch
from otel_bridge.delivery.piece import Piece, size
from otel_bridge.model import Observation, Translation
from otel_bridge.validate import TRUNCATED

CUT = "… [cut]"
LEAST_TEXT_BYTES = 256  # to cut shorter ones gains nothing
MAX_DEPTH = 64


def truncated(piece: Piece, max_bytes: int) -> Piece | None:
    """The single item within `max_bytes`, marked as `otel_bridge.truncated`; None where that can not be.

    To be called in a thread: it takes as long as the item is large.
    """
    if isinstance(piece, Batch):
        return _batch(piece, max_bytes)
    if len(piece.observations) != 1:
        return None
    return _translation(piece, piece.observations[0], max_bytes)


def _longest(lengths: list[int], excess: int) -> int | None:
    """How long a text may be so that, with all longer ones cut to it, `excess` is saved; None: not so much can be."""
    lengths = sorted(lengths)
    saved_above = [0, *accumulate(reversed(lengths))]  # of the n longest, if nothing of them were left
    for count in range(1, len(lengths) + 1):
        next_longest = lengths[-count - 1] if count < len(lengths) else 0
        if saved_above[count] - count * max(next_longest, LEAST_TEXT_BYTES) >= excess:
            return (saved_above[count] - excess) // count
        if next_longest <= LEAST_TEXT_BYTES:
            return None
    return None


def _cut(text: str, limit: int | None) -> str:
    raw = text.encode(errors="replace")
    if limit is None or len(raw) <= limit:
        return text
    return raw[: max(limit - len(CUT.encode()), 0)].decode(errors="ignore") + CUT


# --- OTLP


def _batch(batch: Batch, max_bytes: int) -> Batch | None:
    resources, scopes, items = BLOCKS[batch.signal]
    request = batch.editable()
    [block] = getattr(request, resources)
    [scoped] = getattr(block, scopes)
    [item] = getattr(scoped, items)
    if not isinstance(item, Span | LogRecord):
        return None
    marks = [KeyValue(key=TRUNCATED, value=AnyValue(bool_value=True))]
    kept = [pair for pair in item.attributes if pair.key != TRUNCATED]
    del item.attributes[:]
    item.attributes.extend(kept + marks)
    places = list(_places(block.resource.attributes)) + list(_places(scoped.scope.attributes)) + list(_of_item(item))
    limit = _longest([len(_raw(*place)) for place in places], request.ByteSize() - max_bytes)
    if limit is None:
        return None
    for where, name in places:
        value = getattr(where, name)
        setattr(where, name, value[:limit] if isinstance(value, bytes) else _cut(value, limit))
    return Batch.from_wire(batch.signal, request.SerializeToString(), tenant=batch.tenant, item_count=1)


def _raw(where: Any, name: str) -> bytes:
    value = getattr(where, name)
    return value if isinstance(value, bytes) else value.encode()


def _of_item(item: Span | LogRecord) -> Iterator[tuple[Any, str]]:
    yield from _places(item.attributes)
    if isinstance(item, LogRecord):
        yield from _of_value(item.body, MAX_DEPTH)
        return
    yield item, "name"
    yield item.status, "message"
    for event in item.events:
        yield event, "name"
        yield from _places(event.attributes)
    for link in item.links:
        yield from _places(link.attributes)


def _places(attributes: Any, depth: int = MAX_DEPTH) -> Iterator[tuple[Any, str]]:
    """Where texts stand that may be cut: a message and its field."""
    for pair in attributes:
        yield from _of_value(pair.value, depth)


def _of_value(value: AnyValue, depth: int) -> Iterator[tuple[Any, str]]:
    kind = value.WhichOneof("value")
    if kind in ("string_value", "bytes_value"):
        yield value, kind
    elif kind == "array_value" and depth:
        for item in value.array_value.values:
            yield from _of_value(item, depth - 1)
    elif kind == "kvlist_value" and depth:
        yield from _places(value.kvlist_value.values, depth - 1)


# --- observations


def _translation(piece: Translation, observation: Observation, max_bytes: int) -> Translation | None:
    said = {
        "name": observation.name,
        "status_message": observation.status_message,
        "model_parameters": observation.model_parameters,
        "input": observation.input,
        "output": observation.output,
        "metadata": observation.metadata | {TRUNCATED: True},
        "resource": observation.resource,
    }
    own, of_trace = list(_texts(said, MAX_DEPTH)), list(_texts(_shown(observation), MAX_DEPTH))
    limit = _longest(own + of_trace, max(size(piece), sum(own) + sum(of_trace)) - max_bytes)
    if limit is None:
        return None
    trace = replace(observation.trace, **_shortened(_shown(observation), limit, MAX_DEPTH))
    cut = replace(observation, **_shortened(said, limit, MAX_DEPTH), trace=trace, size=max_bytes)
    traces = [trace if one is observation.trace else one for one in piece.traces]
    return replace(piece, observations=[cut], traces=traces)


def _shown(observation: Observation) -> dict[str, Any]:
    trace = observation.trace
    return {"input": trace.input, "output": trace.output, "metadata": trace.metadata}


def _texts(value: Any, depth: int) -> Iterator[int]:
    """How long the texts in a value are, in bytes."""
    if isinstance(value, str):
        yield len(value.encode(errors="replace"))
    elif isinstance(value, dict | list) and depth:
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item, depth - 1)


def _shortened(value: Any, limit: int, depth: int) -> Any:
    if isinstance(value, str):
        return _cut(value, limit)
    if isinstance(value, dict) and depth:
        return {key: _shortened(item, limit, depth - 1) for key, item in value.items()}
    if isinstance(value, list) and depth:
        return [_shortened(item, limit, depth - 1) for item in value]
    return value
