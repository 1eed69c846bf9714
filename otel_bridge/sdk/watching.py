"""The span of a stream, from its first step to its end, and what was seen of its items."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as otel

from otel_bridge.sdk import leaving
from otel_bridge.sdk.calls import OUTPUT, OUTPUT_BYTES, OUTPUT_CUT, Calls, has_output
from otel_bridge.sdk.contents import MAX_CHARS, Content, captures, size
from otel_bridge.sdk.spans import SpanBlock
from otel_bridge.sdk.values import clean

FIRST_CHUNK = "first_chunk"
CHUNKS = "otel_bridge.stream.chunks"


@dataclass(slots=True, frozen=True)
class Output:
    """What of a stream's items becomes its output: the text that `text` finds in each, up to so many characters.

    calls: of the function that makes it: its arguments are told, and items that are no text as a list.
    """

    text: Callable[[Any], str | None] | None = None
    max_chars: int = MAX_CHARS
    calls: Calls | None = None


class Watched:
    """The span of a stream, current in the context that this is made in, and what was seen of its items."""

    __slots__ = (
        *("_bytes", "_calls", "_chars", "_content", "_count", "_ended", "_items", "_max", "_parts", "_read", "_span"),
        "closes",
    )

    def __init__(self, block: SpanBlock, output: Output, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._ended = True
        self.closes: Callable[[], None] | None = None  # what is left to Python otherwise, in nobody's context
        self._span, mine = block.start(link_ended=False)
        self._ended = False
        otel.attach(mine)
        self._read = output.text
        self._count = 0
        self._parts: list[str] = []
        self._max = output.max_chars if captures() else 0
        self._chars = self._bytes = 0
        self._items: list[Any] = []
        self._content: Content | None = None
        self._calls = output.calls
        if self._calls is not None:
            self._calls.asked(self._span.otel, self._span.tags, args, kwargs)
            self._content = Content(self._max)

    def saw(self, item: Any) -> None:
        """Raises nothing, whatever the item is: the agent's stream goes on."""
        with contextlib.suppress(Exception):
            self._count += 1
            if self._count == 1:
                self._span.otel.add_event(FIRST_CHUNK)
            if self._max > 0:
                self._keep(item)

    def end(self, error: BaseException | None, ended_ns: int | None = None) -> None:
        if self._ended:
            return
        self._ended, self.closes = True, None
        span = self._span.otel
        span.set_attribute(CHUNKS, self._count)
        if self._parts and not has_output(span):
            span.set_attribute(self._calls.keys.output if self._calls else OUTPUT, clean("".join(self._parts)))
            if self._chars > self._max:
                span.set_attributes({OUTPUT_CUT: True, OUTPUT_BYTES: self._bytes})
        elif self._items and self._calls is not None and self._content is not None:
            self._calls.tell(span, self._content, self._content.listed(self._items, self._count))
        leaving.tell(span, error)
        span.end(ended_ns)

    def __del__(self) -> None:
        """Nobody closed the generator, as its loop is gone."""
        if not self._ended:
            if self.closes is not None:
                self.closes()
            self.end(GeneratorExit())

    def _keep(self, item: Any) -> None:
        said = item if self._read is None else self._text(self._read, item)
        if issubclass(type(said), str):  # and not what it says that it is: to ask may be work, or raise
            text = str.__str__(said)
            if self._chars < self._max:
                self._parts.append(text[: self._max - self._chars])
            self._chars += len(text)
            self._bytes += size(text)
        elif self._content is not None and not self._content.is_full:
            self._items.append(self._content.tell(item))

    @staticmethod
    def _text(read: Callable[[Any], str | None], item: Any) -> str | None:
        try:
            return read(item)
        except Exception:  # noqa: BLE001 - the agent's stream goes on whatever its reader does
            return None
