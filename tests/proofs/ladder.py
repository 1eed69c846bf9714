"""What the bridge sustains: spans a second that are on disk, acknowledged and delivered, by rate and body.

    python -m tests.proofs.ladder --bodies light,mid,llm --rates 2000,5000,10000,20000,max --seconds 300
    python -m tests.proofs.ladder --pin          # the bridge has core 0, all others core 1
    python -m tests.proofs.ladder --fsyncs       # counted by strace

At a rate, requests of a hundred spans leave on time, whatever they are answered, and none is sent twice; at `max`
sixteen senders go as fast as they are answered. Sustained is what was acknowledged, over the time until all of it was
delivered. A span is delivered when its whole trace has settled: the wait for that (`grace`, here 300 ms instead of 6 s)
and the age of a batch (500 ms) are in the times from sent to delivered.
"""

import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.load import BODIES, BULK, Body, Load, Spread
from tests.proofs.rig import Rig, Watch, arguments, rig, verdict, watching

MAX = float("inf")
SENDERS = 16


@dataclass(slots=True, frozen=True)
class Step:
    """What one load at one rate came to.

    goodput: spans a second delivered while the load lasted.
    drain_s: from its end until all was delivered; the bridge is watched until then.
    """

    load: Load
    seconds: float
    drain_s: float
    goodput: float
    repeated: int
    lost: int
    delays: Spread
    load_cpu: float
    watch: Watch

    @property
    def acked_per_s(self) -> float:
        return self.load.acked_count / self.seconds

    @property
    def sustained(self) -> float:
        return self.load.acked_count / (self.seconds + self.drain_s)

    @property
    def cpu_us(self) -> float:
        """For each span, from the door to Langfuse."""
        return self.watch.cpu_s / max(self.load.acked_count, 1) * 1e6

    def __str__(self) -> str:
        spans, watch = self.load.spans, self.watch
        return (
            f"    sustained {self.sustained:.0f} spans/s: acknowledged {self.acked_per_s:.0f}/s, delivered "
            f"{self.goodput:.0f}/s, the rest {self.drain_s:.1f} s after the end\n"
            f"    spans: sent {spans['sent']}, acked {self.load.acked_count}, refused {spans['refused']}, "
            f"failed {spans['failed']}, unsent {spans['unsent']}, came twice {self.repeated}, lost {self.lost}\n"
            f"    acknowledged: {self.load.acks}; sent to delivered: {self.delays}\n"
            f"    bridge: {self.cpu_us:.0f} µs of CPU a span, {watch.cpu_share:.0%} of a core; RSS at most "
            f"{watch.peak_mib:.0f} MiB, {watch.most_fds} fds, journal at most {watch.journal_mib:.0f} MiB; "
            f"generator: {self.load_cpu:.0%} of a core"
        )


async def measured(rig: Rig, body: Body, rate: float, seconds: float, sender: int, wait_s: float = 120) -> Step:
    """One load, and all of it waited for; the accounts balance after it."""
    load = Load(rig.bridge.url, shape=BULK, bodies=(body,), sender=sender)
    before, cpu_s, began_s = rig.sink.totals(), time.process_time(), time.time()
    async with watching(rig.bridge) as watch:
        if rate == MAX:
            running = asyncio.create_task(load.run(SENDERS))
            await asyncio.sleep(seconds)
            load.stopped = True
            await running
        else:
            await load.run_at(rate, seconds)
        took_s, load_cpu_s = time.time() - began_s, time.process_time() - cpu_s
        at_end = rig.sink.totals()
        missing = await asyncio.to_thread(rig.sink.until_there, load, wait_s)
    after = rig.sink.totals()
    rig.bridge.audit()
    return Step(
        load=load,
        seconds=took_s,
        drain_s=max(0.0, after.last_s - began_s - took_s),
        goodput=(at_end.spans - at_end.repeated - before.spans + before.repeated) / took_s,
        repeated=after.repeated - before.repeated,
        lost=len(missing),
        delays=Spread(Counter(after.delays.counts) - Counter(before.delays.counts)),
        load_cpu=load_cpu_s / took_s,
        watch=watch,
    )


def fsyncs(summary: str) -> int:
    """How many strace counted."""
    return sum(int(found[1]) for found in re.finditer(r"(\d+)\s+(?:\d+\s+)?f(?:data)?sync$", summary, re.MULTILINE))


def climb(body: Body, rates: list[float], seconds: float, warm_s: float, *, pin: bool, count_fsyncs: bool) -> int:
    """All steps of one body, on a bridge of its own; returns how many spans were lost."""
    lost = 0
    with tempfile.TemporaryDirectory() if count_fsyncs else nullcontext() as folder:
        counting = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-c",
            "-e",
            "trace=fsync,fdatasync",
            "-o",
            f"{folder}/counts",
        ]
        under = [*(counting if folder else ()), *(["taskset", "-c", "0"] if pin else ())]
        with rig(under=under) as made:
            began_s = time.monotonic()
            asyncio.run(measured(made, body, min(rates[0], 2000), warm_s, sender=1))
            for sender, rate in enumerate(rates, start=2):
                print(f"{body}, {'max' if rate == MAX else f'{rate:.0f} spans/s'}, {seconds:.0f} s", flush=True)
                step = asyncio.run(measured(made, body, rate, seconds, sender))
                print(step, flush=True)
                lost += step.lost
            took_s = time.monotonic() - began_s
        if folder:
            counted = fsyncs(Path(folder, "counts").read_text())
            print(f"    {counted / took_s:.0f} fsyncs/s, over all of it")
    return lost


def main() -> None:
    parser = arguments("ladder", __doc__)
    parser.add_argument("--bodies", default=",".join(BODIES))
    parser.add_argument("--rates", default="2000,5000,10000,20000,max", help="spans a second")
    parser.add_argument("--seconds", type=float, default=60, help="of each step")
    parser.add_argument("--warm", type=float, default=10, help="seconds before the first step of a body")
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--fsyncs", action="store_true")
    given = parser.parse_args()
    if given.fsyncs and shutil.which("strace") is None:
        sys.exit("--fsyncs needs strace")
    if given.pin:
        os.sched_setaffinity(0, {1})
    rates = [MAX if rate == "max" else float(rate) for rate in given.rates.split(",")]
    lost = 0
    for body in given.bodies.split(","):
        lost += climb(body, rates, given.seconds, given.warm, pin=given.pin, count_fsyncs=given.fsyncs)
    verdict([f"{lost} spans were lost"] if lost else [])


if __name__ == "__main__":
    main()
