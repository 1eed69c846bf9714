"""Traces in, Langfuse's observations and scores out: one place for all dialects, both doors and all exporters."""

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.model import ObservationType, Omitted, TraceAttributes, Translation
from otel_bridge.trace import Trace
from otel_bridge.translate import logs, observe, propagate, scores
from otel_bridge.translate.as_json import to_json
from otel_bridge.translate.choose import dialects, read
from otel_bridge.translate.explain import explain
from otel_bridge.translate.gather import gather, traces_of
from otel_bridge.translate.span import LogView, SpanView, attributes
from otel_bridge.translate.tree import Node, arrange

__all__ = ["dialects", "explain", "gather", "to_json", "traces_of", "translate"]

SPAN_ID_BYTES = 8


def translate(trace: Trace) -> Translation:
    """One part of a trace as Langfuse shows it; never raises for what spans and log records contain.

    Every span becomes one observation under its own id. Spans that have no valid ids or times are `rejected`;
    a second span with the id of another is `dropped`, unless it is the same one again.
    """
    translation = Translation(tenant=trace.tenant)
    spans = _views(trace, translation)
    joined = logs.views(trace.logs)
    loose = logs.join(spans, joined)
    if not trace.key:
        _without_trace(loose, translation)
        return translation
    said = TraceAttributes(trace.key)
    nodes: dict[str, Node] = {}
    for span in (*spans.values(), *logs.spans_of(trace.key, loose)):
        translation.scores += scores.of_span(span)
        _observe(span, nodes, said)
    for log in loose:
        score = scores.of_log(log, _answered(log, nodes), trace.key)
        if score is not None:
            translation.scores.append(score)
        else:
            _event(trace, log, nodes, said)
    tree = arrange(nodes, trace)
    propagate.tell(said, tree)
    translation.known = tree.known
    translation.traces = [said] if nodes else []
    translation.observations = sorted(
        (node.observation for node in nodes.values()), key=lambda seen: (seen.start_ns, -seen.end_ns, seen.id)
    )
    for score in translation.scores:
        score.environment = said.environment
    return translation


def _views(trace: Trace, translation: Translation) -> dict[str, SpanView]:
    """The spans by id, in order of time; the invalid and the repeated told apart."""
    taken: dict[str, Span] = {}
    found: dict[str, SpanView] = {}
    resources: dict[int, dict[str, object]] = {}
    for record in sorted(trace.spans, key=lambda record: record.span.start_time_unix_nano):
        span = record.span
        own, whole = span.span_id.hex(), span.trace_id.hex()
        if reason := _invalid(trace, own, whole, span.start_time_unix_nano or span.end_time_unix_nano):
            translation.rejected.append(Omitted(own, whole, reason))
            continue
        if own in found:
            if span != taken[own]:
                translation.dropped.append(Omitted(own, whole, "duplicate_span_id"))
            continue
        taken[own] = span
        resource = resources.get(id(record.resource))
        if resource is None:
            resource = resources[id(record.resource)] = attributes(record.resource.attributes)
        found[own] = SpanView.of(span, record.scope, resource)
    return found


def _invalid(trace: Trace, span_id: str, trace_id: str, time_ns: int) -> str | None:
    if len(span_id) != SPAN_ID_BYTES * 2 or not span_id.strip("0"):
        return "invalid_span_id"
    if not trace.key or trace_id != trace.key:
        return "invalid_trace_id"
    return None if time_ns else "no_time"


def _observe(span: SpanView, nodes: dict[str, Node], trace: TraceAttributes) -> Node:
    fixed = "langfuse.observation.type" in span.attrs
    reading = read(span)
    node = nodes[span.id] = Node(span, reading, observe.observation(span, reading, trace), fixed=fixed)
    return node


def _answered(log: LogView, nodes: dict[str, Node]) -> SpanView | None:
    """The span whose response a record names."""
    wanted = scores.response_id(log.attrs)
    return next((node.span for node in nodes.values() if wanted and node.reading.response_id == wanted), None)


def _event(trace: Trace, log: LogView, nodes: dict[str, Node], said: TraceAttributes) -> None:
    """A record whose span is not here becomes an event without usage: below that span, else below the topmost."""
    span = logs.event_of(trace.key, log)
    if span.parent_id not in nodes and trace.part == 0 and trace.settled.complete:
        top = next((node for node in nodes.values() if node.span.parent_id not in nodes), None)
        if top is not None:
            span.parent_id = top.span.id
    seen = _observe(span, nodes, said).observation
    seen.type = ObservationType.EVENT
    seen.usage = seen.cost = None
    if seen.input is None and seen.output is None and log.body not in (None, "") and log in span.logs:
        seen.input = log.body


def _without_trace(loose: list[LogView], translation: Translation) -> None:
    """Records of no trace: results of evaluations are scores all the same, the others have nowhere to go."""
    for log in loose:
        score = scores.of_log(log, None, None)
        if score is not None:
            translation.scores.append(score)
        else:
            translation.dropped.append(Omitted("", "", "log_without_trace"))
