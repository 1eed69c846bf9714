"""Where the next page of a list begins, as a word that whoever asks for it hands back."""

import base64
from typing import Any

import orjson

from otel_bridge.errors import UsageError


def write_cursor(key: float, *ids: str) -> str:
    """The word for the last row that was shown: its sort key and ids."""
    return base64.urlsafe_b64encode(orjson.dumps([key, *ids])).decode()


def read_cursor(cursor: str, id_count: int) -> tuple[Any, ...]:
    """The sort key and ids that a word stands for.

    Raises:
        UsageError: it is no such word.
    """
    try:
        position = orjson.loads(base64.urlsafe_b64decode(cursor))
    except ValueError:
        position = None
    match position:
        case [int() | float() as key, *ids] if len(ids) == id_count and all(isinstance(text, str) for text in ids):
            if abs(key) < 1 << 63:  # what SQLite can compare with
                return key, *ids
    raise UsageError("the cursor is none that this bridge gave: begin again without one")
