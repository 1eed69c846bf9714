"""Traces in, Langfuse's observations and scores out: one place for all dialects, both doors and all exporters."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.model import ObservationType, Omitted, TraceAttributes, Translation
from otel_bridge.trace import ANSWER, SESSION, Answer, Known, Settled, Trace
from otel_bridge.translate import logs, observe, price, propagate, scores
from otel_bridge.translate.as_json import to_json
from otel_bridge.translate.choose import dialects, read
from otel_bridge.translate.explain import explain
from otel_bridge.translate.gather import gather, traces_of
from otel_bridge.translate.hide import Hidden, hide, promote
from otel_bridge.translate.node import Node
from otel_bridge.translate.price import Prices
from otel_bridge.translate.records import derived_key
from otel_bridge.translate.sent import Sent, digest, unpack
from otel_bridge.translate.span import LogView, SpanView, attributes
from otel_bridge.translate.tree import Arranged, answers, arrange, remember
from otel_bridge.translate.usage import uncount

__all__ = ["Prices", "dialects", "explain", "gather", "prepare", "to_json", "traces_of", "translate"]

SPAN_ID_BYTES = 8
NO_ID = "0" * SPAN_ID_BYTES * 2


def prepare() -> None:
    """Import what else the first translation does, dialects and prices: part of a second."""
    dialects()
    price.prepare()


def translate(trace: Trace, prices: Prices | None = None, *, environment: str | None = None) -> Translation:
    """One part of a trace as Langfuse shows it; never raises for what spans and log records contain.

    Every span becomes one observation under its own id. Spans that have no valid ids or times are `rejected`;
    of two spans with one id the shorter is `dropped`, unless they are the same. What an earlier part sent stands: its
    spans are `dropped` when they come again, and if they come with another content become an EVENT without usage
    below what was sent. What is noise is `dropped` where it can be (`translate.hide`). With `prices`, calls whose cost
    nobody said have one too; with `environment` traces that name none.
    """
    translation = Translation(tenant=trace.tenant)
    spans, digests = _views(trace, translation)
    before = unpack(trace.known.spans) if trace.known else {}
    for span in [span for span in spans.values() if _came_again(span, before, digests, translation)] if before else ():
        del spans[span.id]
    joined = logs.views(trace.logs)
    loose = logs.join(spans, joined)
    if not trace.key or trace.key.startswith((SESSION, ANSWER)):
        _without_trace(trace, loose, translation)
        return translation
    said = TraceAttributes(trace.key)
    nodes: dict[str, Node] = {}
    made = logs.spans_of(trace, spans, loose)
    digests |= {span.id: digest(_content(span)) for span in made}
    made = [span for span in made if not _came_again(span, before, digests, translation)]
    for span in (*spans.values(), *made):
        translation.scores += scores.of_span(span)
        node = _observe(span, nodes, said)
        node.noise = trace.noise.get(span.id)
        if node.reading.judgements:
            translation.scores += scores.of_judgements(node.reading.judgements, span)
        if span.id in before:
            _below_sent(node, nodes, digests)
    judgements: list[LogView] = []
    others: list[LogView] = []
    for log in loose:
        (others if scores.of_log(log) is None else judgements).append(log)
    _add_events(trace, others, nodes, said, before)
    arranged = arrange(nodes, trace, trace.known or translation.known, before)
    tree, hidden = _without_noise(arranged, trace, nodes, said, before)
    attributes, unsure = propagate.tell(said, tree, trace.attributes)
    said.environment = said.environment or environment
    if prices is not None:
        prices.tell(tree.order)
    translation.known = remember(tree, digests)
    translation.known.attributes, translation.known.unsure = attributes, unsure
    _remember_roots(translation.known, made)
    answered, counted = answers(tree, said), set(tree.known.calls)
    translation.answers = {told: answer for told, answer in answered.items() if told not in counted}
    _judge(trace, judgements, answered, translation)
    translation.dropped += hidden.omitted
    shown = [node.observation for node in nodes.values() if not node.hidden]
    translation.observations = sorted(shown, key=lambda seen: (seen.start_ns, -seen.end_ns, seen.id))
    translation.traces = [said] if translation.observations else []
    for score in translation.scores:
        score.environment = said.environment
        score.observation_id = hidden.shown(score.observation_id)
    return translation


def _without_noise(
    tree: Arranged, trace: Trace, nodes: dict[str, Node], said: TraceAttributes, before: dict[str, Sent]
) -> tuple[Arranged, Hidden]:
    """The tree as it is shown, and what is not; log records of that which have no span here any more become events."""
    tree, hidden = hide(tree, trace, before)
    if hidden.logs:
        for span_id, log in hidden.logs:
            log.span_id = span_id or ""
        _add_events(trace, [log for _, log in hidden.logs], nodes, said, before)
        there = set(map(id, tree.order))
        tree = replace(tree, order=[*tree.order, *(node for node in nodes.values() if id(node) not in there)])
    promote(tree, said)
    return tree, hidden


def _views(trace: Trace, translation: Translation) -> tuple[dict[str, SpanView], dict[str, bytes]]:
    """The spans by id, in order of time, and digests of them; the invalid and the repeated told apart."""
    taken: dict[str, Span] = {}
    found: dict[str, SpanView] = {}
    digests: dict[str, bytes] = {}
    resources: dict[int, dict[str, object]] = {}
    for record in sorted(trace.spans, key=lambda record: (record.span.start_time_unix_nano, record.span.span_id)):
        span = record.span
        resource = resources.get(id(record.resource))
        if resource is None:
            resource = resources[id(record.resource)] = attributes(record.resource.attributes)
        wire = _wire(span)
        view = SpanView.of(span, record.scope, resource, size=len(wire))
        if reason := _invalid(trace, view):
            translation.rejected.append(Omitted(view.id, view.trace_id, reason))
            continue
        if view.id in found:
            if span == taken[view.id]:
                continue
            translation.dropped.append(Omitted(view.id, view.trace_id, "duplicate_span_id"))
            other = _wire(taken[view.id])
            if (len(wire), wire) < (len(other), other):  # the longer stays, whichever came first
                continue
        taken[view.id], found[view.id], digests[view.id] = span, view, digest(wire)
    return found, digests


def _came_again(span: SpanView, before: dict[str, Sent], digests: dict[str, bytes], translation: Translation) -> bool:
    """Was it sent by an earlier part, as it is?"""
    sent = before.get(span.id)
    if sent is None or (sent.digest != digests[span.id] and _changed_id(span, digests) not in before):
        return False
    translation.dropped.append(Omitted(span.id, span.trace_id, "duplicate_span_id"))
    return True


def _changed_id(span: SpanView, digests: dict[str, bytes]) -> str:
    return derived_key(span.trace_id, span.id, digests[span.id].hex())[: SPAN_ID_BYTES * 2]


def _below_sent(node: Node, nodes: dict[str, Node], digests: dict[str, bytes]) -> None:
    """What was sent may be immutable: what else is said of it later stands below it, and counts nothing."""
    span, seen = node.span, node.observation
    del nodes[span.id]
    span.id, span.parent_id = _changed_id(span, digests), span.id
    seen.id, seen.parent_id, seen.type = span.id, span.parent_id, ObservationType.EVENT
    uncount(seen)
    nodes[span.id] = node


def _content(span: SpanView) -> bytes:
    """A span that was made out of log records, as bytes that the same records always give."""
    said = [span.name, span.parent_id, span.start_ns, span.end_ns, span.attrs, [log.left() for log in span.logs]]
    return orjson.dumps(said, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def _wire(span: Span) -> bytes:
    return span.SerializeToString(deterministic=True)


def _is_id(span_id: str) -> bool:
    return len(span_id) == SPAN_ID_BYTES * 2 and span_id != NO_ID


def _invalid(trace: Trace, span: SpanView) -> str | None:
    if not _is_id(span.id):
        return "invalid_span_id"
    if not trace.key or span.trace_id != trace.key:
        return "invalid_trace_id"
    return None if span.start_ns else "no_time"


def _observe(span: SpanView, nodes: dict[str, Node], trace: TraceAttributes) -> Node:
    fixed = "langfuse.observation.type" in span.attrs
    reading = read(span)
    node = nodes[span.id] = Node(span, reading, observe.observation(span, reading, trace), fixed=fixed)
    return node


def _remember_roots(known: Known, made: list[SpanView]) -> None:
    """A root made out of log records is made once, and does not say that the trace has ended, as a span's would."""
    if not made and not known.from_logs:
        return
    known.from_logs = sorted({*known.from_logs, *(span.id for span in made if not span.parent_id)})
    if known.root_id in known.from_logs:
        known.root_id = None


def _judge(
    trace: Trace, judgements: Iterable[LogView], answered: Mapping[str, Answer], translation: Translation
) -> None:
    """Judgements on the response that they name, in this part or an earlier one; else on the span that they name, which
    may not be here, or on the trace."""
    earlier = trace.known.answers if trace.known else {}
    for log in judgements:
        observation_id, named = log.span_id or None, scores.response_id(log.attrs) or ""
        if named in answered:
            observation_id = answered[named].observation_id
        elif named in earlier and observation_id is None and earlier[named].trace_id == trace.key:
            observation_id = earlier[named].observation_id
        elif named and observation_id is None:
            translation.asked.append(named)
        score = scores.of_log(log, trace_id=trace.key, observation_id=observation_id)
        if score is not None:
            translation.scores.append(score)


def _add_events(
    trace: Trace, loose: Sequence[LogView], nodes: dict[str, Node], said: TraceAttributes, before: Container[str]
) -> None:
    """A record whose span is not here becomes an event without usage: below that span, else below the topmost.

    If it tells of the whole call, and the span will not come, it stands for it: what is below that span is here, or
    nothing came for long. A closed input may be a part of what was sent.
    """
    if not loose:
        return
    top: Node | None = None
    whole = trace.part == 0 and trace.settled.complete
    told = {log.span_id for log in loose if log.name in logs.DETAILS} - nodes.keys() if whole else set()
    below = {node.span.parent_id: node.span.start_ns for node in reversed(nodes.values())} if told else {}
    for log in loose:
        if log.span_id in told and log.name in logs.DETAILS:
            told.remove(log.span_id)
            if _is_id(log.span_id) and (log.span_id in below or trace.settled is Settled.IDLE):
                _observe(logs.call_of(trace.key, log, below.get(log.span_id, log.time_ns)), nodes, said)
                continue
        span = logs.event_of(trace.key, log)
        if span.id in before:
            continue
        if span.parent_id not in nodes and whole:
            top = top or next((node for node in nodes.values() if node.span.parent_id not in nodes), None)
            if top is not None:
                span.parent_id = top.span.id
        node = _observe(span, nodes, said)
        node.loose = True
        seen = node.observation
        seen.type = ObservationType.EVENT
        seen.usage = seen.cost = None
        if seen.input is None and seen.output is None and log.body not in (None, "") and log in span.logs:
            seen.input = log.body


def _without_trace(trace: Trace, loose: list[LogView], translation: Translation) -> None:
    """Records of no trace: judgements of a session or a response are scores all the same, as are those that a closed
    input has no place for; all else has nowhere to go."""
    named = trace.key.removeprefix(ANSWER) if trace.key.startswith(ANSWER) else None
    answer = trace.known.answers.get(named) if named and trace.known else None
    for log in loose:
        if answer is not None:
            score = scores.of_log(log, trace_id=answer.trace_id, observation_id=answer.observation_id)
        else:
            score = scores.of_log(log, session_id=trace.key.removeprefix(SESSION) or None)
        if score is None:
            translation.dropped.append(Omitted("", "", "log_without_trace"))
        elif named and answer is None:
            translation.dropped.append(Omitted("", "", "unknown_response"))
            translation.asked = [named]
        else:
            score.environment = answer.environment if answer else None
            translation.scores.append(score)
