"""Strands Agents: spans of its own tracer, which follow the conventions but for tools, event loops and time units.

Those of 0.1 name no operation: `Model invoke`, `Cycle <id>`, `Tool: <name>`, and the agent's own name.
Read off strands-agents 0.1.9, 1.9.1, 1.30.0 and 1.62.0 (telemetry/tracer.py), and recorded payloads of all but 1.30.0.
https://strandsagents.com/latest/documentation/docs/user-guide/observability-evaluation/traces/
"""

from typing import Any

from otel_bridge.model import Json, Level, ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages
from otel_bridge.translate.records import leave, take
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import MS, after, from_json, number, text, value

TYPES = {
    "execute_event_loop_cycle": ObservationType.CHAIN,
    "execute_agent_loop_cycle": ObservationType.CHAIN,  # what TypeScript calls it
    "invoke_graph": ObservationType.CHAIN,
    "invoke_swarm": ObservationType.CHAIN,
    "memory.search": ObservationType.RETRIEVER,
    "memory.add": ObservationType.CHAIN,
}
FIRST_IN_MS = "gen_ai.server.time_to_first_token"
STATUSES = ("gen_ai.tool.status", "tool.status")
TOOL_EVENTS = ("gen_ai.tool.message", "gen_ai.choice")
MEMORY_IN = ("memory.query", "memory.content")
MEMORY_OUT = "memory.results"


def read(span: SpanView) -> Reading:
    """Read what the conventions say otherwise, or not at all."""
    attrs = span.attrs
    operation = attrs.get("gen_ai.operation.name", span.name)
    reading = Reading(type=TYPES.get(operation) if isinstance(operation, str) else None)
    if "gen_ai.operation.name" not in attrs:
        _unnamed(span, reading)
    if operation == "execute_tool":
        _tool(span, reading)
    elif isinstance(operation, str) and operation.startswith("memory."):
        _memory(span, reading)
    elif operation == "execute_event_loop_cycle":
        _tool_results(span, reading)
    if isinstance(attrs.get("system_prompt"), str):
        attrs.setdefault("gen_ai.system_instructions", attrs["system_prompt"])
        if attrs["gen_ai.system_instructions"] == attrs["system_prompt"]:
            del attrs["system_prompt"]
    if (delay_ms := number(attrs, FIRST_IN_MS)) is not None:
        reading.completion_start_ns = after(span, delay_ms, MS)
        reading.metadata["time_to_first_token_ms"] = delay_ms
    if "strands.cancellation.type" in attrs:
        reading.level, reading.status_message = Level.WARNING, f"cancelled: {attrs['strands.cancellation.type']}"
    return reading


def _unnamed(span: SpanView, reading: Reading) -> None:
    """A span of 0.1, told by what it carries; a tool's is there twice: by itself, and as prompt and completion."""
    attrs = span.attrs
    if "tool.name" in attrs and "tool.id" in attrs:
        reading.input = value(attrs, "tool.parameters")
        answer = value(attrs, "tool.result", "gen_ai.completion")
        asked = from_json(attrs.get("gen_ai.prompt"))
        if isinstance(asked, dict) and asked.get("input") == reading.input:
            del attrs["gen_ai.prompt"]
        reading.output = _one_text(answer)
        _tool(span, reading)
    elif "event_loop.cycle_id" in attrs or span.name == "Model invoke":
        reading.type = ObservationType.GENERATION if span.name == "Model invoke" else ObservationType.CHAIN
        said = from_json(attrs.get("gen_ai.completion"))
        if isinstance(said, list) and said:  # the content of a message
            reading.output = messages({"role": "assistant", "content": said}, "assistant")
            del attrs["gen_ai.completion"]
    elif "gen_ai.agent.name" in attrs:
        reading.type = ObservationType.AGENT


def _tool(span: SpanView, reading: Reading) -> None:
    """Arguments and results stand in events that elsewhere hold messages; what failed is only told by its status."""
    attrs = span.attrs
    reading.type = ObservationType.TOOL
    if reading.input is None:
        reading.input = value(attrs, "gen_ai.tool.call.arguments")
    if reading.output is None:
        reading.output = _one_text(value(attrs, "gen_ai.tool.call.result"))
    taken = take(span, TOOL_EVENTS)
    for event in taken:
        if event.name == "gen_ai.choice":
            reading.output = _heard(event.attrs, "message", reading.output)
        else:
            reading.input = _heard(event.attrs, "content", reading.input)
            if event.attrs.get("role") == "tool":
                del event.attrs["role"]
        if "id" in event.attrs and event.attrs["id"] == attrs.get("gen_ai.tool.call.id"):
            del event.attrs["id"]
    leave(span, taken)
    if "error" in [attrs.get(key) for key in STATUSES]:
        reading.level = Level.ERROR
        said = span.status_message or _text_of(reading.output)
        reading.status_message = said or "the tool returned an error"


def _tool_results(span: SpanView, reading: Reading) -> None:
    """A cycle's choice says what the tools answered beside what the model did."""
    for event in span.events:
        if event.name == "gen_ai.choice" and "tool.result" in event.attrs:
            told = messages({"role": "user", "content": value(event.attrs, "tool.result")})
            reading.metadata.setdefault("tool_results", []).extend(told if isinstance(told, list) else [told])


def _memory(span: SpanView, reading: Reading) -> None:
    """What is asked or kept, and what was found: in events, or in attributes of the same names."""
    taken = take(span, (*MEMORY_IN, MEMORY_OUT))
    for event in taken:
        if event.name == MEMORY_OUT:
            reading.output = _heard(event.attrs, "content", reading.output)
        else:
            reading.input = _heard(event.attrs, "content", reading.input)
    leave(span, taken)
    if not taken and (said := text(span.attrs, "content")):
        if (found := from_json(said)) != said:
            reading.output = found
        else:
            reading.input = said


def _heard(attrs: dict[str, Any], key: str, known: Json) -> Json:
    """What is known, else what is said here; what is said here otherwise stays."""
    said = _one_text(from_json(attrs.get(key)))
    if said in (None, "") or known not in (None, said):
        return known
    del attrs[key]
    return said


def _one_text(raw: Json) -> Json:
    """`[{"text": "..."}]` is a text."""
    if isinstance(raw, list) and len(raw) == 1 and isinstance(raw[0], dict) and raw[0].keys() == {"text"}:
        return from_json(raw[0]["text"])
    return raw


def _text_of(raw: Json) -> str | None:
    if isinstance(raw, str):
        return raw
    parts: list[Any] = raw if isinstance(raw, list) else []
    return next((part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)), None)


DIALECT = Dialect(
    name="strands",
    scopes=("strands.telemetry.tracer", "strands-agents", "strands.*"),
    read=read,
    checked="strands-agents 0.1.9, 1.9.1, 1.20.0, 1.30.0, 1.45.0 and 1.62.0; @strands-agents/sdk 1.16.0",
)
