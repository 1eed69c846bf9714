"""any-agent (Mozilla.ai): the conventions, with words of its own for what came of a call and what a tool was given.

Read off recorded payloads of any-agent 1.18.0, and its source (tracing/attributes).
https://mozilla-ai.github.io/any-agent/tracing/
"""

from otel_bridge.model import Json, ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import value

TYPES = {
    "call_llm": ObservationType.GENERATION,
    "execute_tool": ObservationType.TOOL,
    "invoke_agent": ObservationType.AGENT,
}
NAME, ARGUMENTS = "tool.name", "tool.args"


def read(span: SpanView) -> Reading:
    """Read a call of a model or a tool; all else is in the conventions' words."""
    attrs = span.attrs
    reading = Reading(type=TYPES.get(str(attrs.get("gen_ai.operation.name"))), output=value(attrs, "gen_ai.output"))
    if reading.type is ObservationType.TOOL:
        reading.input = value(attrs, "gen_ai.tool.args")
    elif reading.type is ObservationType.GENERATION and reading.output is not None:
        reading.output = _answer(reading.output)
    return reading


def _answer(said: Json) -> Json:
    """The answer as a message: a text, or the calls of tools that it consists of."""
    calls = said if isinstance(said, list) else []
    if calls and all(isinstance(call, dict) and call.keys() == {NAME, ARGUMENTS} for call in calls):
        functions = [{"name": call[NAME], "arguments": call[ARGUMENTS]} for call in calls if isinstance(call, dict)]
        called: list[Json] = [{"type": "function", "function": function} for function in functions]
        return messages({"role": "assistant", "tool_calls": called})
    return messages({"role": "assistant", "content": said})


DIALECT = Dialect(
    name="any_agent",
    scopes=("any_agent",),
    read=read,
    checked="any-agent 1.18.0 (TinyAgent, OpenAI Agents)",
)
