"""Time as the engine sees it, where tests put a clock that steps."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from otel_bridge.tasks import first


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
