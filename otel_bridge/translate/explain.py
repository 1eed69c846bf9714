"""Where each field of an observation came from, found out by leaving things out.

Each attribute, event and log record of a span is left out in turn and the rest translated again: what changes came
from it. So dialects need not say anything, and the hot path pays nothing; explaining costs a translation for each.
What the tree decided is read off the translation of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.model import Level, Observation, TraceAttributes, Translation
from otel_bridge.trace import LogEntry, SpanRecord, Trace
from otel_bridge.translate.choose import read, speakers
from otel_bridge.translate.logs import join, views
from otel_bridge.translate.observe import observation
from otel_bridge.translate.price import COST_SOURCE, SAID
from otel_bridge.translate.scores import of_judgements, of_span
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
    tree: what only the whole trace could tell, in a sentence each.
    """

    id: str
    name: str
    dialects: list[str] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    metadata: list[str] = field(default_factory=list)
    shadowed: list[str] = field(default_factory=list)
    tree: list[str] = field(default_factory=list)


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


def explain(trace: Trace, translation: Translation) -> list[Explanation]:
    """One explanation for each observation of a trace, of which `translation` is the translation.

    Each span is looked at by itself; a field that came from elsewhere has `span:ID`, `resource`, or where a price is
    from as its source.
    """
    by_span: dict[bytes, list[LogEntry]] = {}
    for entry in trace.logs:
        by_span.setdefault(entry.record.span_id, []).append(entry)
    found = {
        one.id: one
        for record in trace.spans
        for one in [_explained(Parts(record, by_span.get(record.span.span_id, [])))]
    }
    twins = {
        kept: seen.id for seen in translation.observations if isinstance(kept := seen.metadata.get("same_call_as"), str)
    }
    own = {name: one.id for one in reversed(found.values()) for name in one.fields}
    for seen in translation.observations:
        if seen.id not in found:
            found[seen.id] = Explanation(seen.id, seen.name, tree=["made of log records"])
        _tell_tree(found[seen.id], seen, twins.get(seen.id), own)
    return list(found.values())


def _tell_tree(one: Explanation, seen: Observation, twin: str | None, own: dict[str, str]) -> None:
    """What an observation has from other spans, and what was taken from it."""
    said = seen.metadata
    for name in FIELDS:
        if twin is not None and name not in one.fields and getattr(seen, name) not in (None, Level.DEFAULT):
            one.fields.setdefault(name, [f"span:{twin}"])
    for name in TRACE_FIELDS:
        told = getattr(seen.trace, "name" if name == "trace_name" else name)
        if told not in (None, []) and name not in one.fields:
            one.fields[name] = [
                f"span:{own[name]}" if name in own else "the root's name" if name == "trace_name" else "resource"
            ]
    if COST_SOURCE in said and said[COST_SOURCE] != SAID:
        one.fields["cost"] = [str(said[COST_SOURCE])]
    if "same_call_as" in said:
        one.tree.append(f"reports the same call as {said['same_call_as']}, which says more of it: shown as {seen.type}")
    if "uncounted_usage" in said:
        one.tree.append("its usage is not counted: others that report it are")
    if "uncounted_cost" in said:
        one.tree.append("its cost is not counted: others that report it are")
    if seen.parent_id is None and "otel.parent_span_id" in said:
        one.tree.append(f"made a root: its parent {said['otel.parent_span_id']} is not here")


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
    scores += of_judgements(reading.judgements, view)
    seen = observation(view, reading, TraceAttributes(view.trace_id))
    fields = {name: getattr(seen, name) for name in FIELDS} | {name: getattr(reading, name) for name in TRACE_FIELDS}
    return fields | {"scores": [score.id for score in scores]}, seen.metadata
