"""LangSmith's OTel export: `langsmith.*`, with the run's inputs and outputs whole in `gen_ai.prompt`, `.completion`.

The kind of run counts: the operation names beside it call a prompt template `chat` and a retriever `embeddings`. Usage
of runs that are no LLM's is that of a message they pass on. `langsmith.trace.session_name` is the project, no session.

https://docs.langchain.com/langsmith/trace-with-opentelemetry
Checked against recordings of langsmith 0.14 with LangChain 1.4, and the exporters' sources of langsmith 0.14 (Python)
and 0.10 and 0.12 (JavaScript).
"""

import re
from typing import Any

from otel_bridge.model import CALLS, Json, ObservationType, Usage
from otel_bridge.translate import provider, table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.span import ERROR_CODE, OK_CODE, SpanView
from otel_bridge.translate.values import as_text, count, from_json, from_printed, nested, strings, text, value, whole

KINDS = {
    "llm": ObservationType.GENERATION,
    "embedding": ObservationType.EMBEDDING,
    "chain": ObservationType.CHAIN,
    "tool": ObservationType.TOOL,
    "retriever": ObservationType.RETRIEVER,
    "prompt": ObservationType.SPAN,
    "parser": ObservationType.SPAN,
}
SPEAKERS = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "AIMessageChunk": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "tool",
}
PARAMETERS = {
    "ls_temperature": "temperature",
    "ls_max_tokens": "max_tokens",
    "ls_stop": "stop",
}
OWN_TAGS = re.compile(r"(seq|graph|map|condition|branch):|langsmith:|langgraph")  # LangChain's, not the user's
TRACEBACK = "Traceback (most recent call last)"
THROWN = re.compile(r"""([A-Za-z_][\w.]*)\((['"]?)(.*)\2\)\s*""", re.DOTALL)
WRAPPERS = ("messages", "message", "input", "inputs", "output", "outputs", "query", "documents")
OF_PROVIDER = ("token_usage", "usage", "token_count")
REQUESTED = ("input", "prompt")
MAX_WRAPPERS = 4
PAIRED = ("user", "human", "assistant", "ai", "system")
NOTHING: tuple[Json, ...] = (None, [], {})


def read(span: SpanView) -> Reading:
    """Read a run of any kind."""
    attrs = span.attrs
    kind = attrs.get("langsmith.span.kind")
    reading = Reading(type=KINDS.get(kind.lower()) if isinstance(kind, str) else None)
    metadata = nested(attrs, "langsmith.metadata.")
    reading.session_id = table.session(metadata)
    reading.user_id = table.user(metadata) or text(metadata, "ls_user_id")
    if reading.type is ObservationType.CHAIN and metadata.get("lc_agent_name") == span.name:
        reading.type = ObservationType.AGENT
    _tags(attrs, reading)
    _content(attrs, reading)
    counted = _usage(attrs, metadata, reading)
    if reading.type in CALLS:
        reading.usage = counted
        reading.model_parameters = _parameters(attrs, metadata)
        asked_for = (reading.model_parameters or {}).get("user")
        if reading.user_id is None and isinstance(asked_for, str) and asked_for:
            reading.user_id = asked_for  # whom OpenAI's request names as its user
    elif counted is not None:
        reading.metadata["uncounted_usage"] = dict(counted)
    reading.metadata |= {key: from_json(item) for key, item in metadata.items()}
    _error(span)
    return reading


def _tags(attrs: dict[str, Any], reading: Reading) -> None:
    tags = strings(attrs.get("langsmith.span.tags")) or []
    reading.tags = [tag for tag in tags if not OWN_TAGS.match(tag)] or None
    if reading.tags == tags:
        del attrs["langsmith.span.tags"]


def _parameters(attrs: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any] | None:
    found = nested(attrs, "gen_ai.request.")
    model = found.pop("model", None)
    if model is not None:
        attrs["gen_ai.request.model"] = model  # the conventions' dialect takes it
    for key, name in PARAMETERS.items():
        if key in metadata:
            found[name] = metadata.pop(key)
    given = from_json(metadata.get("ls_invocation_params"))
    if isinstance(given, dict):
        del metadata["ls_invocation_params"]
        found = given | found
    return found or None


def _usage(attrs: dict[str, Any], metadata: dict[str, Any], reading: Reading) -> Usage | None:
    """LangChain's counts, cache and audio included; the parts stand in any of four places, the answer the last.

    Of OpenAI's completions only the response itself counts.
    """
    answered = reading.output
    last = answered[0] if isinstance(answered, list) and answered and isinstance(answered[0], dict) else {}
    details = (
        _object(metadata.get("usage_metadata"))
        or _object(attrs.get("langsmith.usage_metadata"))
        or _object(last.get("usage_metadata"))
        or {}
    )
    counted: dict[str, int | None] = {}
    summed: dict[str, int] = {}
    parts: dict[str, dict[str, Any]] = {}
    for side in ("input", "output"):
        named = f"{side}_token_details"
        parts[side] = _object(attrs.get(f"gen_ai.usage.{named}")) or _object(details.get(named)) or {}
    for side in ("input", "output", "total"):
        found, told = count(attrs, f"gen_ai.usage.{side}_tokens"), whole(details.get(f"{side}_tokens"))
        # of Gemini's total the attribute leaves out the thoughts
        counted[side] = told if found is None or (side == "total" and told is not None) else found
        summed[side] = told // found if found and told and told % found == 0 else 0
    if summed["input"] > 1 and len(set(summed.values())) == 1:
        counted["total"] = None  # LangChain adds up what each of several answers says of all
        parts = {side: _shared(told, summed[side]) for side, told in parts.items()}
    whole_answer = _object(reading.metadata.get("gen_ai.completion")) or {}
    theirs = _of_provider(_object(last.get("response_metadata")) or {}) or _of_provider(whole_answer)
    if counted["input"] is None and counted["output"] is None:
        if counted["total"] is not None:
            attrs["gen_ai.usage.total_tokens"] = counted["total"]
        return provider.usage(theirs)[0] if theirs else None
    into, out = parts["input"], parts["output"]
    same = _count(theirs, *provider.INPUT_COUNT) == counted["input"]
    more = provider.parts(theirs) if same else {}
    read, thought = _sum(into, "cache_read"), _sum(out, "reasoning")
    return Usage.inclusive(
        counted["input"],
        counted["output"],
        cache_read=more.get("cache_read") if read is None else read,
        cache_write=_sum(into, "cache_creation", "ephemeral_"),
        reasoning=more.get("reasoning") if thought is None else thought,
        input_audio=whole(into.get("audio")),
        output_audio=whole(out.get("audio")),
        total=counted["total"],
    )


def _of_provider(answered: dict[str, Any]) -> dict[str, Any]:
    """What the provider counted, where LangChain's class for it hands that on and says less in its own words."""
    return next((found for key in OF_PROVIDER if (found := _object(answered.get(key)))), {})


def _count(counted: dict[str, Any], *keys: str) -> int | None:
    return next((found for key in keys if (found := whole(counted.get(key))) is not None), None)


def _shared(parts: dict[str, Any], answers: int) -> dict[str, Any]:
    return {key: counted // answers for key, item in parts.items() if (counted := whole(item)) is not None}


def _object(raw: Json) -> dict[str, Any] | None:
    """An object, from JSON or from what Python prints of one."""
    found = from_printed(raw)
    return found if isinstance(found, dict) else None


def _sum(parts: dict[str, Any], *prefixes: str) -> int | None:
    found = [
        counted for key, item in parts.items() if key.startswith(prefixes) and (counted := whole(item)) is not None
    ]
    return sum(found) if found else None


# Content


def _content(attrs: dict[str, Any], reading: Reading) -> None:
    asked, answered = value(attrs, "gen_ai.prompt"), value(attrs, "gen_ai.completion")
    classes: set[str] = set()
    if reading.type is ObservationType.GENERATION:
        asked, tools, rest_in = _asked(asked)
        tools = tools or value(attrs, "gen_ai.tool.definitions")
        answered, rest_out = _answered(answered, classes)
        reading.metadata |= {
            key: rest for key, rest in (("gen_ai.prompt", rest_in), ("gen_ai.completion", rest_out)) if rest
        }
        reading.input = with_tools(_bare(asked, "user", classes), tools)
        reading.output = _bare(answered, "assistant", classes)
        reading.response_id = _response_id(attrs, reading.output)
    else:
        reading.input, reading.output = _bare(asked, "user", classes), _bare(answered, "assistant", classes)
    if reading.output in ({}, []):
        reading.output = None
    if classes:
        reading.metadata["langchain.classes"] = sorted(classes)


def _asked(raw: Json) -> tuple[Json, Json, dict[str, Any]]:
    """The messages, the tools, and what stands beside them, as OpenAI's Responses and completions have them too."""
    if isinstance(raw, dict) and "messages" not in raw and "model" in raw and not raw.keys().isdisjoint(REQUESTED):
        return provider.request(raw)
    spoken, rest = _split(raw)
    return spoken, rest.pop("tools", None), rest


def _answered(raw: Json, classes: set[str]) -> tuple[Json, dict[str, Any]]:
    if isinstance(raw, dict) and raw.get("object") == "response":
        spoken, rest = provider.response(raw)
        return spoken, {key: item for key, item in rest.items() if item not in NOTHING}
    return _split(_chosen(raw, classes))


def _split(raw: Json) -> tuple[Json, dict[str, Any]]:
    """The messages, and what stands beside them."""
    if not isinstance(raw, dict) or "messages" not in raw:
        return raw, {}
    return raw["messages"], {key: item for key, item in raw.items() if key != "messages" and item not in NOTHING}


def _chosen(raw: Json, classes: set[str]) -> Json:
    """LangChain's `generations` and OpenAI's `choices` as the messages that they hold."""
    if not isinstance(raw, dict):
        return raw
    generations, choices = raw.get("generations"), raw.get("choices")
    if isinstance(generations, list):
        flat = [item for inner in generations for item in (inner if isinstance(inner, list) else [inner])]
        found = [_generated(item, classes) for item in flat]
    elif isinstance(choices, list):
        found = [_choice(item) for item in choices]
    else:
        return raw
    return {"messages": found} | {key: item for key, item in raw.items() if key not in ("generations", "choices")}


def _generated(item: Json, classes: set[str]) -> Json:
    if not isinstance(item, dict):
        return item
    said, info = item.get("message"), item.get("generation_info")
    if isinstance(item.get("type"), str):
        classes.add(item["type"])
    made = {"role": "assistant", "content": item.get("text")} if said is None else _message(said, classes)
    return {**made, "generation_info": info} if info and isinstance(made, dict) and "lc" not in made else made


def _choice(item: Json) -> Json:
    said = item.get("message") if isinstance(item, dict) else None
    if not isinstance(item, dict):
        return item
    if said is None and isinstance(item.get("text"), str):  # a completion
        said = {"role": "assistant", "content": item["text"]}
        item = {key: more for key, more in item.items() if key != "text"}
    if not isinstance(said, dict):
        return item
    return said | {key: more for key, more in item.items() if key not in ("message", "index") and more is not None}


def _bare(raw: Json, role: str, classes: set[str]) -> Json:
    """Messages as such; what a run that returned no object has around it taken off."""
    for _ in range(MAX_WRAPPERS):
        if isinstance(raw, dict) and len(raw) == 1 and next(iter(raw)) in WRAPPERS:
            raw = next(iter(raw.values()))
    if isinstance(raw, list) and raw:
        raw = [_paired(raw)] if _is_pair(raw) else [_paired(item) if _is_pair(item) else item for item in raw]
    if isinstance(raw, list) and len(raw) == 1 and isinstance(raw[0], list):
        raw = raw[0]
    if _is_message(raw):
        raw = [raw]
    if not isinstance(raw, list) or not raw or not all(_is_message(item) for item in raw):
        return raw
    return messages([_message(item, classes) for item in raw], role)


def _is_pair(item: Json) -> bool:
    """Who speaks and what is said, which LangChain takes for a message."""
    return isinstance(item, list) and len(item) == 2 and item[0] in PAIRED and isinstance(item[1], str)


def _paired(item: list[Json]) -> dict[str, Json]:
    return {"role": item[0], "content": item[1]}


def _is_message(item: Json) -> bool:
    if not isinstance(item, dict):
        return False
    return "role" in item or _kwargs(item) is not None or ("content" in item and str(item.get("type")) in SPEAKERS)


def _kwargs(item: dict[str, Any]) -> dict[str, Any] | None:
    """What LangChain's serialised form holds."""
    inner, path = item.get("kwargs"), item.get("id")
    known = item.get("lc") == 1 and isinstance(inner, dict) and isinstance(path, list) and path
    return inner if known and isinstance(inner, dict) else None


def _message(item: Json, classes: set[str]) -> Json:
    """A message without what it has nothing in; LangChain's plain form says by `type` who speaks."""
    if not isinstance(item, dict):
        return item
    inner = _kwargs(item)
    said = {key: more for key, more in (item if inner is None else inner).items() if more not in NOTHING}
    if inner is not None:
        said["type"] = str(item["id"][-1])
    kind = str(said.get("type"))
    if "role" not in said and kind in SPEAKERS:
        said["role"] = SPEAKERS[kind]
        del said["type"]
        if not kind.islower():
            classes.add(kind)
    return said


def _response_id(attrs: dict[str, Any], answered: Json) -> str | None:
    found = attrs.get("gen_ai.response.id")
    if isinstance(answered, list) and len(answered) == 1 and isinstance(answered[0], dict) and not found:
        told = answered[0].get("response_metadata")
        found = told.get("id") if isinstance(told, dict) else None
    return as_text(found)


def _error(span: SpanView) -> None:
    """Errors come as the repr of the exception with the stack trace glued to it, all in the exception's message.

    LangSmith's own spans tell of what ended the run alone, also where newer releases give it the status OK; those of
    others may have recorded what they got over.
    """
    own = span.scope_name == DIALECT.scopes[0]
    for event in span.events:
        said = event.attrs.get("exception.message")
        if event.name == "exception" and span.status_code == OK_CODE and own:
            span.status_code = ERROR_CODE
        if event.name != "exception" or not isinstance(said, str) or TRACEBACK not in said:
            continue
        head = said.partition(TRACEBACK)[0]
        thrown = THROWN.fullmatch(head)
        if said not in str(event.attrs.get("exception.stacktrace")):
            event.attrs["exception.stacktrace"] = said
        event.attrs["exception.message"] = thrown[3] if thrown else head.strip()
        if thrown:
            event.attrs["exception.type"] = thrown[1]


DIALECT = Dialect(
    name="langsmith",
    scopes=("langsmith",),
    marks=("langsmith.*",),
    rank=20,
    read=read,
    checked="langsmith 0.4, 0.14 and 0.15 (Python), 0.10 and 0.12 (JavaScript), LangChain 0.3 to 1.5, nine providers",
)
