"""LiteLLM's OpenTelemetry callbacks: `otel` (both conventions), `arize`, `langfuse_otel`; the proxy's spans.

https://docs.litellm.ai/docs/observability/opentelemetry_integration
What it says in OpenInference's or Langfuse's words is left to their dialects.
"""

from typing import Any

from otel_bridge.model import Json, ObservationType
from otel_bridge.translate import provider, table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import instructed, message, messages, with_tools
from otel_bridge.translate.records import leave, take
from otel_bridge.translate.shown import Shown
from otel_bridge.translate.span import Event, LogView, SpanView
from otel_bridge.translate.values import from_json, from_printed, identifier, unflatten, value

CALL_TYPES = {
    "completion": ObservationType.GENERATION,
    "text_completion": ObservationType.GENERATION,
    "chat": ObservationType.GENERATION,
    "responses": ObservationType.GENERATION,
    "anthropic_messages": ObservationType.GENERATION,
    "generate_content": ObservationType.GENERATION,
    "generate_content_stream": ObservationType.GENERATION,
    "image_generation": ObservationType.GENERATION,
    "image_edit": ObservationType.GENERATION,
    "transcription": ObservationType.GENERATION,
    "speech": ObservationType.GENERATION,
    "embedding": ObservationType.EMBEDDING,
    "embeddings": ObservationType.EMBEDDING,
    "rerank": ObservationType.RETRIEVER,
    "vector_store_search": ObservationType.RETRIEVER,
    "search": ObservationType.RETRIEVER,
    "moderation": ObservationType.GUARDRAIL,
    "call_mcp_tool": ObservationType.TOOL,
}
USERS = ("llm.user", "litellm.end_user.id", "metadata.user_api_key_end_user_id", "metadata.user_api_key_user_id")
SAID = ("gen_ai.content.prompt", "gen_ai.content.completion")
PROMPTS = ("gen_ai.prompt.", "SpanAttributes.LLM_PROMPTS.")
COMPLETIONS = ("gen_ai.completion.", "SpanAttributes.LLM_COMPLETIONS.")
FUNCTIONS = ("llm.request.functions.", "SpanAttributes.LLM_REQUEST_FUNCTIONS.")
"""How they are called, and how releases about 1.65 call them under Python 3.11 and later."""
COST = ("litellm.cost.total",), ("litellm.cost.input",), ("litellm.cost.output",)


def read(span: SpanView) -> Reading:
    """Read a call as LiteLLM tells it; the raw request below it, `llm.<provider>.*`, stays a span with metadata."""
    attrs = span.attrs
    reading = Reading(type=_type(attrs))
    for key in [key for key, item in attrs.items() if item in ("", "[]") and key.startswith("metadata.")]:
        del attrs[key]
    reading.user_id = identifier(attrs, *USERS)
    _raw(attrs, reading)
    given = from_printed(attrs.get("metadata.requester_metadata"))
    if isinstance(given, dict):
        attrs["metadata.requester_metadata"] = given
        reading.session_id = table.session(dict(given)) or reading.session_id
    if isinstance(hidden := from_json(attrs.get("hidden_params")), dict):
        attrs["hidden_params"] = hidden
    reading.cost = table.cost(attrs, *COST)
    _counted(attrs)
    if any(key.startswith("gen_ai.usage.") for key in attrs):
        reading.usage = table.usage(attrs, beside=False)
    _content(span, reading)
    return reading


def _type(attrs: dict[str, Any]) -> ObservationType | None:
    """LiteLLM names the function that was called; the asynchronous ones begin with an `a`."""
    for key in ("gen_ai.operation.name", "llm.request.type"):
        called = attrs.get(key)
        if isinstance(called, str) and (found := CALL_TYPES.get(called) or CALL_TYPES.get(called.removeprefix("a"))):
            return found
    return None


def _raw(attrs: dict[str, Any], reading: Reading) -> None:
    """Whom the raw request names, as OpenAI's `user`, Anthropic's `metadata`, or what a program gave LiteLLM along."""
    for key, item in attrs.items():
        if not key.startswith("llm.") or key.count(".") != 2:
            continue
        said = item if key.endswith(".user") else None
        if key.endswith(".metadata") and isinstance(given := from_printed(item), dict):
            said = given.get("user_id") or given.get("trace_user_id")
            reading.session_id = table.session(dict(given))
        if isinstance(said, str) and said:
            reading.user_id = reading.user_id or said


PARTS = {
    "cache_read": table.CACHE_READ,
    "cache_write": table.CACHE_WRITE,
    "reasoning": table.REASONING,
    "input_audio": table.INPUT_AUDIO,
    "output_audio": table.OUTPUT_AUDIO,
}
OF_OPENINFERENCE = {
    "cache_read": ("llm.token_count.prompt_details.cache_read",),
    "cache_write": ("llm.token_count.prompt_details.cache_write",),
    "reasoning": ("llm.token_count.completion_details.reasoning",),
    "input_audio": ("llm.token_count.prompt_details.audio",),
    "output_audio": ("llm.token_count.completion_details.audio",),
}


def _counted(attrs: dict[str, Any]) -> None:
    """How many tokens were cached, and how many thought: as if the conventions' attributes said it, or OpenInference's
    where the rest is in these."""
    usage = from_printed(attrs.get("metadata.usage_object"))
    if usage is None and isinstance(whole := from_json(attrs.get("metadata")), dict):
        usage = whole.get("usage_object")
    if not isinstance(usage, dict):
        return
    spelled = OF_OPENINFERENCE if "llm.token_count.prompt" in attrs else PARTS
    for name, said in provider.parts(usage).items():
        keys = spelled[name]
        if said is not None and not any(key in attrs for key in keys):
            attrs[keys[0]] = said


def _content(span: SpanView, reading: Reading) -> None:
    attrs = span.attrs
    asked = messages(value(attrs, "gen_ai.input.messages"))
    answered = messages(value(attrs, "gen_ai.output.messages"), "assistant")
    _with_calls(attrs, answered)
    told = take(span, SAID)
    heard = _heard(told, SAID[0], "user")
    replied = _heard(told, SAID[1], "assistant")
    if asked is None:
        asked = heard or messages(_unflat(attrs, PROMPTS))
    if answered is None:
        answered = replied or _numbered(attrs)
    asked = instructed(asked, value(attrs, "gen_ai.system_instructions"))
    tools = _unflat(attrs, FUNCTIONS)
    if tools is not None:
        tools = [_opened(tool) for tool in tools]
    reading.input, reading.output = with_tools(asked, tools), answered
    if told:
        shown = Shown(reading)
        leave(span, [said for said in told if not _repeats(said, shown)])


def _opened(tool: Json) -> Json:
    return {name: from_json(item) for name, item in tool.items()} if isinstance(tool, dict) else tool


def _with_calls(attrs: dict[str, Any], answered: Json) -> None:
    """The calls of tools stand beside the answer, under the number of the call."""
    first = answered[0] if isinstance(answered, list) and answered else None
    if not isinstance(first, dict) or "tool_calls" in first:
        return
    called = unflatten(attrs, "gen_ai.completion.") or []
    calls = [item["function_call"] for item in called if _is_call(item)]
    if calls:
        first["tool_calls"] = [{"type": "function", "function": call} for call in calls]
    if left := [item for item in called if not _is_call(item)]:
        attrs["gen_ai.completion"] = left


def _unflat(attrs: dict[str, Any], prefixes: tuple[str, str]) -> list[Any] | None:
    found = unflatten(attrs, prefixes[0])
    return unflatten(attrs, prefixes[1]) if found is None else found


def _numbered(attrs: dict[str, Any]) -> Json:
    """The answer before the conventions had messages: where each call of a tool stands under a number of its own."""
    said = _unflat(attrs, COMPLETIONS)
    if said is None or not all(isinstance(item, dict) for item in said):
        return said
    calls = [item.pop("function_call") for item in said if isinstance(item.get("function_call"), dict)]
    spoken = [item for item in said if item] or [{}]
    if calls:
        spoken[0]["tool_calls"] = [{"type": "function", "function": call} for call in calls]
    return messages(spoken, "assistant")


def _is_call(item: Json) -> bool:
    return isinstance(item, dict) and item.keys() == {"function_call"} and isinstance(item["function_call"], dict)


def _heard(told: list[Event | LogView], name: str, role: str) -> list[Json]:
    """What log records say, one message each."""
    spoken: list[Json] = []
    for said in told:
        if said.name == name and isinstance(said, LogView) and isinstance(said.body, dict):
            spoken += _spoken(said.body, role)
    return spoken


def _spoken(body: dict[str, Any], role: str) -> list[Json]:
    inner = body.get("message")
    if isinstance(inner, dict):
        return message({**{key: item for key, item in body.items() if key not in ("message", "index")}, **inner}, role)
    return message(body, role)


def _repeats(said: Event | LogView, shown: Shown) -> bool:
    """Does a record say only what stands in the messages?"""
    if not isinstance(said, LogView) or not isinstance(said.body, dict):
        return False
    beside = {key: item for key, item in said.attrs.items() if key != "gen_ai.system"}
    return shown.rest(said.body) is None and shown.rest(beside) is None


DIALECT = Dialect(
    name="litellm",
    scopes=("litellm*",),
    marks=("litellm.*",),
    rank=12,
    read=read,
    checked="litellm 1.65.0, 1.74.3, 1.80.0, 1.90.0, 1.106.2, 1.110.2",
)
