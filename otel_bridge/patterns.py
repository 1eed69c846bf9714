"""Names with `*` in them, as people write them in the configuration: `http.request.header.*`."""

from typing import Annotated

from pydantic import Field

NamePattern = Annotated[str, Field(min_length=1, max_length=256)]
"""A name, or a pattern in which `*` stands for anything, also for nothing."""


class Pattern:
    """A name, or a pattern of names; to try it takes a time that is linear in the name."""

    __slots__ = ("_first", "_last", "_middle", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._first, *rest = text.split("*")
        self._middle = rest[:-1]
        self._last = rest[-1] if rest else None

    @property
    def is_name(self) -> bool:
        """It fits one name alone."""
        return self._last is None

    def fits(self, name: str) -> bool:
        """Whether it is this name, or one like this."""
        if self._last is None:
            return name == self._first
        at, end = len(self._first), len(name) - len(self._last)
        if at > end or not name.startswith(self._first) or not name.endswith(self._last):
            return False
        for part in self._middle:
            at = name.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    def like(self, name: str, target: str) -> str:
        """The name that stands to a target with one `*` as a name that fits stands to this pattern with one `*`."""
        taken = name[len(self._first) : len(name) - len(self._last or "")]
        return target.replace("*", taken, 1)
