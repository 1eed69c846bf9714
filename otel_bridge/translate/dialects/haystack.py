"""Haystack's own tracing: `haystack.*`, with chat messages in its own serialised form.

Read off haystack-ai 2.10.0, 2.20.0 and 3.4.1 and opentelemetry-haystack 2.0.0; recorded payloads of 3.4.0.
https://docs.haystack.deepset.ai/docs/tracing
"""

from typing import Any

from otel_bridge.model import CALLS, Json, Level, ObservationType
from otel_bridge.translate import provider
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import NS, as_text, moment, text, value, whole, within

TYPES = {
    "haystack.agent.run": ObservationType.AGENT,
    "haystack.agent.step": ObservationType.CHAIN,
    "haystack.agent.step.llm": ObservationType.GENERATION,
    "haystack.agent.step.tool": ObservationType.TOOL,
    "haystack.pipeline.run": ObservationType.CHAIN,
    "haystack.async_pipeline.run": ObservationType.CHAIN,
}
COMPONENTS = (
    ("Generator", ObservationType.GENERATION),
    ("Embedder", ObservationType.EMBEDDING),
    ("Retriever", ObservationType.RETRIEVER),
    ("Ranker", ObservationType.RETRIEVER),
    ("WebSearch", ObservationType.RETRIEVER),
    ("Evaluator", ObservationType.EVALUATOR),
    ("ToolInvoker", ObservationType.TOOL),
    ("Agent", ObservationType.CHAIN),  # around its own `haystack.agent.run`
)
INPUT = (
    "haystack.agent.step.llm.input",
    "haystack.agent.step.tool.input",
    "haystack.agent.input",
    "haystack.component.input",
    "haystack.pipeline.input_data",
)
OUTPUT = (
    "haystack.agent.step.llm.output",
    "haystack.agent.step.tool.output",
    "haystack.agent.output",
    "haystack.component.output",
    "haystack.component.outputs",
    "haystack.pipeline.output_data",
)
STEP = "haystack.agent.step.llm"
OR_TEXT = "ChatMessage] | str"
ANTHROPIC = "cache_creation_input_tokens"
SCALARS = (bool, int, float, str)
QUARTER = 900 * NS


def read(span: SpanView) -> Reading:
    """Read a span of a pipeline, a component, an agent or one of its steps; content may be switched off."""
    attrs = span.attrs
    reading = Reading(type=_type(span))
    given, answered = value(attrs, *INPUT), value(attrs, *OUTPUT)
    if reading.type in CALLS:
        _call(span, reading, given, answered)
    elif reading.type is ObservationType.AGENT:
        reading.input, reading.output = _conversation(given, reading), _conversation(answered, reading)
    else:
        reading.input, reading.output = _plain(given), _plain(answered)
    if reading.type is ObservationType.TOOL:
        reading.name = text(attrs, "haystack.tool.name") or _called(given)
    else:
        reading.name = as_text(attrs.get("haystack.component.name"))
    if attrs.get("haystack.tool.error") is True:
        reading.level = Level.ERROR
        said = answered.get("error") if isinstance(answered, dict) else None
        reading.status_message = str(said) if said else "the tool failed"
    return reading


def _type(span: SpanView) -> ObservationType | None:
    kind = span.attrs.get("haystack.component.type")
    if isinstance(kind, str):
        return next((found for ending, found in COMPONENTS if kind.endswith(ending)), None)
    return TYPES.get(span.name)


def _call(span: SpanView, reading: Reading, given: Json, answered: Json) -> None:
    """A generator's or embedder's arguments and results; model and counts are in what the replies say of themselves."""
    said = dict(given) if isinstance(given, dict) else {}
    asked: Json = said.pop("messages", None) if isinstance(given, dict) else given
    parameters = said.pop("generation_kwargs", None)
    if isinstance(parameters, dict):
        reading.model_parameters = {key: item for key, item in parameters.items() if isinstance(item, SCALARS)} or None
        parameters = {key: item for key, item in parameters.items() if not isinstance(item, SCALARS)}
    if parameters:
        said["generation_kwargs"] = parameters
    tools = _offered(said.pop("tools", None))
    if isinstance(asked, list):
        asked = messages([_message(item) for item in asked])
    elif asked is None:
        asked = said.pop("prompt", None) or said.pop("text", None)
    said = {key: item for key, item in said.items() if item is not None}
    if asked is None and said:
        asked, said = _plain(said), {}
    reading.input = with_tools(asked, tools)
    if said:
        reading.metadata["arguments"] = said
    _replies(span, reading, answered)


def _replies(span: SpanView, reading: Reading, answered: Json) -> None:
    if not isinstance(answered, dict):
        reading.output = answered
        return
    replies, meta = answered.get("replies"), answered.get("meta")
    told = meta[0] if isinstance(meta, list) and meta else meta
    if isinstance(replies, list):
        reading.output = messages([_message(reply) for reply in replies], "assistant")
        first = _opened(replies[0]) if replies else {}
        told = first.get("meta") or told
        rest = {key: item for key, item in answered.items() if key not in ("replies", "meta")}
        metas = meta or [found for reply in replies if (found := _opened(reply).get("meta"))]
        if metas:
            reading.metadata["meta"] = metas
    else:
        reading.output, rest = answered, {}
    if rest:
        reading.metadata["results"] = rest
    if isinstance(told, dict):
        reading.model = as_text(told.get("model"))
        reading.usage, uncounted = provider.usage(_counted(span, told.get("usage")))
        if uncounted:
            reading.metadata["uncounted_usage"] = uncounted
        reading.completion_start_ns = _first_token(span, told.get("completion_start_time"))


def _counted(span: SpanView, raw: Json) -> Json:
    """Since Haystack 3 what Anthropic cached is counted in the prompt as well; spans of steps and texts to chat with
    are as old as that."""
    if not isinstance(raw, dict) or ANTHROPIC not in raw or "total_tokens" in raw:
        return raw
    if span.name != STEP and OR_TEXT not in str(span.attrs.get("haystack.component.input_spec")):
        return raw
    cached = sum(whole(raw.get(key)) or 0 for key in (ANTHROPIC, "cache_read_input_tokens"))
    prompt = whole(raw.get("prompt_tokens"))
    return raw if prompt is None or prompt < cached else raw | {"prompt_tokens": prompt - cached}


def _first_token(span: SpanView, raw: Json) -> int | None:
    """The time is local and names no zone: zones differ by quarters of an hour, so the span tells which."""
    at = moment(raw)
    if at is None:
        return None
    return within(span, at + round((span.start_ns - at) / QUARTER) * QUARTER)


def _conversation(raw: Json, reading: Reading) -> Json:
    """An agent's messages, of its results the last one; the rest of its state goes to the metadata."""
    if not isinstance(raw, dict) or not isinstance(raw.get("messages"), list):
        return _plain(raw)
    spoken = messages([_message(item) for item in raw["messages"]])
    rest = {key: item for key, item in raw.items() if key not in ("messages", "last_message") and item is not None}
    if isinstance(raw.get("last_message"), dict):
        rest["messages"] = spoken
        spoken = messages([_message(raw["last_message"])], "assistant")
    if rest:
        reading.metadata.setdefault("state", {}).update(rest)
    return spoken


def _message(raw: Json) -> Json:
    """Haystack's message as one that `messages` knows; what a model's span says of its own reply is not repeated."""
    said = _opened(raw)
    if not said:
        return raw
    content, meta = said.pop("content", None), said.get("meta")
    if isinstance(meta, dict) and "usage" in meta:
        del said["meta"]
    if isinstance(content, list):
        said["content"] = [_part(part) for part in content]
    elif content is not None:
        said["content"] = content
    return {key: item for key, item in said.items() if item not in (None, {})}


def _opened(raw: Json) -> dict[str, Any]:
    """Before 2.11 the keys had an underscore before them."""
    if not isinstance(raw, dict) or not ("role" in raw or "_role" in raw):
        return {}
    return {key.removeprefix("_"): item for key, item in raw.items()}


def _part(part: Json) -> Json:
    if not isinstance(part, dict) or len(part) != 1:
        return part
    kind, inner = next(iter(part.items()))
    if not isinstance(inner, dict):
        return part
    match kind:
        case "tool_call":
            rest = {key: item for key, item in inner.items() if key != "tool_name" and item is not None}
            return {"type": "tool_call", "name": inner.get("tool_name"), **rest}
        case "tool_call_result":
            rest = {key: item for key, item in inner.items() if key != "origin"}
            origin = inner["origin"] if isinstance(inner.get("origin"), dict) else {}
            return {"type": "tool_result", "id": origin.get("id"), "name": origin.get("tool_name")} | rest
        case "reasoning" if isinstance(inner.get("reasoning_text"), str):
            rest = {key: item for key, item in inner.items() if key != "reasoning_text" and item not in (None, {})}
            return {"type": "reasoning", "content": inner["reasoning_text"]} | rest
        case "image" if isinstance(inner.get("base64_image"), str):
            rest = {key: item for key, item in inner.items() if key != "base64_image" and item not in (None, {})}
            return {"type": "image", "modality": "image", "data": inner["base64_image"]} | rest
    return part


def _offered(raw: Json) -> Json:
    """Tools as definitions of functions, also those that a toolset holds."""
    held = raw.get("data") if isinstance(raw, dict) else None
    if isinstance(held, dict) and held.keys() == {"tools"}:
        raw = held["tools"]
    return [_tool(tool) for tool in raw] if isinstance(raw, list) else raw


def _tool(raw: Json) -> Json:
    """`{"type": class, "data": {...}}` as a function's definition."""
    if not isinstance(raw, dict) or not isinstance(raw.get("data"), dict) or "name" not in raw["data"]:
        return raw
    return {"type": "function", "function": raw["data"], "class": raw.get("type")}


def _called(raw: Json) -> str | None:
    """The tools that a ToolInvoker was asked to run."""
    spoken = raw.get("messages") if isinstance(raw, dict) else None
    names = [
        called["tool_name"]
        for item in _list(spoken)
        for part in _list(_opened(item).get("content"))
        if isinstance(part, dict) and isinstance(called := part.get("tool_call"), dict)
        if isinstance(called.get("tool_name"), str)
    ]
    return ", ".join(dict.fromkeys(names)) or None


def _plain(raw: Json) -> Json:
    """Arguments or results with the messages in them made readable; arguments not given are left out."""
    if not isinstance(raw, dict):
        return raw
    return {key: _readable(item) for key, item in raw.items() if item is not None} or None


def _readable(raw: Json) -> Json:
    """Messages as such, also one level down, where a pipeline has its components'."""
    if isinstance(raw, dict):
        return {key: _spoken(item) for key, item in raw.items()}
    return _spoken(raw)


def _spoken(raw: Json) -> Json:
    if isinstance(raw, list) and raw and all(_opened(item) for item in raw):
        return messages([_message(item) for item in raw])
    return raw


def _list(raw: Json) -> list[Any]:
    return raw if isinstance(raw, list) else []


DIALECT = Dialect(
    name="haystack",
    scopes=("haystack",),
    marks=("haystack.component.*", "haystack.agent.*", "haystack.pipeline.*", "haystack.tool.name"),
    read=read,
    checked="haystack-ai 2.10.0, 2.20.0 and 3.4.1, opentelemetry-haystack 2.0.0, and seven providers' generators",
)
