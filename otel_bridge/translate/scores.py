"""Evaluation results as scores: `gen_ai.evaluation.result` as span event, log record or attributes; `score` events."""

import uuid
from typing import Any

import orjson

from otel_bridge.model import Json, Score
from otel_bridge.trace import JUDGEMENTS
from otel_bridge.translate.dialect import Judgement
from otel_bridge.translate.span import Event, LogView, SpanView
from otel_bridge.translate.values import finite

NAMESPACE = uuid.UUID("6f0b7c1e-6f5c-5d6e-9c39-0d7a3d1f2b54")
PREFIX = "gen_ai.evaluation."
NAME = "gen_ai.evaluation.name"
EVALUATION, PLAIN = JUDGEMENTS
MAX_LABEL = 100  # characters; what is longer is no category
TRUTHS = ((0.0, "false"), (1.0, "true"))  # yes or no, where a value can only be a number
RESPONSE_IDS = ("gen_ai.response.id", "llm.response.id", "ai.response.id")


def of_span(span: SpanView) -> list[Score]:
    """Take the evaluation results out of a span, its events and its log records; what is no score stays."""
    if not span.events and not span.logs and NAME not in span.attrs:
        return []
    found = [score for score in [_score(span.attrs, span, span.end_ns, pop=True)] if score is not None]
    events: list[Event] = []
    for event in span.events:
        judges = event.name in JUDGEMENTS
        score = _score(_named(event.attrs, event.name), span, event.time_ns) if judges else None
        if score is None:
            events.append(event)
        else:
            found.append(score)
    logs: list[LogView] = []
    for log in span.logs:
        score = of_log(log, trace_id=span.trace_id, observation_id=span.id)
        if score is None:
            logs.append(log)
        else:
            found.append(score)
    span.events, span.logs = events, logs
    return found


def of_log(
    log: LogView, *, trace_id: str | None = None, observation_id: str | None = None, session_id: str | None = None
) -> Score | None:
    """The score of a record, if it is one: on an observation, a trace or a session."""
    if log.name not in JUDGEMENTS:
        return None
    score = _score(_named(log.attrs | _body(log), log.name), None, log.time_ns)
    if score is not None:
        score.trace_id, score.observation_id, score.session_id = trace_id, observation_id, session_id
        score.id = _id(score, log.given | _body(log))
    return score


def of_judgements(judgements: list[Judgement] | None, span: SpanView) -> list[Score]:
    """What a dialect found said of a span, or by it of another one, as scores."""
    found: list[Score] = []
    for judged in judgements or ():
        value, data_type = _value(judged.value, None)
        if value is None:
            continue
        score = Score(
            id="",
            name=judged.name,
            value=value,
            data_type=data_type,
            timestamp_ns=span.end_ns,
            trace_id=span.trace_id,
            observation_id=judged.observation_id or span.id,
            comment=judged.comment,
            metadata=judged.metadata,
        )
        score.id = _id(score, judged.metadata)
        found.append(score)
    return found


def response_id(attrs: dict[str, Any]) -> str | None:
    """The provider's id of the response that attributes name."""
    return next((attrs[key] for key in RESPONSE_IDS if isinstance(attrs.get(key), str) and attrs[key]), None)


def _body(log: LogView) -> dict[str, Any]:
    return log.body if isinstance(log.body, dict) else {}


def _named(attrs: dict[str, Any], name: str) -> dict[str, Any]:
    """A `score` event says `name`, `value`, `label`, `comment`, with or without `score.` before them."""
    if name != PLAIN:
        return attrs
    said = {key.removeprefix("score."): item for key, item in attrs.items()}
    spelled = {"name": "name", "value": "score.value", "label": "score.label", "comment": "explanation"}
    return {f"{PREFIX}{spelled[key]}" if key in spelled else key: item for key, item in said.items()}


def _score(attrs: dict[str, Any], span: SpanView | None, time_ns: int, *, pop: bool = False) -> Score | None:
    name = attrs.get(f"{PREFIX}name")
    said, label = attrs.get(f"{PREFIX}score.value"), attrs.get(f"{PREFIX}score.label")
    if not isinstance(name, str) or not name:
        return None
    value, data_type = _value(said, label)
    if value is None:
        return None
    explanation = attrs.get(f"{PREFIX}explanation")
    taken = {f"{PREFIX}name", f"{PREFIX}score.value", f"{PREFIX}score.label", f"{PREFIX}explanation"}
    metadata = {} if pop else {key: item for key, item in attrs.items() if key not in taken}
    if label is not None and label != value and data_type != "BOOLEAN":
        metadata["label"] = label
    score = Score(
        id="",
        name=name,
        value=value,
        data_type=data_type,
        timestamp_ns=time_ns,
        trace_id=span.trace_id if span else None,
        observation_id=span.id if span else None,
        comment=explanation if isinstance(explanation, str) and explanation else None,
        metadata=metadata,
    )
    if pop:
        for key in taken:
            attrs.pop(key, None)
    score.id = _id(score, metadata)
    return score


def _value(said: Json, label: Json) -> tuple[float | str | None, str]:
    if isinstance(said, bool):
        return float(said), "BOOLEAN"
    found = finite(said)
    if found is not None:
        return found, "BOOLEAN" if (found, label) in TRUTHS else "NUMERIC"
    words = next((item for item in (label, said) if isinstance(item, str) and item), None)
    return words, "CATEGORICAL" if words is None or len(words) <= MAX_LABEL else "TEXT"


def _id(score: Score, said: dict[str, Any]) -> str:
    """The same for the same judgement however often it comes; `said` with it tells it from others of the moment."""
    whole = [
        *(score.trace_id, score.observation_id, score.name, score.timestamp_ns),
        *(score.value, score.data_type, score.comment, said),
    ]
    return str(uuid.uuid5(NAMESPACE, orjson.dumps(whole, default=str, option=orjson.OPT_SORT_KEYS).decode()))
