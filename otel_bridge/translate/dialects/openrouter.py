"""OpenRouter's Broadcast: a span for each call that went through it, with the attempts at providers below.

There was no recorded payload: read off https://openrouter.ai/docs/guides/features/broadcast/otel-collector and what
others read in it.
"""

from typing import Any

from otel_bridge.model import Json, Level, ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.provider import request
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import MS, after, from_json, nested, number, text, value

ASKED, ANSWERED = ("gen_ai.prompt", "span.input", "trace.input"), ("gen_ai.completion", "span.output", "trace.output")
FIRST_CAME = "trace.metadata.openrouter.first_token_ms"
ATTEMPT = "span.metadata.attempt_index"
CALL = frozenset({"gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", *ASKED, *ANSWERED})
NOT_PARAMETERS = ("model", "user", "session_id", "metadata", "trace", "posthogDistinctId")
SPOKEN = ("completion", "reasoning", "toolCalls", "rawRequest")


def read(span: SpanView) -> Reading:
    """Read what was asked and answered; attempts at providers are no calls beside the one that they were made for."""
    attrs = span.attrs
    reading = Reading(trace_name=text(attrs, "trace.name"))
    if ATTEMPT in attrs or attrs.keys().isdisjoint(CALL):
        reading.type = ObservationType.SPAN
    if attrs.get("span.level") in (Level.ERROR, Level.WARNING):
        reading.level = Level(attrs.pop("span.level"))
    if FIRST_CAME in attrs and (delay := number(attrs, FIRST_CAME)) is not None:
        reading.completion_start_ns = after(span, delay, MS)
        reading.metadata["openrouter.first_token_ms"] = delay
    for key, said in nested(attrs, "trace.metadata.").items():
        told = reading.metadata if key.startswith("openrouter") else reading.trace_metadata
        told[key] = from_json(said)
    tools = _answered(attrs, reading)
    asked, offered, sent = request(value(attrs, *ASKED))
    if sent:
        reading.metadata["request"] = sent
    spoken = messages(asked) if isinstance(asked, list) else asked
    reading.input = with_tools(reading.input if spoken is None else spoken, offered or tools)
    return reading


def _answered(attrs: dict[str, Any], reading: Reading) -> Json:
    """The answer, and what beside messages was in the request that it repeats; gives the tools that were offered."""
    said = value(attrs, *ANSWERED)
    if not isinstance(said, dict) or "completion" not in said:
        reading.output = said
        return None
    spoken = {
        "role": "assistant",
        "content": said["completion"],
        "reasoning_content": said.get("reasoning"),
        "tool_calls": said.get("toolCalls") or [],
        "finish_reason": attrs.get("gen_ai.response.finish_reason"),
    }
    rest = {key: item for key, item in said.items() if key not in SPOKEN}
    reading.output = messages(spoken | {key: item for key, item in rest.items() if key not in spoken}, "assistant")
    if again := {key: item for key, item in rest.items() if key in spoken}:
        reading.metadata["answer"] = again
    sent = said.get("rawRequest")
    if not isinstance(sent, dict):
        if sent is not None:
            reading.metadata["raw_request"] = sent
        return None
    asked, tools, parameters = request(sent)
    if parameters and attrs.keys().isdisjoint(ASKED):
        reading.input = messages(asked) if isinstance(asked, list) else asked
    parameters = parameters or {key: item for key, item in sent.items() if key != "tools"}
    tools = tools or sent.get("tools")
    reading.model_parameters = {
        key: item for key, item in parameters.items() if key not in NOT_PARAMETERS and item is not None
    } or None
    told = {key: parameters[key] for key in NOT_PARAMETERS if parameters.get(key) is not None}
    if told:
        reading.metadata["raw_request"] = told
    return tools


DIALECT = Dialect(
    name="openrouter",
    scopes=("openrouter",),
    marks=("trace.metadata.openrouter.*", "span.metadata.openrouter_generation.*", ATTEMPT),
    rank=20,
    read=read,
    checked="its documentation of November 2026",
)
