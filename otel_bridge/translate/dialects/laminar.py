"""Laminar (lmnr), in which browser-use and OpenHands trace, too: the conventions with `lmnr.*` beside them.

Read off recorded payloads of lmnr 0.8.2 for Python.
https://docs.lmnr.ai
"""

from typing import Any

from otel_bridge.model import Json, ObservationType
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.provider import response
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import from_json, nested, strings, text, value

TYPES = {
    "LLM": ObservationType.GENERATION,
    "CACHED": ObservationType.SPAN,  # what was asked for once more, and not of a model
    "TOOL": ObservationType.TOOL,
    "EVALUATOR": ObservationType.EVALUATOR,
    "HUMAN_EVALUATOR": ObservationType.EVALUATOR,
    "EVALUATION": ObservationType.CHAIN,
    "EXECUTOR": ObservationType.CHAIN,
    "PIPELINE": ObservationType.CHAIN,
}
PROPERTIES = "lmnr.association.properties."
METADATA = "metadata."
ANSWERED = "gen_ai.output.messages"


def read(span: SpanView) -> Reading:
    """Read types, who it was for, and what observed functions were given and gave."""
    attrs = span.attrs
    reading = Reading(type=TYPES.get(str(attrs.get("lmnr.span.type"))))
    if reading.type is ObservationType.GENERATION and "embed" in span.name:
        reading.type = ObservationType.EMBEDDING
    properties = nested(attrs, PROPERTIES)
    reading.session_id, reading.user_id = table.session(properties), table.user(properties)
    if tags := strings(properties.get("tags")):
        reading.tags = tags
        del properties["tags"]
    told = _metadata(properties)
    reading.trace_metadata = {key.removeprefix(METADATA): from_json(properties.pop(key)) for key in told}
    reading.metadata = {f"{PROPERTIES}{key}": said for key, said in properties.items()}
    reading.input, reading.output = value(attrs, "lmnr.span.input"), value(attrs, "lmnr.span.output")
    if reading.output is None:
        reading.output = _choices(attrs)
    reading.environment = text(attrs, "lmnr.environment")
    return reading


def _metadata(properties: dict[str, Any]) -> list[str]:
    return [key for key in properties if key.startswith(METADATA) and key != METADATA]


def _choices(attrs: dict[str, Any]) -> Json:
    """The choices of OpenAI's API as they came, where messages should be."""
    raw = from_json(attrs.get(ANSWERED))
    if not isinstance(raw, list) or not raw or not all(isinstance(item, dict) and "message" in item for item in raw):
        return None
    del attrs[ANSWERED]
    return response({"choices": raw})[0]


DIALECT = Dialect(
    name="laminar",
    scopes=("lmnr.tracer",),
    marks=("lmnr.*",),
    rank=35,
    read=read,
    checked="lmnr 0.8.2 (Python)",
)
