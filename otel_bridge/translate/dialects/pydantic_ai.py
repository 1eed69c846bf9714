"""Pydantic AI: every version of its instrumentation, from `events` in one attribute to the conventions' messages.

https://ai.pydantic.dev/logfire/#using-opentelemetry
Version 1: `events` and `all_messages_events` (or the same as log records); 2: `gen_ai.input.messages` and
`pydantic_ai.all_messages`; 3: the conventions' names of spans and tool attributes; 4: their media parts; 6: tool role.
"""

import re
from typing import Any

from otel_bridge.model import Json, ObservationType, Usage
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import events, messages, system, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import count, from_json, named, nested, speaks_of, value, whole

AGENT_RUN = ("agent run", "agent_run")
RUNNING_TOOLS = "running tools"
ATTEMPT = "pydantic_ai.model_request.attempt"
DETAILS = "gen_ai.usage.details."
MODALITIES = (
    (re.compile(r"(text|image|audio|video|document)_prompt_tokens"), "gen_ai.usage.input_tokens"),
    (re.compile(r"(text|image|audio|video|document)_candidates_tokens"), "gen_ai.usage.output_tokens"),
)
COUNT = "_tokens"  # so end the names of all details
AGGREGATED = "gen_ai.aggregated_usage."
THOUGHTS = "gen_ai.usage.details.thoughts_tokens"


def read(span: SpanView) -> Reading:
    """Read what is Pydantic AI's own; what it has in common with the conventions is left to theirs."""
    attrs = span.attrs
    reading = Reading(type=_type(span))
    if attrs.get("pydantic_ai.all_messages") or attrs.get("all_messages_events"):
        _run(attrs, reading)
    elif attrs.get("events"):
        _request(attrs, reading)
    elif reading.type is ObservationType.AGENT:
        reading.output = value(attrs, "final_result")
    elif "tool_arguments" in attrs or "tool_response" in attrs:
        reading.input, reading.output = value(attrs, "tool_arguments"), value(attrs, "tool_response")
    elif "inputs" in attrs and attrs.get("gen_ai.operation.name") == "embeddings":
        reading.input, reading.output = value(attrs, "inputs"), value(attrs, "embeddings")
    elif "gen_ai.tool.definitions" not in attrs and (tools := _tools(attrs)):
        attrs["gen_ai.tool.definitions"] = tools
    if reading.type is ObservationType.AGENT:
        reading.name = named(span, attrs.get("gen_ai.agent.name", attrs.get("agent_name")))
        if isinstance(said := from_json(attrs.get("metadata")), dict):
            del attrs["metadata"]
            reading.metadata |= said
    reading.usage = _usage(span)
    return reading


def _type(span: SpanView) -> ObservationType | None:
    attrs = span.attrs
    if "gen_ai.operation.name" in attrs:
        return ObservationType.AGENT if attrs["gen_ai.operation.name"] == "invoke_agent" else None
    if span.name in AGENT_RUN or "all_messages_events" in attrs or "pydantic_ai.all_messages" in attrs:
        return ObservationType.AGENT
    if ATTEMPT in attrs or span.name.startswith("model request attempt"):
        return ObservationType.SPAN
    return ObservationType.CHAIN if span.name == RUNNING_TOOLS else None


def _usage(span: SpanView) -> Usage | None:
    """Cached tokens are always inside the input; Gemini's thoughts are inside the output since 1.0.

    What a run summed up counts only where its requests are not here: the tree settles that.
    """
    attrs = span.attrs
    if [key for key in attrs if key.startswith(AGGREGATED)]:
        summed = {f"gen_ai.usage.{key}": item for key, item in nested(attrs, AGGREGATED).items()}
        usage = table.usage(summed, beside=False)
        attrs.update((AGGREGATED + key.removeprefix("gen_ai.usage."), item) for key, item in summed.items())
        return usage
    if span.scope_version.startswith("0.") and THOUGHTS in attrs:
        thoughts = count(attrs, THOUGHTS)
        spoken = count(attrs, "gen_ai.usage.output_tokens")
        return Usage.inclusive(
            count(attrs, "gen_ai.usage.input_tokens"),
            None if spoken is None else spoken + (thoughts or 0),
            cache_read=count(attrs, *table.CACHE_READ),
            reasoning=thoughts,
        )
    if attrs.keys().isdisjoint((*table.INPUT_TOKENS, *table.OUTPUT_TOKENS)):
        _sum_by_modality(attrs)
    return table.usage(attrs, beside=False)


def _sum_by_modality(attrs: dict[str, Any]) -> None:
    """Where Pydantic AI does not know whose answer it is, as behind a proxy, only Gemini's details say the tokens.

    Its candidates are without its thoughts, its input is with what was cached.
    """
    for modality, key in MODALITIES if speaks_of(attrs, COUNT) else ():
        found = [whole(attrs[name]) for name in attrs if modality.fullmatch(name.removeprefix(DETAILS))]
        counted = [tokens for tokens in found if tokens is not None]
        if counted:
            attrs[key] = sum(counted)
    if table.OUTPUT_TOKENS[0] in attrs:
        attrs[table.OUTPUT_TOKENS[0]] += whole(attrs.get(THOUGHTS)) or 0


def _run(attrs: dict[str, Any], reading: Reading) -> None:
    """All messages of a run: the last answer is its output, if the run's result does not say otherwise."""
    spoken = value(attrs, "pydantic_ai.all_messages")
    if spoken is not None:
        told = messages(spoken)
    else:
        raw = value(attrs, "all_messages_events")
        asked, answered, names = events(raw)
        told = [*asked, *answered] or raw
        reading.metadata["all_messages_events"] = names
    result = value(attrs, "final_result")
    instructions = system(value(attrs, "gen_ai.system_instructions"))
    if isinstance(told, list) and told:
        last = told[-1]
        if isinstance(last, dict) and last.get("role") == "assistant":
            if result is None:
                result = told.pop()
            elif last.keys() <= {"role", "content", "finish_reason"} and last.get("content") == result:
                told.pop()
        told = [*instructions, *told]
        instructions = []
    if instructions:
        reading.metadata["gen_ai.system_instructions"] = instructions
    reading.input, reading.output = told, result


def _request(attrs: dict[str, Any], reading: Reading) -> None:
    """Version 1: everything that was said in one attribute, as the conventions' events."""
    raw = value(attrs, "events")
    asked, answered, names = events(raw)
    if not asked and not answered:
        reading.input = raw
        return
    reading.metadata["events"] = names
    known = value(attrs, "gen_ai.tool.definitions")
    reading.input = with_tools(asked, known or _tools(attrs))
    reading.output = answered or None


def _tools(attrs: dict[str, Any]) -> list[Json]:
    """The tools among the request's parameters, which stay where they are."""
    parameters = from_json(attrs.get("model_request_parameters"))
    if not isinstance(parameters, dict):
        return []
    attrs["model_request_parameters"] = parameters
    offered = [parameters.get(kind) for kind in ("function_tools", "output_tools")]
    return [
        {
            "type": "function",
            "name": tool["name"],
            "description": tool.get("description"),
            "parameters": tool.get("parameters_json_schema"),
        }
        for tools in offered
        if isinstance(tools, list)
        for tool in tools
        if isinstance(tool, dict) and isinstance(tool.get("name"), str)
    ]


DIALECT = Dialect(
    name="pydantic_ai",
    scopes=("pydantic-ai*",),
    marks=("pydantic_ai.*", "all_messages_events"),
    rank=5,
    read=read,
    checked="pydantic-ai-slim 0.2.20, 0.6.2, 0.8.1, 1.30.0, 1.60.0, 1.90.0, 1.107.10, 2.62.0, 2.68.0",
)
