"""Vercel AI SDK: `ai.*` of versions 3 to 6 (scope `ai`), and what version 7 adds to the conventions (scope `gen_ai`).

The outer span of a call (`ai.generateText`) holds one span for each request to the model (`.doGenerate`, `.doStream`,
`.doEmbed`) and each tool; its own usage is their sum, or only that of the last.

https://ai-sdk.dev/docs/ai-sdk-core/telemetry
Checked against recordings of versions 4 to 7, and the sources of ai 3.4, 4.3, 5.0, 6.0, of @ai-sdk/otel 1.0 (also its
legacy spans), of the providers that say more than the SDK does, and of @arizeai/openinference-vercel 2.8, which copies
what the spans say into OpenInference's attributes. @langfuse/otel 5.11 sends them as they are.
"""

from collections.abc import Iterator
from typing import Any

from otel_bridge.model import Json, ObservationType, Usage
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import (
    MS,
    after,
    as_text,
    count,
    finite,
    from_json,
    nested,
    strings,
    text,
    value,
    whole,
    within,
)

TYPES = {
    "ai.generateText": ObservationType.AGENT,
    "ai.streamText": ObservationType.AGENT,
    "ai.generateObject": ObservationType.AGENT,
    "ai.streamObject": ObservationType.AGENT,
    "ai.toolCall": ObservationType.TOOL,
    "ai.embed": ObservationType.CHAIN,
    "ai.embedMany": ObservationType.CHAIN,
    "ai.rerank": ObservationType.CHAIN,
    "ai.decide": ObservationType.CHAIN,
    "ai.generateSpeech": ObservationType.GENERATION,
    "ai.transcribe": ObservationType.GENERATION,
    "ai.streamTranscribe": ObservationType.GENERATION,
}
REQUESTS = {
    "doGenerate": ObservationType.GENERATION,
    "doStream": ObservationType.GENERATION,
    "doDecide": ObservationType.GENERATION,
    "doEmbed": ObservationType.EMBEDDING,
    "doRerank": ObservationType.RETRIEVER,
}
VERSION_7 = "gen_ai"
OUTER = (ObservationType.AGENT, ObservationType.CHAIN)

METADATA = "ai.telemetry.metadata."
CONTEXT = "ai.settings.context."  # what version 7 has instead, where it is asked to

FIRST_CHUNK = ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk")
REPEATED = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
)

BESIDE = ("anthropic", "bedrock")
"""Providers whose cached tokens versions 3 to 5 count beside the input; version 6 counts them in."""

# What providers tell that the SDK does not pass on, by their own names.
CACHE_READ = (
    "cacheReadInputTokens",
    "cachedPromptTokens",
    "cachedContentTokenCount",
    "promptCacheHitTokens",
    "cache_read_input_tokens",
)
CACHE_WRITE = ("cacheCreationInputTokens", "cacheWriteInputTokens", "cache_creation_input_tokens")
REASONING = ("reasoningTokens", "thoughtsTokenCount")

COPIES = ("llm.input_messages.", "llm.output_messages.", "llm.token_count.", "embedding.embeddings.")
COPIED = ("input.value", "output.value", "llm.invocation_parameters", "tool.name", "tool.parameters")
"""What openinference-vercel puts beside the attributes it reads."""
ROLES = {"system", "user", "assistant", "tool"}


def read(span: SpanView) -> Reading:
    """Read a span of any version; what version 7 says in the words of the conventions is left to them."""
    attrs = span.attrs
    whole_span = dict(attrs) if "openinference.span.kind" in attrs and "ai.operationId" in attrs else {}
    operation = attrs.get("ai.operationId") or attrs.get("gen_ai.operation.name")
    kind = _type(operation) if isinstance(operation, str) else None
    reading = Reading(type=kind)
    _who(span, reading)
    if kind in OUTER:
        reading.aggregate = True
        reading.usage = _usage(attrs, [])  # what the provider told is of the last request alone
    elif kind is ObservationType.TOOL:
        reading.name = as_text(attrs.get("ai.toolCall.name"))
    elif span.scope_name == VERSION_7 and "ai.operationId" not in attrs:
        own = _usage(attrs, [])  # whatever the provider does, the SDK counts the cache in
        reading.usage = table.usage(attrs, beside=False) or own
    else:
        told = _told(attrs)
        reading.usage = _usage(attrs, told)
        reading.cost = _cost(told)
        reading.completion_start_ns = _first_chunk(span)
        if kind is not None:
            _model(attrs, reading)
    reading.input = _input(attrs)
    reading.output = _output(attrs, chat=kind is ObservationType.GENERATION)
    if whole_span:
        _forget_copies(attrs, whole_span)
    return reading


def _type(operation: str) -> ObservationType | None:
    return TYPES.get(operation) or REQUESTS.get(operation.removeprefix("ai.").partition(".")[2])


def _who(span: SpanView, reading: Reading) -> None:
    """Metadata is the user's, who and where among it; the function's id names the trace where it is all of it."""
    attrs = span.attrs
    said: dict[str, Any] = {}
    for prefix in (CONTEXT, METADATA):
        for key, item in nested(attrs, prefix).items():
            if said.setdefault(key, item) != item:
                attrs[prefix + key] = item
            if item is not None and attrs.get(f"metadata.{key}") == item:  # openinference-vercel's copy
                del attrs[f"metadata.{key}"]
    if said:
        reading.session_id, reading.user_id = table.session(said), table.user(said)
        reading.trace_name, reading.release = text(said, "traceName"), text(said, "release")
        reading.environment = text(said, "environment")
        if tags := strings(said.get("tags")):
            reading.tags = tags
            del said["tags"]
        prompt = from_json(said.get("langfusePrompt"))
        if isinstance(prompt, dict) and reading.type is ObservationType.GENERATION:
            reading.prompt_name, reading.prompt_version = text(prompt, "name"), count(prompt, "version")
            said["langfusePrompt"] = prompt
        reading.metadata = {key: from_json(item) for key, item in said.items()}
    function = attrs.get("ai.telemetry.functionId")
    if reading.trace_name is None and not span.parent_id and isinstance(function, str):
        reading.trace_name = function or None


def _model(attrs: dict[str, Any], reading: Reading) -> None:
    """Versions 3 to 6 say most of it twice: in their own words and in the conventions'."""
    for own, common in (("ai.response.id", "gen_ai.response.id"), ("ai.model.id", "gen_ai.request.model")):
        if own in attrs and attrs.setdefault(common, attrs[own]) == attrs[own]:
            del attrs[own]
    reading.response_id = as_text(attrs.get("gen_ai.response.id"))
    requested = text(attrs, "gen_ai.request.model")
    reading.model = text(attrs, "gen_ai.response.model", "ai.response.model") or requested
    if requested not in (None, reading.model):
        reading.metadata["requested_model"] = requested
    reading.model_parameters = (nested(attrs, "ai.settings.") | nested(attrs, "gen_ai.request.")) or None


def _first_chunk(span: SpanView) -> int | None:
    for event in span.events:
        if event.name == "ai.stream.firstChunk":
            return within(span, event.time_ns)
    for key in FIRST_CHUNK:
        if (at := after(span, finite(span.attrs.get(key)), MS)) is not None:
            return at
    return None


# Usage and cost


def _told(attrs: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What the providers told, by their names, with the objects within that hold counts."""
    said = from_json(attrs.get("ai.response.providerMetadata"))
    told: list[tuple[str, dict[str, Any]]] = []
    for name, item in said.items() if isinstance(said, dict) else ():
        if isinstance(item, dict):
            told.append((name, item))
            told += [(name, item[key]) for key in ("usage", "usageMetadata") if isinstance(item.get(key), dict)]
    return told


def _counted(told: list[tuple[str, dict[str, Any]]], keys: tuple[str, ...]) -> int | None:
    found = (whole(item.get(key)) for _, item in told for key in keys)
    return next((counted for counted in found if counted is not None), None)


def _usage(attrs: dict[str, Any], told: list[tuple[str, dict[str, Any]]]) -> Usage | None:
    reasoning = count(attrs, "ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens")
    counted_in = count(attrs, "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens")
    counted_out = count(attrs, "ai.usage.outputTokens", "ai.usage.completionTokens")
    if counted_in is None and counted_out is None:
        if reasoning is not None:
            attrs.setdefault("gen_ai.usage.reasoning.output_tokens", reasoning)  # version 7: the rest is there
        return None
    cache_read = count(attrs, "ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens")
    cache_write = count(attrs, "ai.usage.inputTokenDetails.cacheWriteTokens")
    beside = _beside(attrs, told, counted_in)
    total = count(attrs, "ai.usage.totalTokens")
    for key in REPEATED:
        if key in attrs and (again := whole(attrs[key])) is not None and again in (counted_in, counted_out):
            del attrs[key]
    return (Usage.exclusive if beside else Usage.inclusive)(
        counted_in,
        counted_out,
        cache_read=_counted(told, CACHE_READ) if cache_read is None else cache_read,
        cache_write=_counted(told, CACHE_WRITE) if cache_write is None else cache_write,
        reasoning=_counted(told, REASONING) if reasoning is None else reasoning,
        total=_counted(told, ("totalTokenCount",)) if total is None else total,
    )


def _beside(attrs: dict[str, Any], told: list[tuple[str, dict[str, Any]]], counted_in: int | None) -> bool:
    """Version 6 says how much of the input was not cached; else the provider's own count tells, else its name."""
    uncached = count(attrs, "ai.usage.inputTokenDetails.noCacheTokens")
    if uncached is not None:
        return uncached == counted_in
    names = (str(attrs.get("ai.model.provider", attrs.get("gen_ai.system"))), *(name for name, _ in told))
    if not any(provider in name for name in names for provider in BESIDE):
        return False
    return _counted(told, ("input_tokens",)) in (None, counted_in)


def _cost(told: list[tuple[str, dict[str, Any]]]) -> dict[str, float] | None:
    """The gateway's and OpenRouter's price of the request, in US dollars."""
    for name, item in told:
        dollars = finite(item.get("cost")) if name in ("gateway", "openrouter") else None
        if dollars is not None and dollars > 0:
            return {"total": dollars}
    return None


# Content


def _input(attrs: dict[str, Any]) -> Json:
    """Messages, the arguments of a tool, or what was to be embedded, ranked, spoken or decided."""
    asked = value(attrs, "ai.prompt.messages")
    if asked is not None:
        tools = value(attrs, "ai.prompt.tools")
        return with_tools(_chat(asked), [from_json(tool) for tool in tools] if isinstance(tools, list) else tools)
    asked = value(attrs, "ai.prompt")
    if isinstance(asked, dict):
        return _prompt(asked)
    for key in ("ai.toolCall.args", "ai.toolCall.input", "ai.value", "ai.request.text"):
        asked = value(attrs, key) if asked is None else asked
    for key in ("ai.values", "ai.documents"):
        asked = _each(value(attrs, key)) if asked is None else asked
    return asked


def _prompt(asked: dict[str, Any]) -> Json:
    """`{system, prompt, messages}` as the messages they are."""
    said = dict(asked)
    instructions, prompt, spoken = (said.pop(key, None) for key in ("system", "prompt", "messages"))
    chat: list[Json] = []
    for part, role in ((instructions, "system"), (prompt, "user"), (spoken, "user")):
        if isinstance(part, str):
            chat.append({"role": role, "content": part})
        elif part is not None:
            found = _chat(part, role)
            chat += found if isinstance(found, list) else [found]
    return {"messages": chat, **said} if said else chat


def _chat(raw: Json, role: str = "user") -> Json:
    if isinstance(raw, dict):
        raw = [raw]
    if not isinstance(raw, list):
        return raw
    return messages(
        [
            {**item, "content": [_part(part) for part in item["content"]]}
            if isinstance(item, dict) and isinstance(item.get("content"), list)
            else item
            for item in raw
        ],
        role,
    )


def _part(part: Json) -> Json:
    """A part with the SDK's wrappers off: the outcome of a tool without its kind, images as links."""
    if not isinstance(part, dict):
        return part
    outcome = part.get("output")
    if part.get("type") == "tool-result" and isinstance(outcome, dict) and outcome.keys() == {"type", "value"}:
        rest = {key: item for key, item in part.items() if key != "output"}
        failed = str(outcome["type"]).startswith("error")
        return rest | {"output": outcome["value"]} | ({"isError": True} if failed else {})
    media = part.get("mediaType", part.get("mimeType"))
    data = part.get("image" if part.get("type") == "image" else "data")
    if part.get("type") not in ("image", "file") or not isinstance(data, str) or not data:
        return part
    kind = str(media or ("image/png" if part["type"] == "image" else "application/octet-stream"))
    link = data if data.startswith(("http:", "https:", "data:")) else f"data:{kind};base64,{data}"
    if kind.startswith("image/"):
        rest = {key: item for key, item in part.items() if key not in ("type", "image", "data")}
        return {"type": "image_url", "image_url": {"url": link}, **rest}
    return {**part, "data": link}


def _output(attrs: dict[str, Any], *, chat: bool) -> Json:
    """The answer: as a message where `chat`, else as bare as it is; or the result of a tool, vectors, a ranking."""
    found = value(attrs, "ai.response.object", "ai.result.object")
    if found is None:
        found = _answer(attrs, chat=chat)
    for key in ("ai.toolCall.result", "ai.toolCall.output", "ai.embedding"):
        found = value(attrs, key) if found is None else found
    for key in ("ai.embeddings", "ai.ranking"):
        found = _each(value(attrs, key)) if found is None else found
    return found


def _answer(attrs: dict[str, Any], *, chat: bool) -> Json:
    for key in ("ai.response.text", "ai.result.text"):
        if attrs.get(key) == "":
            del attrs[key]  # nothing but tool calls
    answer = text(attrs, "ai.response.text", "ai.result.text")
    calls = value(attrs, "ai.response.toolCalls", "ai.result.toolCalls")
    thoughts = text(attrs, "ai.response.reasoning")
    files = value(attrs, "ai.response.files")
    if calls is None and thoughts is None and files is None and (answer is None or not chat):
        return answer
    said: dict[str, Any] = {"role": "assistant", "content": answer}
    if isinstance(files, list):
        said["content"] = [*([{"type": "text", "text": answer}] if answer else []), *map(_part, files)]
    elif files is not None:
        said["files"] = files
    return messages([said | {"reasoning_content": thoughts, "tool_calls": calls}], "assistant")


def _each(raw: Json) -> Json:
    """A list whose items are JSON, each for itself; the only one without its list."""
    if not isinstance(raw, list):
        return raw
    found = [from_json(item) for item in raw]
    return found[0] if len(found) == 1 else found


def _forget_copies(attrs: dict[str, Any], whole_span: dict[str, Any]) -> None:
    """OpenInference's attributes, where they say nothing but what the SDK's say."""
    own = [item for key, item in whole_span.items() if key not in COPIED and not key.startswith(COPIES)]
    said = set(_leaves(own)) | ROLES
    for key in [key for key in attrs if key in COPIED or key.startswith(COPIES)]:
        if said.issuperset(_leaves(attrs[key])):
            del attrs[key]


def _leaves(raw: Json) -> Iterator[str]:
    """All texts and numbers in a value, JSON in its texts opened."""
    todo = [raw]
    while todo:
        found = from_json(todo.pop())
        if isinstance(found, dict):
            todo += found.values()
        elif isinstance(found, list):
            todo += found
        elif found is not None:
            yield str(found)


DIALECT = Dialect(
    name="vercel_ai",
    scopes=("ai", VERSION_7),
    marks=("ai.operationId", "ai.telemetry.*", "ai.prompt*", "ai.response.*", "ai.usage.*", "ai.toolCall.*"),
    rank=20,
    read=read,
    checked="ai 3.4, 4.3, 5.0, 6.0, 7.0 with @ai-sdk/otel 1.0; @arizeai/openinference-vercel 2.8",
)
