"""The bridge is killed while it takes and delivers: what was acknowledged arrives all the same.

The long run is by hand: `pytest -m long tests/e2e/test_kill.py -s` kills fifty times and prints what came twice.
"""

import asyncio
import random

import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.e2e.load import Load
from tests.e2e.process import BridgeProcess, until_there


async def kill_under_load(bridge: BridgeProcess, langfuse: FakeLangfuse, kills: int, seed: int) -> Load:
    """Kill at random moments of load; returns what was acknowledged, all of it waited for."""
    chance = random.Random(seed)
    load = Load(bridge.url)
    bridge.start()
    running = asyncio.create_task(load.run(workers=4))
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.2, 1.2))  # under load: this is when, not whether
        await asyncio.to_thread(bridge.kill)
        await asyncio.to_thread(bridge.start)
    load.stopped = True
    await running
    missing = await asyncio.to_thread(until_there, langfuse, load.acked, 120)
    assert missing == set(), f"seed {seed}: {len(missing)} of {len(load.acked)} acknowledged spans never came"
    return load


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_when_it_is_killed(bridge: BridgeProcess, langfuse: FakeLangfuse) -> None:
    load = await kill_under_load(bridge, langfuse, kills=3, seed=1)

    assert load.acked
    bridge.audit()


@pytest.mark.long
@pytest.mark.timeout(3000)
async def test_fifty_kills(bridge: BridgeProcess, langfuse: FakeLangfuse) -> None:
    load = await kill_under_load(bridge, langfuse, kills=50, seed=random.randrange(1 << 30))

    bridge.audit()
    print(f"\n50 kills: {len(load.acked)} spans acknowledged, 0 lost, {langfuse.duplicates} came twice")
