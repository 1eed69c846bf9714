"""One observation out of a span and its reading: what no dialect took becomes metadata."""

import re
from typing import Any

from otel_bridge.model import Level, Observation, ObservationType, TraceAttributes
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.span import SpanView

NOT_IN_ENVIRONMENT = re.compile(r"[^a-z0-9_-]+")
MAX_ENVIRONMENT = 40


def observation(span: SpanView, reading: Reading, trace: TraceAttributes) -> Observation:
    """Ids, times and parent are the span's; the tree may still move it. Takes the span's attributes as metadata."""
    level = reading.level or Level.DEFAULT
    if reading.noise and level is Level.DEFAULT:
        level = Level.DEBUG
    return Observation(
        id=span.id,
        trace_id=span.trace_id,
        parent_id=span.parent_id or None,
        type=reading.type or ObservationType.SPAN,
        name=reading.name or span.name,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        trace=trace,
        completion_start_ns=reading.completion_start_ns,
        level=level,
        status_message=reading.status_message,
        model=reading.model,
        model_parameters=reading.model_parameters,
        input=reading.input,
        output=reading.output,
        usage=reading.usage,
        cost=reading.cost,
        prompt_name=reading.prompt_name if reading.prompt_version is not None else None,
        prompt_version=reading.prompt_version if reading.prompt_name else None,
        version=reading.version,
        metadata=_metadata(span, reading),
        resource=span.resource,
        scope_name=span.scope_name,
        scope_version=span.scope_version,
        size=span.size + sum([log.size for log in span.logs]),
    )


def _metadata(span: SpanView, reading: Reading) -> dict[str, Any]:
    """Attributes that nobody took, at the top level; what a dialect gives the same name displaces them."""
    metadata = span.attrs
    for key, item in reading.metadata.items():
        if key in metadata and metadata[key] != item:
            metadata[f"attribute.{key}"] = metadata[key]
        metadata[key] = item
    metadata.update(span.extra)
    if span.kind:
        metadata["otel.kind"] = span.kind
    if reading.name and reading.name != span.name:
        metadata["otel.name"] = span.name
    if span.status_message and span.status_message != reading.status_message:
        metadata["otel.status_message"] = span.status_message
    if span.events:
        metadata["otel.events"] = [
            {"name": event.name, "time_ns": event.time_ns} | ({"attributes": event.attrs} if event.attrs else {})
            for event in span.events
        ]
    if span.logs:
        metadata["otel.logs"] = [log.left() for log in span.logs]
    if reading.prompt_name and reading.prompt_version is None:
        metadata["prompt_name"] = reading.prompt_name  # Langfuse links a prompt by both or not at all
    return metadata


def environment(said: str | None) -> str | None:
    """An environment that Langfuse takes: [a-z0-9_-], at most 40, not beginning with `langfuse`; None if none is left.

    It takes anything else for "default" without a word.
    """
    if not said:
        return None
    clean = NOT_IN_ENVIRONMENT.sub("-", said.lower()).strip("-")
    while clean.startswith("langfuse"):
        clean = clean.removeprefix("langfuse").lstrip("-_")
    return clean[:MAX_ENVIRONMENT] or None
