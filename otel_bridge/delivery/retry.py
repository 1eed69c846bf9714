"""When to try again: with full jitter, when the other side asks for it, or now and then where somebody must act."""

from collections import deque
from collections.abc import Awaitable, Callable
from random import Random

from otel_bridge.clock import Clock
from otel_bridge.errors import ConsumeError, ParkedError
from otel_bridge.telemetry import Counters, logger

FIRST_S, LAST_S = 1.0, 60.0
RETRY_AFTER_LEAST_S, RETRY_AFTER_MOST_S = 1.0, 15 * 60.0  # whatever the other side asks for
PROBE_S, PROBE_SPREAD = 60.0, 0.2
MANY_RESTARTS, RESTARTS_IN_S = 5, 60.0


class Pace:
    """Delays before the next try, in seconds."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()  # noqa: S311 - spreads load, keeps no secret

    def backoff(self, tries: int, retry_after_s: float | None = None) -> float:
        """After `tries` failed ones: what the other side asked for, within limits; else full jitter up to a minute."""
        if retry_after_s is not None:
            return min(max(retry_after_s, RETRY_AFTER_LEAST_S), RETRY_AFTER_MOST_S)
        return self._random.uniform(0, min(LAST_S, FIRST_S * 2 ** min(tries, 10)))

    def after(self, error: ConsumeError, tries: int) -> float:
        """After an answer, the `tries`th that was none to go on with."""
        if isinstance(error, ParkedError):
            return self.probe()
        return self.backoff(tries - 1, getattr(error, "retry_after_s", None))

    def probe(self) -> float:
        """Before a parked destination is asked again."""
        return PROBE_S * self._random.uniform(1 - PROBE_SPREAD, 1 + PROBE_SPREAD)


class Supervision:
    """Runs tasks that must go on: after a bug in one, which is logged and counted, it begins again."""

    def __init__(self, counters: Counters, clock: Clock, pace: Pace) -> None:
        self._counters = counters
        self._clock = clock
        self._pace = pace
        self._restarts_s: deque[float] = deque(maxlen=MANY_RESTARTS + 1)

    @property
    def well(self) -> bool:
        """False when more than five tasks began again within the last minute."""
        return len(self._restarts_s) <= MANY_RESTARTS or self._clock.monotonic() - self._restarts_s[0] >= RESTARTS_IN_S

    async def run(self, task: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run until it returns."""
        tries = 0
        began_s = self._clock.monotonic()
        while not await self.once(task, work):
            tries = 0 if self._clock.monotonic() - began_s >= RESTARTS_IN_S else tries + 1
            await self._clock.sleep(self._pace.backoff(tries))
            began_s = self._clock.monotonic()

    async def once(self, task: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it returned; a bug in it is logged and counted."""
        try:
            await work()
        except Exception:  # noqa: BLE001 - a bug must not stop the flow
            self._restarts_s.append(self._clock.monotonic())
            self._counters.add("task_restarts", task=task)
            logger("delivery").exception("a task failed and begins again", task=task)
            return False
        return True
