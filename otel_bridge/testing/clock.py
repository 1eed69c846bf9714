"""A clock that steps: time passes when the test says so, and nobody waits."""

import asyncio
import heapq
from itertools import count

from otel_bridge.clock import Clock

START_NS = 1_800_000_000 * 10**9


class SteppingClock(Clock):
    """Begins in the year 2027; `advance` wakes who sleeps, in order."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self._start_ns = start_ns
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, float, asyncio.Future[None]]] = []
        self._order = count()
        self._news = asyncio.Condition()

    def monotonic(self) -> float:
        """Seconds that were stepped so far."""
        return self._now_s

    def steady_ns(self) -> int:
        """The start and what was stepped since."""
        return self._start_ns + int(self._now_s * 1e9)

    async def sleep(self, delay_s: float) -> None:
        """Return when the clock was advanced that far."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + delay_s, next(self._order), delay_s, woken))
        async with self._news:
            self._news.notify_all()
        await woken

    async def advance(self, seconds: float) -> None:
        """Let time pass; whoever sleeps until then is awake when this returns."""
        until_s = self._now_s + seconds
        while self._sleepers and self._sleepers[0][0] <= until_s:
            self._now_s, _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await asyncio.sleep(0)
        self._now_s = until_s
        await asyncio.sleep(0)

    async def asleep(self, delay_s: float) -> None:
        """Return when somebody sleeps who asked for just this delay."""
        async with self._news:
            await self._news.wait_for(
                lambda: any(asked == delay_s and not woken.done() for _, _, asked, woken in self._sleepers)
            )
