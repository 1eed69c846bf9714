"""One law over any run: accepted = outcomes + waiting, and everything arrives at least once."""

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_bridge.errors import ParkedError, RefusedError, RetryableError

if TYPE_CHECKING:
    from tests.delivery.conftest import House, Sink

APPEND, SETTLE, STOP, KILL, BREAK, MEND, TIDY = range(7)
STEPS = st.lists(
    st.tuples(
        st.sampled_from((APPEND, APPEND, APPEND, APPEND, SETTLE, SETTLE, STOP, KILL, BREAK, MEND, TIDY)),
        st.integers(0, 3),
    ),
    max_size=25,
)
TROUBLES = (RetryableError("down"), ParkedError("401", "unauthorized"), OSError("bug"), RetryableError("429", 3))


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_nothing_is_lost(steps: list[tuple[int, int]], houses: "type[House]", sinks: "type[Sink]") -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(houses(Path(directory) / "data"), sinks(), sinks(), steps))


async def run(house: "House", store: "Sink", langfuse: "Sink", steps: list[tuple[int, int]]) -> None:
    """Small segments, so that trimming happens; each trace is appended to again and again, so that parts are late."""
    house.segment_bytes = 4096
    broken: list[Exception] = []
    accepted: list[str] = []

    def trouble(names: list[str]) -> Exception | None:
        if broken:
            return broken[0]
        return RefusedError(f"refused {len(accepted)}") if any("poison" in name for name in names) else None

    store.trouble = langfuse.trouble = trouble

    async def start() -> None:
        await house.start(batches={"store": store}, settled={"langfuse": langfuse})

    await start()
    for step, number in steps:
        match step:
            case 0:
                names = [f"{len(accepted)} {'poison' if number == 3 else 'x' * 300} {at}" for at in range(number + 1)]
                accepted += names
                await house.append(*names, trace=len(accepted) % 5 + 1, tenant=f"tenant {number % 2}")
            case 1:
                await house.clock.advance(6)
            case 2:
                await house.stop()
                assert house.audit().balanced, house.audit().to_dict()
                await start()
            case 3:
                await house.kill()
                assert house.audit().balanced, house.audit().to_dict()
                await start()
            case 4:
                broken[:] = [TROUBLES[number]]
            case 5:
                broken.clear()
            case 6:
                await house.delivery.tidy()
    broken.clear()
    await arrive(house)
    await house.stop()
    found = house.audit()
    assert found.balanced, found.to_dict()
    assert all(line.waiting == 0 for line in found.lines), found.to_dict()
    well = {name for name in accepted if "poison" not in name}
    assert well <= set(store.names)
    assert well <= set(langfuse.names)


async def arrive(house: "House") -> None:
    """Let time pass until nothing waits."""
    while any(house.delivery.waiting().values()):
        await house.clock.advance(1)
        await asyncio.sleep(0.001)  # the journal's and the state's threads need a moment of real time
