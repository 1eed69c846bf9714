"""Kill the bridge at random moments of load, a thousand times: nothing that it said OK to may be missing.

    python -m tests.proofs.kills --kills 100     # one sitting; the totals of all sittings are in --state

A round is fifty kills under one load of traces that come in three requests, and twice again after they settled, by
HTTP and by gRPC. Some kills hit a bridge that has just begun to start. Then all that was acknowledged must be at
Langfuse and in the store, and the accounts must balance; two SIGTERMs under load end the round, after which nothing
may come twice.
"""

import asyncio
import json
import random
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.e2e.load import TORN, Load
from tests.proofs.rig import Rig, arguments, rig, verdict

PER_ROUND = 50
TERMS = 2
WORKERS = 4
WHILE_STARTING = 0.1  # of the kills


@dataclass
class Totals:
    """Over all rounds of all sittings.

    duplicates: spans that came again after kills; most_duplicates: between one kill and the next.
    """

    seed: int
    rounds: int = 0
    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicates: int = 0
    most_duplicates: int = 0
    sigterms: int = 0
    duplicates_of_sigterms: int = 0
    longest_stop_s: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.acknowledged} spans acknowledged, {self.lost} lost, "
            f"{self.duplicates / max(self.kills, 1):.1f} duplicates a kill (most: {self.most_duplicates}); "
            f"{self.sigterms} SIGTERMs: {self.duplicates_of_sigterms} duplicates, at most {self.longest_stop_s:.1f} s; "
            f"{self.seconds / max(self.kills, 1):.2f} s a kill, seed {self.seed}"
        )


def load_for(rig: Rig, sender: int) -> Load:
    return Load(rig.bridge.url, grpc=f"127.0.0.1:{rig.bridge.grpc}", shape=TORN, bodies=("light", "mid"), sender=sender)


async def kill_under_load(rig: Rig, totals: Totals, kills: int, terms: int = TERMS) -> None:
    """One round; raises AssertionError where something acknowledged is missing."""
    began = time.monotonic()
    chance = random.Random(f"{totals.seed} {totals.rounds}")
    load = load_for(rig, sender=2 * totals.rounds + 1)
    before = repeated = rig.sink.totals().repeated
    running = asyncio.create_task(load.run(workers=WORKERS))
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.1, 1.0))  # under load: this is when, not whether
        await asyncio.to_thread(rig.bridge.kill)
        totals.kills += 1
        if chance.random() < WHILE_STARTING:
            rig.bridge.spawn()
            await asyncio.sleep(chance.uniform(0, 0.7))
            await asyncio.to_thread(rig.bridge.kill)
            totals.kills += 1
        await asyncio.to_thread(rig.bridge.start)
        now = (await asyncio.to_thread(rig.sink.totals)).repeated
        totals.most_duplicates, repeated = max(totals.most_duplicates, now - repeated), now
    load.stopped = True
    await running
    try:
        totals.acknowledged += await asyncio.to_thread(rig.check, load)
    except AssertionError:
        totals.lost += len(rig.sink.lost(load))
        raise
    after = rig.sink.totals().repeated
    totals.duplicates += after - before
    await terminate_under_load(rig, totals, chance, terms)
    totals.rounds += 1
    totals.seconds += time.monotonic() - began


async def terminate_under_load(rig: Rig, totals: Totals, chance: random.Random, terms: int) -> None:
    """A SIGTERM ends with exit code 0, loses nothing and repeats nothing."""
    load = load_for(rig, sender=2 * totals.rounds + 2)
    before = rig.sink.totals().repeated
    running = asyncio.create_task(load.run(workers=WORKERS))
    for _ in range(terms):
        await asyncio.sleep(chance.uniform(0.5, 1.5))
        code, took_s = await asyncio.to_thread(rig.bridge.stop)
        assert code == 0, f"exit {code} after SIGTERM"
        totals.longest_stop_s = max(totals.longest_stop_s, took_s)
        await asyncio.to_thread(rig.bridge.start)
        totals.sigterms += 1
    load.stopped = True
    await running
    await asyncio.to_thread(rig.check, load)
    totals.duplicates_of_sigterms += rig.sink.totals().repeated - before


def main() -> None:
    parser = arguments("kills", __doc__)
    parser.add_argument("--kills", type=int, default=100, help="in this sitting, in rounds of %(default)s at most")
    parser.add_argument("--per-round", type=int, default=PER_ROUND)
    parser.add_argument("--seed", type=int, help="of a new state; any by default")
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir()) / "otel-bridge-kills.json")
    given = parser.parse_args()
    if given.state.exists():
        totals = Totals(**json.loads(given.state.read_text()))
    else:
        totals = Totals(seed=random.randrange(1 << 30) if given.seed is None else given.seed)
    goal, failures = totals.kills + given.kills, list[str]()
    with rig() as made:
        while totals.kills < goal and not failures:
            try:
                asyncio.run(kill_under_load(made, totals, min(given.per_round, goal - totals.kills)))
            except AssertionError as error:
                failures.append(f"round {totals.rounds}, seed {totals.seed}: {error}")
            given.state.write_text(json.dumps(asdict(totals)))
            print(totals, flush=True)
    if totals.duplicates_of_sigterms:
        failures.append("something came twice after a SIGTERM")
    verdict(failures)


if __name__ == "__main__":
    main()
