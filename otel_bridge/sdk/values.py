"""Anything as a value of an attribute: what OpenTelemetry takes as it is, the rest in words."""

import dataclasses
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

DEEPEST = 16


def attribute(value: Any, depth: int = 0) -> Any:
    """Text, numbers, truth, bytes, and lists and mappings of them; models and dataclasses as mappings.

    None where there is nothing to say. Never raises.
    """
    if value is None or isinstance(value, str | bool | int | float | bytes):
        return value
    if depth >= DEEPEST:
        return words(value)
    if isinstance(value, Mapping):
        return {str(key): attribute(item, depth + 1) for key, item in list(value.items())}
    if isinstance(value, Sequence | AbstractSet):
        return [attribute(item, depth + 1) for item in list(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        return attribute(named, depth + 1)
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        try:
            return attribute(dump(mode="json"), depth + 1)
        except Exception:  # noqa: BLE001 - somebody's model can not be dumped, which is not the agent's end
            return words(value)
    return words(value)


def attributes_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes whose values are fit; those that say nothing are left out."""
    fit = {key: attribute(value) for key, value in given.items()}
    return {key: value for key, value in fit.items() if value is not None}


def words(value: Any) -> str:
    """What somebody's object says of itself."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - its __str__ is broken
        return f"<{type(value).__qualname__}>"
