"""Hours of mixed load, one fault in a hundred, a SIGKILL each minute: nothing is lost, and nothing grows.

    python -m tests.proofs.soak --minutes 120

Faults: payloads that cannot be read, answers 500, 429 and 503 of Langfuse, and answers that are lost after the data was
taken. Memory and open files are looked at from 20 s after a start. What one process gains over hours is to be seen
with --no-kills alone.
"""

import asyncio
import random
import time

import aiohttp

from otel_bridge.testing.fake_langfuse import Fault
from tests.e2e.load import BODIES, BULK, HEADERS, Load
from tests.proofs.rig import Rig, Watch, arguments, rig, verdict

FAULTS = (
    Fault(500, "boom"),
    Fault(503, "busy"),
    Fault(429, "slow down", {"Retry-After": "1"}),
    Fault(does="disconnect"),
    Fault(does="disconnect", stored=True),
)
FAULT_SHARE = 0.01
SETTLE_S = 20
LOOK_S = 1.0
LEAST_SLOPE_S = 600


async def misbehave(rig: Rig, load: Load, chance: random.Random) -> None:
    """One bad payload for every hundred requests, and one bad answer for every hundred of Langfuse's."""
    requests, answers = load.turns, rig.sink.totals().exports
    async with aiohttp.ClientSession() as session:
        while not load.stopped:
            await asyncio.sleep(0.5)
            for _ in range(int((load.turns - requests) * FAULT_SHARE)):
                requests += int(1 / FAULT_SHARE)
                body = chance.randbytes(chance.randrange(1, 2000))
                try:
                    async with session.post(f"{rig.bridge.url}/v1/traces", data=body, headers=HEADERS) as answer:
                        assert answer.status < 500, answer.status
                except aiohttp.ClientError:
                    continue
            if (now := rig.sink.totals().exports) - answers > 1 / FAULT_SHARE:
                answers = now
                rig.sink.script("otlp", chance.choice(FAULTS))


async def stretch(rig: Rig, watch: Watch, load: Load, rate: float, seconds: float, kill: bool, seed: str) -> int:
    """Load for some time, at the end of which the bridge is killed or not; returns how much was acknowledged."""
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run_at(rate, seconds=1e6))
        group.create_task(misbehave(rig, load, random.Random(seed)))
        began_s = time.monotonic()
        while (since_s := time.monotonic() - began_s) < seconds:
            await asyncio.sleep(LOOK_S)
            if since_s > min(SETTLE_S, seconds / 2):
                watch.look(rig.bridge)
        if kill:
            await asyncio.to_thread(rig.bridge.kill)
            await asyncio.to_thread(rig.bridge.start)
        load.stopped = True
    return await asyncio.to_thread(rig.check, load)


def main() -> None:
    parser = arguments("soak", __doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--rate", type=float, default=1000, help="spans a second; 70 %% of the maximum is the custom")
    parser.add_argument("--every", type=float, default=60, help="seconds until all is compared, and the bridge killed")
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    given = parser.parse_args()
    watch, failures = Watch(), list[str]()
    acked, times = 0, 0
    with rig() as made:
        began_s = time.monotonic()
        while time.monotonic() - began_s < given.minutes * 60 and not failures:
            times += 1
            load = Load(made.bridge.url, shape=BULK, bodies=BODIES, sender=times)
            seed = f"{given.seed} {times}"
            try:
                acked += asyncio.run(stretch(made, watch, load, given.rate, given.every, not given.no_kills, seed))
            except AssertionError as error:
                failures.append(f"after stretch {times}, seed {given.seed}: {error}")
            (first_s, _), (last_s, vitals) = watch.seen[0], watch.seen[-1]
            slope = f"{watch.mib_per_hour:+.1f} MiB/h" if last_s - first_s > LEAST_SLOPE_S else "too short for a slope"
            print(
                f"{(time.monotonic() - began_s) / 60:6.1f} min: {0 if given.no_kills else times} kills, {acked} "
                f"acknowledged, {made.sink.totals().repeated} came twice, RSS {vitals.rss_mib:.0f} MiB at the end of a "
                f"stretch ({slope}), {vitals.fds} fds (at most {watch.most_fds})",
                flush=True,
            )
    verdict(failures)


if __name__ == "__main__":
    main()
