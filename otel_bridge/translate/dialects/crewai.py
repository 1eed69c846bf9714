"""CrewAI's own tracing: the conventions with `crewai.*` beside them; and the telemetry it sends home, which is noise.

There was no recorded payload: read off crewai 1.15.30 (telemetry/tracing, telemetry/telemetry.py).
"""

from typing import Any

from otel_bridge.model import Json, Level, ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import as_text, value

TYPES = {
    "execute crew": ObservationType.CHAIN,
    "execute task": ObservationType.CHAIN,
    "execute flow": ObservationType.CHAIN,
    "call method": ObservationType.CHAIN,
    "agent reasoning": ObservationType.CHAIN,
    "evaluate guardrail": ObservationType.GUARDRAIL,
    "query memory": ObservationType.RETRIEVER,
    "retrieve memory": ObservationType.RETRIEVER,
    "query knowledge": ObservationType.RETRIEVER,
    "search knowledge": ObservationType.RETRIEVER,
}
INPUT = (
    "crewai.crew.inputs",
    "crewai.task.description",
    "crewai.flow.inputs",
    "crewai.method.params",
    "crewai.memory.query",
    "crewai.memory.value",
    "crewai.knowledge.query",
    "crewai.knowledge.task_prompt",
    "crewai.mcp.tool_args",
    "crewai.human_feedback.message",
)
OUTPUT = (
    "crewai.crew.output",
    "crewai.task.output",
    "crewai.flow.result",
    "crewai.method.result",
    "crewai.memory.results",
    "crewai.memory.content",
    "crewai.knowledge.retrieved_knowledge",
    "crewai.mcp.tool_result",
    "crewai.reasoning.plan",
    "crewai.guardrail.result",
    "crewai.human_feedback.feedback",
)
MESSAGES = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result")
HOME = "crewai.telemetry"


def read(span: SpanView) -> Reading:
    """Read what the conventions have no word for; messages that follow them come first."""
    attrs = span.attrs
    if span.scope_name == HOME:
        return Reading(noise=True)
    reading = Reading(type=TYPES.get(span.name))
    reading.input = _unless(attrs, MESSAGES[::2], INPUT)
    reading.output = _unless(attrs, MESSAGES[1::2], OUTPUT)
    reading.tool = as_text(attrs.get("crewai.mcp.tool_name"))
    if failure := as_text(attrs.get("crewai.tool.failure.message") or attrs.get("crewai.guardrail.error")):
        reading.level, reading.status_message = Level.ERROR, failure
    return reading


def _unless(attrs: dict[str, Any], told: tuple[str, ...], keys: tuple[str, ...]) -> Json:
    return None if any(attrs.get(key) for key in told) else value(attrs, *keys)


DIALECT = Dialect(
    name="crewai",
    scopes=("crewai", "crewai.*"),
    marks=("crewai.event_name",),
    read=read,
    checked="crewai 1.15.30, from its source",
)
