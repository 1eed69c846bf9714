"""The readers of attributes that dialects share.

They pop what they understand and leave everything else where it is. None of them raises for what a span contains.
"""

import ast
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson

from otel_bridge.model import Json
from otel_bridge.translate.span import SpanView

MAX_INDEX = 10_000
MAX_SEGMENTS = 32
MAX_JSON_DEPTH = 100
NS = 1_000_000_000
MS = 1_000_000
MAX_PRINTED = 10_000
JSON_OPENERS = frozenset('{["')
BLANKS = frozenset(" \t\n\r")


def text(attrs: dict[str, Any], *keys: str) -> str | None:
    """Pop the first that is a string with something in it."""
    for key in keys:
        if key in attrs:
            found = attrs[key]
            if found and isinstance(found, str):
                del attrs[key]
                if len(keys) > 1:
                    _drop_equal(attrs, keys, found)
                return found
    return None


def identifier(attrs: dict[str, Any], *keys: str) -> str | None:
    """Pop the first that names somebody or something: text, or a whole number as text."""
    for key in keys:
        if key not in attrs:
            continue
        said = attrs[key]
        if (isinstance(said, str) and said) or (isinstance(said, int) and not isinstance(said, bool)):
            del attrs[key]
            if len(keys) > 1:
                _drop_equal(attrs, keys, said)
            return str(said)
    return None


def value(attrs: dict[str, Any], *keys: str) -> Json:
    """Pop the first that says anything, with JSON in strings parsed."""
    for key in keys:
        if key in attrs and attrs[key] not in (None, ""):
            raw = attrs.pop(key)
            if len(keys) > 1:
                _drop_equal(attrs, keys, raw)
            return from_json(raw)
    return None


def count(attrs: dict[str, Any], *keys: str) -> int | None:
    """Pop the first that is a non-negative whole number, also if it came as a float or as digits."""
    for key in keys:
        if key in attrs and (found := whole(attrs[key])) is not None:
            raw = attrs.pop(key)
            if len(keys) > 1:
                _drop_equal(attrs, keys, raw)
            return found
    return None


def number(attrs: dict[str, Any], *keys: str) -> float | None:
    """Pop the first that is a finite number, also if it came as text."""
    for key in keys:
        if key in attrs and (found := finite(attrs[key])) is not None:
            raw = attrs.pop(key)
            if len(keys) > 1:
                _drop_equal(attrs, keys, raw)
            return found
    return None


def _drop_equal(attrs: dict[str, Any], keys: tuple[str, ...], raw: Any) -> None:
    """Other spellings that say the same need not be shown; those that say something else stay."""
    if attrs.keys().isdisjoint(keys):  # nearly always
        return
    for key in keys:
        if key in attrs and attrs[key] == raw:
            del attrs[key]


def whole(raw: Any) -> int | None:
    """A non-negative whole number, or None."""
    if type(raw) is int:
        return raw if 0 <= raw < 1 << 63 else None
    if isinstance(raw, str):
        return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 19 else None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw < 1 << 63:
        return None
    return int(raw) if raw == int(raw) else None


def finite(raw: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        found = float(raw)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def as_text(raw: Any) -> str | None:
    """A text with something in it, or None."""
    return raw if isinstance(raw, str) and raw else None


def named(span: SpanView, raw: Any) -> str | None:
    """A name for an observation where the span's own does not hold it, or None."""
    return raw if isinstance(raw, str) and raw and raw not in span.name else None


def from_json(raw: Json) -> Json:
    """What a string holds if it is JSON (an object, an array, a quoted string), else the value as it is."""
    if not isinstance(raw, str):
        return raw
    first = raw[:1]
    if first not in JSON_OPENERS and (first not in BLANKS or raw.lstrip()[:1] not in JSON_OPENERS):
        return raw
    try:
        found: Json = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw
    if isinstance(found, str):
        return from_json(found) if found[:1] in ("{", "[") else found
    if len(raw) > MAX_JSON_DEPTH < raw.count("[") + raw.count("{") and _too_deep(found):
        return raw  # what cannot be written again stays the text it was
    return found


def from_printed(raw: Json) -> Json:
    """The same, also of an object or array as Python prints it."""
    found = from_json(raw)
    if not isinstance(found, str) or found[:1] not in ("{", "[") or len(found) > MAX_PRINTED:
        return found
    try:
        read: Json = orjson.loads(orjson.dumps(ast.literal_eval(found)))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return found
    return read


def _too_deep(found: Json) -> bool:
    level = [found]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def speaks_of(names: Iterable[str], word: str) -> bool:
    """Whether a word stands in any of the names."""
    for name in names:  # noqa: SIM110 - half as long as any(), and asked several times for each span
        if word in name:
            return True
    return False


def nested(attrs: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Pop all keys that begin with a prefix (which ends with its dot), and give them without it."""
    if not speaks_of(attrs, prefix):  # nine of ten times
        return {}
    start = len(prefix)
    return {key[start:]: attrs.pop(key) for key in list(attrs) if key.startswith(prefix) and len(key) > start}


def unflatten(attrs: dict[str, Any], prefix: str) -> list[Any] | None:
    """Pop `prefix` + `0.role`, `0.tool_calls.1.name` ... and give the list they spell, or None.

    Keys where no number follows the prefix are left alone. Numbers make lists, closed up where some are missing. An
    index above MAX_INDEX, or a key that contradicts another, stays where it is. Segments that mean something to
    JavaScript get a `_` before them.
    """
    if not speaks_of(attrs, prefix):
        return None
    root: dict[str, Any] = {}
    start = len(prefix)
    for key in [key for key in attrs if key.startswith(prefix) and _is_number(key[start:].partition(".")[0])]:
        segments = key[start:].split(".")
        if len(segments) <= MAX_SEGMENTS and _fit(segments) and _put(root, segments, attrs[key]):
            del attrs[key]
    closed = _closed(root)
    return closed if root and isinstance(closed, list) else None


HOSTILE = frozenset({"__proto__", "constructor", "prototype"})


def _is_number(segment: str) -> bool:
    return segment.isdigit() and segment.isascii()


def _fit(segments: list[str]) -> bool:
    """None of them is an index that is too large; short ones are not."""
    return not [one for one in segments if len(one) > 4 and _is_number(one) and (len(one) > 5 or int(one) > MAX_INDEX)]


def _put(root: dict[str, Any], segments: list[str], leaf: Any) -> bool:
    """Put a leaf in its place, unless something else is there: branches are marked by being `_Branch`."""
    if not HOSTILE.isdisjoint(segments):
        segments = [f"_{segment}" if segment in HOSTILE else segment for segment in segments]
    *above, name = segments
    at = root
    for segment in above:
        below = at.get(segment, at)
        if below is at:
            below = at[segment] = _Branch()
        elif type(below) is not _Branch:
            return False
        at = below
    if name in at:
        return False
    at[name] = leaf
    return True


class _Branch(dict[str, Any]):
    """An object that `unflatten` made, as opposed to one that an attribute held."""


def _closed(branch: dict[str, Any]) -> Json:
    inner = {key: _closed(item) if isinstance(item, _Branch) else item for key, item in branch.items()}
    if all(map(_is_number, inner)):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def strings(raw: Json) -> list[str] | None:
    """A list of texts, from a list, JSON or text with commas; None if it is empty or holds what is no text."""
    raw = from_json(raw)
    if isinstance(raw, str):
        raw = [part.strip() for part in raw.split(",")]
    if not isinstance(raw, list) or any(isinstance(item, dict | list) for item in raw):
        return None
    return [str(item) for item in raw if item not in (None, "")] or None


ISO = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\d*(Z|[+-]\d\d:?\d\d)?")


def moment(raw: Json) -> int | None:
    """Nanoseconds since 1970 from ISO 8601 text (UTC where it names no zone), or None."""
    found = ISO.fullmatch(raw.strip().strip('"')) if isinstance(raw, str) else None
    if found is None:
        return None
    zone = found[3] or "Z"
    try:
        whole_s = datetime.fromisoformat(found[1] + ("+00:00" if zone == "Z" else zone)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return int(whole_s) * NS + int((found[2] or "").ljust(9, "0"))


def within(span: SpanView, at_ns: int | None) -> int | None:
    """A moment if it lies within the span, else None."""
    return at_ns if at_ns is not None and span.start_ns <= at_ns <= span.end_ns else None


def after(span: SpanView, delay: float | None, unit_ns: int) -> int | None:
    """The moment that came so much later than a span began, if it lies within the span; nothing is no delay."""
    took_ns = (delay or 0) * unit_ns
    return span.start_ns + round(took_ns) if 0 < took_ns <= span.end_ns - span.start_ns else None
