"""Langtrace: the conventions' prompts and completions of 1.27, with tools as text and calls of tools as content.

https://docs.langtrace.ai/
"""

from typing import Any

from otel_bridge.model import Json, ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import from_json

TYPES = {"framework": ObservationType.CHAIN}
OFFERED = "gen_ai.request.tools"
CALLED = "gen_ai.request.tool_results"  # where it puts what Anthropic's model answered first, if that is a call
COMPLETION = "gen_ai.completion"


def read(span: SpanView) -> Reading:
    """Read what is Langtrace's own way; the rest it has in common with the conventions."""
    attrs = span.attrs
    service = attrs.get("langtrace.service.type")
    reading = Reading(type=TYPES.get(service) if isinstance(service, str) else None)
    _offered(attrs)
    called = from_json(from_json(attrs.get(CALLED)))
    if isinstance(called, dict) and called.get("type") == "tool_use":
        del attrs[CALLED]
        reading.output = messages({"role": "assistant", "content": [called]})
    for event in span.events:
        if COMPLETION in event.attrs:
            event.attrs[COMPLETION] = _with_calls(from_json(event.attrs[COMPLETION]))
    return reading


def _offered(attrs: dict[str, Any]) -> None:
    """A list of texts that hold lists of tools, under the conventions' name."""
    listed = from_json(attrs.get(OFFERED))
    if not isinstance(listed, list):
        return
    tools: list[Json] = []
    for item in map(from_json, listed):
        tools += item if isinstance(item, list) else [item]
    if tools and all(isinstance(tool, dict) for tool in tools):
        del attrs[OFFERED]
        attrs.setdefault("gen_ai.tool.definitions", tools)


def _with_calls(said: Json) -> Json:
    """OpenAI's calls of tools stand in the place of the content."""
    if not isinstance(said, list):
        return said
    return [
        {name: item for name, item in spoken.items() if name != "content"} | {"tool_calls": spoken["content"]}
        if isinstance(spoken, dict) and _are_calls(spoken.get("content"))
        else spoken
        for spoken in said
    ]


def _are_calls(content: Json) -> bool:
    return (
        isinstance(content, list)
        and content != []
        and all(isinstance(item, dict) and "function" in item for item in content)
    )


DIALECT = Dialect(
    name="langtrace",
    scopes=("langtrace*",),
    marks=("langtrace.*",),
    rank=15,
    read=read,
    checked="langtrace-python-sdk 3.8.21 (OpenAI, Anthropic)",
)
