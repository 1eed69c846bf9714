"""How Langfuse wants values written: times, JSON, numbers, metadata keys."""

import math
import re
from typing import Any

from otel_bridge.model import MAX_COUNT, renamed
from otel_bridge.plain_json import MAX_DEPTH, dump

MAX_NAME = 1000  # a longer one makes server 3 drop the observation, or the trace's name
RESERVED = frozenset({"attributes", "resourceAttributes", "scope", "tools"})  # the server's own metadata
UNSAFE = frozenset({"__proto__", "constructor", "prototype"})  # as a path segment: Langfuse's remote code execution

DIGITS = re.compile(r"[0-9]{5}")  # where there are none there is no huge index, and this is quicker to see
HUGE_INDEX = re.compile(r"(?<![^.])[0-9]{5,}(?![^.])")  # as a segment: Langfuse drops those above 10,000


def text(value: Any) -> str | None:
    """Text as it is, all else as JSON, nothing for None: how input and output are written."""
    return value if value is None or isinstance(value, str) else dump(value)


def sound(numbers: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The buckets that Langfuse can count, and the odd ones (NaN, negative): for one of those server 3 drops all.

    Where the total is too large to count, none of its parts is counted.
    """
    if not numbers:
        return {}, {}
    if not 0 <= numbers.get("total", 0) <= MAX_COUNT:
        return {}, dict(numbers)
    good = {key: n for key, n in numbers.items() if 0 <= n <= MAX_COUNT}
    return good, {key: n for key, n in numbers.items() if key not in good}


def parameters(given: dict[str, Any] | None) -> dict[str, str | int | float | bool | list[str]]:
    """Model parameters as every server version accepts them: flat; what is nested becomes JSON text."""
    return {key: _parameter(value) for key, value in (given or {}).items() if value is not None}


def _parameter(value: Any) -> str | int | float | bool | list[str]:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return dump(value)


def metadata(given: dict[str, Any]) -> dict[str, Any]:
    """Metadata whose keys neither collide with the server's own nor act when it unflattens them."""
    clear = renamed(given, RESERVED)
    return clear if _is_safe(clear, dump(clear)) else _safe_keys(clear, MAX_DEPTH)


def metadata_text(given: dict[str, Any]) -> str:
    """The same as JSON."""
    clear = renamed(given, RESERVED)
    shown = dump(clear)
    return shown if _is_safe(clear, shown) else dump(_safe_keys(clear, MAX_DEPTH))


def _is_safe(clear: dict[str, Any], shown: str) -> bool:
    if any(map(shown.__contains__, UNSAFE)):
        return False
    return not (DIGITS.search("\n".join(clear)) and any(map(HUGE_INDEX.search, clear)))


def safe_key(key: str) -> str:
    """A key of which no segment acts when Langfuse unflattens it: into a prototype, or an array of millions."""
    if not any(map(key.__contains__, UNSAFE)) and not (DIGITS.search(key) and HUGE_INDEX.search(key)):
        return key
    return ".".join(f"_{part}" if part in UNSAFE or HUGE_INDEX.fullmatch(part) else part for part in key.split("."))


def _safe_keys(value: Any, depth: int) -> Any:
    if depth == 0:
        return dump(value)
    if isinstance(value, dict):
        return {safe_key(str(key)): _safe_keys(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe_keys(item, depth - 1) for item in value]
    return value
