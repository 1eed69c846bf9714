"""What the bridge says of itself: counters, and logs for when a human should act.

Counters may be added to from any thread and cost a dictionary update. What becomes of accepted items is counted
under the names of `Outcome`; those counts are kept across restarts, in the journal's state.
"""

import logging
import sys
import threading
from collections import Counter
from collections.abc import MutableMapping
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


_joined = False


class Outcome(StrEnum):
    """The six ways out of the journal; accepted = these + waiting, for each exporter and tenant."""

    DELIVERED = "delivered"
    FILTERED = "filtered"
    SAMPLED_OUT = "sampled_out"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"
    EVICTED = "evicted"


class Counters:
    """Named counts with labels: `counters.add("refused", 3, reason="malformed")`."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        """Add to a count; labels are few and bounded (reasons, component ids), never content."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += amount

    def set(self, name: str, value: int, **labels: str) -> None:
        """Say how something is now, where it goes up and down."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] = value

    def value(self, name: str, **labels: str) -> int:
        """The sum of a count over all label sets that include the given ones."""
        wanted = set(labels.items())
        with self._lock:
            return sum(
                amount
                for (counted, labelled), amount in self._counts.items()
                if counted == name and wanted <= set(labelled)
            )

    def snapshot(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], int]:
        """All counts as they are now: (name, ((label, value), ...)) → count."""
        with self._lock:
            return dict(self._counts)


def configure_logs(*, json: bool = False, level: str = "info") -> None:
    """Send the bridge's own logs to standard error: for people on a terminal, as JSON lines for machines.

    Values are escaped: what a trace holds can not forge a line or move a terminal's cursor.
    """
    import structlog
    from structlog.typing import Processor

    renderer = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False)
    )
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _escape,
        renderer,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: structlog.PrintLogger(_Stderr()),  # type: ignore[arg-type]  # all that it needs
        cache_logger_on_first_use=False,
    )


def join_logs() -> None:
    """For a bridge in somebody's program, whose structlog is its own: warnings go to logging's `otel_bridge.engine`."""
    global _joined  # noqa: PLW0603 - a process has one log
    _joined = True


class _Stderr:
    """Standard error, whatever that is when something is said; gone, it takes nothing down with it."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # who read it has closed it, or we have
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def _escape(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if not isinstance(value, str):
            continue
        if key == "exception":  # its lines stay lines, set in so that none can pass for an entry
            event[key] = "\n".join(f"  {printable(line)}" for line in value.split("\n"))
        else:
            event[key] = printable(value)
    return event


def printable(text: str, keep: str = "") -> str:
    """Text with everything escaped that acts instead of showing (control characters, bidi marks), but for `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)


def logger(name: str) -> "FilteringBoundLogger":
    """A logger that says which part of the bridge speaks."""
    import structlog

    if not _joined:
        bound: FilteringBoundLogger = structlog.get_logger().bind(part=name)
        return bound
    rendering = structlog.processors.KeyValueRenderer(key_order=["part", "event"])
    joined: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger("otel_bridge.engine"),
        processors=[structlog.processors.format_exc_info, _escape, rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    ).bind(part=name)
    return joined
