"""Where each field of an observation came from, found out by leaving things out.

Each attribute, event and log record of a span is left out in turn and the rest translated again: what changes came
from it. So dialects need not say anything, and the hot path pays nothing; explaining costs a translation for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.model import TraceAttributes
from otel_bridge.trace import LogEntry, SpanRecord, Trace
from otel_bridge.translate.choose import read, speakers
from otel_bridge.translate.logs import join, views
from otel_bridge.translate.observe import observation
from otel_bridge.translate.scores import of_span
from otel_bridge.translate.span import LogView, SpanView, attributes

FIELDS = (
    "type",
    "name",
    "input",
    "output",
    "model",
    "model_parameters",
    "usage",
    "cost",
    "completion_start_ns",
    "level",
    "status_message",
    "prompt_name",
    "prompt_version",
)
TRACE_FIELDS = ("session_id", "user_id", "trace_name", "tags", "environment", "release", "version", "public")


@dataclass(slots=True)
class Explanation:
    """What one observation was made of; sources are attribute keys, `event:NAME` and `log:NAME`.

    dialects: who spoke for the span, in the order heard.
    fields: field → sources. A field that is not here has no source but the span itself (its name, times, status).
    metadata: sources that no field took, and that stand in the metadata.
    shadowed: sources that were read, but said nothing that another had not said before.
    """

    id: str
    name: str
    dialects: list[str] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    metadata: list[str] = field(default_factory=list)
    shadowed: list[str] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Parts:
    """A span taken apart into its sources: attributes, then events, then log records."""

    record: SpanRecord
    logs: Sequence[LogEntry]

    def names(self) -> list[str]:
        """What to call each source."""
        span = self.record.span
        return [
            *(pair.key for pair in span.attributes),
            *(f"event:{event.name}" for event in span.events),
            *(f"log:{LogView.of(entry.record, entry.scope, {}).name}" for entry in self.logs),
        ]

    def view(self, left_out: frozenset[int]) -> SpanView:
        """The span without some of its sources."""
        span = Span()
        span.CopyFrom(self.record.span)
        del span.attributes[:]
        del span.events[:]
        attrs, events = self.record.span.attributes, self.record.span.events
        span.attributes.extend(pair for place, pair in enumerate(attrs) if place not in left_out)
        first = len(attrs)
        span.events.extend(event for place, event in enumerate(events, first) if place not in left_out)
        first += len(events)
        view = SpanView.of(span, self.record.scope, attributes(self.record.resource.attributes))
        join({view.id: view}, views(entry for place, entry in enumerate(self.logs, first) if place not in left_out))
        return view


def explain(trace: Trace) -> list[Explanation]:
    """One explanation for each span, each looked at by itself.

    What the tree decides (usage counted once, roots, attributes that come from other spans) is not in it.
    """
    by_span: dict[bytes, list[LogEntry]] = {}
    for entry in trace.logs:
        by_span.setdefault(entry.record.span_id, []).append(entry)
    return [_explained(Parts(record, by_span.get(record.span.span_id, []))) for record in trace.spans]


def _explained(parts: Parts) -> Explanation:
    whole, kept = _seen(parts.view(frozenset()))
    found = Explanation(
        id=parts.record.span.span_id.hex(),
        name=parts.record.span.name,
        dialects=[dialect.name for dialect in speakers(parts.view(frozenset()))],
    )
    names = parts.names()
    stays: dict[int, bool] = {}
    for place, name in enumerate(names):
        fields, metadata = _seen(parts.view(frozenset({place})))
        changed = [field_name for field_name, item in whole.items() if fields[field_name] != item]
        for field_name in changed:
            found.fields.setdefault(field_name, []).append(name)
        if not changed:
            stays[place] = metadata != kept
    for place in _redundant(parts, whole, found):
        stays.pop(place, None)
    found.metadata = [names[place] for place, shown in stays.items() if shown]
    found.shadowed = [names[place] for place, shown in stays.items() if not shown]
    return found


def _redundant(parts: Parts, whole: dict[str, Any], found: Explanation) -> list[int]:
    """Fields that survive without any one source, as two say it: leave out all, from the last; what changes them told.

    So of several that say the same the first is named.
    """
    names = parts.names()
    told: list[int] = []
    left_out: frozenset[int] = frozenset()
    explained = set(found.fields)
    before = whole
    for place in reversed(range(len(names))):
        left_out |= {place}
        fields, _ = _seen(parts.view(left_out))
        changed = [name for name, item in before.items() if fields[name] != item and name not in explained]
        for name in changed:
            found.fields.setdefault(name, []).insert(0, names[place])
        if changed:
            told.append(place)
        before = fields
    return told


def _seen(view: SpanView) -> tuple[dict[str, Any], dict[str, Any]]:
    """All fields by name, and the metadata."""
    scores = of_span(view)
    reading = read(view)
    seen = observation(view, reading, TraceAttributes(view.trace_id))
    fields = {name: getattr(seen, name) for name in FIELDS} | {name: getattr(reading, name) for name in TRACE_FIELDS}
    return fields | {"scores": [score.id for score in scores]}, seen.metadata
