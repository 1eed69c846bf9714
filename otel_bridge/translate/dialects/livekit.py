"""LiveKit Agents: `lk.*` (`lk.pii.*` for content in newer versions) beside the generative AI conventions.

There was no recorded payload: read off livekit-agents 1.2.0 and 1.8.9 (telemetry, llm, tts, voice).
https://docs.livekit.io/agents/build/metrics/
"""

from typing import Any

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import instructed, message, messages
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import NS, after, as_text, finite, from_json, value, whole

TYPES = {
    "agent_session": ObservationType.CHAIN,
    "agent_turn": ObservationType.AGENT,
    "llm_request": ObservationType.GENERATION,
    "llm_fallback_adapter": ObservationType.CHAIN,
    "llm_request_run": ObservationType.SPAN,  # one try of the request above, which counts
    "tts_node": ObservationType.SPAN,
    "tts_request": ObservationType.SPAN,
    "tts_request_run": ObservationType.SPAN,
    "function_tool": ObservationType.TOOL,
    "judge_evaluation": ObservationType.EVALUATOR,
}
NODE = "llm_node"
INPUT = ("function_tool.arguments", "user_input", "input_text", "rpc.payload")
OUTPUT = ("function_tool.output", "user_transcript", "response.text", "rpc.response", "amd.transcript")
PEOPLE = ("STANDARD", "SIP")
ALIASES = {
    "gen_ai.usage.input_cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.input_audio_tokens": "gen_ai.usage.audio.input_tokens",
    "gen_ai.usage.output_audio_tokens": "gen_ai.usage.audio.output_tokens",
    "gen_ai.usage.input_text_tokens": "gen_ai.usage.text.input_tokens",
    "gen_ai.usage.output_text_tokens": "gen_ai.usage.text.output_tokens",
}


def read(span: SpanView) -> Reading:
    """Read a span of a session; what follows the conventions is left to theirs."""
    attrs = span.attrs
    reading = Reading(type=TYPES.get(span.name))
    if span.name == NODE and "gen_ai.operation.name" not in attrs:
        reading.type = ObservationType.CHAIN
    for unofficial, official in ALIASES.items():
        if unofficial in attrs and attrs.setdefault(official, attrs[unofficial]) == attrs[unofficial]:
            del attrs[unofficial]
    reading.usage = _usage(attrs)
    _content(span, reading)
    if span.name == NODE:
        reading.completion_start_ns = after(span, finite(attrs.get("lk.response.ttft")), NS)
    if attrs.get("lk.function_tool.is_error") is True:
        reading.level = Level.ERROR
        reading.status_message = reading.output if isinstance(reading.output, str) else "the tool failed"
    if reading.type is ObservationType.TOOL:
        reading.name = as_text(attrs.get("lk.function_tool.name"))
    _who(attrs, reading)
    return reading


def _said(attrs: dict[str, Any], *names: str) -> Json:
    """Content stands under `lk.pii.`, before 1.3 under `lk.`."""
    return value(attrs, *(f"{prefix}{name}" for name in names for prefix in ("lk.pii.", "lk.")))


def _content(span: SpanView, reading: Reading) -> None:
    attrs = span.attrs
    spoken = _said(attrs, "chat_ctx")
    if isinstance(spoken, dict) and isinstance(spoken.get("items"), list):
        reading.input = messages([_item(item) for item in spoken["items"]])
    else:
        reading.input = spoken if spoken is not None else _said(attrs, *INPUT)
    instructions = _said(attrs, "instructions")
    if isinstance(reading.input, str | None):
        reading.input = instructed(reading.input, instructions)
    elif instructions is not None:
        reading.metadata["instructions"] = instructions
    called = _said(attrs, "response.function_calls")
    reading.output = _said(attrs, *OUTPUT)
    if called:
        reading.output = message({"content": reading.output, "tool_calls": called}, "assistant")
    for event in span.events:
        if isinstance(event.attrs.get("tool_calls"), list):
            event.attrs["tool_calls"] = [from_json(call) for call in event.attrs["tool_calls"]]


def _item(item: Json) -> Json:
    """An item of a chat context: a message, a function call or its output; a handover stays what it is."""
    if not isinstance(item, dict):
        return item
    said = {key: part for key, part in item.items() if part not in (None, {}, False)}
    match said.pop("type", None):
        case "message":
            content = said.get("content")
            if isinstance(content, list) and len(content) == 1 and isinstance(content[0], str):
                said["content"] = content[0]
            return said
        case "function_call":
            return {"role": "assistant", "tool_calls": [said]}
        case "function_call_output":
            return {
                "role": "tool",
                "content": said.pop("output", None),
                "tool_call_id": said.pop("call_id", None),
                **said,
            }
        case kind:
            return {"role": "system", "content": [{"type": kind, **said}]}


def _usage(attrs: dict[str, Any]) -> Usage | None:
    """Before 1.3 cached tokens are only in the metrics."""
    metrics = from_json(attrs.get("lk.llm_metrics"))
    if not isinstance(metrics, dict):
        return None
    if (cached := whole(metrics.get("prompt_cached_tokens"))) and table.CACHE_READ[0] not in attrs:
        attrs[table.CACHE_READ[0]] = cached
    return table.usage(attrs, beside=False)


def _who(attrs: dict[str, Any], reading: Reading) -> None:
    """A room is a session where no conversation is named; a participant who is no agent is the user."""
    if "gen_ai.conversation.id" not in attrs:
        reading.session_id = as_text(attrs.get("lk.pii.room_name") or attrs.get("lk.room_name"))
    who = as_text(attrs.get("lk.pii.participant_identity") or attrs.get("lk.participant_identity"))
    if str(attrs.get("lk.participant_kind")).rpartition("_")[2] in PEOPLE:
        reading.user_id = who


DIALECT = Dialect(
    name="livekit",
    scopes=("livekit-agents", "livekit.agents*"),
    marks=("lk.*",),
    read=read,
    checked="livekit-agents 1.2.0 and 1.8.9, from their source",
)
