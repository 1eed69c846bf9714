"""What is wrong with a configuration, or probably not meant: collected until all of it is read."""

from typing import TypeAlias

DEFAULT = "default"  # the origin of the built-in configuration

Place: TypeAlias = tuple[str, ...]
"""Where something stands: `("service", "data_dir")`."""


class Remarks:
    """Mistakes and warnings, each as (line, text); the text is `file:line path: what, what to do`.

    origin: what the configuration was read from.
    lines: the line of each key.
    used: what a value was taken from, as `env X` or `file /run/x`.
    exposed: warnings of what listens for others than this machine without protection, as it was told to.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.lines: dict[Place, int] = {}
        self.used: dict[Place, list[str]] = {}
        self.mistakes: list[tuple[int, str]] = []
        self.warnings: list[tuple[int, str]] = []
        self.exposed: list[tuple[int, str]] = []

    def wrong(self, path: Place, what: str, line: int | None = None) -> None:
        """A mistake: nothing runs with it."""
        self.mistakes.append(self._remark(path, what, line))

    def warn(self, path: Place, what: str) -> None:
        """What can run, and is probably not meant."""
        self.warnings.append(self._remark(path, what))

    def expose(self, path: Place, what: str) -> None:
        """What is less safe than usual, as somebody said that it is to be."""
        self.exposed.append(self._remark(path, what))

    def line(self, path: Place) -> int:
        """Where a key stands, or the nearest of those around it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)

    def _remark(self, path: Place, what: str, line: int | None = None) -> tuple[int, str]:
        known = line or self.line(path)
        used = " ".join(one.removeprefix("env ") for one in self.used.get(path, ()))
        if used and self.origin == DEFAULT:  # a file that nobody wrote
            return known, f"{used}: {what}"
        taken = f" (the value is that of {used})" if used else ""
        return known, f"{self.origin}:{known} {'::'.join(path) + ': ' if path else ''}{what}{taken}"
