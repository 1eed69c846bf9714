"""Anything as a value of an attribute: what OpenTelemetry takes as it is, the rest in words."""

import dataclasses
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

DEEPEST = 16
MOST_NODES = 10_000
PLAIN = frozenset((str, int, float, bool))


def attribute(value: Any) -> Any:
    """Text, numbers, truth, bytes, and lists and mappings of them; models and dataclasses as mappings.

    None where there is nothing to say. What holds itself, and what is too deep or too much, is put into words. Never
    raises, whatever the object does.
    """
    if value is None or isinstance(value, str | bool | int | float | bytes):
        return value
    try:
        return _Telling().tell(value)
    except Exception:  # noqa: BLE001 - somebody's object is broken, which is not the agent's end
        return words(value)


class _Telling:
    """One value, with what is left of its budget and the objects that one stands in."""

    def __init__(self) -> None:
        self._left = MOST_NODES
        self._path: set[int] = set()

    def tell(self, value: Any) -> Any:
        self._left -= 1
        if value is None or isinstance(value, str | bool | int | float | bytes):
            return value
        if self._left < 0 or id(value) in self._path or len(self._path) >= DEEPEST:
            return f"<{type(value).__qualname__}>"
        self._path.add(id(value))
        try:
            return self._inside(value)
        except Exception:  # noqa: BLE001 - as above; what is around it can still be told
            return words(value)
        finally:
            self._path.discard(id(value))

    def _inside(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {words(key): self.tell(item) for key, item in islice(list(value.items()), max(0, self._left))}
        if isinstance(value, Sequence | AbstractSet):
            return [self.tell(item) for item in islice(list(value), max(0, self._left))]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: self.tell(getattr(value, field.name, None)) for field in dataclasses.fields(value)}
        if not isinstance(value, type) and callable(dump := getattr(value, "model_dump", None)):
            return self.tell(dump(mode="json"))
        return words(value)


def attributes_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes whose values are fit; those that say nothing are left out."""
    fit = {key: value if value.__class__ in PLAIN else attribute(value) for key, value in given.items()}
    return fit if None not in fit.values() else {key: value for key, value in fit.items() if value is not None}


def words(value: Any) -> str:
    """What somebody's object says of itself."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - its __str__ is broken
        return f"<{type(value).__qualname__}>"


def clean(text: str) -> str:
    """Text that can be sent: half a character (a surrogate alone) can not, and would stop all that goes with it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
