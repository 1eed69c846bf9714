"""Langfuse is away while a backlog grows, then it comes back: nothing is lost, and memory does not follow the backlog.

    python -m tests.proofs.outage                        # 1 GiB of 3.4 KB spans
    python -m tests.proofs.outage --backlog 64 --rate 500

The hours of an outage are in the backlog, not on the clock: 1 GiB is what 15 such spans a second leave in six, and
here they come faster. The waits between tries are what they are: they reach their minute after two. While the backlog
drains agents go on, at twenty times that rate.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from tests.e2e.load import BULK, Load
from tests.e2e.process import BridgeProcess
from tests.proofs.rig import Rig, arguments, rig, verdict

MOST_GROWTH_MIB = 50
MOST_NOTICE_S = 61
LEAST_DRAIN = 2  # times the rate of the agents
STEPS = 16
WARM_S = 20


async def outage(rig: Rig, backlog_mib: int, filling_rate: float, rate: float) -> list[str]:
    """Returns what was not shown."""
    bridge, sink = rig.bridge, rig.sink
    warm = Load(bridge.url, shape=BULK, bodies=("llm",), sender=1)
    await warm.run_at(rate, WARM_S)
    await asyncio.to_thread(rig.check, warm)
    before, warm_mib, empty_mib = sink.totals().spans, bridge.vitals.rss_mib, bridge.journal_mib

    sink.down()
    filling = Load(bridge.url, shape=BULK, bodies=("llm",), sender=2)
    running = asyncio.create_task(filling.run_at(filling_rate, seconds=1e6))
    went_s, sizes = time.monotonic(), []
    for step in range(1, STEPS + 1):
        await until(partial(grown_to, bridge, empty_mib + backlog_mib * step / STEPS))
        sizes.append(bridge.vitals.rss_mib)
        print(f"backlog {bridge.journal_mib - empty_mib:6.0f} MiB, RSS {sizes[-1]:6.1f} MiB", flush=True)
    filling.stopped = True
    await running
    away_s, waiting = time.monotonic() - went_s, filling.acked_count

    load = Load(bridge.url, shape=BULK, bodies=("llm",), sender=3)
    running = asyncio.create_task(load.run_at(rate, seconds=1e6))
    sink.up()
    back_s, began_cpu_s = time.monotonic(), bridge.vitals.cpu_s
    await until(lambda: sink.totals().spans > before, 2 * MOST_NOTICE_S)
    notice_s, began_s, began = time.monotonic() - back_s, time.monotonic(), sink.totals().spans

    def caught_up() -> bool:
        sizes.append(bridge.vitals.rss_mib)
        return waiting + load.acked_count - (sink.totals().spans - before) < 2 * rate

    await until(caught_up, 10 + 4 * waiting / rate)
    drained = (sink.totals().spans - began) / (time.monotonic() - began_s)
    cpu_us = (bridge.vitals.cpu_s - began_cpu_s) / (sink.totals().spans - before) * 1e6
    load.stopped = True
    await running

    failures = []
    try:
        await asyncio.to_thread(rig.check, filling, load)
    except AssertionError as error:
        failures.append(str(error))
    print(f"away for {away_s:.0f} s: {waiting} spans waited")
    print(f"RSS {warm_mib:.1f} MiB before, at most {max(sizes):.1f} MiB: {max(sizes) - warm_mib:+.1f} MiB")
    print(
        f"noticed after {notice_s:.1f} s, drained at {drained:.0f} spans/s: {drained / rate:.1f} times the agents' rate"
    )
    print(f"{cpu_us:.0f} µs of CPU for each span delivered while it drained, taking in those of the agents included")
    acked, refused = filling.acked_count + load.acked_count, filling.spans["refused"] + load.spans["refused"]
    print(f"acknowledged {acked}, refused {refused}, came twice {sink.totals().repeated}")
    if max(sizes) - warm_mib > MOST_GROWTH_MIB:
        failures.append(f"memory grew by more than {MOST_GROWTH_MIB} MiB")
    if notice_s > MOST_NOTICE_S:
        failures.append(f"it took more than {MOST_NOTICE_S} s to notice")
    if drained < LEAST_DRAIN * rate:
        failures.append(f"it drains at less than {LEAST_DRAIN} times the agents' rate")
    return failures


def grown_to(bridge: BridgeProcess, mib: float) -> bool:
    return bridge.journal_mib >= mib


async def until(there: Callable[[], bool], wait_s: float = float("inf")) -> None:
    """Ask, four times a second, until it is so or the time is up: what is asked about is in other processes."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < wait_s:
        if there():
            return
        await asyncio.sleep(0.25)


def main() -> None:
    parser = arguments("outage", __doc__)
    parser.add_argument("--backlog", type=int, default=1024, help="in MiB of journal")
    parser.add_argument("--filling", type=float, default=1000, help="spans a second in the outage")
    parser.add_argument("--rate", type=float, default=300, help="spans a second before and after the outage")
    given = parser.parse_args()
    with rig() as made:
        failures = asyncio.run(outage(made, given.backlog, given.filling, given.rate))
    verdict(failures)


if __name__ == "__main__":
    main()
