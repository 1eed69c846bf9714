"""How values are written in answers: times, and JSON that is too long to show."""

from typing import Any, TypeAlias

import orjson

from otel_bridge.moments import iso

Answer: TypeAlias = dict[str, Any]
"""A JSON object in the field names of Langfuse's public API (camelCase)."""

SHOWN_CHARACTERS = 500_000
"""Of one input, output or metadata: an answer stays below about 2 MB."""

NAME_CHARACTERS = 200
"""Of a name or message in a list."""

ID_CHARACTERS = 1000
"""Of an id that may be any text, as a session's."""


def moment(ns: int) -> str:
    """A time as answers tell it: in UTC, to the microsecond."""
    return iso(ns, 6)


def milliseconds(start_ns: int, end_ns: int) -> float:
    """A duration to the microsecond, never below 0."""
    return max(0, end_ns - start_ns) // 1000 / 1000


def usd(cost: float | None) -> float | None:
    """A cost without the digits that adding floats leaves behind."""
    return cost if cost is None else round(cost, 12)


def name(text: str | None, most: int = NAME_CHARACTERS) -> str | None:
    """A name as lists show it: cut, where it is long."""
    return text if text is None or len(text) <= most else text[:most] + "…"


def loaded(text: str | None, most: int = SHOWN_CHARACTERS) -> Any:
    """A stored JSON value; of one that is too long its text, cut."""
    if text is None:
        return None
    if len(text) > most:
        return f"{text[:most]}… ({len(text)} characters, cut)"
    return orjson.loads(text)


def cut(value: Any, most: int = SHOWN_CHARACTERS) -> Any:
    """A value, or its JSON text cut where that is too long."""
    text = orjson.dumps(value)
    return value if len(text) <= most else loaded(text.decode(), most)
