"""What raw requests, answers and other spellings say beyond what an observation shows: nothing is to be told twice."""

from typing import Any

from otel_bridge.message_parts import CALL_KINDS, RESULT_KINDS
from otel_bridge.model import Json, Usage
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.messages import ROLES, TEXT_KINDS
from otel_bridge.translate.values import from_json

FORM = ("type", "role", "kind", "index", "object")  # how a thing is written ...
FORMS = frozenset(
    {
        *(*TEXT_KINDS, *CALL_KINDS, *RESULT_KINDS, *ROLES, *ROLES.values()),
        *("message", "function", "function_call", "system", "developer", "embedding"),
    }
)  # ... which says nothing once the thing itself is gone

MAX_OPENED = 2  # JSON in strings in JSON ...: a hostile one has no end


class Shown:
    """What input, output, model, parameters and usage of a reading hold: texts, numbers by key, rows of numbers."""

    def __init__(self, reading: Reading) -> None:
        self._said: set[Any] = set()
        self._counts = _counts(reading.usage) if reading.usage else set()
        for item in (reading.input, reading.output, reading.model, reading.model_parameters):
            self._hear(item, "")

    def _hear(self, item: Json, key: str, opened: int = 0) -> None:
        if isinstance(item, str):
            self._said.add(item)
            if opened < MAX_OPENED and (inner := from_json(item)) is not item:
                self._hear(inner, key, opened + 1)
        elif isinstance(item, dict):
            for name, inner in item.items():
                if inner is not None:
                    self._hear(inner, name, opened)
        elif isinstance(item, list) and (numbers := _numbers(item)):
            self._said.add(numbers)
        elif isinstance(item, list):
            for inner in item:
                self._hear(inner, key, opened)
        elif item is not None:
            self._said.add((key, item))

    def rest(self, raw: Json) -> Json:
        """What is left of a value without what is shown and without what says nothing; None if that is all of it."""
        return self._rest(raw, "", counted=False, opened=0)

    def _rest(self, raw: Json, key: str, *, counted: bool, opened: int) -> Json:
        """`counted`: among token counts, which go by other names in the usage."""
        if isinstance(raw, dict):
            left = {
                name: rest
                for name, item in raw.items()
                if item is not None
                and (rest := self._rest(item, name, counted=counted or "usage" in name.lower(), opened=opened))
                is not None
            }
            return left if left and not (len(left) < len(raw) and _is_form(left)) else None
        if isinstance(raw, list):
            if (numbers := _numbers(raw)) and numbers in self._said:
                return None
            rests = [self._rest(item, key, counted=counted, opened=opened) for item in raw]
            return [rest for rest in rests if rest is not None] or None
        if isinstance(raw, str):
            if not raw or raw in self._said:
                return None
            inner = from_json(raw) if opened < MAX_OPENED else raw
            if inner is raw or self._rest(inner, key, counted=counted, opened=opened + 1) is not None:
                return raw
            return None
        return None if (key, raw) in self._said or (counted and raw in self._counts) else raw


def _counts(usage: Usage) -> set[int]:
    """The counts, and what the parts of either side add up to."""
    sides = [sum(n for bucket, n in usage.items() if bucket.startswith(side)) for side in ("input", "output")]
    return {0, *usage.values(), *sides}


def _numbers(items: list[Json]) -> tuple[Json, ...]:
    """A vector, as something to look up; nothing if it is none."""
    return tuple(items) if items and all(type(item) in (float, int) for item in items) else ()


def _is_form(left: dict[str, Any]) -> bool:
    return all(
        key in FORM and (isinstance(item, int) or (isinstance(item, str) and item in FORMS))
        for key, item in left.items()
    )
