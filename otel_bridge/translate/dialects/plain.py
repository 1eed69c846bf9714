"""What any span may say, by whatever instrumentation: errors, the first token, who and where, input and output.

And what people write on spans of their own: `agent.type`, the kind of an agent's step or that of the agent.
"""

from typing import Any

from otel_bridge.model import Level, ObservationType
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.records import leave, take
from otel_bridge.translate.span import ERROR_CODE, OK_CODE, LogView, SpanView
from otel_bridge.translate.values import as_text, text, value, whole

INPUT = ("input", "agent.input", "tool.input", "request.input")
OUTPUT = ("output", "agent.output", "tool.output", "response.output")
EXCEPTIONS = ("exception", "gen_ai.client.operation.exception")
THROWN = ("exception.type", "exception.message", "exception.stacktrace", "exception.escaped")
NAMELESS = ("", "_OTHER")
UNSAID = "it failed, and does not say why"
NOISE = ("asgi.event.type",)
HTTP_STATUS = ("http.response.status_code", "http.status_code")
AGENT_TYPE = "agent.type"
STEPS = {
    "tool": ObservationType.TOOL,
    "llm": ObservationType.GENERATION,
    "model": ObservationType.GENERATION,
    "generation": ObservationType.GENERATION,
    "embedding": ObservationType.EMBEDDING,
    "retriever": ObservationType.RETRIEVER,
    "chain": ObservationType.CHAIN,
    "workflow": ObservationType.CHAIN,
    "evaluator": ObservationType.EVALUATOR,
    "guardrail": ObservationType.GUARDRAIL,
}
"""What `agent.type` says of a step that is no agent; all else is a type of agent, as `planner`."""
READ = {
    AGENT_TYPE: "type",
    **dict.fromkeys(INPUT, "input"),
    **dict.fromkeys(OUTPUT, "output"),
    **dict.fromkeys(table.DELAYS, "first_token"),
    **dict.fromkeys(NOISE, "noise"),
    **dict.fromkeys(table.WHO, "who"),
    **dict.fromkeys((*THROWN, "error.type"), "error"),
}
"""Attribute → what is to be read off it; most spans have few of them."""


def read(span: SpanView) -> Reading | None:
    """Read the general attributes and events of OpenTelemetry."""
    attrs = span.attrs
    told = {READ[key] for key in attrs.keys() & READ.keys()}
    if type(attrs.get(table.THREAD)) is str:
        told.add("who")
    if not told and not (span.events or span.logs or span.status_code or span.status_message):
        return None
    reading = Reading()
    if "input" in told:
        reading.input = value(attrs, *INPUT)
    if "output" in told:
        reading.output = value(attrs, *OUTPUT)
    if "first_token" in told or span.events:
        reading.completion_start_ns = table.first_token(span)
    if "noise" in told:
        reading.noise = True
    if "who" in told:
        table.identity(attrs, reading)
    if "type" in told and (kind := as_text(attrs[AGENT_TYPE])):
        reading.type = STEPS.get(kind.lower(), ObservationType.AGENT)
    _error(span, reading)
    return reading


def _error(span: SpanView, reading: Reading) -> None:
    """An error is what the status says; where it says nothing, an exception or an error type."""
    thrown = _exception(span)
    kind = thrown.get("exception.type") or span.attrs.get("error.type")
    if span.status_code == OK_CODE or (span.status_code != ERROR_CODE and not thrown and not kind):
        reading.status_message = span.status_message or None
        return
    reading.level = Level.ERROR
    said = str(span.status_message or thrown.get("exception.message") or _said(span.attrs) or "")
    reading.status_message = _named(said, str(kind or "")) or _answered(span.attrs) or UNSAID


def _answered(attrs: dict[str, Any]) -> str | None:
    """Of a request that failed HTTP's instrumentations often say no more than the number."""
    number = next((found for key in HTTP_STATUS if (found := whole(attrs.get(key))) is not None), None)
    return None if number is None else f"HTTP {number}"


def _named(said: str, kind: str) -> str:
    """A message that begins with the kind of its error, with its module or without, where the kind says anything."""
    if said and (kind in NAMELESS or kind.isdigit() or said.startswith((kind, kind.rpartition(".")[2]))):
        return said
    return f"{kind}: {said}" if said else kind


def _exception(span: SpanView) -> dict[str, Any]:
    """The exception that ended the span, with its stack trace moved to the attributes; earlier ones stay events."""
    if not span.events and not span.logs and span.attrs.keys().isdisjoint(THROWN):
        return {}
    taken = take(span, EXCEPTIONS)
    if taken:
        thrown = taken[-1]
        if isinstance(thrown, LogView) and isinstance(thrown.body, str) and "exception.message" not in thrown.attrs:
            thrown.attrs["exception.message"], thrown.body = thrown.body, None
        for key in THROWN:
            if key in thrown.attrs and span.attrs.setdefault(key, thrown.attrs[key]) == thrown.attrs[key]:
                del thrown.attrs[key]
        leave(span, taken)
    return {key: span.attrs[key] for key in THROWN if key in span.attrs}


def _said(attrs: dict[str, Any]) -> str | None:
    for key in ("error.message", "exception.message", "error"):
        if isinstance(attrs.get(key), str) and attrs[key]:
            return text(attrs, key)
    return None


DIALECT = Dialect(name="plain", marks=("*",), rank=100, read=read, checked="semantic conventions 1.44")
