"""LangWatch's SDK: `langwatch.*`, where what was asked and answered stands in `{"type": ..., "value": ...}`.

Counts, cost, parameters and times are JSON objects in one attribute each; who and where are in `metadata`.
Read off recorded payloads of langwatch 1.4.0 (Python), and its source.
https://docs.langwatch.ai/integration/python/reference
"""

from typing import Any

from otel_bridge.model import CALLS, Json, ObservationType, Usage
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Judgement, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import MS, as_text, finite, from_json, identifier, strings, value, whole, within

TYPES = {
    "llm": ObservationType.GENERATION,
    "embedding": ObservationType.EMBEDDING,
    "agent": ObservationType.AGENT,
    "tool": ObservationType.TOOL,
    "rag": ObservationType.RETRIEVER,
    "guardrail": ObservationType.GUARDRAIL,
    "evaluation": ObservationType.EVALUATOR,
    "chain": ObservationType.CHAIN,
    "workflow": ObservationType.CHAIN,
}
KIND = "langwatch.span.type"
METRICS, TIMES, CHUNKS = "langwatch.metrics", "langwatch.timestamps", "langwatch.rag_contexts"
COUNTS = {"promptTokens": "prompt_tokens", "completionTokens": "completion_tokens"}  # in JavaScript, in Python
AGAIN = {"prompt_tokens": table.INPUT_TOKENS, "completion_tokens": table.OUTPUT_TOKENS}
THOUGHT, COST = "reasoning_tokens", "cost"
EVALUATED = "langwatch.evaluation.custom"
SPOKEN = "chat_messages"


def read(span: SpanView) -> Reading:
    """Read a span of any type."""
    attrs = span.attrs
    reading = Reading(type=TYPES.get(str(attrs.get(KIND))))
    reading.input = _said(attrs, "langwatch.input", "user")
    reading.output = _said(attrs, "langwatch.output", "assistant")
    if reading.type in CALLS and isinstance(reading.output, str):
        reading.output = messages({"role": "assistant", "content": reading.output})
    if reading.output is None:
        reading.output = value(attrs, CHUNKS)
    parameters = from_json(attrs.get("langwatch.params"))
    if isinstance(parameters, dict):
        del attrs["langwatch.params"]
        reading.input = with_tools(reading.input, parameters.pop("tools", None))
        reading.model_parameters = parameters or None
    _metrics(attrs, reading)
    times = from_json(attrs.get(TIMES))
    if isinstance(times, dict):
        begun = whole(times.get("first_token_at"))
        reading.completion_start_ns = within(span, begun * MS) if begun else None
    _who(attrs, reading)
    reading.judgements = [made for event in span.events if event.name == EVALUATED and (made := _judged(event.attrs))]
    return reading


def _said(attrs: dict[str, Any], key: str, role: str) -> Json:
    said = from_json(attrs.get(key))
    if not isinstance(said, dict) or said.keys() != {"type", "value"}:
        return value(attrs, key)
    attrs[key] = {"type": said["type"]}
    return messages(said["value"], role) if said["type"] == SPOKEN else said["value"]


def _metrics(attrs: dict[str, Any], reading: Reading) -> None:
    """Take the counts and the cost out of the metrics, and the conventions' words for the same."""
    metrics = from_json(attrs.get(METRICS))
    if isinstance(metrics, dict) and metrics.keys() == {"type", "value"}:
        metrics = metrics["value"]
    if not isinstance(metrics, dict):
        return
    left = {COUNTS.get(key, key): item for key, item in metrics.items()}
    said = dict(left)
    asked, answered, thought = (whole(said.get(name)) for name in (*AGAIN, THOUGHT))
    reading.usage = Usage.inclusive(asked, answered, reasoning=thought)
    if reading.usage is not None:
        for name, spellings in AGAIN.items():
            left.pop(name, None)
            for key in spellings:
                if key in attrs and attrs[key] == said.get(name):
                    del attrs[key]
        left.pop(THOUGHT, None)
    cost = finite(said.get(COST))
    if cost and cost > 0:
        reading.cost = {"total": cost}
        del left[COST]
    attrs[METRICS] = left
    if not left:
        del attrs[METRICS]


def _who(attrs: dict[str, Any], reading: Reading) -> None:
    said = from_json(attrs.get("metadata"))
    if isinstance(said, dict):
        del attrs["metadata"]
        reading.metadata |= said
        reading.session_id, reading.user_id = table.session(dict(said)), table.user(dict(said))
        reading.tags = strings(said.get("labels"))
    reading.session_id = reading.session_id or identifier(attrs, "langwatch.thread.id", "langwatch.session.id")
    reading.user_id = reading.user_id or identifier(attrs, "langwatch.user.id")
    reading.tags = reading.tags or strings(from_json(attrs.get("langwatch.labels")))


def _judged(attrs: dict[str, Any]) -> Judgement | None:
    """An evaluation that was made by hand: of its score, its label and whether it passed the first that is there."""
    said = from_json(attrs.get("json_encoded_event"))
    if not isinstance(said, dict):
        return None
    name, passed = as_text(said.get("name")), said.get("passed")
    score = finite(said.get("score"))
    found = score if score is not None else as_text(said.get("label"))
    if found is None and isinstance(passed, bool):
        found = passed
    if not name or found is None:
        return None
    return Judgement(name, found, as_text(said.get("details")))


DIALECT = Dialect(
    name="langwatch",
    scopes=("langwatch", "langwatch.*"),
    marks=("langwatch.span.type", "langwatch.input", "langwatch.output", METRICS, "langwatch.thread.id"),
    rank=18,
    read=read,
    checked="langwatch 1.4.0 (Python)",
)
