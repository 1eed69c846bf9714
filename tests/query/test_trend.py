"""What is called a trend: a leak is, and what only goes up and down is not."""

from collections.abc import Callable
from math import sin
from random import Random

import pytest

from otel_bridge.query.trend import trend
from tests.query.conftest import START

MINUTE_NS = 60 * 10**9
MB = 1e6


def verdict(value: Callable[[int], float], points: int = 60) -> str:
    moments = [START + minute * MINUTE_NS for minute in range(points)]
    return str(trend(moments, [value(minute) for minute in range(points)])["verdict"])


def leaking(minute: int, noise: Random) -> float:
    """A hundred megabytes, of which half a megabyte more each minute is never given back; collected every ten."""
    return 100 * MB + 0.5 * MB * minute + 1 * MB * (minute % 10) + noise.gauss(0, 2 * MB)


@pytest.mark.parametrize("seed", range(100))
def test_a_leak_is_told_from_noise(seed: int) -> None:
    noise = Random(seed)
    assert verdict(lambda minute: leaking(minute, noise)) == "rising"
    assert verdict(lambda minute: 200 * MB - leaking(minute, noise)) == "falling"
    assert verdict(lambda _: 100 * MB + noise.uniform(-20, 20) * MB) == "flat"
    assert verdict(lambda _: noise.gauss(0, 1)) == "flat"


@pytest.mark.parametrize(
    "value",
    [
        lambda _: 0.0,
        lambda _: 0.1,
        lambda minute: 100 * MB + 4 * MB * (minute % 10),  # memory that is collected
        lambda minute: 50 + 40 * sin(minute / 3),
        lambda minute: 1000.0 if minute == 59 else 1.0,  # one outlier
        lambda minute: 1000.0 if minute == 30 else 1.0,
        lambda minute: 100 + minute * 0.05,  # a straight line that leads nowhere: 3 %
    ],
)
def test_what_goes_nowhere_is_flat(value: Callable[[int], float]) -> None:
    assert verdict(value) == "flat"


def test_of_few_points_nothing_is_known() -> None:
    assert verdict(float, 14) == "unknown"
    assert verdict(float, 15) == "rising"
    assert trend([], [])["verdict"] == "unknown"


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e109])
def test_a_trend_is_told_in_numbers(size: float) -> None:
    """The line leads from 1 to 2 in an hour, whatever the unit."""
    moments = [START + minute * MINUTE_NS for minute in range(61)]
    found = trend(moments, [size * (1 + minute / 60) for minute in range(61)])

    assert found == {
        "verdict": "rising", "slopePerHour": pytest.approx(size), "change": pytest.approx(2 / 3, abs=1e-4), "fit": 1.0,
    }  # fmt: skip
