"""OpenInference (Arize): `openinference.span.kind`, `llm.*`, `input.value` and `output.value`.

https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
"""

import re
from typing import Any

import orjson

from otel_bridge.model import CALLS, Json, ObservationType, Usage
from otel_bridge.translate import provider, table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import message, messages, with_tools
from otel_bridge.translate.shown import Shown
from otel_bridge.translate.span import ERROR_CODE, SpanView
from otel_bridge.translate.values import (
    as_text,
    count,
    from_json,
    identifier,
    named,
    strings,
    text,
    unflatten,
    value,
    whole,
)

KINDS = {
    "LLM": ObservationType.GENERATION,
    "EMBEDDING": ObservationType.EMBEDDING,
    "CHAIN": ObservationType.CHAIN,
    "RETRIEVER": ObservationType.RETRIEVER,
    "RERANKER": ObservationType.RETRIEVER,
    "TOOL": ObservationType.TOOL,
    "AGENT": ObservationType.AGENT,
    "GUARDRAIL": ObservationType.GUARDRAIL,
    "EVALUATOR": ObservationType.EVALUATOR,
}
PREPARES = re.compile(r"\b_prepare_")  # LlamaIndex calls an LLM span what only puts a request together
CHUNK = "new_token"  # BeeAI calls an LLM span what is one chunk of a stream
RAW = ("input.value", "output.value")
SPOKEN = ("role", "content", "tool_calls", "reasoning_content")
SILENT = {"role": "user", "content": None}  # LangChain's agents, of messages that are not its own
UNVALUED = ("crew_tasks", "flow_inputs")  # what CrewAI's crews and flows were asked to do, beside no value
CACHE_READ = (
    "llm.token_count.prompt_details.cache_read",
    "llm.token_count.prompt_details.cache_input",
    "metadata.usage.cached_prompt_tokens",  # BeeAI
)
CACHE_WRITE = ("llm.token_count.prompt_details.cache_write", "metadata.usage.cached_creation_tokens")
SIDES = ("llm.token_count.prompt", "llm.token_count.completion")
MODELS = (
    "llm.response.model_name",
    "llm.model_name",
    "llm.request.model_name",
    "embedding.model_name",
    "reranker.model_name",
)
GENERATED = ("generations", 0, 0, "message")  # LangChain
COUNTED = (
    ("usage",),
    ("usage_metadata",),  # Gemini
    ("meta", "usage"),
    ("meta", "billed_units"),  # Cohere
    ("llm_output", "token_usage"),
    (*GENERATED, "kwargs", "usage_metadata"),
    ("generations", 0, 0, "generation_info", "token_count"),  # Cohere, streamed
)
AGNO_SCOPE = "openinference.instrumentation.agno"
AGNO_BESIDE = ("Anthropic", "AwsBedrock", "VertexAI", "AzureFoundry")  # whose counts Agno hands on: Claude, and Bedrock
BEDROCK_SCOPE = "openinference.instrumentation.bedrock"  # calls every model that is invoked an LLM
CREW_SCOPE = "openinference.instrumentation.crewai"
TASK = ("description", "expected_output")
DOCUMENTS_IN = ("reranker.input_documents.",)
DOCUMENTS_OUT = ("retrieval.documents.", "reranker.output_documents.")
FORK_SCOPE = "traceai_"
FORKED = {
    "fi.span.kind": "openinference.span.kind",
    "gen_ai.span.kind": "openinference.span.kind",
    "gen_ai.request.model": "llm.model_name",
    "gen_ai.request.parameters": "llm.invocation_parameters",
    "gen_ai.tool.name": "tool.name",
    "gen_ai.usage.input_tokens": SIDES[0],
    "gen_ai.usage.output_tokens": SIDES[1],
    "gen_ai.usage.total_tokens": "llm.token_count.total",
    "gen_ai.usage.input_tokens.cache_read": CACHE_READ[0],
    "gen_ai.usage.input_tokens.cache_write": CACHE_WRITE[0],
    "gen_ai.usage.output_tokens.reasoning": "llm.token_count.completion_details.reasoning",
}
FORKED_LISTS = {
    "gen_ai.input.messages.": "llm.input_messages.",
    "gen_ai.output.messages.": "llm.output_messages.",
    "gen_ai.tool.definitions.": "llm.tools.",
}
"""What traceAI, which came out of OpenInference, calls by names of the conventions."""


def read(span: SpanView) -> Reading:
    """Read a span of any kind; content in messages goes before the raw values, of which what they say besides stays."""
    attrs = span.attrs
    if span.scope_name.startswith(FORK_SCOPE):
        _rename(attrs)
    for key in RAW:
        if key in attrs:
            attrs[key] = from_json(attrs[key])
    answer = attrs.get("output.value")
    if isinstance(answer, dict) and answer.keys() == {"data"}:
        answer = answer["data"]  # a chunk of Mistral's, put together
    elif isinstance(answer, list) and (joined := provider.joined(answer)):
        answer = attrs["output.value"] = joined
    raw = answer if isinstance(answer, dict) else {}
    reading = Reading(type=_type(span), response_id=provider.response_id(answer) or _text(attrs, "llm.response.id"))
    for key in MODELS:
        if attrs.get(key) in table.NO_MODELS:
            reading.metadata[key] = attrs.pop(key)
    reading.model = text(attrs, *MODELS)
    reading.usage = _usage(span, raw, reading)
    reading.cost = table.cost(attrs, ("llm.cost.total",), ("llm.cost.prompt",), ("llm.cost.completion",))
    reading.model_parameters = _parameters(attrs)
    if reading.model is None and reading.type in CALLS:
        reading.model = _text(raw, "model") or _requested(attrs, reading.model_parameters or {})
    _content(span, reading)
    answered = reading.output is not None or reading.usage is not None
    if reading.type in CALLS and not answered and any(event.name == "exception" for event in span.events):
        span.status_code = ERROR_CODE  # older Agno's calls are OK also where they failed
    _raw(attrs, reading)
    _metadata(attrs, reading)
    if reading.type is ObservationType.SPAN:
        reading.noise = True
    if reading.type is ObservationType.TOOL:
        reading.name = named(span, attrs.get("tool.name"))
    return reading


def _rename(attrs: dict[str, Any]) -> None:
    if attrs.get("gen_ai.tool.definitions") == "null":
        del attrs["gen_ai.tool.definitions"]
    for key in list(attrs):
        called = FORKED.get(key)
        for prefix, ours in FORKED_LISTS.items():
            if key.startswith(prefix):
                called = ours + key.removeprefix(prefix)
        if called is not None and called not in attrs:
            attrs[called] = attrs.pop(key)


def _type(span: SpanView) -> ObservationType | None:
    kind = span.attrs.get("openinference.span.kind")
    if kind == "LLM" and PREPARES.search(span.name):
        return ObservationType.CHAIN
    if kind is None and "validator_name" in span.attrs:
        return ObservationType.GUARDRAIL  # of Guardrails
    if kind == "LLM" and span.scope_name == BEDROCK_SCOPE and "embed" in str(span.attrs.get("llm.model_name")):
        return ObservationType.EMBEDDING
    if span.name == CHUNK and str(span.attrs.get("metadata.path")).endswith(f".{CHUNK}"):
        return ObservationType.SPAN
    return KINDS.get(kind.upper()) if isinstance(kind, str) else None


def _usage(span: SpanView, answer: dict[str, Any], reading: Reading) -> Usage | None:
    """Counts from the attributes; what parts of them are, if they don't say, from the provider's answer.

    Where the conventions' words stand beside them and count the same input, what they say was cached holds too.
    Where the input is what a provider counted who counts cached tokens beside it, they are beside it here as well.
    What a total of Gemini's says more than both sides can only be thoughts.
    """
    attrs, raw = span.attrs, _counted(answer)
    if attrs.keys().isdisjoint(SIDES):
        return provider.usage(raw)[0] if reading.type in CALLS else None
    told = provider.parts(raw) if raw else {}
    read, written = count(attrs, *CACHE_READ), count(attrs, *CACHE_WRITE)
    thought = count(attrs, "llm.token_count.completion_details.reasoning")
    asked, answered = count(attrs, SIDES[0]), count(attrs, SIDES[1])
    total = count(attrs, "llm.token_count.total")
    if answered is not None and whole(raw.get("candidates_token_count")) == answered:  # without the thoughts
        apart = told.get("reasoning") or 0
        answered += apart if total is None or (asked or 0) + answered + apart <= total else 0
    if asked is not None and any(whole(attrs.get(key)) == asked for key in table.INPUT_TOKENS):
        read = count(attrs, *table.CACHE_READ) if read is None else read
        written = count(attrs, *table.CACHE_WRITE) if written is None else written
    beside = provider.beside(raw) and whole(raw.get("input_tokens")) == asked
    beside = beside or (span.scope_name == AGNO_SCOPE and attrs.get("llm.provider") in AGNO_BESIDE)
    thought = told.get("reasoning") if thought is None else thought
    if thought is None and None not in (asked, answered, total) and "gemini" in (reading.model or ""):
        thought = max(0, (total or 0) - (asked or 0) - (answered or 0))
    return (Usage.exclusive if beside else Usage.inclusive)(
        asked,
        answered,
        cache_read=told.get("cache_read") if read is None else read,
        cache_write=told.get("cache_write") if written is None else written,
        reasoning=thought,
        input_audio=count(attrs, "llm.token_count.prompt_details.audio"),
        output_audio=count(attrs, "llm.token_count.completion_details.audio"),
        total=total,
    )


def _counted(answer: dict[str, Any]) -> dict[str, Any]:
    """The provider's own counts in an answer, as its API gives it or as LangChain wraps it."""
    if not answer:
        return {}
    return next((found for path in COUNTED if isinstance(found := _at(answer, path), dict) and found), {})


def _at(raw: Json, path: tuple[str | int, ...]) -> Json:
    for step in path:
        if isinstance(step, str):
            raw = raw.get(step) if isinstance(raw, dict) else None
        else:
            raw = raw[step] if isinstance(raw, list) and len(raw) > step else None
    return raw


def _parameters(attrs: dict[str, Any]) -> dict[str, Any] | None:
    for key in ("llm.invocation_parameters", "embedding.invocation_parameters"):
        found = from_json(attrs.get(key))
        if isinstance(found, dict):
            del attrs[key]
            return found or None
    return None


def _requested(attrs: dict[str, Any], parameters: dict[str, Any]) -> str | None:
    """The model that was asked for, where no answer names one."""
    sent = attrs.get("input.value")
    return _text(parameters, "model", "model_name") or (_text(sent, "model") if isinstance(sent, dict) else None)


def _raw(attrs: dict[str, Any], reading: Reading) -> None:
    """Of a raw request or answer beside messages only what these don't say."""
    shown = None
    for key in RAW:
        if key in attrs:
            shown = shown or Shown(reading)
            attrs[key] = shown.rest(attrs[key])
            if attrs[key] is None:
                del attrs[key]


def _content(span: SpanView, reading: Reading) -> None:
    attrs = span.attrs
    asked: Json = _messages(unflatten(attrs, "llm.input_messages."), "user")
    answered: Json = _answered(attrs, _messages(unflatten(attrs, "llm.output_messages."), "assistant"))
    if "input.value" in attrs and isinstance(asked, list) and all(spoken == SILENT for spoken in asked):
        asked = None
    tools = _inner(unflatten(attrs, "llm.tools."), "tool")
    if isinstance(tools, list):
        tools = [
            from_json(tool["json_schema"]) if isinstance(tool, dict) and tool.keys() == {"json_schema"} else tool
            for tool in tools
        ]
    if asked is None:
        asked = _prompts(attrs)
    if asked is None:
        asked, vectors = _embedded(attrs)
        answered = vectors if answered is None else answered
        if vectors is not None and answered is not vectors:
            reading.metadata["embeddings"] = vectors
    for prefix in DOCUMENTS_IN:
        asked = asked or _inner(unflatten(attrs, prefix), "document") or None
    for prefix in DOCUMENTS_OUT:
        answered = answered or _inner(unflatten(attrs, prefix), "document") or None
    if asked is None:
        asked = value(attrs, "input.value", *UNVALUED)
    reading.input = with_tools(asked, tools)
    raw = attrs.get("output.value")
    if answered is None and isinstance(raw, dict) and raw.get("object") == provider.CHUNK:
        answered, _ = provider.response(raw)
    reading.output = value(attrs, "output.value") if answered is None else answered
    if span.scope_name == CREW_SCOPE and reading.type is ObservationType.AGENT:
        reading.input = _with_task(reading.input, reading.output)


def _answered(attrs: dict[str, Any], spoken: list[Json] | None) -> list[Json] | None:
    """The messages, or the raw answer's where these say no more than who spoke; before them what led to them."""
    raw = attrs.get("output.value")
    if spoken is None or not isinstance(raw, dict):
        return spoken
    if all(isinstance(said, dict) and said.keys() <= SILENT.keys() and not said.get("content") for said in spoken):
        generated = _at(raw, GENERATED)
        found = _generated(generated) if isinstance(generated, dict) else provider.response(raw)[0]
        spoken = found if isinstance(found, list) and found else spoken
    return [*_looped(attrs.get("input.value"), raw), *spoken]


def _generated(raw: dict[str, Any]) -> list[Json]:
    """What LangChain's model said, without what it notes beside; that stays in the raw answer."""
    spoken = messages([raw], "assistant")
    return [
        {key: item for key, item in said.items() if key in SPOKEN} if isinstance(said, dict) else said
        for said in (spoken if isinstance(spoken, list) else [])
    ]


def _with_task(asked: Json, answered: Json) -> Json:
    """CrewAI's agents say beside the answer what they were asked to do."""
    if not isinstance(asked, dict) or not isinstance(answered, dict):
        return asked
    return {key: answered[key] for key in TASK if isinstance(answered.get(key), str)} | asked


def _looped(sent: Json, answer: dict[str, Any]) -> list[Json]:
    """Google's SDK calls tools by itself: the history of that is what was sent, then the calls and their results."""
    past = answer.get("automatic_function_calling_history")
    asked = sent.get("contents") if isinstance(sent, dict) else None
    led = messages(past[len(asked) if isinstance(asked, list) else 1 :]) if isinstance(past, list) else None
    return led if isinstance(led, list) else []


def _messages(raw: list[Json] | None, role: str) -> list[Json] | None:
    if raw is None:
        return None
    spoken: list[Json] = []
    for item in _inner(raw, "message"):
        spoken += message(_opened(item), role) if isinstance(item, dict) else [item]
    return spoken


def _opened(said: dict[str, Any]) -> dict[str, Any]:
    """A message without OpenInference's wrappers; a call that is among the contents too is not shown twice."""
    opened = dict(said)
    calls = _inner(opened.pop("tool_calls"), "tool_call") if isinstance(opened.get("tool_calls"), list) else []
    contents = opened.pop("contents") if isinstance(opened.get("contents"), list) else []
    known = set(map(_written, calls)) if contents else set()
    parts = [_part(part) for part in contents if not _repeats(part, known)]
    if parts:
        before = opened.pop("content", None)
        before = [{"type": "text", "text": before}] if isinstance(before, str) else before
        opened["content"] = [*(before if isinstance(before, list) else [] if before is None else [before]), *parts]
    if calls:
        opened["tool_calls"] = calls
    if "function_call_name" in opened:
        function = {
            "name": opened.pop("function_call_name"),
            "arguments": opened.pop("function_call_arguments_json", ""),
        }
        opened["tool_calls"] = [*calls, {"type": "function", "function": function}]
    return opened


def _repeats(part: Json, known: set[bytes]) -> bool:
    """A tool call among the contents that is among the calls as well."""
    if not isinstance(part, dict) or part.get("message_content") not in (None, {"type": "tool_use"}):
        return False
    return bool(known) and isinstance(part.get("tool_call"), dict) and _written(part["tool_call"]) in known


def _written(call: Json) -> bytes:
    """The same for the same call, to look it up among many."""
    return orjson.dumps(call, option=orjson.OPT_SORT_KEYS)


def _part(part: Json) -> Json:
    """A part of a message out of its wrappers, if there is nothing beside them."""
    if not isinstance(part, dict):
        return part
    inner, called = part.get("message_content"), part.get("tool_call")
    if inner in (None, {"type": "tool_use"}) and isinstance(called, dict) and isinstance(called.get("function"), dict):
        rest = {key: item for key, item in called.items() if key != "function"}
        return {**called["function"], **rest, "type": "tool_call"}
    if not isinstance(inner, dict) or len(part) > 1:
        return part
    image = inner.get("image")
    if isinstance(image, dict):
        image = image.get("image", image)
    if isinstance(image, dict) and image.keys() == {"url"}:
        return {"type": "image_url", "image_url": image}
    return inner


def _inner(raw: Json, wrapper: str) -> list[Any]:
    """`[{wrapper: x}, ...]` as `[x, ...]`; whatever else is beside the wrapper keeps it."""
    if not isinstance(raw, list):
        return []
    return [
        item[wrapper] if isinstance(item, dict) and len(item) == 1 and isinstance(item.get(wrapper), dict) else item
        for item in raw
    ]


def _prompts(attrs: dict[str, Any]) -> Json:
    """Text completions: `llm.prompts` as a list, or `llm.prompts.N.prompt.text`."""
    if isinstance(attrs.get("llm.prompts"), list) and (texts := strings(attrs["llm.prompts"])):
        del attrs["llm.prompts"]
        return list(texts)
    return _inner(unflatten(attrs, "llm.prompts."), "prompt") or None


def _embedded(attrs: dict[str, Any]) -> tuple[Json, Json]:
    """Texts and their vectors."""
    embedded = _inner(unflatten(attrs, "embedding.embeddings."), "embedding")
    if not embedded:
        return None, None
    if not all(isinstance(item, dict) and item.keys() <= {"text", "vector"} for item in embedded):
        return embedded, None
    vectors = [item["vector"] for item in embedded if "vector" in item] or None
    texts = [item["text"] for item in embedded if "text" in item]
    return texts[0] if len(texts) == 1 else texts or None, vectors


def _metadata(attrs: dict[str, Any], reading: Reading) -> None:
    """`metadata` is an object of the user's; who and where may be in it."""
    said = from_json(attrs.get("metadata"))
    if isinstance(said, dict):
        del attrs["metadata"]
        reading.metadata |= said
        reading.session_id = identifier(attrs, "session.id") or table.session(dict(said))
        reading.user_id = identifier(attrs, "user.id") or table.user(dict(said))


def _text(said: dict[str, Any], *keys: str) -> str | None:
    return next((found for key in keys if (found := as_text(said.get(key)))), None)


DIALECT = Dialect(
    name="openinference",
    scopes=("openinference.*", "@arizeai/openinference*", f"{FORK_SCOPE}*"),
    marks=(
        "openinference.*",
        "llm.token_count.*",
        "llm.input_messages.*",
        "llm.output_messages.*",
        "input.value",
        "output.value",
    ),
    rank=30,
    read=read,
    checked="openinference-instrumentation-* of November 2026 (Python, JavaScript); -openai 0.1.20 to 0.1.41, "
    "-anthropic 0.1.10 to 0.1.20, -agno 0.1.14, -litellm 0.1.22, -bedrock 0.1.28; "
    "traceai-openai 0.1.10, -langchain 0.2.0",
)
