"""Time as the engine sees it, where tests put a clock that steps; and how a time is written."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from otel_bridge.tasks import first

MAX_NS = 2**64 - 1  # what OTLP's fixed64 holds


def clamp(ns: int) -> int:
    """A time that OTLP can hold."""
    return min(max(ns, 0), MAX_NS)


def iso(ns: int, digits: int = 3) -> str:
    """Nanoseconds since 1970 as ISO 8601 in UTC: `2026-11-20T12:34:56.123Z`; of the fraction as many digits, 1 to 9."""
    seconds, rest = divmod(clamp(ns), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{f'{rest:09d}'[:digits]}Z"


class Clock:
    """The machine's time, which never jumps: the wall clock is asked once, at the start."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def steady_ns(self) -> int:
        """Nanoseconds since 1970, as if the wall clock had not been set since the start."""
        return self._offset_ns + time.monotonic_ns()

    async def sleep(self, delay_s: float) -> None:
        """Return after a while."""
        await asyncio.sleep(delay_s)

    async def within(self, delay_s: float, awaited: Coroutine[Any, Any, Any]) -> bool:
        """Whether it returned before the delay had passed; if not, it was cancelled."""
        return await first(awaited, self.sleep(delay_s))
