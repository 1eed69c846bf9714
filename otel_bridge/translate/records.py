"""Log records, and events, as dialects share them: taken out of a span, put in order, made into spans of their own."""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TypeVar

from otel_bridge.translate.span import Event, LogView, SpanView
from otel_bridge.translate.values import MS, finite, whole

LONGEST_MS = 1e9  # more than anything takes
SPAN_ID_BYTES = 8
T = TypeVar("T")


def derived_key(*parts: str) -> str:
    """An assembly key for records without a trace id: 32 hex digits that the same parts always give."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def take(span: SpanView, names: Container[str]) -> list[Event | LogView]:
    """Take the events and log records of these names out of a span, in order; `leave` puts back what is left."""
    if not span.events and not span.logs:
        return []
    taken: list[Event | LogView] = []
    if events := [event for event in span.events if event.name in names]:
        taken += events
        span.events = [event for event in span.events if event.name not in names]
    if logs := [log for log in span.logs if log.name in names]:
        taken += logs
        span.logs = [log for log in span.logs if log.name not in names]
    return taken


def take_logs(span: SpanView, names: Container[str]) -> list[LogView]:
    """The same of log records alone."""
    taken = [log for log in span.logs if log.name in names]
    if taken:
        span.logs = [log for log in span.logs if log.name not in names]
    return taken


def leave(span: SpanView, taken: Iterable[Event | LogView]) -> None:
    """Put back what was taken and still says something: attributes that nobody popped, a body that is not None."""
    for said in taken:
        if isinstance(said, Event):
            if said.attrs:
                span.events.append(said)
        elif said.attrs or said.body not in (None, ""):
            span.logs.append(said)


def absorb(span: SpanView, records: Iterable[LogView]) -> None:
    """Attributes of log records as if the span had said them; what they say otherwise stays with the span as records.

    When they came and which number they had is not kept where nothing else is left.
    """
    records = list(records)
    for log in records:
        for key, item in list(log.attrs.items()):
            if key in WHEN or span.attrs.setdefault(key, item) == item:
                del log.attrs[key]
    leave(span, records)


WHEN = frozenset({"event.timestamp", "event.sequence"})


def in_order(logs: Iterable[LogView]) -> list[LogView]:
    """By time and number, and where these are the same by what they say: the same however they came."""

    def place(log: LogView) -> tuple[int, int, str]:
        return log.time_ns, whole(log.attrs.get("event.sequence")) or 0, log.name

    ordered = sorted(logs, key=place)
    if len({place(log) for log in ordered}) < len(ordered):
        ordered.sort(key=lambda log: (*place(log), _content(log)))
    return ordered


def _content(log: LogView) -> str:
    return str(sorted(log.attrs.items(), key=str))


def began_ns(log: LogView) -> int:
    """When what a record reports began: it comes at the end, and says `duration_ms`."""
    took = finite(log.attrs.get("duration_ms"))
    return max(0, log.time_ns - round(took * MS)) if took and 0 < took < LONGEST_MS else log.time_ns


def nearest(told: Sequence[T], at_ns: int, when: Callable[[T], int]) -> int | None:
    """The place of what is nearest to a moment, of equals the first; `told` is in order of the time `when` gives."""
    after = bisect_left(told, at_ns, key=when)
    if after and (after == len(told) or at_ns - when(told[after - 1]) <= when(told[after]) - at_ns):
        return bisect_left(told, when(told[after - 1]), key=when)
    return after if told else None


def made_of(log: LogView, name: str, parent_id: str, own_id: str = "") -> SpanView:
    """A span that a record stands for; its id, if none is given, is that of all that the record says."""
    said = derived_key(parent_id, name, log.name, str(log.time_ns), _content(log))
    return SpanView(
        id=own_id or said[: SPAN_ID_BYTES * 2],
        trace_id=log.trace_id,
        parent_id=parent_id,
        name=name,
        start_ns=began_ns(log),
        end_ns=log.time_ns,
        attrs={},
        scope_name=log.scope_name,
        scope_version=log.scope_version,
        resource=log.resource,
    )


def root_of(log: LogView, name: str, key: str) -> SpanView:
    """The span that stands for a whole trace of records, in every part under one id; `key` is the trace's own."""
    return made_of(log, name, "", derived_key(key, "root")[: SPAN_ID_BYTES * 2])
