"""Genkit, for JavaScript, Go and Python: `genkit:*`, with an action's input and output whole, as JSON.

`generate` is what holds the requests to a model: the usage in its answer is that of the last of them. Session ids are
on the spans of agents alone; there is no user's id.

https://genkit.dev/docs/observability
Checked against recordings of genkit 1.42 (JavaScript) and its sources, and the sources of genkit 0.12 (Python); Go's
names are the same.
"""

from typing import Any

from otel_bridge.model import Json, ObservationType, Usage
from otel_bridge.translate import provider
from otel_bridge.translate.dialect import Dialect, Judgement, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import as_text, from_json, text, whole

SUBTYPES = {
    "model": ObservationType.GENERATION,
    "background-model": ObservationType.GENERATION,
    "embedder": ObservationType.EMBEDDING,
    "tool": ObservationType.TOOL,
    "tool.v2": ObservationType.TOOL,
    "retriever": ObservationType.RETRIEVER,
    "reranker": ObservationType.RETRIEVER,
    "evaluator": ObservationType.EVALUATOR,
    "agent": ObservationType.AGENT,
    "flow": ObservationType.CHAIN,
    "flowStep": ObservationType.CHAIN,
    "prompt": ObservationType.CHAIN,
    "executable-prompt": ObservationType.CHAIN,
}
TYPES = {
    "util": ObservationType.CHAIN,
    "flow": ObservationType.CHAIN,
    "flowStep": ObservationType.CHAIN,
}
SESSION = ("genkit:metadata:agent:sessionId", "genkit:metadata:sessionId", "genkit:sessionId")

COUNTED = ("inputTokens", "outputTokens", "totalTokens", "thoughtsTokens", "cachedContentTokens")
RAW_USAGE = ("usage", "usageMetadata", "usage_metadata")


def read(span: SpanView) -> Reading:
    """Read the span of an action or of a step around some."""
    attrs = span.attrs
    subtype, sort = attrs.get("genkit:metadata:subtype"), attrs.get("genkit:type")
    kind = SUBTYPES.get(subtype) if isinstance(subtype, str) else None
    if kind is None and isinstance(sort, str):
        kind = TYPES.get(sort)
    reading = Reading(type=kind, session_id=text(attrs, *SESSION))
    asked, answered = (from_json(attrs.pop(key, None)) for key in ("genkit:input", "genkit:output"))
    if kind is ObservationType.GENERATION and isinstance(answered, dict):
        reading.usage = _usage(answered)
    if kind in (ObservationType.GENERATION, ObservationType.EMBEDDING):
        reading.model = _model(attrs, answered)
    if kind in (ObservationType.GENERATION, ObservationType.CHAIN):
        asked, answered = _request(asked, reading), _response(answered, reading)
    elif kind is ObservationType.EMBEDDING:
        asked, answered = _texts(asked), _vectors(answered)
    reading.input, reading.output = asked, answered
    if kind is ObservationType.EVALUATOR:
        reading.judgements = _evaluations(span, answered)
    elif sort == "userEngagement":
        reading.judgements = _engagement(span)
    return reading


def _model(attrs: dict[str, Any], answered: Json) -> str | None:
    """What the provider says answered, else the action's name without the plugin's."""
    raw = answered.get("raw", answered.get("custom")) if isinstance(answered, dict) else None
    if isinstance(raw, dict):
        for key in ("model", "modelVersion", "model_version"):
            if model := as_text(raw.get(key)):
                return model
    name = as_text(attrs.get("genkit:name", attrs.get("genkit:model")))
    return name and (name.partition("/")[2] or name)


# Usage


def _usage(answered: dict[str, Any]) -> Usage | None:
    """Genkit's counts; what it does not pass on stands in the provider's own answer."""
    said = answered.get("usage")
    if not isinstance(said, dict):
        return None
    told = dict(said["custom"]) if isinstance(said.get("custom"), dict) else {}
    raw = answered.get("raw", answered.get("custom"))
    for key in RAW_USAGE:
        counted = raw.get(key) if isinstance(raw, dict) else None
        told |= counted if isinstance(counted, dict) else {}
    own = {"cached_tokens": said.get("cachedContentTokens"), "reasoning_tokens": said.get("thoughtsTokens")}
    return (Usage.exclusive if provider.beside(told) else Usage.inclusive)(
        whole(said.get("inputTokens")),
        whole(said.get("outputTokens")),
        total=whole(said.get("totalTokens")),
        **provider.parts(told | {key: counted for key, counted in own.items() if counted is not None}),
    )


# Scores


def _evaluations(span: SpanView, answered: Json) -> list[Judgement] | None:
    """An evaluator's answer: for each case a score, or several, and the span that was judged."""
    found: list[Judgement] = []
    for case in answered if isinstance(answered, list) else ():
        said = case.get("evaluation") if isinstance(case, dict) else None
        judged = case.get("spanId") if isinstance(case, dict) and case.get("traceId") == span.trace_id else None
        for item in said if isinstance(said, list) else [said]:
            if not isinstance(item, dict):
                continue
            value = item.get("status") if item.get("score") is None else item["score"]
            if not isinstance(value, bool | int | float | str) or value == "":
                continue
            details = item.get("details")
            why = details.get("reasoning") if isinstance(details, dict) else None
            rest = {"testCaseId": case.get("testCaseId"), "id": item.get("id"), "status": item.get("status")}
            found.append(
                Judgement(
                    str(span.attrs.get("genkit:name") or span.name),
                    value,
                    comment=why if isinstance(why, str) else None,
                    observation_id=judged if isinstance(judged, str) else None,
                    metadata={key: more for key, more in rest.items() if more is not None},
                )
            )
    return found or None


def _engagement(span: SpanView) -> list[Judgement] | None:
    """What a user said of a run, or did with its outcome: a span below the run's root."""
    attrs = span.attrs
    for key in ("genkit:metadata:feedbackValue", "genkit:metadata:acceptanceValue"):
        value, comment = attrs.get(key), attrs.get("genkit:metadata:textFeedback")
        if isinstance(value, str) and value:
            said = comment if isinstance(comment, str) else None
            return [Judgement(span.name, value, comment=said, observation_id=span.parent_id or None)]
    return None


# Content


def _request(asked: Json, reading: Reading) -> Json:
    """The messages and tools of a request to a model; its configuration are the parameters."""
    if not isinstance(asked, dict) or not isinstance(asked.get("messages"), list):
        return asked
    rest = dict(asked)
    spoken, tools, config = rest.pop("messages"), rest.pop("tools", None), rest.pop("config", None)
    if isinstance(config, dict):
        reading.model_parameters = config or None
    elif config is not None:
        rest["config"] = config
    _keep(reading, "genkit:input", rest)
    return with_tools(_chat(spoken, "user"), tools)


def _response(answered: Json, reading: Reading) -> Json:
    """The message of an answer, or those of its candidates, as older versions have them."""
    if not isinstance(answered, dict):
        return answered
    rest = dict(answered)
    spoken, candidates = rest.pop("message", None), rest.pop("candidates", None)
    if isinstance(spoken, dict):
        found: list[Json] = [spoken]
        if candidates is not None:
            rest["candidates"] = candidates
    elif isinstance(candidates, list) and candidates and all(_has_message(item) for item in candidates):
        found = [item["message"] for item in candidates]
        rest["candidates"] = [{key: more for key, more in item.items() if key != "message"} for item in candidates]
    else:
        return answered
    if reading.usage is not None:
        counted = rest.pop("usage")
        _keep(reading, "genkit:usage", {key: item for key, item in counted.items() if key not in COUNTED})
    _keep(reading, "genkit:output", rest)
    return _chat(found, "assistant")


def _has_message(item: Json) -> bool:
    return isinstance(item, dict) and isinstance(item.get("message"), dict)


def _keep(reading: Reading, key: str, rest: dict[str, Any]) -> None:
    if said := {name: item for name, item in rest.items() if item not in (None, [], {})}:
        reading.metadata[key] = said


def _chat(spoken: list[Json], role: str) -> Json:
    return messages(
        [
            {**item, "content": [_part(part) for part in item["content"]]}
            if isinstance(item, dict) and isinstance(item.get("content"), list)
            else item
            for item in spoken
        ],
        role,
    )


def _part(part: Json) -> Json:
    """A part says by its key what it is."""
    if not isinstance(part, dict):
        return part
    for key, name, inner, outer in (
        ("toolRequest", "tool_call", "input", "arguments"),
        ("toolResponse", "tool_call_response", "output", "response"),
    ):
        said = part.get(key)
        if isinstance(said, dict) and said.get("name"):
            rest = {more: item for more, item in said.items() if more not in ("ref", inner)}
            beside = {more: item for more, item in part.items() if more != key}
            called = {"id": said["ref"]} if said.get("ref") is not None else {}
            return beside | rest | called | {"type": name, outer: said.get(inner)}
    if isinstance(part.get("reasoning"), str) and "type" not in part:
        return {"type": "reasoning", **part}
    media = part.get("media")
    if isinstance(media, dict) and isinstance(link := media.get("url"), str):
        kind = media.get("contentType")
        if str(kind or "").startswith("image/") or link.startswith("data:image/"):
            rest = {key: item for key, item in part.items() if key != "media"}
            return {"type": "image_url", "image_url": {"url": link}, **({"contentType": kind} if kind else {}), **rest}
    return part


def _texts(asked: Json) -> Json:
    """Documents of nothing but one text as these texts; the only one without its list."""
    said = asked.get("input") if isinstance(asked, dict) and not asked.get("options") else None
    if not isinstance(said, list) or not said:
        return asked
    found = [_text(item) for item in said]
    if any(item is None for item in found):
        return asked
    return found[0] if len(found) == 1 else list(found)


def _text(document: Json) -> str | None:
    content = document.get("content") if isinstance(document, dict) and not document.get("metadata") else None
    only = content[0] if isinstance(content, list) and len(content) == 1 else None
    return (
        only["text"] if isinstance(only, dict) and only.keys() == {"text"} and isinstance(only["text"], str) else None
    )


def _vectors(answered: Json) -> Json:
    said = answered.get("embeddings") if isinstance(answered, dict) and len(answered) == 1 else None
    if not isinstance(said, list) or not all(isinstance(item, dict) and item.keys() == {"embedding"} for item in said):
        return answered
    return said[0]["embedding"] if len(said) == 1 else [item["embedding"] for item in said]


DIALECT = Dialect(
    name="genkit",
    scopes=("genkit-tracer",),
    marks=("genkit:*",),
    rank=20,
    read=read,
    checked="genkit 1.42 (JavaScript), 1.4 (Go), 0.12 (Python)",
)
