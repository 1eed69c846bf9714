"""`langfuse.*` attributes, as Langfuse's SDKs send them and as anybody may set them by hand: they overrule all else.

The SDKs put the same into baggage as `langfuse_*`, which any OpenTelemetry program can write on its spans.

https://langfuse.com/integrations/native/opentelemetry#property-mapping
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from otel_bridge.model import Level, ObservationType, Usage
from otel_bridge.translate import provider
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import (
    finite,
    from_json,
    identifier,
    moment,
    nested,
    speaks_of,
    strings,
    text,
    value,
    whole,
    within,
)

T = TypeVar("T")
OBSERVATION = "langfuse.observation."
TRACE = "langfuse.trace."
TYPES = {str(kind).lower(): kind for kind in ObservationType}
BAGGAGE = {
    "langfuse_session_id": "langfuse.session.id",
    "langfuse_user_id": "langfuse.user.id",
    "langfuse_tags": "langfuse.trace.tags",
    "langfuse_trace_name": "langfuse.trace.name",
    "langfuse_environment": "langfuse.environment",
    "langfuse_version": "langfuse.version",
    "langfuse_prompt_name": "langfuse.observation.prompt.name",
    "langfuse_prompt_version": "langfuse.observation.prompt.version",
    "langfuse_experiment_id": "langfuse.experiment.id",
    "langfuse_experiment_name": "langfuse.experiment.name",
    "langfuse_experiment_metadata": "langfuse.experiment.metadata",
    "langfuse_experiment_dataset_id": "langfuse.experiment.dataset.id",
    "langfuse_experiment_item_id": "langfuse.experiment.item.id",
    "langfuse_experiment_item_metadata": "langfuse.experiment.item.metadata",
    "langfuse_experiment_item_root_observation_id": "langfuse.experiment.item.root_observation_id",
}
"""Langfuse's SDK 5 reads these keys of baggage so."""

BAGGAGE_METADATA = "langfuse_metadata_"
LIST_IN_BAGGAGE = re.compile(r"\['[^']*'(?:, '[^']*')*\]")  # as Python writes it: baggage is text
LEVELS = {
    "debug": Level.DEBUG,
    "trace": Level.DEBUG,
    "verbose": Level.DEBUG,
    "default": Level.DEFAULT,
    "info": Level.DEFAULT,
    "log": Level.DEFAULT,
    "notice": Level.DEFAULT,
    "ok": Level.DEFAULT,
    "success": Level.DEFAULT,
    "warning": Level.WARNING,
    "warn": Level.WARNING,
    "error": Level.ERROR,
    "fatal": Level.ERROR,
    "critical": Level.ERROR,
}


def read(span: SpanView) -> Reading:
    """Take all `langfuse.*` attributes; of what they can hold and don't, the rest stays."""
    attrs = span.attrs
    if speaks_of(attrs, "langfuse_"):
        _read_baggage(attrs)
    reading = Reading()
    for field in {FIELD_OF[key] for key in attrs.keys() & FIELD_OF.keys()}:
        reader, keys = READERS[field]
        setattr(reading, field, reader(attrs, *keys))
    reading.completion_start_ns = _first_token(span)
    if attrs.get("langfuse.internal.is_app_root") in (True, False, "true", "false"):
        del attrs["langfuse.internal.is_app_root"]  # the tree says it itself
    if not speaks_of(attrs, "metadata"):
        return reading
    reading.metadata = _metadata(attrs, OBSERVATION) | _decoded(nested(attrs, "langfuse.metadata."))
    reading.trace_metadata = _metadata(attrs, TRACE)
    _compat(reading)
    return reading


def _read_baggage(attrs: dict[str, Any]) -> None:
    """What was set on the span itself stands."""
    for key in [key for key in attrs if key.startswith("langfuse_")]:
        target = BAGGAGE.get(key)
        if target is None and key.startswith(BAGGAGE_METADATA):
            target = f"{TRACE}metadata.{key.removeprefix(BAGGAGE_METADATA)}"
        if target is not None and target not in attrs:
            said = attrs.pop(key)
            if isinstance(said, str) and LIST_IN_BAGGAGE.fullmatch(said):
                said = re.findall(r"'([^']*)'", said)
            attrs[target] = said


def _compat(reading: Reading) -> None:
    """Older SDKs and LangChain's handler name session, user and tags in the metadata."""
    for metadata in (reading.metadata, reading.trace_metadata):
        if not metadata:
            continue
        reading.session_id = reading.session_id or identifier(metadata, "langfuse_session_id")
        reading.user_id = reading.user_id or identifier(metadata, "langfuse_user_id")
        if reading.tags is None and (tags := strings(metadata.get("langfuse_tags"))):
            reading.tags = tags
            del metadata["langfuse_tags"]


def _metadata(attrs: dict[str, Any], prefix: str) -> dict[str, Any]:
    """`<prefix>metadata` as an object, and `<prefix>metadata.*` key by key."""
    key = f"{prefix}metadata"
    whole_object = from_json(attrs.get(key))
    found: dict[str, Any] = {}
    if isinstance(whole_object, dict):
        del attrs[key]
        found.update(whole_object)
    return found | _decoded(nested(attrs, f"{key}."))


def _decoded(said: dict[str, Any]) -> dict[str, Any]:
    """SDK 5 writes every value as JSON, quotes included; older ones only what is no text."""
    return {key: from_json(item) for key, item in said.items()}


def _type(attrs: dict[str, Any], key: str) -> ObservationType | None:
    return _of(attrs, key, TYPES)


def _level(attrs: dict[str, Any], key: str) -> Level | None:
    return _of(attrs, key, LEVELS)


def _of(attrs: dict[str, Any], key: str, table: Mapping[str, T]) -> T | None:
    said = attrs[key]
    found = table.get(said.lower()) if isinstance(said, str) else None
    if found is not None:
        del attrs[key]
    return found


def _version(attrs: dict[str, Any], *keys: str) -> int | None:
    for key in keys:
        if (version := whole(attrs.get(key))) is not None:
            del attrs[key]
            return version
    return None


def _tags(attrs: dict[str, Any], *keys: str) -> list[str] | None:
    for key in keys:
        if key in attrs and (tags := strings(attrs[key])):
            del attrs[key]
            return tags
    return None


def _object(attrs: dict[str, Any], key: str) -> dict[str, Any] | None:
    found = from_json(attrs[key])
    if not isinstance(found, dict):
        return None
    del attrs[key]
    return found


def _public(attrs: dict[str, Any], *keys: str) -> bool | None:
    for key in keys:
        if attrs.get(key) in (True, False, "true", "false"):
            return attrs.pop(key) in (True, "true")
    return None


def _first_token(span: SpanView) -> int | None:
    key = "langfuse.observation.completion_start_time"
    found = within(span, moment(span.attrs[key])) if key in span.attrs else None
    if found is not None:
        del span.attrs[key]
    return found


def _usage(attrs: dict[str, Any], key: str) -> Usage | None:
    said = from_json(attrs[key])
    if not isinstance(said, dict):
        return None
    found, rest = usage_of(said)
    if found is not None:
        del attrs[key]
        if rest:
            attrs[key] = rest
    return found


def usage_of(said: dict[str, Any]) -> tuple[Usage | None, dict[str, Any]]:
    """Buckets made by hand, and what is none; an API's counts in their place are made exclusive.

    Where a total says that the parts of a side (`input_...`, `output_...`) are inside it, they are taken off it.
    """
    if not said.keys().isdisjoint(provider.SIDES):
        return provider.usage(said)
    counted = {name: found for name, item in said.items() if (found := whole(item)) is not None}
    rest = {name: item for name, item in said.items() if name not in counted and item is not None}
    total = counted.pop("total", None)
    if not counted:
        return None, {}
    usage = Usage(counted)
    for side in _inside(counted, total):
        usage[side] -= _parts(counted, side)
    usage["total"] = sum(usage.values())
    return usage, rest


def _inside(counted: dict[str, int], total: int | None) -> tuple[str, ...]:
    """The sides that hold their parts: so many that the sum is the total, or all if none is."""
    if total is None or total >= sum(counted.values()):
        return ()
    holding = tuple(side for side in ("input", "output") if _parts(counted, side) <= counted.get(side, -1))
    over = sum(counted.values()) - total
    return next(((side,) for side in reversed(holding) if _parts(counted, side) == over), holding)


def _parts(counted: dict[str, int], side: str) -> int:
    return sum(found for name, found in counted.items() if name.startswith(f"{side}_"))


def _cost(attrs: dict[str, Any], key: str) -> dict[str, float] | None:
    said = from_json(attrs[key])
    if not isinstance(said, dict):
        return None
    found = {name: dollars for name, item in said.items() if (dollars := finite(item)) is not None and dollars >= 0}
    if not found:
        return None
    del attrs[key]
    if rest := {name: item for name, item in said.items() if name not in found and item is not None}:
        attrs[key] = rest
    found.setdefault("total", sum(found.values()))
    return found


READERS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "type": (_type, ("langfuse.observation.type",)),
    "input": (value, ("langfuse.observation.input",)),
    "output": (value, ("langfuse.observation.output",)),
    "model": (text, ("langfuse.observation.model.name", "langfuse.observation.model")),
    "model_parameters": (_object, ("langfuse.observation.model.parameters",)),
    "usage": (_usage, ("langfuse.observation.usage_details",)),
    "cost": (_cost, ("langfuse.observation.cost_details",)),
    "level": (_level, ("langfuse.observation.level",)),
    "status_message": (text, ("langfuse.observation.status_message",)),
    "prompt_name": (text, ("langfuse.observation.prompt.name", "langfuse.prompt.name")),
    "prompt_version": (_version, ("langfuse.observation.prompt.version", "langfuse.prompt.version")),
    "session_id": (identifier, ("langfuse.session.id",)),
    "user_id": (identifier, ("langfuse.user.id",)),
    "trace_name": (text, ("langfuse.trace.name",)),
    "tags": (_tags, ("langfuse.trace.tags", "langfuse.tags")),
    "environment": (text, ("langfuse.environment",)),
    "release": (text, ("langfuse.release",)),
    "version": (text, ("langfuse.version",)),
    "public": (_public, ("langfuse.trace.public", "langfuse.public")),
    "trace_input": (value, ("langfuse.trace.input",)),
    "trace_output": (value, ("langfuse.trace.output",)),
}
"""Field → how it is read, and the attributes that say it."""

FIELD_OF = {key: field for field, (_, keys) in READERS.items() for key in keys}


# Not in `dialects/`: it has no rank among those, as it is heard before even the one whose scope the span has, and
# `choose` notes what it says as set by hand. (The docstring above is shown to users.)
DIALECT = Dialect(
    name="langfuse",
    scopes=("langfuse-sdk*",),
    marks=("langfuse.*", "langfuse_*"),
    read=read,
    checked="Langfuse SDK 3.15, 4.18, 5.0 (Python), 5.11 (JavaScript)",
)
