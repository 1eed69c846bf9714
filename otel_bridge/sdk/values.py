"""Anything as a value of an attribute: what OTLP takes as it is, the rest in words."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from numbers import Real
from types import NoneType
from typing import Any, SupportsFloat, SupportsIndex

from otel_bridge.sdk import models

DEEPEST = 16
MOST_NODES = 10_000
SCALARS = (str, int, float, bytes, NoneType)  # bool is an int
LEAST_INT, MOST_INT = -(1 << 63), (1 << 63) - 1
FLAT = frozenset((float, bool))


def attribute(value: Any) -> Any:
    """Text, numbers, truth, bytes, and lists and mappings of them; models and dataclasses as mappings.

    None where there is nothing to say. What holds itself, what is too deep or too much, and numbers of more than 64
    bits are put into words. It takes bounded time, also for a range of millions, and nothing out of an iterator. Never
    raises, whatever the object does. Of a model it tells no more than that serializes of itself.
    """
    try:
        return _scalar(value) if issubclass(type(value), SCALARS) else Telling().tell(value)
    except Exception:  # noqa: BLE001 - somebody's object is broken, which is not the agent's end
        return words(value)


class Telling:
    """One value, with what is left of its budgets and the objects that one stands in."""

    def __init__(self, most_nodes: int = MOST_NODES) -> None:
        self._left = most_nodes
        self._to_look_at = most_nodes
        self._path: set[int] = set()
        self._kinds = frozenset((models.ANYTHING,))

    def tell(self, value: Any) -> Any:
        self._left -= 1
        try:
            if issubclass(type(value), SCALARS):
                return self._scalar(value)
            if self._left < 0 or id(value) in self._path or len(self._path) >= DEEPEST:
                return self._too_much(value)
            self._path.add(id(value))
            try:
                return self._inside(value)
            finally:
                self._path.discard(id(value))
        except Exception:  # noqa: BLE001 - as above; what is around it can still be told
            return self._other(value)

    def _scalar(self, value: Any) -> Any:
        return _scalar(value)

    def _too_much(self, value: Any) -> Any:
        return type_name(value)

    def _other(self, value: Any) -> Any:
        """What is none of all that is known, or broken."""
        return words(value)

    def _inside(self, value: Any) -> Any:
        most = max(0, self._left)
        if isinstance(value, SCALARS):  # it only says so, as a proxy does
            return self._other(value)
        if isinstance(value, Mapping):
            return {words(key): self.tell(item) for key, item in list(islice(value.items(), most))}
        if isinstance(value, Sequence | AbstractSet):
            return [self.tell(item) for item in list(islice(value, most))]
        if models.is_model(value) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
            return self._structured(value)
        if isinstance(value, Real) and (plain := number(value)) is not None:
            return self._scalar(plain)
        return self._other(value)

    def _structured(self, value: Any) -> Any:
        if self._kinds.isdisjoint((type(value), models.ANYTHING)):
            return type_name(value)  # of a model where its base is meant, only what the base has is serialized
        if not models.is_model(value):
            return {field.name: self.tell(getattr(value, field.name, None)) for field in dataclasses.fields(value)}
        try:
            return self._model(value)
        except Exception:  # noqa: BLE001 - as above, but its words may say what it masks
            return type_name(value)

    def _model(self, model: Any) -> Any:
        fields = models.shown(model)
        above = frozenset((id(model),))
        fit = {name for name, item in fields.items() if self._can_be_dumped(item, above)}
        if len(fit) == len(fields):
            with contextlib.suppress(Exception):  # one of them can not be serialized: the others can
                return self.tell(models.dumped(model))
        if not models.is_sum_of_fields(type(model)):
            return type_name(model)
        told: dict[str, Any] = {}
        for name, item in islice(fields.items(), max(0, self._left)):
            told |= self._field(model, name, item, can_be_dumped=name in fit)
        return told

    def _field(self, model: Any, name: str, item: Any, *, can_be_dumped: bool) -> dict[str, Any]:
        if can_be_dumped:
            with contextlib.suppress(Exception):  # it can not be serialized
                return {clean(key): self.tell(value) for key, value in models.dumped_field(model, name).items()}
        kinds = models.held_kinds(type(model), name)
        if kinds is None:
            return {clean(name): type_name(item)}
        before, self._kinds = self._kinds, kinds
        try:
            return {clean(name): self.tell(item)}
        finally:
            self._kinds = before

    def _can_be_dumped(self, value: Any, above: frozenset[int]) -> bool:
        """Not what is too much or in itself, as that takes all of it, nor what holds an iterator.

        As a dump would take out of that what others wait for.
        """
        if issubclass(type(value), SCALARS):
            return True
        if id(value) in above or len(above) >= DEEPEST or isinstance(value, Iterator):
            return False
        try:
            found = list(islice(_held(value), max(0, self._to_look_at) + 1))
        except Exception:  # noqa: BLE001 - as above
            return False
        self._to_look_at -= len(found)
        above |= {id(value)}
        return not found or (self._to_look_at >= 0 and all(self._can_be_dumped(item, above) for item in found))


def _held(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes):
        return value
    if models.is_model(value):
        return models.shown(value).values()
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return ()


def type_name(value: Any) -> str:
    """What can be said of anything."""
    return f"<{type(value).__qualname__}>"


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    return words(value) if isinstance(value, int) and not LEAST_INT <= value <= MOST_INT else value


def number(value: Any) -> int | float | None:
    """Yes, no or a number, of what others make such of (numpy, torch, a fraction); None of all else, as of text."""
    try:
        if hasattr(value, "item"):
            plain = value.item()
        else:
            plain = float(value) if isinstance(value, SupportsFloat | SupportsIndex) else None
    except Exception:  # noqa: BLE001 - somebody's object is none
        return None
    return plain if isinstance(plain, int | float) else None


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
        return type_name(value)


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
