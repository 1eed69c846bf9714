"""What may be stored: every span and log record judged by itself, mended where that loses nothing, else rejected alone.

A batch with nothing to mend, which is nearly every batch, is looked at once and handed on as it is. What is mended is
counted `repaired{what}`; what is mended here is written down, so it is the same on every retry and every replay.
"""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import orjson
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import Batch, Request, breadth
from otel_bridge.component import Consume
from otel_bridge.model import Omitted
from otel_bridge.telemetry import Counters

MAX_VALUE_BYTES = 1 << 20  # of one attribute's value
MAX_KEY = 256  # characters
MAX_ATTRIBUTES = 1024
MAX_EVENTS = 128
MAX_LINKS = 128
MAX_TRACE_STATE = 512  # characters
BROAD = 8192  # resources, scopes and items, from which on only to look at them takes long
LONGEST_NS = 30 * 24 * 3600 * 10**9
NO_TRACE = bytes(16)
NO_SPAN = bytes(8)

TIME_REPAIRED = "otel_bridge.time_repaired"
TRUNCATED = "otel_bridge.truncated"
TRUNCATED_ATTRS = "otel_bridge.truncated_attrs"
RESERVED = "otel_bridge."  # only the bridge says what begins so, but for what our own SDK says to it:
SAID_BY_SDK = frozenset(
    RESERVED + key
    for key in (
        *("outcome", "parent_ended", "stream.chunks"),
        *("input.truncated", "input.bytes", "output.truncated", "output.bytes", "output.items"),
        *("span.name", "span.kind", "span.start_time_unix_nano", "span.parent_id"),
    )
)
UNSAFE = ("__proto__", "constructor.prototype")  # the ways from a key to what all objects of JavaScript share
RESERVED_ON_WIRE = re.compile(  # a whole key has its value's tag behind it
    rb"%b(?!(?:%b)\x12)"
    % (re.escape(RESERVED.encode()), b"|".join(re.escape(key.removeprefix(RESERVED).encode()) for key in SAID_BY_SDK))
)
UNSAFE_ON_WIRE = tuple(way.encode() for way in UNSAFE)  # not in the pattern: it is fast as all of it begins the same

Attributes: TypeAlias = RepeatedCompositeFieldContainer[KeyValue]
Repairs: TypeAlias = Counter[str]


class Attributed(Protocol):
    """A resource, scope, span, event, link or log record."""

    dropped_attributes_count: int

    @property
    def attributes(self) -> Attributes:
        """Its attributes."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """How many bytes it is on the wire."""


async def admit(batch: Batch, transport: str, consume: Consume, counters: Counters) -> list[Omitted]:
    """Count, validate and hand on: what every door does with a batch once it is decoded. Returns what was rejected.

    Raises:
        MalformedError: the batch's bytes are no OTLP request.
        ConsumeError: `consume` refused; nothing was taken.
    """
    checked, rejected = check(batch, transport, counters)
    if checked.item_count:
        await consume(checked)
    return rejected


def check(batch: Batch, transport: str, counters: Counters) -> tuple[Batch, list[Omitted]]:
    """The part of `admit` that only computes, for a thread; what came in parts stays in parts."""
    counters.add("received", batch.item_count, signal=batch.signal, transport=transport)
    received_ns = time.time_ns()
    repeats = _Repeats(batch.parts) if len(batch.parts) > 1 else None
    if repeats is None:
        return validate(batch, received_ns, counters)
    parts: list[Batch] = []
    rejected: list[Omitted] = []
    for part in batch.parts:  # each is decoded for as long as it is looked at
        checked, omitted = validate(part.packed(), received_ns, counters, repeats)
        rejected += omitted
        if checked.item_count:
            parts.append(checked.packed())
    return Batch.of_parts(parts, like=batch), rejected


def check_at_once(batch: Batch, transport: str, counters: Counters) -> Batch | None:
    """The same where there is nothing to mend and little to look at; else None: then `check` may take long.

    Raises:
        MalformedError: the batch's bytes are no OTLP request.
    """
    if breadth(batch.request) > BROAD or not _is_sound(batch):
        return None
    counters.add("received", batch.item_count, signal=batch.signal, transport=transport)
    return batch


class _Repeats:
    """Spans of one request that have the same ids, whichever of its parts they came in.

    ids: those that come twice or more; seen: what has come under each of them.
    """

    def __init__(self, parts: Sequence[Batch]) -> None:
        requests = (part.packed().request for part in parts)
        times = Counter(
            key for request in requests if isinstance(request, ExportTraceServiceRequest) for key in _ids(request)
        )
        self.ids = {key for key, count in times.items() if count > 1} if len(times) < times.total() else set()
        self.seen: dict[bytes, set[bytes]] = defaultdict(set)

    def are_in(self, request: Request) -> bool:
        """Whether a part has such a span."""
        return (
            bool(self.ids) and isinstance(request, ExportTraceServiceRequest) and not self.ids.isdisjoint(_ids(request))
        )


def _ids(request: ExportTraceServiceRequest) -> Iterator[bytes]:
    return (
        span.trace_id + span.span_id
        for block in request.resource_spans
        for scoped in block.scope_spans
        for span in scoped.spans
    )


def validate(
    batch: Batch, received_ns: int, counters: Counters, repeats: "_Repeats | None" = None
) -> tuple[Batch, list[Omitted]]:
    """The batch as it may be stored (the very same object where nothing had to change), and what was rejected.

    received_ns: the wall clock, for spans that do not say their time; nanoseconds since 1970.

    Raises:
        MalformedError: the batch's bytes are no OTLP request.
    """
    repeated = repeats is not None and repeats.are_in(batch.request)
    if not repeated and _is_sound(batch):
        return batch, []
    repeats = repeats or _Repeats([batch])
    repairs: Repairs = Counter()
    rejected: list[Omitted] = []
    mended = batch.editable()
    if isinstance(mended, ExportTraceServiceRequest):
        rejected = _mend_spans(mended, received_ns, repairs, counters, repeats)
    elif isinstance(mended, ExportLogsServiceRequest):
        _mend_logs(mended, received_ns, repairs)
    for what, times in repairs.items():
        counters.add("repaired", times, what=what)
    if unsafe := sum(map(_unsafe_keys, owners(mended))):
        counters.add("unsafe_key", unsafe)  # what is done about them is the destination's
    for omitted in rejected:
        counters.add("rejected", reason=omitted.reason)
    if not repairs and not rejected:
        return batch, []
    return Batch.from_request(mended, tenant=batch.tenant), rejected


def owners(request: Request) -> Iterator[Attributed]:
    """All that has attributes of its own, but for metrics."""
    if isinstance(request, ExportTraceServiceRequest):
        for block in request.resource_spans:
            yield block.resource
            for scoped in block.scope_spans:
                yield scoped.scope
                for span in scoped.spans:
                    yield span
                    yield from span.events
                    yield from span.links
    elif isinstance(request, ExportLogsServiceRequest):
        for logs in request.resource_logs:
            yield logs.resource
            for scoped_logs in logs.scope_logs:
                yield scoped_logs.scope
                yield from scoped_logs.log_records


def _unsafe_keys(owner: Attributed) -> int:
    return sum(any(f".{way}." in f".{attribute.key}." for way in UNSAFE) for attribute in owner.attributes)


def _speaks_of_keys(wire: bytes) -> bool:
    """Whether a key that the careful look is for may be in it, or only a text that speaks of one."""
    return RESERVED_ON_WIRE.search(wire) is not None or any(way in wire for way in UNSAFE_ON_WIRE)


# The quick look: True only where nothing needs mending. Everything in it is paid for every span.


def _is_sound(batch: Batch) -> bool:
    large = len(batch.wire) > MAX_VALUE_BYTES  # below it, no single value can be too large
    return not _speaks_of_keys(batch.wire) and _sound(batch.request, large)


def _sound(request: Request, large: bool) -> bool:
    if isinstance(request, ExportTraceServiceRequest):
        return _sound_spans(request, large)
    if isinstance(request, ExportLogsServiceRequest):
        return all(
            _sound_owner(block.resource, large)
            and all(
                _sound_owner(scoped.scope, large) and all(_sound_log(record, large) for record in scoped.log_records)
                for scoped in block.scope_logs
            )
            for block in request.resource_logs
        )
    return True


def _sound_owner(owner: Attributed, large: bool) -> bool:
    return _sound_attributes(owner.attributes) and not (large and owner.ByteSize() > MAX_VALUE_BYTES)


def _sound_attributes(attributes: Attributes) -> bool:
    if not attributes:
        return True
    if len(attributes) > MAX_ATTRIBUTES:
        return False
    keys = [attribute.key for attribute in attributes]
    return len(max(keys, key=len)) <= MAX_KEY and len(set(keys)) == len(keys)


def _sound_spans(request: ExportTraceServiceRequest, large: bool) -> bool:
    ids: set[bytes] = set()
    spans = 0
    for block in request.resource_spans:
        if not _sound_owner(block.resource, large):
            return False
        for scoped in block.scope_spans:
            if not _sound_owner(scoped.scope, large):
                return False
            for span in scoped.spans:
                if not _sound_span(span, large):
                    return False
                ids.add(span.trace_id + span.span_id)
            spans += len(scoped.spans)
    return len(ids) == spans


def _sound_span(span: Span, large: bool) -> bool:
    span_id, parent_id = span.span_id, span.parent_span_id
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    return (
        len(span.trace_id) == 16
        and len(span_id) == 8
        and span.trace_id != NO_TRACE
        and span_id != NO_SPAN
        and (not parent_id or (len(parent_id) == 8 and parent_id not in (span_id, NO_SPAN)))
        and 0 < start_ns <= end_ns <= start_ns + LONGEST_NS
        and len(span.trace_state) <= MAX_TRACE_STATE
        and _sound_owner(span, large)
        and _sound_parts(span.events, MAX_EVENTS)
        and _sound_parts(span.links, MAX_LINKS)
    )


def _sound_parts(parts: Sequence[Span.Event | Span.Link], most: int) -> bool:
    return not parts or (len(parts) <= most and all(_sound_attributes(part.attributes) for part in parts))


def _sound_log(record: LogRecord, large: bool) -> bool:
    return (
        _sound_id(record.trace_id, 16)
        and _sound_id(record.span_id, 8)
        and (record.time_unix_nano or record.observed_time_unix_nano) > 0
        and _sound_owner(record, large)
    )


def _sound_id(value: bytes, length: int) -> bool:
    return not value or (len(value) == length and any(value))


# The careful look, at a copy.


def _mend_spans(
    request: ExportTraceServiceRequest, received_ns: int, repairs: Repairs, counters: Counters, repeats: _Repeats
) -> list[Omitted]:
    rejected: list[Omitted] = []
    for block in request.resource_spans:
        _mend_attributes(block.resource, repairs)
        for scoped in block.scope_spans:
            _mend_attributes(scoped.scope, repairs)
            kept = []
            for span in scoped.spans:
                if reason := _unusable(span):
                    rejected.append(Omitted(span.span_id.hex()[:64], span.trace_id.hex()[:64], reason))
                    continue
                key = span.trace_id + span.span_id
                if key in repeats.ids and _is_repeat(span, repeats.seen[key], counters):
                    repairs["duplicate_span"] += 1
                    continue
                _mend_span(span, received_ns, repairs, counters)
                kept.append(span)
            if len(kept) < len(scoped.spans):
                del scoped.spans[:]
                scoped.spans.extend(kept)
    return rejected


def _is_repeat(span: Span, seen: set[bytes], counters: Counters) -> bool:
    """Whether these very bytes came already; other bytes under the same id are kept, and counted as a conflict."""
    wire = span.SerializeToString(deterministic=True)
    if wire in seen:
        counters.add("dedup_identical")
        return True
    if seen:
        counters.add("span_id_conflict")
    seen.add(wire)
    return False


def _unusable(span: Span) -> str | None:
    if len(span.trace_id) != 16 or span.trace_id == NO_TRACE:
        return "bad_trace_id" if span.trace_id else "no_trace_id"
    if len(span.span_id) != 8 or span.span_id == NO_SPAN:
        return "bad_span_id" if span.span_id else "no_span_id"
    return None


def _mend_span(span: Span, received_ns: int, repairs: Repairs, counters: Counters) -> None:
    parent_id = span.parent_span_id
    if parent_id and (len(parent_id) != 8 or parent_id in (span.span_id, NO_SPAN)):
        span.parent_span_id = b""
        repairs["parent"] += 1
    if len(span.trace_state) > MAX_TRACE_STATE:
        # Whole members only: half of one would be another vendor's nonsense.
        span.trace_state = span.trace_state[: MAX_TRACE_STATE + 1].rpartition(",")[0]
        repairs["trace_state"] += 1
    if len(span.events) > MAX_EVENTS:
        span.dropped_events_count += len(span.events) - MAX_EVENTS
        repairs["events"] += len(span.events) - MAX_EVENTS
        del span.events[MAX_EVENTS:]
    if len(span.links) > MAX_LINKS:
        span.dropped_links_count += len(span.links) - MAX_LINKS
        repairs["links"] += len(span.links) - MAX_LINKS
        del span.links[MAX_LINKS:]
    owners: list[Attributed] = [span, *span.events, *span.links]
    for owner in owners:
        _mend_attributes(owner, repairs)
    _mend_times(span, received_ns, repairs, counters)


def _mend_times(span: Span, received_ns: int, repairs: Repairs, counters: Counters) -> None:
    if not span.start_time_unix_nano or not span.end_time_unix_nano:
        known = span.start_time_unix_nano or span.end_time_unix_nano or received_ns
        span.start_time_unix_nano = span.start_time_unix_nano or known
        span.end_time_unix_nano = span.end_time_unix_nano or known
        span.attributes.add(key=TIME_REPAIRED, value=AnyValue(bool_value=True))
        repairs["time"] += 1
    elif not 0 <= span.end_time_unix_nano - span.start_time_unix_nano <= LONGEST_NS:
        counters.add("time_anomaly")


def _mend_logs(request: ExportLogsServiceRequest, received_ns: int, repairs: Repairs) -> None:
    for block in request.resource_logs:
        _mend_attributes(block.resource, repairs)
        for scoped in block.scope_logs:
            _mend_attributes(scoped.scope, repairs)
            for record in scoped.log_records:
                _mend_log(record, received_ns, repairs)


def _mend_log(record: LogRecord, received_ns: int, repairs: Repairs) -> None:
    if not _sound_id(record.trace_id, 16):
        record.trace_id = b""
        repairs["log_trace_id"] += 1
    if not _sound_id(record.span_id, 8):
        record.span_id = b""
        repairs["log_span_id"] += 1
    _mend_attributes(record, repairs)
    if _truncate(record.body):
        record.attributes.add(key=TRUNCATED, value=AnyValue(bool_value=True))
        repairs["log_body"] += 1
    if not record.time_unix_nano and not record.observed_time_unix_nano:
        record.observed_time_unix_nano = received_ns
        record.attributes.add(key=TIME_REPAIRED, value=AnyValue(bool_value=True))
        repairs["time"] += 1


def _mend_attributes(owner: Attributed, repairs: Repairs) -> None:
    attributes = owner.attributes
    keys = {attribute.key for attribute in attributes}
    if _sound_attributes(attributes) and not any(map(_is_reserved, keys)) and owner.ByteSize() <= MAX_VALUE_BYTES:
        return
    kept: dict[str, KeyValue] = {}
    for attribute in attributes:
        key = attribute.key
        if _is_reserved(key):
            repairs["reserved_attribute"] += 1
            continue
        if len(key) > MAX_KEY:
            attribute.key = key = key[:MAX_KEY]
            repairs["attribute_key"] += 1
        if key in kept:
            repairs["duplicate_attribute"] += 1  # the last one wins, as in a dictionary
        kept[key] = attribute
    if (excess := len(kept) - MAX_ATTRIBUTES) > 0:
        owner.dropped_attributes_count += excess
        repairs["attributes"] += excess
    fitting = list(kept.values())[:MAX_ATTRIBUTES]
    truncated = [attribute.key for attribute in fitting if _truncate(attribute.value)]
    del attributes[:]
    attributes.extend(fitting)
    if truncated:
        repairs["attribute_value"] += len(truncated)
        attributes.add(key=TRUNCATED_ATTRS).value.array_value.values.extend(AnyValue(string_value=k) for k in truncated)


def _is_reserved(key: str) -> bool:
    return key.startswith(RESERVED) and key not in SAID_BY_SDK


def _truncate(value: AnyValue) -> bool:
    """Cut a value that is too large, and say whether it was; arrays and maps become JSON text first."""
    if value.ByteSize() <= MAX_VALUE_BYTES:
        return False
    if value.HasField("bytes_value"):
        value.bytes_value = value.bytes_value[:MAX_VALUE_BYTES]
        return True
    text = value.string_value or orjson.dumps(_plain(value), default=bytes.hex).decode()
    value.string_value = text.encode()[:MAX_VALUE_BYTES].decode(errors="ignore")
    return True


def _plain(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {item.key: _plain(item.value) for item in value.kvlist_value.values}
        case kind:
            return getattr(value, kind)


def summary(rejected: Iterable[Omitted]) -> str:
    """Why items were rejected, in a line for the sender: reasons and counts, nothing of the content."""
    reasons = Counter(omitted.reason for omitted in rejected)
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
