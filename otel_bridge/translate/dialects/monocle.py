"""Monocle (LF AI & Data, Okahu): `span.type`, numbered `entity.N.*`, and all content and counts in span events.

Each message is JSON of its role and its text. A framework's call counts; the model's API below it tells nothing.
Read off recorded payloads of monocle_apptrace 0.8.15 (OpenAI, LangChain, LangGraph).
https://github.com/monocle2ai/monocle/blob/main/Monocle_wiki.md
"""

import re
from typing import Any

from otel_bridge.model import CALLS, Json, ObservationType, Usage
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages
from otel_bridge.translate.records import leave, take
from otel_bridge.translate.span import ERROR_CODE, SpanView
from otel_bridge.translate.values import as_text, count, from_json, from_printed, identifier, named, value

KIND = "span.type"
ENTITY = re.compile(r"entity\.\d+\.type")
TYPES = {
    "inference": ObservationType.GENERATION,
    "inference.framework": ObservationType.GENERATION,
    "inference.modelapi": ObservationType.SPAN,
    "embedding": ObservationType.EMBEDDING,
    "embedding.modelapi": ObservationType.SPAN,
    "retrieval": ObservationType.RETRIEVER,
    "agentic.tool.invocation": ObservationType.TOOL,
    "agentic.mcp.invocation": ObservationType.TOOL,
    "agentic.invocation": ObservationType.AGENT,
    "agentic.turn": ObservationType.CHAIN,
    "agentic.request": ObservationType.CHAIN,
    "agentic.delegation": ObservationType.SPAN,
    "workflow": ObservationType.CHAIN,
}
ASKED, ANSWERED, NOTED = "data.input", "data.output", "metadata"
CACHE_BESIDE = "inference.anthropic"
SIDES = ("prompt_tokens", "completion_tokens", "total_tokens")
CACHE_READ, CACHE_WRITE = ("cache_read_input_tokens", "cache_read_tokens"), ("cache_creation_input_tokens",)
ROLES = {"ai": "assistant", "human": "user"}
SPOKEN = frozenset({"system", "user", "assistant", "tool", "developer", *ROLES})
CALLED = {
    "tool_name": "name",
    "tool_function": "name",
    "tool_arguments": "arguments",
    "tool_id": "id",
    "args": "arguments",
}


def read(span: SpanView) -> Reading:
    """Read a span, whose events say what was asked, what came of it and how much it took."""
    attrs = span.attrs
    reading = Reading(
        type=TYPES.get(str(attrs.get(KIND))), session_id=identifier(attrs, "scope.agentic.session", "scope.session.id")
    )
    calls = reading.type in CALLS
    entities = [(attrs.get(f"{key.removesuffix('.type')}.name"), attrs[key]) for key in attrs if ENTITY.fullmatch(key)]
    for name, kind in entities:
        if isinstance(kind, str) and kind.startswith("model.") and calls:
            reading.model = as_text(name)
        elif isinstance(kind, str) and kind.startswith("tool.") and reading.type is ObservationType.TOOL:
            reading.name = named(span, name)
    told = take(span, (ASKED, ANSWERED, NOTED))
    for event in told:
        if event.name == ASKED and reading.input is None:
            reading.input = _said(value(event.attrs, "input"), reading.type, "user")
        elif event.name == ANSWERED and reading.output is None and span.status_code != ERROR_CODE:
            reading.output = _said(value(event.attrs, "response"), reading.type, "assistant")
        elif event.name == NOTED and reading.usage is None and calls:
            beside = any(kind == CACHE_BESIDE for _, kind in entities)
            reading.usage = _usage(event.attrs, beside=beside)
    leave(span, told)
    return reading


def _usage(said: dict[str, Any], *, beside: bool) -> Usage | None:
    if said.keys().isdisjoint(SIDES):
        return None
    asked, answered, total = (count(said, name) for name in SIDES)
    return (Usage.exclusive if beside else Usage.inclusive)(
        asked,
        answered,
        cache_read=count(said, *CACHE_READ),
        cache_write=count(said, *CACHE_WRITE),
        reasoning=count(said, "reasoning_tokens"),
        total=None if beside else total,
    )


def _said(raw: Json, kind: ObservationType | None, role: str) -> Json:
    """`{"role": "text"}` in JSON, one or a list of them, as messages; of tools the arguments as they were printed."""
    if kind is ObservationType.TOOL:
        return from_printed(raw)
    if kind is not ObservationType.GENERATION:
        return raw
    spoken = [_message(from_json(item), role) for item in (raw if isinstance(raw, list) else [raw])]
    return messages(spoken) if raw is not None else None


def _message(said: Json, role: str) -> Json:
    if not isinstance(said, dict) or len(said) != 1 or not said.keys() <= SPOKEN:
        return {"role": role, "content": said}
    [(who, content)] = said.items()
    calls = [_call(from_json(item)) for item in (content if isinstance(content, list) else [content])]
    speaks: dict[str, Json] = {"role": ROLES.get(who, who)}
    if calls and all(call is not None for call in calls):
        return speaks | {"tool_calls": calls}
    return speaks | {"content": content}


def _call(raw: Json) -> Json:
    called = {CALLED.get(key, key): item for key, item in raw.items()} if isinstance(raw, dict) else {}
    if not called.keys() >= {"name", "arguments"}:
        return None
    function: dict[str, Json] = {key: called.pop(key) for key in ("name", "arguments")}
    return called | {"type": "function", "function": function}


DIALECT = Dialect(
    name="monocle",
    scopes=("monocle_apptrace",),
    marks=("monocle_apptrace.*",),
    rank=20,
    read=read,
    checked="monocle_apptrace 0.8.15 (OpenAI, LangChain, LangGraph)",
)
