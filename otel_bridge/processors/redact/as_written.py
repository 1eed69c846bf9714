"""JSON to be written again with its numbers as they were: one that no float holds is not rounded."""

import json
import re
from typing import Any

import orjson

# As numbers do that are read and written; texts may have it too.
MAY_CHANGE = re.compile(rb"[0-9](?:[.eE]|[0-9]{17})|-0")


class Number(str):
    """A number as it is written."""

    __slots__ = ()


def read(raw: str | bytes) -> Any:
    """Plain JSON, for `write`; raises orjson.JSONDecodeError."""
    value = orjson.loads(raw)
    if MAY_CHANGE.search(raw.encode() if isinstance(raw, str) else raw) is None:
        return value
    try:
        return json.loads(raw, parse_int=Number, parse_float=Number)
    except RecursionError:  # deeper than anything that is looked at
        return value


def write(value: Any) -> bytes:
    """What was read, maybe with other texts in it."""
    return orjson.dumps(value, default=_number, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def _number(value: Any) -> orjson.Fragment:
    if not isinstance(value, Number):
        raise TypeError(f"no JSON: {type(value).__name__}")
    return orjson.Fragment(value.encode())
