"""The bridge is told to stop, whatever it is doing: it ends well within five seconds, and loses nothing."""

import asyncio
import signal

import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.e2e.load import Load
from tests.e2e.process import BridgeProcess, until_there

pytestmark = pytest.mark.slow


def test_idle_it_ends_at_once(bridge: BridgeProcess) -> None:
    bridge.start()

    code, took_s = bridge.stop()

    assert code == 0
    assert took_s < 5
    assert "Traceback" not in bridge.log


async def test_under_load_it_ends_in_time_and_what_it_acknowledged_is_delivered_after_the_restart(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    load = Load(bridge.url)
    bridge.start()
    running = asyncio.create_task(load.run(workers=4))
    while len(load.acked) < 100:  # noqa: ASYNC110 - the load tells nobody
        await asyncio.sleep(0.05)

    code, took_s = await asyncio.to_thread(bridge.stop)
    load.stopped = True
    await running

    assert code == 0, bridge.log
    assert took_s < 5
    await asyncio.to_thread(bridge.start)
    assert await asyncio.to_thread(until_there, langfuse, load.acked, 60) == set()
    bridge.audit()


async def test_nobody_who_listens_to_its_log_is_needed(bridge: BridgeProcess, langfuse: FakeLangfuse) -> None:
    """Its standard error is closed and it is sent SIGPIPE, while there is much to say: it goes on."""
    langfuse.always("health", Fault(503))
    bridge.start(log_to_nobody=True)
    assert bridge.process is not None
    load = Load(bridge.url)
    await load.run(traces=20)
    bridge.process.send_signal(signal.SIGPIPE)
    while len(langfuse.requests) < 4:  # noqa: ASYNC110 - what it says first is of the second failure
        await asyncio.sleep(0.05)
    langfuse.always("health", None)

    assert await asyncio.to_thread(until_there, langfuse, load.acked, 60) == set()
    assert bridge.process.poll() is None
    code, took_s = bridge.stop()
    assert code == 0
    assert took_s < 5


async def test_two_signals_end_it_at_once_and_nothing_is_lost(bridge: BridgeProcess, langfuse: FakeLangfuse) -> None:
    langfuse.always("otlp", Fault(does="hang"))  # so that the first one takes its time
    bridge.start()
    load = Load(bridge.url)
    await load.run(traces=20)
    while not langfuse.sent_to("/otel/v1/traces"):  # noqa: ASYNC110 - it is being sent, and never answered
        await asyncio.sleep(0.05)
    assert bridge.process is not None
    bridge.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)  # two at one moment would be one
    began = asyncio.get_running_loop().time()
    bridge.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(bridge.process.wait, 10)

    assert code == -signal.SIGTERM
    assert asyncio.get_running_loop().time() - began < 1
    langfuse.always("otlp", None)
    await asyncio.to_thread(bridge.start)
    assert await asyncio.to_thread(until_there, langfuse, load.acked, 60) == set()
