"""One observation out of a span and its reading: what no dialect took becomes metadata."""

import math
import re
from collections.abc import Iterator
from typing import Any

from otel_bridge.model import MAX_COUNT, Json, Level, Observation, ObservationType, TraceAttributes
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.shown import Shown
from otel_bridge.translate.span import Event, SpanView

SPAN, DEFAULT = ObservationType.SPAN, Level.DEFAULT  # enums are slow to ask

LONG = 200  # characters from which a text in the metadata is worth comparing with the content
OTHER_WORDS = (".input", ".output")  # content as another dialect read it
FLOOD = 20  # events of one name
UNNAMED = "unnamed"  # OTLP allows a span without a name, but a trace has none in Langfuse without its root's
STREAMED = re.compile(r"chunk|token", re.IGNORECASE)


def observation(span: SpanView, reading: Reading, trace: TraceAttributes) -> Observation:
    """Ids, times and parent are the span's; the tree may still move it. Takes the span's attributes as metadata."""
    level = reading.level or DEFAULT
    if reading.noise and level is DEFAULT:
        level = Level.DEBUG
    if (reading.usage and reading.usage.get("total", 0) > MAX_COUNT) or (
        reading.cost and not math.isfinite(reading.cost.get("total", 0))
    ):
        _set_aside(reading)
    return Observation(
        id=span.id,
        trace_id=span.trace_id,
        parent_id=span.parent_id or None,
        type=reading.type or SPAN,
        name=reading.name or span.name or UNNAMED,
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
        size=span.size + sum([log.size for log in span.logs]) if span.logs else span.size,
    )


def _set_aside(reading: Reading) -> None:
    """A sum that nobody can count: its parts stay in the metadata."""
    if reading.usage and reading.usage.get("total", 0) > MAX_COUNT:
        reading.metadata["usage_details"] = {name: tokens for name, tokens in reading.usage.items() if name != "total"}
        reading.usage = None
    if reading.cost and not math.isfinite(reading.cost.get("total", 0)):
        reading.metadata["cost_details"] = {name: dollars for name, dollars in reading.cost.items() if name != "total"}
        reading.cost = None


def _metadata(span: SpanView, reading: Reading) -> dict[str, Any]:
    """Attributes that nobody took, at the top level; what a dialect gives the same name displaces them."""
    metadata = span.attrs
    for key, item in reading.metadata.items():
        if key in metadata and metadata[key] != item:
            metadata[f"attribute.{key}"] = metadata[key]
        metadata[key] = item
    if reading.input is not None or reading.output is not None:
        _drop_shown(metadata, reading)
    if span.extra:
        metadata.update(span.extra)
    if span.kind:
        metadata["otel.kind"] = span.kind
    if reading.name and reading.name != span.name:
        metadata["otel.name"] = span.name
    if span.status_message and span.status_message != reading.status_message:
        metadata["otel.status_message"] = span.status_message
    if span.events:
        metadata["otel.events"] = _events(span.events, reading)
    if span.logs:
        metadata["otel.logs"] = [log.left() for log in span.logs]
    if reading.prompt_name and reading.prompt_version is None:
        metadata["prompt_name"] = reading.prompt_name  # Langfuse links a prompt by both or not at all
    return metadata


def _drop_shown(metadata: dict[str, Any], reading: Reading) -> None:
    """Content that the observation shows, word for word, isn't told a second time."""
    long = [key for key, item in metadata.items() if type(item) is str and len(item) > LONG]
    if reading.metadata:
        long += [key for key in reading.metadata if key.endswith(OTHER_WORDS) and key not in long]
    if long:
        shown = Shown(reading)
        for key in long:
            if shown.rest(metadata[key]) is None:
                del metadata[key]


def _events(events: list[Event], reading: Reading) -> list[dict[str, Any]]:
    """Events as they are; of each flood of a stream's pieces, all in the output, how many they were and when."""
    if len(events) <= FLOOD:
        return [_event(event) for event in events]
    by_name: dict[str, list[Event]] = {}
    for event in events:
        by_name.setdefault(event.name, []).append(event)
    floods = {
        name: summary
        for name, same in by_name.items()
        if len(same) > FLOOD and STREAMED.search(name) and (summary := _flood(same, reading)) is not None
    }
    told: list[dict[str, Any]] = []
    for event in events:
        if event.name not in floods:
            told.append(_event(event))
        elif event is by_name[event.name][0]:
            told.append(floods[event.name])
    return told


def _event(event: Event) -> dict[str, Any]:
    return {"name": event.name, "time_ns": event.time_ns} | ({"attributes": event.attrs} if event.attrs else {})


def _flood(same: list[Event], reading: Reading) -> dict[str, Any] | None:
    """One entry for many events, with what all say alike; None if one says what is not in the output."""
    alike: dict[str, Any] = {}
    if any(event.attrs.keys() != same[0].attrs.keys() for event in same):
        return None
    for key in same[0].attrs:
        items = [event.attrs[key] for event in same]
        if all(item == items[0] for item in items):
            alike[key] = items[0]
        elif not all(isinstance(item, str | int | None) for item in items):
            return None
        else:
            pieces = "".join(item for item in items if isinstance(item, str))
            if not any(pieces in said for said in _texts(reading.output)):
                return None
    summary = {"name": same[0].name, "count": len(same), "time_ns": same[0].time_ns, "last_time_ns": same[-1].time_ns}
    return summary | ({"attributes": alike} if alike else {})


def _texts(said: Json) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, dict | list):
        for inner in said.values() if isinstance(said, dict) else said:
            yield from _texts(inner)
