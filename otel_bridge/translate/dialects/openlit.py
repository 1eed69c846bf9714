"""OpenLIT: the conventions with spellings of its own, and numbers it makes up where a program gave none.

https://docs.openlit.io/latest/sdk/overview
Its other instrumentations (about 60) are read off the package's source.
"""

from typing import Any

from otel_bridge.model import Json, ObservationType, Usage
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages
from otel_bridge.translate.span import ERROR_CODE, SpanView
from otel_bridge.translate.values import NS, count, from_json, from_printed, nested, text, value, whole

TYPES = {
    "image": ObservationType.GENERATION,
    "audio": ObservationType.GENERATION,
    "speech_to_text": ObservationType.GENERATION,
    "speech_to_text_translate": ObservationType.GENERATION,
    "text_to_speech": ObservationType.GENERATION,
    "translate": ObservationType.GENERATION,
    "transliterate": ObservationType.GENERATION,
    "language_identification": ObservationType.GENERATION,
    "agent": ObservationType.AGENT,
    "framework": ObservationType.CHAIN,
    "task": ObservationType.CHAIN,
    "execution": ObservationType.CHAIN,
    "model_request": ObservationType.CHAIN,
    "tool_coordination": ObservationType.CHAIN,
    "user_prompt_processing": ObservationType.CHAIN,
}
CALLS = {
    "chat": ObservationType.GENERATION,
    "text_completion": ObservationType.GENERATION,
    "embeddings": ObservationType.EMBEDDING,
}
READS = ("query", "search", "get", "fetch", "peek", "SEARCH", "GET", "QUERY")
ONE_SCOPE = "openlit.otel.tracing"
BESIDE = ("anthropic", "bedrock")
GEMINI = ("google_ai_studio", "google_adk")
BESIDE_PROVIDERS = ("anthropic", "aws.bedrock")
STREAMED = ("gen_ai.request.stream", "gen_ai.request.is_stream")
MADE_UP = ("", -1, "-1", "[]")
TOTAL = ("gen_ai.usage.total_tokens", "gen_ai.client.token.usage")  # the one or, named like a metric, the other
OUTPUT, THOUGHTS = "gen_ai.usage.output_tokens", "gen_ai.usage.reasoning_tokens"
ARGUMENTS = "gen_ai.tool.call.arguments"
COMPLETION = "gen_ai.completion"
NO_WORDS = (None, "", "None")
FIRST_ANSWER = "gen_ai.server.time_to_first_token"


def read(span: SpanView) -> Reading:
    """Read what is OpenLIT's own way; the rest it has in common with the conventions."""
    attrs = span.attrs
    operation = attrs.get("gen_ai.operation.name")
    reading = Reading(type=TYPES.get(operation) if isinstance(operation, str) else None)
    if operation is None:
        _failed(span, reading)
    if operation == "vectordb" or ("db.system.name" in attrs and operation is None):
        reading.type = _database(attrs, reading)
    reading.user_id = text(attrs, "gen_ai.request.user")
    if attrs.get("gen_ai.request.user") == "":
        del attrs["gen_ai.request.user"]
    if any(key.startswith("gen_ai.usage.") for key in attrs):
        if TOTAL[1] in attrs and attrs.setdefault(TOTAL[0], attrs[TOTAL[1]]) == attrs[TOTAL[1]]:
            del attrs[TOTAL[1]]
        reading.usage = _usage(span)
    if any(attrs.get(key) is False for key in STREAMED) and _is_whole(span):
        reading.metadata[FIRST_ANSWER] = attrs.pop(FIRST_ANSWER)
    _unnamed(attrs, reading)
    model = attrs.pop("gen_ai.request.model", None)
    parameters = nested(attrs, "gen_ai.request.")
    if model is not None:
        attrs["gen_ai.request.model"] = model
    reading.model_parameters = {key: item for key, item in parameters.items() if item not in MADE_UP} or None
    if operation in ("chat", "text_completion", "generate_content"):
        if "gen_ai.output.messages" not in attrs:
            _called(span, reading)
        if from_json(attrs.get("gen_ai.tool.args")) is not None:
            attrs["gen_ai.tool.args"] = from_json(attrs["gen_ai.tool.args"])
    else:
        _arguments(attrs)
    return reading


def _is_whole(span: SpanView) -> bool:
    """Of an answer in one piece the first token is all of it; one that calls tools may be a stream without the word."""
    delay_s = span.attrs.get(FIRST_ANSWER)
    return isinstance(delay_s, int | float) and 2 * delay_s * NS >= span.end_ns - span.start_ns


def _unnamed(attrs: dict[str, Any], reading: Reading) -> None:
    """Where it finds no model among what LangChain says it takes the provider's name for it, which is none.

    That name may be its domain's alone; a server of one's own may well be called as the model that it runs.
    """
    makers = [attrs.get("gen_ai.provider.name"), *str(attrs.get("server.address", "")).split(".")[-2:-1]]
    for key in table.MODELS:
        if (said := attrs.get(key)) and isinstance(said, str) and said in makers:
            reading.metadata[key] = attrs.pop(key)


def _usage(span: SpanView) -> Usage | None:
    """Of Gemini it hands on what that counts: the thoughts beside the output, and neither in its total."""
    attrs = span.attrs
    thoughts = (
        whole(attrs.get(THOUGHTS)) if span.scope_name.rsplit(".", 1)[-1].removeprefix("async_") in GEMINI else None
    )
    if thoughts and (counted := whole(attrs.get(OUTPUT))) is not None:
        attrs[OUTPUT] = counted + thoughts
        count(attrs, TOTAL[0])
    return table.usage(attrs, beside=_beside(span))


def _arguments(attrs: dict[str, Any]) -> None:
    """What a tool was given, under the conventions' name."""
    if "gen_ai.tool.args" in attrs and ARGUMENTS not in attrs:
        attrs[ARGUMENTS] = attrs.pop("gen_ai.tool.args")
    if ARGUMENTS in attrs:
        attrs[ARGUMENTS] = from_printed(attrs[ARGUMENTS])


def _called(span: SpanView, reading: Reading) -> None:
    """Before 1.35 a completion is text, and the calls stand beside it: as Python prints them, or one in parts.

    Of OpenAI's Responses API it tells in their place what tools there were: those are not shown as called.
    """
    calls = _calls(span.attrs)
    offered = None if calls else from_printed(span.attrs.get("gen_ai.response.tool_calls"))
    if isinstance(offered, list) and all(isinstance(tool, dict) and "parameters" in tool for tool in offered):
        del span.attrs["gen_ai.response.tool_calls"]
    elif not calls:
        return
    said = [event.attrs.pop(COMPLETION, None) for event in span.events if event.name == "gen_ai.content.completion"]
    content = next((words for words in (span.attrs.pop(COMPLETION, None), *said) if words not in NO_WORDS), None)
    told = {"tool_calls": calls} if calls else {"tools": offered}
    reading.output = messages({"content": content, **told}, "assistant")


def _calls(attrs: dict[str, Any]) -> list[Json]:
    printed = from_printed(attrs.get("gen_ai.response.tool_calls"))
    if isinstance(printed, list):
        if all(isinstance(item, dict) and "arguments" in _function(item) for item in printed):
            del attrs["gen_ai.response.tool_calls"]
            return printed
    elif printed == "None":
        del attrs["gen_ai.response.tool_calls"]
    name, given = attrs.get("gen_ai.tool.name"), attrs.get("gen_ai.tool.args")
    if not isinstance(name, str) or not name or not isinstance(from_json(given), dict):
        return []
    for key in ("gen_ai.tool.name", "gen_ai.tool.args"):
        del attrs[key]
    return [{"id": attrs.pop("gen_ai.tool.call.id", None), "name": name, "arguments": given}]


def _function(call: dict[str, Json]) -> dict[str, Json]:
    called = call.get("function")
    return called if isinstance(called, dict) else call


def _failed(span: SpanView, reading: Reading) -> None:
    """A call that failed often says nothing but its name: the operation and the model."""
    called, _, model = span.name.partition(" ")
    if span.status_code == ERROR_CODE and called in CALLS and model:
        reading.type = CALLS[called]
        reading.model = model


def _beside(span: SpanView) -> bool:
    """Of Anthropic and Bedrock it hands on what they count; of frameworks it takes what includes the cached tokens.

    In older releases all its spans have one scope: there those of LangChain alone say their environment so.
    """
    if span.scope_name != ONE_SCOPE:
        return span.scope_name.rsplit(".", 1)[-1].removeprefix("async_") in BESIDE
    if "gen_ai.environment" in span.attrs:
        return False
    return span.attrs.get("gen_ai.provider.name", span.attrs.get("gen_ai.system")) in BESIDE_PROVIDERS


def _database(attrs: dict[str, Any], reading: Reading) -> ObservationType | None:
    """A vector store, searched or filled."""
    done = attrs.get("db.operation.name", attrs.get("db.operation"))
    if not isinstance(done, str) or not done.startswith(READS):
        return None
    reading.input = value(attrs, "db.query.text", "db.query.summary")
    return ObservationType.RETRIEVER


DIALECT = Dialect(
    name="openlit",
    scopes=("openlit*",),
    marks=("openlit.*",),
    rank=15,
    read=read,
    checked="openlit 1.33.20, 1.34.20, 1.36.2, 1.38.0, 1.40.0, 1.45.0 "
    "(LangGraph, Anthropic, Gemini, Ollama, LiteLLM and others)",
)
