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
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.scores import RESPONSE_IDS, response_id
from otel_bridge.translate.span import LogView, SpanView, attributes
from otel_bridge.translate.values import from_json

Gathered = dict[str, tuple[list[SpanRecord], list[LogEntry]]]
Told = tuple[str, SpanRecord]  # and the key of its trace

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
        if (found := _response(record)[0]) and len(found) <= MAX_RESPONSE_ID:
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
    """Calls to leave to another trace, which says more of them, or names no response."""
    seen: dict[str, list[Told]] = {}
    unnamed: list[Told] = []
    if len(whole) == 1:
        return {}
    for key, record in sorted(_spans(whole), key=_begun):
        answer, counts = _response(record) if key else (None, False)
        if answer:
            seen.setdefault(answer, []).append((key, record))
        elif counts:
            unnamed.append((key, record))
    known: dict[str, Known] = {}
    for key, found in _told_unnamed(seen, unnamed) if seen and unnamed else ():
        known.setdefault(key, Known()).calls.append(found)
    for found, told in seen.items():
        told.sort(key=lambda pair: (_shows_answer(pair[1]), pair[1].span.ByteSize()), reverse=True)
        rich_key, rich = told[0]
        for key, poor in told[1:]:
            if key != rich_key and is_one_call(_told(poor), _told(rich)):
                known.setdefault(key, Known()).calls.append(found)
    return known


def _told_unnamed(seen: dict[str, list[Told]], unnamed: list[Told]) -> Iterator[tuple[str, str]]:
    """Calls, by trace and response id, that another instrumentation tells in another trace without naming the response:
    in most of the same time, with the same counts and model. There the framework's spans are, or what was set by hand.
    """
    named = {id(record): found for found, told in seen.items() for _, record in told}
    elsewhere = {found for found, told in seen.items() if len({key for key, _ in told}) > 1}
    readings: dict[int, Reading] = {}
    lately: list[Told] = []
    pairs: list[tuple[Told, Told]] = []
    settled: set[int] = set()
    for told in sorted([*unnamed, *(one for all_ in seen.values() for one in all_)], key=_begun):
        key, record = told
        begun_ns = record.span.start_time_unix_nano
        lately = [before for before in lately[-MAX_TOLD:] if before[1].span.end_time_unix_nano > begun_ns]
        for before in lately:
            there, other = before
            one, another = (record, other) if id(record) in named else (other, record)
            if id(one) not in named or id(another) in named or not _is_told_again(one, another, readings):
                continue
            if there == key:
                settled |= {id(one), id(another)}
            elif named[id(one)] not in elsewhere:
                pairs.append((told, before) if one is record else (before, told))
        lately.append(told)
    for (key, record), (_, other) in pairs:
        shown, kept = readings[id(record)].output, readings[id(other)].output
        if not settled & {id(record), id(other)} and (kept is not None or shown is None):
            settled |= {id(record), id(other)}
            yield key, named[id(record)]


def _is_told_again(one: SpanRecord, other: SpanRecord, readings: dict[int, Reading]) -> bool:
    """Whether two instrumentations tell of one call, as far as their times and counts tell."""
    if one.scope.name == other.scope.name or not is_one_call(_told(one), _told(other)):
        return False
    for record in (one, other):
        if id(record) not in readings:
            view = SpanView.of(record.span, record.scope, attributes(record.resource.attributes))
            readings[id(record)] = read(view)
    here, there = readings[id(one)], readings[id(other)]
    called = here.type is there.type and here.type in CALLS
    return called and bool(here.usage and there.usage) and is_alike(here, there)


def _response(record: SpanRecord) -> tuple[str | None, bool]:
    """The id of the response that a span tells of, and whether it counts tokens, where it says no id."""
    counts = False
    for pair in record.span.attributes:
        key = pair.key
        if key in RESPONSE_IDS:
            return pair.value.string_value or None, True
        if key in RESPONSES:
            raw = pair.value.string_value
            if '"id"' in raw and (answered := provider.response_id(from_json(raw))):
                return answered, True
        elif not counts and ("token" in key or "usage" in key):
            counts = True
    return None, counts


def _shows_answer(record: SpanRecord) -> bool:
    return any(pair.key.startswith(ANSWERS) for pair in record.span.attributes)


def _told(record: SpanRecord) -> tuple[str, int, int]:
    return record.scope.name, record.span.start_time_unix_nano, record.span.end_time_unix_nano
