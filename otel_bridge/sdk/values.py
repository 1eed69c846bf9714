"""Anything as a value of an attribute: what OTLP takes as it is, the rest in words."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from types import NoneType
from typing import Any

DEEPEST = 16
MOST_NODES = 10_000
SCALARS = (str, int, float, bytes, NoneType)  # bool is an int
LEAST_INT, MOST_INT = -(1 << 63), (1 << 63) - 1
FLAT = frozenset((float, bool))


def attribute(value: Any) -> Any:
    """Text, numbers, truth, bytes, and lists and mappings of them; models and dataclasses as mappings.

    None where there is nothing to say. What holds itself, what is too deep or too much, and numbers of more than 64
    bits are put into words. It takes bounded time, also for a range of millions, and nothing out of an iterator. Never
    raises, whatever the object does.
    """
    try:
        return _scalar(value) if issubclass(type(value), SCALARS) else _Telling().tell(value)
    except Exception:  # noqa: BLE001 - somebody's object is broken, which is not the agent's end
        return words(value)


class _Telling:
    """One value, with what is left of its budget and the objects that one stands in."""

    def __init__(self) -> None:
        self._left = MOST_NODES
        self._path: set[int] = set()

    def tell(self, value: Any) -> Any:
        self._left -= 1
        try:
            if issubclass(type(value), SCALARS):
                return _scalar(value)
            if self._left < 0 or id(value) in self._path or len(self._path) >= DEEPEST:
                return f"<{type(value).__qualname__}>"
            self._path.add(id(value))
            try:
                return self._inside(value)
            finally:
                self._path.discard(id(value))
        except Exception:  # noqa: BLE001 - as above; what is around it can still be told
            return words(value)

    def _inside(self, value: Any) -> Any:
        most = max(0, self._left)
        if isinstance(value, SCALARS):  # it only says so, as a proxy does
            return words(value)
        if isinstance(value, Mapping):
            return {words(key): self.tell(item) for key, item in list(islice(value.items(), most))}
        if isinstance(value, Sequence | AbstractSet):
            return [self.tell(item) for item in list(islice(value, most))]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: self.tell(getattr(value, field.name, None)) for field in dataclasses.fields(value)}
        if not isinstance(value, type) and callable(dump := getattr(value, "model_dump", None)):
            return self.tell(dump(mode="json") if _can_be_dumped(value) else _fields(value))
        return words(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    return words(value) if isinstance(value, int) and not LEAST_INT <= value <= MOST_INT else value


def _can_be_dumped(model: Any) -> bool:
    """Not what is too much, as that takes all of it, nor what holds an iterator, as that takes what others wait for."""
    waiting, left = [model], MOST_NODES
    while waiting:
        held = waiting.pop()
        if isinstance(held, Iterator):
            return False
        inside: Any = ()
        if isinstance(held, Mapping):
            inside = held.values()
        elif isinstance(held, Sequence | AbstractSet) and not isinstance(held, str | bytes):
            inside = held
        elif hasattr(held, "model_dump") or dataclasses.is_dataclass(held):
            inside = vars(held).values()
        found = list(islice(inside, left + 1))
        left -= len(found)
        if left < 0:
            return False
        waiting += found
    return True


def _fields(model: Any) -> dict[str, Any]:
    """But for those that are never to be said."""
    named = getattr(type(model), "model_fields", {})
    return {name: item for name, item in islice(vars(model).items(), MOST_NODES) if not _is_excluded(named.get(name))}


def _is_excluded(field: Any) -> bool:
    return bool(getattr(field, "exclude", False))


def attributes_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes whose names and values are fit; those that say nothing are left out."""
    fit = {
        key: value
        if ((kind := type(value)) is str and value.isascii())
        or (kind is int and LEAST_INT <= value <= MOST_INT)
        or kind in FLAT
        else attribute(value)
        for key, value in given.items()
    }
    try:
        are_clean = "".join(fit).isascii()
    except TypeError:  # one is no text
        are_clean = False
    if not are_clean:
        fit = {clean_name(key): value for key, value in fit.items()}
    return fit if None not in fit.values() else {key: value for key, value in fit.items() if value is not None}


def words(value: Any) -> str:
    """What somebody's object says of itself."""
    try:
        return clean(str(value))
    except Exception:  # noqa: BLE001 - its __str__ is broken
        return f"<{type(value).__qualname__}>"


def clean(text: str) -> str:
    """Text that can be sent: half a character (a surrogate alone) can not, and would stop all that goes with it.

    Two halves that have met, as of a stream that was cut between them, are the character.
    """
    if text.isascii():
        return text
    try:
        text.encode()  # half of what it takes to encode and decode
    except UnicodeEncodeError:
        met = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        return met.encode("utf-8", "replace").decode()
    return text


def clean_name(key: Any) -> Any:
    """The name of an attribute; what is no text is left to OpenTelemetry, which says so."""
    return clean(key) if isinstance(key, str) else key
