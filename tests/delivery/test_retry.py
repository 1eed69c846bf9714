"""When it is tried again, and what becomes of tasks that fail."""

from random import Random

import pytest

from otel_bridge.delivery.retry import Pace, Supervision
from otel_bridge.telemetry import Counters
from otel_bridge.testing.clock import SteppingClock


@pytest.mark.parametrize("seed", range(20))
def test_bridges_that_recover_together_come_back_spread_out(seed: int) -> None:
    """Ten of them, after an outage that was long for all."""
    chance = Random(seed)
    first_s = [Pace(Random(chance.random())).backoff(tries=50) for _ in range(10)]
    assert max(first_s) - min(first_s) >= 30
    assert max(first_s) <= 60


def test_backoff_grows_to_a_minute_with_full_jitter() -> None:
    pace = Pace(Random(1))
    longest_s = [max(pace.backoff(tries) for _ in range(500)) for tries in range(12)]
    for tries, seconds in enumerate(longest_s):
        most_s = min(60, 2**tries)
        assert most_s * 0.9 < seconds <= most_s


def test_probes_come_about_once_a_minute() -> None:
    probes_s = [Pace(Random(1)).probe() for _ in range(500)]
    assert min(probes_s) >= 48
    assert max(probes_s) <= 72


@pytest.mark.parametrize(("restarts", "well"), [(5, True), (6, False)])
async def test_tasks_that_fail_begin_again_and_too_many_are_unwell(restarts: int, well: bool) -> None:
    """For a minute; then it is well again."""
    counters, clock = Counters(), SteppingClock()
    supervision = Supervision(counters, clock, Pace(Random(1)))
    left = restarts

    async def work() -> None:
        nonlocal left
        clock._now_s += 0.1
        if left:
            left -= 1
            raise ValueError("a bug")

    async def no_sleep(_delay_s: float) -> None:
        pass

    clock.sleep = no_sleep  # type: ignore[method-assign]
    await supervision.run("some", work)
    assert counters.value("task_restarts", task="some") == restarts
    assert supervision.well is well
    clock._now_s += 60
    assert supervision.well
