"""What was said to something and by it: whether it may be told, and how much of it."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from itertools import islice
from numbers import Real
from typing import Any

from otel_bridge.sdk import models
from otel_bridge.sdk.values import Telling, clean, number, type_name, words

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
WITHOUT = ("false", "0", "no", "none", "no_content", "event_only")  # its values that put no content on spans
MAX_CHARS = 64 << 10
MOST_NODES = 2000
MOST_MEASURED = 1 << 20  # characters of a text that is not ASCII: more of them take milliseconds
FOR_EACH = 1024, 16  # characters and objects that an argument has, however large those before it are
MOST_WITH_ROOM = 16  # arguments that have so
LISTS = (list, tuple, set, frozenset, deque, range)
STANDARD = frozenset(("datetime", "decimal", "fractions", "ipaddress", "pathlib", "uuid"))  # short, and soon said


def captures() -> bool:
    """Whether content may be said on spans: unless the variable of the conventions says no, or events alone."""
    return os.environ.get(CAPTURE, "").strip().lower() not in WITHOUT


def size(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _json(told: Any) -> str:
    from json import dumps  # not held by this module: what a program hung on it is to go at its end, see `freezing`

    return dumps(told, ensure_ascii=False)


class Content(Telling):
    """What a function was given or gave, within bounds, in a few milliseconds whatever it is.

    Of what is not known it tells the type alone: what somebody's object says of itself may take any time, and what
    gives its items one by one may ask a database for them. Iterators are left as they are.

    is_cut: something was left out, for its size.
    items: of what was given, where that is no text, as all of it was too much to look at.
    """

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        super().__init__(MOST_NODES)
        self.is_cut = False
        self.items: int | None = None
        self._chars = max_chars
        self._unkept = 0  # bytes
        self._is_measured = True

    @property
    def is_full(self) -> bool:
        """Nothing more will be kept."""
        return self._chars <= 0 or self._left <= 0

    def value(self, value: Any) -> Any:
        """As the value of an attribute: text, numbers and truth as they are, all else as JSON; None says nothing."""
        told = self.tell(value)
        return _json(told) if isinstance(told, list | dict) else told

    def size(self, told: Any) -> int | None:
        """Bytes of all that `told` is kept of; None where that would take long to know."""
        return size(str(told)) + self._unkept if self._is_measured else None

    def arguments(self, named: Mapping[str, Any]) -> str:
        """As JSON; those that come after a large one have room, too."""
        told: dict[str, Any] = {}
        chars, nodes = FOR_EACH
        later = min(len(named), MOST_WITH_ROOM)
        if len(named) > MOST_NODES:
            self.is_cut, self._is_measured = True, False
        for name, value in islice(named.items(), MOST_NODES):
            later = max(0, later - 1)
            self._chars, self._left = self._chars - later * chars, self._left - later * nodes
            told[self._text(name)] = self.tell(value)
            self._chars, self._left = max(0, self._chars) + later * chars, max(0, self._left) + later * nodes
        return _json(told)

    def listed(self, told: list[Any], count: int) -> str:
        """As JSON, what was told one by one; count: of all that there were."""
        if len(told) < count:
            self.is_cut, self._is_measured, self.items = True, False, count
        return _json(told)

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, bytes):
            return f"<{len(value)} bytes>"
        if isinstance(value, float) and not math.isfinite(value):  # which JSON can not say
            return words(value)
        return super()._scalar(value)

    def _text(self, text: str) -> str:
        kept = text[: max(0, self._chars)]
        self._chars -= len(kept)
        if len(kept) < len(text):
            self.is_cut = True
            if text.isascii() or len(text) <= MOST_MEASURED:
                self._unkept += size(text) - size(kept)
            else:
                self._is_measured = False
        return clean(kept)

    def _too_much(self, value: Any) -> Any:
        if id(value) not in self._path:  # else it holds itself
            self.is_cut, self._is_measured = True, False
        return type_name(value)

    def _other(self, value: Any) -> Any:
        return type_name(value)

    def _inside(self, value: Any) -> Any:
        kind = type(value)  # and not what it says that it is: that may be work, too
        if issubclass(kind, dict):
            return dict(self._kept(dict.items(value), len(value), self._pair))
        if issubclass(kind, LISTS):
            return list(self._kept(value, len(value), self.tell))
        if models.is_structured(kind):
            return self._structured(value)
        if issubclass(kind, Real) and (plain := number(value)) is not None:
            return self._scalar(plain)
        if issubclass(kind, Enum):
            return self.tell(value.value)
        return self._text(words(value)) if kind.__module__.partition(".")[0] in STANDARD else self._other(value)

    def _kept(self, items: Iterable[Any], length: int, tell: Callable[[Any], Any]) -> Iterator[Any]:
        """As many as there is room for; those behind them are looked at for their size alone."""
        taken = list(islice(items, max(0, self._left)))
        if len(taken) < length:
            self.is_cut, self._is_measured = True, False
            if len(self._path) == 1:
                self.items = length
        left_out = []
        for item in taken:
            if self._chars > 0:
                yield tell(item)
            else:
                left_out.append(tell(item))
        if left_out:
            self.is_cut = True
            self._unkept += size(_json(left_out))

    def _pair(self, pair: tuple[Any, Any]) -> tuple[str, Any]:
        key, item = pair
        return self._text(str.__str__(key)) if issubclass(type(key), str) else str(self.tell(key)), self.tell(item)
