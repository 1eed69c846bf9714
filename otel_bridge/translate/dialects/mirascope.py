"""Mirascope: the conventions on a call, `mirascope.*` on it and on the functions that are traced.

A function's span tells of the last response within it; what was cached and thought stands in its usage alone.
Read off recorded payloads of mirascope 2.8.2, and its source (ops).
https://mirascope.com/docs/learn/ops/
"""

from typing import Any

from otel_bridge.model import ObservationType, Usage
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import from_json, identifier, strings, text, value, whole

KIND, USAGE = "mirascope.type", "mirascope.response.usage"
TYPES = {
    "tool": ObservationType.TOOL,
    "call": ObservationType.CHAIN,
    "trace": ObservationType.CHAIN,
    "response_resume": ObservationType.CHAIN,
}
MODELS = ("gen_ai.response.model", "gen_ai.request.model")
APIS = (":completions", ":responses")
SIDES = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
PARTS = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def read(span: SpanView) -> Reading | None:
    """Read a call's model and tokens, and a function's arguments and result."""
    attrs = span.attrs
    reading = Reading(
        type=TYPES.get(str(attrs.get(KIND))),
        session_id=identifier(attrs, "mirascope.ops.session.id"),
        tags=strings(attrs.get("mirascope.trace.tags")),
        input=value(attrs, "mirascope.trace.arg_values"),
        output=value(attrs, "mirascope.trace.output"),
    )
    if KIND in attrs:
        return reading
    if (model := text(attrs, *MODELS)) is not None:
        named = model.removeprefix(f"{attrs.get('gen_ai.provider.name')}/")
        reading.model = next((named.removesuffix(api) for api in APIS if named.endswith(api)), named)
        if reading.model != model:
            reading.metadata[MODELS[0]] = model
    said = from_json(attrs.get(USAGE))
    if isinstance(said, dict) and [whole(said.get(key.rpartition(".")[2])) for key in SIDES] == _sides(attrs):
        asked, answered = _sides(attrs)
        cached, written, thought = (whole(said.get(name)) for name in PARTS)
        reading.usage = Usage.inclusive(asked, answered, cache_read=cached, cache_write=written, reasoning=thought)
        for key in (*SIDES, USAGE) if reading.usage is not None else ():
            attrs.pop(key, None)
    return reading


def _sides(attrs: dict[str, Any]) -> list[int | None]:
    return [whole(attrs.get(key)) for key in SIDES]


DIALECT = Dialect(
    name="mirascope",
    scopes=("mirascope.*",),
    marks=("mirascope.*",),
    rank=20,
    read=read,
    checked="mirascope 2.8.2 (OpenAI, Anthropic)",
)
