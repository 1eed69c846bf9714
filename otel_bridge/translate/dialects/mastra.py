"""Mastra: `mastra.*` beside the conventions (scope `@mastra/...`).

A `chat` span is the bare request: what was asked, and the tools that were called, stand on the `model_step` around it.
Releases before it (`model_generation` as `chat`) report one agent's loop as one call; their `model_inference` tells
of each request in it, without model and counts. So does what @mastra/arize sends, which says no operation.

https://mastra.ai/docs/observability
Checked against recordings of @mastra/core 1.71 with @mastra/otel-exporter 1.4 and 1.3, and the sources of the former
and of @mastra/otel-exporter 0.3 and @mastra/observability 1.17.
"""

from typing import Any

from otel_bridge.model import CALLS, Json, ObservationType
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import instructed, messages, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import from_json, moment, nested, strings, value, within

TYPES = {
    "agent_run": ObservationType.AGENT,
    "model_inference": ObservationType.CHAIN,
    "model_generation": ObservationType.CHAIN,
    "model_step": ObservationType.CHAIN,
    "model_chunk": ObservationType.SPAN,
    "llm_generation": ObservationType.GENERATION,
    "llm_step": ObservationType.CHAIN,
    "llm_chunk": ObservationType.SPAN,
    "tool_call": ObservationType.TOOL,
    "mcp_tool_call": ObservationType.TOOL,
    "provider_tool_call": ObservationType.TOOL,
    "client_tool_call": ObservationType.TOOL,
    "rag_embedding": ObservationType.EMBEDDING,
    "rag_vector_operation": ObservationType.RETRIEVER,
    "scorer_run": ObservationType.EVALUATOR,
    "classifier_evaluation": ObservationType.EVALUATOR,
    "workflow_run": ObservationType.CHAIN,
    "workflow_step": ObservationType.CHAIN,
}
REQUESTS = ("chat", "tool_selection")  # how the one of these two that counts for a request names itself
ARIZE = "openinference.span.kind"
OF_ARIZE = {"model_inference": ObservationType.GENERATION, "model_generation": ObservationType.CHAIN}
STEPS = ("model_step", "llm_step")
CHUNKS = ("model_chunk", "llm_chunk")
SPOKEN = ("model_generation", "model_inference", "model_step", "llm_generation", "llm_step", "agent_run")


def read(span: SpanView) -> Reading:
    """Read a span of any of Mastra's types."""
    attrs = span.attrs
    sort = str(attrs.get("mastra.span.type", "")).lower()
    reading = Reading(type=TYPES.get(sort, ObservationType.SPAN if sort else None))
    if sort in ("model_inference", "model_generation") and attrs.get("gen_ai.operation.name") in REQUESTS:
        reading.type = ObservationType.GENERATION
    elif ARIZE in attrs:
        reading.type = OF_ARIZE.get(sort, reading.type)
        reading.aggregate = True if sort == "model_generation" else None  # of one model
    metadata = nested(attrs, "mastra.metadata.")
    reading.session_id, reading.user_id = table.session(metadata), table.user(metadata)
    reading.metadata = {key: from_json(item) for key, item in metadata.items()}
    if tags := strings(attrs.get("mastra.tags")):
        reading.tags = tags
        del attrs["mastra.tags"]
    reading.noise = True if sort in CHUNKS else None
    reading.tells_call = True if sort in STEPS else None
    for key, own in (("trace_id", span.trace_id), ("span_id", span.id), ("parent_span_id", span.parent_id)):
        if attrs.get(f"mastra.{key}") == own:
            del attrs[f"mastra.{key}"]
    if reading.type in CALLS:
        reading.usage = table.usage(attrs, beside=False)  # Mastra adds the cache where the provider does not
        reading.completion_start_ns = _first_token(span)
    _content(attrs, sort, reading)
    return reading


def _first_token(span: SpanView) -> int | None:
    found = within(span, moment(span.attrs.get("mastra.completion_start_time")))
    if found is not None:
        del span.attrs["mastra.completion_start_time"]
    return found


def _content(attrs: dict[str, Any], sort: str, reading: Reading) -> None:
    """What a span was given and gave; releases before 1.0 say it twice, as `input` and by its meaning."""
    if reading.type is ObservationType.TOOL:
        reading.input = value(attrs, "gen_ai.tool.call.arguments", "gen_ai.tool.input", f"mastra.{sort}.input", "input")
        reading.output = value(
            attrs, "gen_ai.tool.call.result", "gen_ai.tool.output", f"mastra.{sort}.output", "output"
        )
        return
    asked = value(attrs, f"mastra.{sort}.input", "gen_ai.input.messages", "gen_ai.prompt", "input")
    answered = value(attrs, f"mastra.{sort}.output", "gen_ai.output.messages", "gen_ai.completion", "output")
    if sort not in SPOKEN:
        reading.input, reading.output = asked, answered
        return
    reading.input = _asked(asked, reading)
    reading.output = _answered(answered, bare=sort == "agent_run")
    if sort == "agent_run":
        asked = instructed(reading.input, value(attrs, "gen_ai.system_instructions"))
        reading.input = with_tools(asked, value(attrs, "gen_ai.tool.definitions", "agent.available_tools"))


def _asked(raw: Json, reading: Reading) -> Json:
    if not isinstance(raw, dict) or not isinstance(raw.get("messages"), list):
        return messages(raw) if _chat(raw) else raw
    if rest := {key: item for key, item in raw.items() if key != "messages" and item not in (None, [], {})}:
        reading.metadata["mastra.input"] = rest
    return messages(raw["messages"])


def _chat(raw: Json) -> bool:
    return isinstance(raw, list) and all(isinstance(item, dict) and "role" in item for item in raw)


def _answered(raw: Json, *, bare: bool) -> Json:
    """`{text, toolCalls, files ...}` as a message; only text as text where `bare`; nothing where it says nothing."""
    if _chat(raw):
        spoken = messages(raw, "assistant")
        return spoken if any(item.get(key) for item in _dicts(spoken) for key in item if key != "role") else None
    if not isinstance(raw, dict) or not raw.keys() & {"text", "toolCalls", "object"}:
        return raw
    said = {key: item for key, item in raw.items() if item not in (None, "", [], {})}
    if bare and said.keys() <= {"text"}:
        return said.get("text")
    if not said:
        return None
    if thoughts := [item["text"] for item in _dicts(said.get("reasoning")) if isinstance(item.get("text"), str)]:
        if len(thoughts) == len(said["reasoning"]):
            del said["reasoning"]
        said["reasoning_content"] = "\n".join(thoughts)
    made = {"role": "assistant", "content": said.pop("text", None), "tool_calls": said.pop("toolCalls", None)}
    return messages([made | said], "assistant")


def _dicts(raw: Json) -> list[dict[str, Any]]:
    return [item for item in raw if isinstance(item, dict)] if isinstance(raw, list) else []


DIALECT = Dialect(
    name="mastra",
    scopes=("@mastra/*",),
    marks=("mastra.*",),
    rank=20,
    read=read,
    checked="@mastra/core 1.71 with @mastra/otel-exporter 1.4; 1.3; 0.3; @mastra/langfuse 1.5, @mastra/arize 1.3",
)
