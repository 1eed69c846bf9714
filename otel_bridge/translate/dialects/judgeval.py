"""Judgeval (Judgment Labs): `judgment.*`, with a provider's request and response whole as prompt and completion.

The input it counts is that without cached tokens, whoever the provider is.
Read off recorded payloads of judgeval 1.6.0 (OpenAI), and its source.
https://docs.judgmentlabs.ai/documentation/tracing/introduction
"""

from typing import Any

from otel_bridge.model import CALLS, Json, ObservationType, Usage
from otel_bridge.translate import provider
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.shown import Shown
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import count, finite, from_json, identifier, text, value

KIND = "judgment.span_kind"
TYPES = {
    "llm": ObservationType.GENERATION,
    "tool": ObservationType.TOOL,
    "agent": ObservationType.AGENT,
    "retriever": ObservationType.RETRIEVER,
    "embedding": ObservationType.EMBEDDING,
    "function": ObservationType.SPAN,
}
ASKED, ANSWERED = "gen_ai.prompt", "gen_ai.completion"
USAGE = "judgment.usage."
COST = f"{USAGE}total_cost_usd"
DETAILS = f"{USAGE}metadata"


def read(span: SpanView) -> Reading:
    """Read a span of a function or of a model's call."""
    attrs = span.attrs
    reading = Reading(
        type=TYPES.get(str(attrs.get(KIND))),
        session_id=identifier(attrs, "judgment.session_id"),
        user_id=identifier(attrs, "judgment.customer_user_id", "judgment.customer_id"),
        input=_returned(attrs, "judgment.input"),
        output=_returned(attrs, "judgment.output"),
    )
    if reading.type in CALLS:
        _call(attrs, reading)
    return reading


def _call(attrs: dict[str, Any], reading: Reading) -> None:
    reading.model = text(attrs, "judgment.llm.model")
    if ASKED in attrs:
        asked, tools, reading.model_parameters = provider.request(value(attrs, ASKED))
        if asked is not None and not isinstance(asked, list) and reading.type is ObservationType.GENERATION:
            asked = messages({"role": "user", "content": asked})
        if reading.input is not None:
            reading.metadata["judgment.input"] = reading.input
        reading.input = with_tools(asked, tools)
        requested = text(reading.model_parameters, "model")
        reading.model = reading.model or requested
    if ANSWERED in attrs:
        raw = attrs[ANSWERED] = from_json(attrs[ANSWERED])
        answered, _ = provider.response(raw)
        if isinstance(answered, str):
            answered = messages({"role": "assistant", "content": answered})
        if reading.output is not None:
            reading.metadata["judgment.output"] = reading.output
        reading.output, reading.response_id = answered, provider.response_id(raw)
        attrs[ANSWERED] = Shown(reading).rest(raw)
        if attrs[ANSWERED] is None:
            del attrs[ANSWERED]
    details = provider.parts(from_json(attrs.get(DETAILS)))
    reading.usage = Usage.exclusive(
        count(attrs, f"{USAGE}non_cached_input_tokens"),
        count(attrs, f"{USAGE}output_tokens"),
        cache_read=count(attrs, f"{USAGE}cache_read_input_tokens"),
        cache_write=count(attrs, f"{USAGE}cache_creation_input_tokens"),
        reasoning=details.get("reasoning"),
    )
    cost = finite(attrs.get(COST))
    if cost is not None and cost > 0:
        del attrs[COST]
        reading.cost = {"total": cost}


def _returned(attrs: dict[str, Any], key: str) -> Json:
    """What a function was given or gave; nothing is told as `null`."""
    if attrs.get(key) == "null":
        del attrs[key]
    return value(attrs, key)


DIALECT = Dialect(
    name="judgeval",
    scopes=("judgeval",),
    marks=("judgment.*",),
    rank=20,
    read=read,
    checked="judgeval 1.6.0 (OpenAI)",
)
