"""Log records find their span, in whatever order they came; those without one become spans or events of their own."""

import hashlib
from collections.abc import Iterable

import orjson

from otel_bridge.trace import LogEntry, Trace
from otel_bridge.translate.choose import by_scope
from otel_bridge.translate.dialect import Dialect
from otel_bridge.translate.span import LogView, SpanView, attributes
from otel_bridge.translate.values import whole

DETAILS = ("gen_ai.client.inference.operation.details",)  # the conventions' event that says all of a call


def views(entries: Iterable[LogEntry]) -> list[LogView]:
    """Log records taken apart, in order of time (then of their sequence numbers); the same bytes twice count once."""
    seen: set[bytes] = set()
    taken: list[LogView] = []
    resources: dict[int, dict[str, object]] = {}
    for entry in entries:
        wire = entry.record.SerializeToString(deterministic=True)
        if wire in seen:
            continue
        seen.add(wire)
        resource = resources.get(id(entry.resource))
        if resource is None:
            resource = resources[id(entry.resource)] = attributes(entry.resource.attributes)
        taken.append(LogView.of(entry.record, entry.scope, resource, size=len(wire)))
    taken.sort(key=lambda log: (log.time_ns, log.observed_ns, whole(log.attrs.get("event.sequence")) or 0))
    return taken


def join(spans: dict[str, SpanView], logs: list[LogView]) -> list[LogView]:
    """Hand each record to its span, less the attributes in which it only repeats it; gives those without a span."""
    for dialect in _dialects([*spans.values(), *logs]):
        if dialect.join is not None:
            dialect.join(spans, [log for log in logs if by_scope(log.scope_name) is dialect])
    loose: list[LogView] = []
    for log in logs:
        span = spans.get(log.span_id)
        if span is None:
            loose.append(log)
            continue
        log.attrs = {key: item for key, item in log.attrs.items() if key not in span.attrs or span.attrs[key] != item}
        span.logs.append(log)
    return loose


def _dialects(told: Iterable[SpanView | LogView]) -> list[Dialect]:
    """The dialects whose scopes these come from."""
    found = dict.fromkeys(map(by_scope, dict.fromkeys([view.scope_name for view in told])))
    return [dialect for dialect in found if dialect is not None]


def spans_of(trace: Trace, spans: dict[str, SpanView], loose: list[LogView]) -> list[SpanView]:
    """What the dialects read out of records without a span; takes what they used out of the list.

    Records that name a trace are left as they are where spans of their dialect tell of it, here or in an earlier part.
    """
    if not loose:
        return []
    sent = trace.known.from_logs if trace.known else []
    spoken = _dialects(spans.values())
    made: list[SpanView] = []
    for dialect in _dialects(loose):
        if dialect.spans is None:
            continue
        mine = [
            log
            for log in loose
            if by_scope(log.scope_name) is dialect and not (log.trace_id and (trace.part or dialect in spoken))
        ]
        before = {id(log) for log in mine}
        found = dialect.spans(mine)
        used = before - {id(log) for log in mine}
        loose[:] = [log for log in loose if id(log) not in used]
        for span in found:
            span.trace_id = trace.key
            if span.id in sent:
                loose += span.logs
            else:
                made.append(span)
    return made


def event_of(key: str, log: LogView) -> SpanView:
    """A record whose span is not here, as a span of no length below it; the same record always gets the same id."""
    said = orjson.dumps([key, log.span_id, log.name, log.time_ns, log.left()], default=str, option=orjson.OPT_SORT_KEYS)
    return SpanView(
        id=hashlib.sha256(said).hexdigest()[:16],
        trace_id=key,
        parent_id=log.span_id,
        name=log.name or log.severity or "log",
        start_ns=log.time_ns,
        end_ns=log.time_ns,
        attrs={},
        logs=[log],
        scope_name=log.scope_name,
        scope_version=log.scope_version,
        resource=log.resource,
        size=log.size,
    )


def call_of(key: str, log: LogView, begun_ns: int) -> SpanView:
    """A record that tells of a call, as the span that it names: until the time of the record."""
    said = {} if log.body in (None, "") else log.body if isinstance(log.body, dict) else {"body": log.body}
    attrs = said | log.attrs
    called = [attrs.get("gen_ai.operation.name"), attrs.get("gen_ai.request.model")]
    return SpanView(
        id=log.span_id,
        trace_id=key,
        parent_id="",
        name=" ".join(said for said in called if isinstance(said, str)) or log.name,
        start_ns=min(begun_ns, log.time_ns),
        end_ns=log.time_ns,
        attrs=attrs,
        scope_name=log.scope_name,
        scope_version=log.scope_version,
        resource=log.resource,
        size=log.size,
    )
