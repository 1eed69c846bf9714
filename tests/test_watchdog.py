"""The event loop stands still: somebody outside of it sees it, and says where."""

import asyncio
import threading
import time

import pytest

from otel_bridge import watchdog
from otel_bridge.telemetry import Counters
from otel_bridge.watchdog import Watchdog, watching


def blocking(until: threading.Event) -> None:
    until.wait(10)


@pytest.mark.slow
async def test_a_loop_that_stands_still_is_told_of_while_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the place that holds it up; it is unwell, and for a moment after, and no more."""
    monkeypatch.setattr(watchdog, "BEAT_S", 0.02)
    monkeypatch.setattr(watchdog, "SAY_AFTER_S", 0.2)
    monkeypatch.setattr(watchdog, "UNWELL_AFTER_S", 0.4)
    monkeypatch.setattr(watchdog, "WELL_AGAIN_AFTER_S", 0.1)
    counters = Counters()
    seen: list[bool] = []
    told = threading.Event()

    def look(watched: Watchdog) -> None:
        while watched.well:
            time.sleep(0.01)
        seen.append(counters.value("event_loop_stalls") == 1)
        told.set()

    async with watching(counters) as watched:
        watched.up()
        assert watched.well
        looking = threading.Thread(target=look, args=(watched,))
        looking.start()
        blocking(until=told)
        looking.join()
        await asyncio.sleep(0)
        while not watched.well:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)
    assert seen == [True]
    assert watched.longest_s >= 0.4
    said = capsys.readouterr().err
    assert said.count("the event loop stands still") == 1
    assert "in blocking" in said


async def test_a_loop_that_goes_on_is_not_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    async with watching(Counters()) as watched:
        watched.up()
        await asyncio.sleep(0)
        assert watched.well
        assert watched.lag_s < watchdog.UNWELL_AFTER_S
    assert "stands still" not in capsys.readouterr().err


@pytest.mark.parametrize(("used_s", "stalls"), [(0.1, 0), (3500.0, 1)])
def test_a_suspension_is_no_stall_and_a_held_interpreter_is(
    monkeypatch: pytest.MonkeyPatch, used_s: float, stalls: int
) -> None:
    """In both the watching thread does not run either; a process that was suspended has used no processor."""
    counters = Counters()
    now_s = 1000.0
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now_s)
    monkeypatch.setattr(watchdog.time, "process_time", lambda: used_s if now_s > 1000 else 0.0)

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now_s
            if now_s > 1000:
                return True
            now_s += 3600
            return False

    watched = Watchdog(counters)
    watched.up()
    watched.watch(threading.get_ident(), Stop())
    assert counters.value("event_loop_stalls") == stalls
    assert watched.well is (not stalls)
