"""Log records find their span, in whatever order they came; those without one become spans or events of their own."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import orjson

from otel_bridge.trace import LogEntry
from otel_bridge.translate.choose import by_scope
from otel_bridge.translate.span import LogView, SpanView, attributes

EVALUATION = "gen_ai.evaluation.result"


def views(entries: Iterable[LogEntry]) -> list[LogView]:
    """Log records taken apart, in order of time; the same bytes twice count once."""
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
        taken.append(LogView.of(entry.record, entry.scope, resource))
    taken.sort(key=lambda log: log.time_ns)
    return taken


def join(spans: dict[str, SpanView], logs: list[LogView]) -> list[LogView]:
    """Hand each record to its span, less the attributes in which it only repeats it; gives those without a span."""
    loose: list[LogView] = []
    for log in logs:
        span = spans.get(log.span_id)
        if span is None:
            loose.append(log)
            continue
        log.attrs = {key: item for key, item in log.attrs.items() if key not in span.attrs or span.attrs[key] != item}
        span.logs.append(log)
    return loose


def spans_of(key: str, loose: list[LogView]) -> list[SpanView]:
    """What the dialects read out of records without a span; takes what they used out of the list."""
    by_dialect: dict[str, list[LogView]] = defaultdict(list)
    readers = {}
    for log in loose:
        dialect = by_scope(log.scope_name)
        if dialect is not None and dialect.spans is not None:
            by_dialect[dialect.name].append(log)
            readers[dialect.name] = dialect.spans
    made: list[SpanView] = []
    for name, logs in by_dialect.items():
        before = list(logs)
        made += readers[name](logs)
        left = {id(log) for log in logs}
        used = {id(log) for log in before} - left
        loose[:] = [log for log in loose if id(log) not in used]
    for span in made:
        span.trace_id = key
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
