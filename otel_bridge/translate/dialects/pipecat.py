"""Pipecat: a conversation's turns with their speech-to-text, model and text-to-speech spans.

Read off pipecat-ai 0.0.80 and 1.14.0 (utils/tracing, services), and a recorded payload of the latter, with text alone.
https://docs.pipecat.ai/server/utilities/opentelemetry
"""

from typing import Any

from otel_bridge.model import Json, Level, ObservationType
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import instructed, messages, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import NS, after, finite, text, value

TYPES = {
    "conversation": ObservationType.CHAIN,
    "turn": ObservationType.CHAIN,
    "stt": ObservationType.SPAN,
    "tts": ObservationType.SPAN,
    "llm": ObservationType.GENERATION,
    "llm_setup": ObservationType.SPAN,
    "llm_request": ObservationType.SPAN,  # what a realtime service was sent; its answer has the counts
    "llm_response": ObservationType.GENERATION,
    "llm_tool_call": ObservationType.TOOL,
    "llm_tool_result": ObservationType.SPAN,
}
NOT_GIVEN = "NOT_GIVEN"  # what OpenAI's SDK has for a parameter that nobody gave
BESIDE = ("anthropic", "aws.bedrock", "bedrock", "awsbedrock")
"""Providers whose count of input tokens comes without the cached ones."""


def read(span: SpanView) -> Reading:
    """Read a span of a conversation; names of spans say what they are."""
    attrs = span.attrs
    for key in [key for key, said in attrs.items() if said == NOT_GIVEN]:
        del attrs[key]
    reading = Reading(type=TYPES.get(span.name) or _service(span.name))
    _content(attrs, reading)
    if attrs.get("gen_ai.provider.name", attrs.get("gen_ai.system")) in BESIDE:
        reading.usage = table.usage(attrs, beside=True)
    if reading.type is ObservationType.GENERATION:
        reading.completion_start_ns = after(span, finite(attrs.get("metrics.ttfb")), NS)
    if attrs.get("tool.result_status") == "error":
        reading.level, reading.status_message = Level.ERROR, str(reading.output or "the tool failed")
    if reading.type is ObservationType.TOOL:
        reading.name = text(attrs, "tool.function_name")
    return reading


def _service(name: str) -> ObservationType | None:
    """Early versions put the service before it, as in `openaillmservice_llm`."""
    return TYPES.get(name.rpartition("_")[2]) if name.endswith(("_llm", "_stt", "_tts")) else None


def _content(attrs: dict[str, Any], reading: Reading) -> None:
    asked = value(attrs, "input", "messages", "tool.arguments", "text")
    instructions = text(attrs, "gen_ai.system_instructions", "system", "system_instruction", "instructions")
    if isinstance(asked, list):
        asked = messages(asked)
    heard = value(attrs, "transcript")
    if attrs.get("transcript.is_input") is True and asked is None:
        asked, heard = heard, None
    spoken = asked if isinstance(asked, list) else []
    if not any(isinstance(item, dict) and item.get("content") == instructions for item in spoken):
        asked = instructed(asked, instructions)
    tools = value(attrs, "tools", "tools.definitions")
    reading.input = with_tools(asked, tools if isinstance(tools, list | dict) else None)
    if tools is not None and not isinstance(tools, list | dict):
        attrs["tools"] = tools
    answered: Json = value(attrs, "output", "text_output", "tool.result")
    reading.output = heard if answered is None else answered
    if answered is not None and heard is not None:
        reading.metadata["transcript"] = heard
    if isinstance(reading.output, str) and reading.type is ObservationType.GENERATION:
        reading.output = [{"role": "assistant", "content": reading.output}]


DIALECT = Dialect(
    name="pipecat",
    scopes=("pipecat", "pipecat.*"),
    read=read,
    checked="pipecat-ai 0.0.80, from its source, and 1.14.0",
)
