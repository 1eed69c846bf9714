"""JSON of whatever a translation holds, also of what JSON has no word for. What is written here is read by anybody."""

import json
import math
from dataclasses import fields, is_dataclass
from typing import Any

import orjson

MAX_DEPTH = 64
MAX_INTEGER_BITS = 1023  # a greater one is no number for who reads JSON into doubles


def dump(value: Any) -> str:
    """JSON; never raises.

    What orjson refuses is written as near as may be: half a surrogate as a question mark, NaN as null, the deepest of
    what is nested too deeply as a remark, all else as its text.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return clean(json.dumps(_plain(value, MAX_DEPTH), ensure_ascii=False, separators=(",", ":")))


def clean(text: str) -> str:
    """Text that protobuf and SQLite take: half a surrogate becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= MAX_INTEGER_BITS else f"a number of {value.bit_length()} bits"
    if depth == 0:
        return "[nested too deeply]"
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name), depth - 1) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value]
    return str(value)
