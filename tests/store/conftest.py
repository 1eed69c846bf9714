"""A store in a folder of its own, with a clock that steps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters

SECOND = 10**9


class Clock:
    """Nanoseconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now_ns

    def step(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture
def writer(path: Path, clock: Clock, counters: Counters) -> Iterator[Writer]:
    opened = Writer(path, max_age_s=3600, max_bytes=1 << 30, counters=counters, now_ns=clock)
    yield opened
    opened.close()
