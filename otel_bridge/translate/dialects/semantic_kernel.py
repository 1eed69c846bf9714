"""Semantic Kernel (Python): chat messages as JSON in the body of log records, cached tokens in the text of one.

Read off semantic-kernel 1.20.0, 1.35.0 and 1.45.0 (utils/telemetry, agents/runtime), and recorded payloads of both.
https://learn.microsoft.com/semantic-kernel/concepts/enterprise-readiness/observability/
"""

import re
from typing import Any

from otel_bridge.model import ObservationType, Usage
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import LogView, SpanView
from otel_bridge.translate.values import count, from_json

TYPES = dict.fromkeys(
    (
        *("chat.completions", "chat.streaming_completions", "text.completions", "text.streaming_completions"),
        "text_completions",
    ),
    ObservationType.GENERATION,
)
MESSAGES = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message|gen_ai\.(choice|prompt)")
PLACES = ("CHAT_MESSAGE_INDEX", "code.file.path", "code.function.name", "code.line.number")
COUNTED = re.compile(r"\b(cached_tokens|reasoning_tokens)=(\d{1,15})\b")
PROMPT = "gen_ai.prompt"


def read(span: SpanView) -> Reading:
    """Open the message records for the conventions' own dialect, and read what they have no word for."""
    attrs = span.attrs
    operation = attrs.get("gen_ai.operation.name")
    reading = Reading(type=TYPES.get(operation) if isinstance(operation, str) else None)
    if span.name == "AutoFunctionInvocationLoop":
        reading.type = ObservationType.CHAIN
    places: dict[str, list[Any]] = {}
    for log in span.logs:
        if MESSAGES.fullmatch(log.name):
            _open(log, places)
    reading.metadata = {key: found[0] if len(found) == 1 else found for key, found in places.items()}
    prompts = [log.body for log in span.logs if log.name == PROMPT]
    if prompts:
        asked = attrs.setdefault(PROMPT, prompts[0])
        span.logs = [log for log in span.logs if log.name != PROMPT or log.body != asked or log.attrs]
    reading.usage = _usage(span)
    return reading


def _open(log: LogView, places: dict[str, list[Any]]) -> None:
    """The body is JSON; where in the package it was written, and its place in the order, are no part of the message."""
    opened = from_json(log.body)
    if isinstance(opened, dict | list):
        log.body = opened
        for key in PLACES:
            if key in log.attrs:
                place, known = log.attrs.pop(key), places.setdefault(key, [])
                if known[-1:] != [place]:
                    known.append(place)


def _usage(span: SpanView) -> Usage | None:
    """With the details that only a record for people has: `CompletionUsage(..., cached_tokens=40, ...)`."""
    attrs = span.attrs
    said: dict[str, Any] = {}
    for log in span.logs:
        if isinstance(log.body, str) and "CompletionUsage(" in log.body and len(log.body) < 4096:
            said = {name: int(digits) for name, digits in COUNTED.findall(log.body)}
    if not said:
        return None
    return Usage.inclusive(
        count(attrs, "gen_ai.usage.input_tokens"),
        count(attrs, "gen_ai.usage.output_tokens"),
        cache_read=said.get("cached_tokens"),
        reasoning=said.get("reasoning_tokens"),
    )


DIALECT = Dialect(
    name="semantic_kernel",
    scopes=("semantic_kernel.*", "Microsoft.SemanticKernel*"),
    marks=("sk.available_functions",),
    read=read,
    checked="semantic-kernel 1.20.0 and 1.45.0 (Python)",
)
