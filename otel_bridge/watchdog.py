"""Sees when the event loop stands still, from outside of it: what holds it up is logged while it does."""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from otel_bridge.telemetry import Counters, logger

BEAT_S = 0.25
SAY_AFTER_S = 1.0
UNWELL_AFTER_S = 5.0
WELL_AGAIN_AFTER_S = 10.0  # of beating as it should
FRAMES = 12


class Watchdog:
    """What the loop's heart beat tells; made by `watching`. May be asked from any thread."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._beat_s = time.monotonic()
        self._longest_s = 0.0
        self._unwell_until_s = 0.0
        self._is_up = False
        self._looked_s = self._beat_s
        self._cpu_s = time.process_time()

    @property
    def lag_s(self) -> float:
        """For how long the loop has not come round, beyond its time."""
        return max(time.monotonic() - self._beat_s - BEAT_S, 0.0)

    @property
    def longest_s(self) -> float:
        """The longest that it stood still since the start."""
        return max(self._longest_s, self.lag_s)

    @property
    def well(self) -> bool:
        """False while the loop stands still for more than five seconds, and for a moment after."""
        return self.lag_s < UNWELL_AFTER_S and time.monotonic() >= self._unwell_until_s

    def up(self) -> None:
        """From now on the loop has to come round; at the start it imports, and nobody waits for it yet."""
        self._beat_s, self._longest_s, self._is_up = time.monotonic(), 0.0, True

    def beat(self) -> None:
        """The loop has come round."""
        lag_s = self.lag_s
        self._beat_s = time.monotonic()
        self._longest_s = max(self._longest_s, lag_s)
        if self._is_up and lag_s >= UNWELL_AFTER_S:
            self._unwell_until_s = self._beat_s + WELL_AGAIN_AFTER_S

    def watch(self, loop_thread: int, stop: threading.Event) -> None:
        """Look now and then, until stopped; to be run in a thread of its own."""
        told_of_s = 0.0
        while not stop.wait(BEAT_S):
            overslept_s, self._looked_s = time.monotonic() - self._looked_s - BEAT_S, time.monotonic()
            ran_s, self._cpu_s = time.process_time() - self._cpu_s, time.process_time()
            if overslept_s > SAY_AFTER_S / 2 and ran_s < overslept_s / 2:
                self._beat_s += overslept_s  # the whole process stood still: suspended, or without a processor
            if not self._is_up or self.lag_s < SAY_AFTER_S or told_of_s == self._beat_s:
                continue
            told_of_s = self._beat_s
            self._counters.add("event_loop_stalls")
            frame = sys._current_frames().get(loop_thread)  # noqa: SLF001 - as documented, for just this
            where = traceback.format_list(traceback.extract_stack(frame)[-FRAMES:])
            logger("watchdog").warning(
                "the event loop stands still", lag_s=round(self.lag_s, 1), exception="".join(where)
            )


@asynccontextmanager
async def watching(counters: Counters) -> AsyncIterator[Watchdog]:
    """Watch the running loop while this lasts: four beats a second, and a thread that looks as often."""
    loop = asyncio.get_running_loop()
    watchdog = Watchdog(counters)
    stop = threading.Event()
    thread = threading.Thread(target=watchdog.watch, args=(threading.get_ident(), stop), name="watchdog", daemon=True)

    timer = loop.call_later(BEAT_S, lambda: beat())  # noqa: PLW0108 - it is defined below

    def beat() -> None:
        nonlocal timer
        watchdog.beat()
        timer = loop.call_later(BEAT_S, beat)

    thread.start()
    try:
        yield watchdog
    finally:
        timer.cancel()
        stop.set()
        thread.join()
