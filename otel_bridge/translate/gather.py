"""Which trace a span or log record belongs to, batch by batch or for a whole closed input."""

from collections.abc import Iterable, Iterator

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import DEFAULT_TENANT, Batch
from otel_bridge.model import CALLS
from otel_bridge.trace import (
    ANSWER,
    JUDGEMENTS,
    MAX_RESPONSE_ID,
    SESSION,
    Answer,
    Known,
    LogEntry,
    Settled,
    SpanRecord,
    Trace,
    is_one_call,
)
from otel_bridge.translate import provider
from otel_bridge.translate.calls import MAX_TOLD, is_alike
from otel_bridge.translate.choose import by_scope, read
from otel_bridge.translate.dialect import Reading, from_json
from otel_bridge.translate.scores import RESPONSE_IDS, response_id
from otel_bridge.translate.span import LogView, SpanView, attributes

Gathered = dict[str, tuple[list[SpanRecord], list[LogEntry]]]

NO_TRACE = ""
ANSWERS = ("gen_ai.output.messages", "gen_ai.completion", "llm.output_messages", "output.value")
RESPONSES = ("output.value", "gen_ai.completion")  # that may be whole, as OpenInference and LangSmith have them
TRACE_ID_BYTES = 16


def gather(batch: Batch) -> Gathered:
    """The spans and log records of a batch by assembly key: the trace id as 32 hex digits.

    For log records without one it is the key that the dialect of their scope derives, or that of the response or the
    session that is judged; what belongs to no trace (no key, or an id that is none) comes under "". Metrics give
    nothing.

    Raises:
        MalformedError: the batch's bytes are no OTLP request.
    """
    found: Gathered = {}
    places: dict[bytes, tuple[list[SpanRecord], list[LogEntry]]] = {}
    request = batch.request
    if isinstance(request, ExportTraceServiceRequest):
        for block in request.resource_spans:
            resource = block.resource
            for scoped in block.scope_spans:
                scope = scoped.scope
                for span in scoped.spans:
                    place = places.get(trace_id := span.trace_id)
                    if place is None:
                        place = places[trace_id] = found.setdefault(_key(trace_id), ([], []))
                    place[0].append(SpanRecord(span, scope, resource))
    elif isinstance(request, ExportLogsServiceRequest):
        for logs in request.resource_logs:
            for scoped_logs in logs.scope_logs:
                for record in scoped_logs.log_records:
                    entry = LogEntry(record, scoped_logs.scope, logs.resource)
                    key = _key(record.trace_id) or _derived(entry) or _judged(entry)
                    found.setdefault(key, ([], []))[1].append(entry)
    return found


def _key(trace_id: bytes) -> str:
    return trace_id.hex() if len(trace_id) == TRACE_ID_BYTES and any(trace_id) else NO_TRACE


def _derived(entry: LogEntry) -> str:
    dialect = by_scope(entry.scope.name)
    if dialect is not None and dialect.key is not None:
        resource = attributes(entry.resource.attributes)
        return dialect.key(LogView.of(entry.record, entry.scope, resource)) or NO_TRACE
    return NO_TRACE


def _judged(entry: LogEntry) -> str:
    if entry.record.event_name not in JUDGEMENTS:
        return NO_TRACE
    said = attributes(entry.record.attributes)
    if answer := response_id(said):
        return f"{ANSWER}{answer}" if len(answer) <= MAX_RESPONSE_ID else NO_TRACE
    session = said.get("session.id")
    return f"{SESSION}{session}" if isinstance(session, str) and session else NO_TRACE


def left_out(trace: Trace) -> dict[str, Answer]:
    """By response id, that a trace tells of it and is not kept, so that there is no observation of it."""
    told: dict[str, Answer] = {}
    for record in trace.spans:
        if (found := _response(record)) and len(found) <= MAX_RESPONSE_ID:
            told[found] = Answer(trace.key, "", *_told(record), environment=None, counted=False)
    return told


def judgements_in(trace: Trace) -> int:
    """How many of a trace's log records judge something."""
    return sum(entry.record.event_name in JUDGEMENTS for entry in trace.logs)


def traces_of(batches: Iterable[Batch]) -> list[Trace]:
    """The traces of a closed input, read to its end, in the order in which they begin in it.

    Judgements without a trace find the response that they name. Log records of a trace that has no span come under the
    key that their dialect derives, with those that name no trace. A call that two instrumentations report in two traces
    counts in the one that says more of it, or where only one of them names the response, in that of the other.

    Raises:
        MalformedError: a batch's bytes are no OTLP request.
    """
    whole: Gathered = {}
    tenant = DEFAULT_TENANT
    for batch in batches:
        tenant = batch.tenant
        for key, (spans, logs) in gather(batch).items():
            into = whole.setdefault(key, ([], []))
            into[0].extend(spans)
            into[1].extend(logs)
    _place_judgements(whole)
    _place_untold(whole)
    known = _told_twice(whole)
    return [
        Trace(key=key, spans=spans, logs=logs, tenant=tenant, settled=Settled.WHOLE, known=known.get(key))
        for key, (spans, logs) in whole.items()
        if spans or logs
    ]


def _place_judgements(whole: Gathered) -> None:
    """Of several spans that tell of a response the trace of that which `tree.answers` would choose is its home."""
    asked = [key for key in whole if key.startswith(ANSWER)]
    if not asked:
        return
    homes: dict[str, tuple[tuple[bool, bool, int, bytes], str]] = {}
    for key, record in _spans(whole):
        reading = read(SpanView.of(record.span, record.scope, attributes(record.resource.attributes)))
        if key and (found := reading.response_id):
            told = (reading.usage is None, reading.type not in CALLS, *_begun((key, record))), key
            homes[found] = min(told, homes.get(found, told))
    for key in asked:
        _, judgements = whole.pop(key)
        _, home = homes.get(key.removeprefix(ANSWER), (None, NO_TRACE))
        whole.setdefault(home, ([], []))[1].extend(judgements)


def _spans(whole: Gathered) -> Iterator[tuple[str, SpanRecord]]:
    return ((key, record) for key, (spans, _) in whole.items() for record in spans)


def _begun(told: tuple[str, SpanRecord]) -> tuple[int, bytes]:
    """An order that does not depend on arrival."""
    return told[1].span.start_time_unix_nano, told[1].span.span_id


def _place_untold(whole: Gathered) -> None:
    """Where no span tells of a trace, its log records belong with those of their session that name no trace."""
    for key, (spans, logs) in list(whole.items()):
        if not key or spans:
            continue
        derived = [_derived(entry) or key for entry in logs]
        whole[key] = ([], [entry for entry, home in zip(logs, derived, strict=True) if home == key])
        for entry, home in zip(logs, derived, strict=True):
            if home != key:
                whole.setdefault(home, ([], []))[1].append(entry)


def _told_twice(whole: Gathered) -> dict[str, Known]:
    """Calls to leave to another trace, which says more of them."""
    seen: dict[str, list[tuple[str, SpanRecord]]] = {}
    if len(whole) == 1:
        return {}
    for key, record in sorted(_spans(whole), key=_begun):
        if key and (answer := _response(record)):
            seen.setdefault(answer, []).append((key, record))
    known: dict[str, Known] = {}
    for key, found in _told_unnamed(whole):
        if all(there == key for there, _ in seen.get(found, ())):
            known.setdefault(key, Known()).calls.append(found)
    for found, told in seen.items():
        told.sort(key=lambda pair: (_shows_answer(pair[1]), pair[1].span.ByteSize()), reverse=True)
        rich_key, rich = told[0]
        for key, poor in told[1:]:
            if key != rich_key and is_one_call(_told(poor), _told(rich)):
                known.setdefault(key, Known()).calls.append(found)
    return known


def _told_unnamed(whole: Gathered) -> list[tuple[str, str]]:
    """Calls, by trace and response id, that another instrumentation tells in another trace without naming the response:
    in most of the same time, with the same counts and model. There the framework's spans are, or what was set by hand.
    """
    if len({record.scope.name for _, record in _spans(whole)}) < 2:
        return []
    readings: dict[int, Reading] = {}
    lately: list[tuple[str, SpanRecord]] = []
    pairs: list[tuple[tuple[str, SpanRecord], tuple[str, SpanRecord]]] = []
    settled: set[int] = set()
    for key, record in sorted((told for told in _spans(whole) if told[0] and _counts(told[1])), key=_begun):
        begun_ns = record.span.start_time_unix_nano
        lately = [told for told in lately[-MAX_TOLD:] if told[1].span.end_time_unix_nano > begun_ns]
        for there, other in lately:
            if not _is_told_again(other, record, readings):
                continue
            if there == key:
                settled |= {id(other), id(record)}
            else:
                pairs.append(((there, other), (key, record)))
        lately.append((key, record))
    found: list[tuple[str, str]] = []
    for one, again in pairs:
        if id(one[1]) in settled or id(again[1]) in settled:
            continue
        named, unnamed = (one, again) if readings[id(one[1])].response_id else (again, one)
        response, kept = readings[id(named[1])], readings[id(unnamed[1])]
        if response.response_id and not kept.response_id and (kept.output is not None or response.output is None):
            found.append((named[0], response.response_id))
            settled |= {id(one[1]), id(again[1])}
    return found


def _counts(record: SpanRecord) -> bool:
    return any("token" in pair.key or "usage" in pair.key for pair in record.span.attributes)


def _is_told_again(one: SpanRecord, other: SpanRecord, readings: dict[int, Reading]) -> bool:
    """Whether two instrumentations tell of one call, as far as their times, counts and ids tell."""
    if one.scope.name == other.scope.name or not is_one_call(_told(one), _told(other)):
        return False
    for record in (one, other):
        if id(record) not in readings:
            view = SpanView.of(record.span, record.scope, attributes(record.resource.attributes))
            readings[id(record)] = read(view)
    here, there = readings[id(one)], readings[id(other)]
    if here.type is not there.type or here.type not in CALLS or not (here.usage and there.usage):
        return False
    ids = {here.response_id, there.response_id} - {None}
    return len(ids) < 2 and is_alike(here, there)


def _response(record: SpanRecord) -> str | None:
    for pair in record.span.attributes:
        if pair.key in RESPONSE_IDS:
            return pair.value.string_value or None
        raw = pair.value.string_value if pair.key in RESPONSES else ""
        if '"id"' in raw and (answered := provider.response_id(from_json(raw))):
            return answered
    return None


def _shows_answer(record: SpanRecord) -> bool:
    return any(pair.key.startswith(ANSWERS) for pair in record.span.attributes)


def _told(record: SpanRecord) -> tuple[str, int, int]:
    return record.scope.name, record.span.start_time_unix_nano, record.span.end_time_unix_nano
