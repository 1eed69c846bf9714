"""One law over any run: accepted = outcomes + waiting, and all arrives at least once but for what is evicted."""

import asyncio
import os
import tempfile
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_bridge.errors import JournalFullError, ParkedError, RefusedError, RetryableError, UsageError
from otel_bridge.telemetry import Outcome
from tests.delivery.conftest import House, Sink


class Step(Enum):
    APPEND = auto()
    SETTLE = auto()
    STOP = auto()
    KILL = auto()
    BREAK = auto()
    MEND = auto()
    TIDY = auto()
    COME_OR_GO = auto()  # an exporter, between two runs
    RENAME = auto()  # the pipeline
    FILL_DISK = auto()  # of the state
    DAMAGE = auto()
    CURSE = auto()  # some of what comes always fails, while the rest is taken
    PASS = auto()  # time, so that what always fails is postponed, and in the end given up
    RETRY = auto()  # all dead letters, which are refused, kept or taken
    DROP = auto()  # the newest dead letter
    REPLAY = auto()
    PAUSE_OR_RESUME = auto()
    GIVE_UP = auto()  # what waits


COMMON = (Step.APPEND, Step.APPEND, Step.APPEND, Step.SETTLE)
STEPS = st.lists(st.tuples(st.sampled_from((*COMMON, *Step)), st.integers(0, 3)), max_size=25)
TROUBLES = (RetryableError("down"), ParkedError("401", "unauthorized"), OSError("bug"), RetryableError("429", 3))
PIPELINES = ("main", "renamed")
EXAMPLES = int(os.environ.get("CONSERVATION_EXAMPLES", "15"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, drop_oldest=st.booleans())
def test_nothing_is_lost(
    steps: list[tuple[Step, int]], drop_oldest: bool, houses: type[House], sinks: type[Sink]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(Run(houses(Path(directory) / "data"), sinks(), sinks(), drop_oldest).run(steps))


class Run:
    """Small segments, so that trimming happens; each trace is appended to again and again, so that parts are late."""

    def __init__(self, house: House, store: Sink, langfuse: Sink, drop_oldest: bool) -> None:
        self.house = house
        self.sinks = {"store": store, "langfuse": langfuse}
        self.there = set(self.sinks)
        self.broken: Exception | None = None
        self.cursed = True
        self.disk_is_full = False
        self.healed = False  # poison is taken
        self.appended = 0
        self.well: list[list[str]] = []  # by entry
        self.owed: dict[str, set[str]] = {exporter: set() for exporter in self.sinks}
        house.segment_bytes = 4096
        if drop_oldest:
            house.max_bytes, house.drop_oldest = 4 << 10, True
        store.trouble = langfuse.trouble = self.trouble

    def trouble(self, names: list[str]) -> Exception | None:
        if self.broken:
            return self.broken
        if self.cursed and any("cursed" in name for name in names):
            return RetryableError("500")
        if self.healed:
            return None
        return RefusedError(f"refused {self.appended}") if any("poison" in name for name in names) else None

    async def start(self) -> None:
        self.disk_is_full = False
        there = {exporter: sink for exporter, sink in self.sinks.items() if exporter in self.there}
        settled = {"langfuse": there.pop("langfuse")} if "langfuse" in there else None
        await self.house.start(batches=there, settled=settled)
        await self.house.delivery.tidy()  # who is not there is noticed

    async def stop(self, *, kill: bool = False) -> None:
        if kill:
            await self.house.kill()
        else:  # a drain waits for what needs the state, and nobody moves the clock on
            await self.house.stop(drain=not self.disk_is_full)
        found = self.house.audit()
        assert found.balanced, found.to_dict()

    async def run(self, steps: list[tuple[Step, int]]) -> None:
        await self.start()
        for step, number in steps:
            await self.step(step, number)
        self.broken, self.cursed = None, False
        self.there = set(self.sinks)
        for pipeline in PIPELINES:
            await self.stop()
            self.house.pipeline = pipeline
            await self.start()
            for exporter in self.sinks:
                await self.house.delivery.operator.resume(exporter)
            for exporter, tenant in list(self.house.state.paused):
                await self.house.delivery.operator.resume(exporter, tenant)
            await arrive(self.house)
        await self.stop()
        assert all(line.waiting == 0 for line in self.house.audit().lines), self.house.audit().to_dict()
        well = {name for names in self.well for name in names if not ("poison" in name or "cursed" in name)}
        for exporter, sink in self.sinks.items():
            lost = self.owed[exporter] & well - set(sink.names)
            assert len(lost) <= self.evicted(exporter), exporter

    def evicted(self, exporter: str) -> int:
        lines = self.house.audit().lines
        return sum(line.outcomes.get(Outcome.EVICTED, 0) for line in lines if line.account.exporter == exporter)

    async def step(self, step: Step, number: int) -> None:
        match step:
            case Step.APPEND | Step.CURSE:
                await self.append(number, kind="cursed" if step == Step.CURSE else "")
            case Step.SETTLE:
                await self.house.clock.advance(6)
            case Step.STOP | Step.KILL:
                await self.stop(kill=step == Step.KILL)
                await self.start()
            case Step.BREAK | Step.MEND:
                self.broken = TROUBLES[number] if step == Step.BREAK else None
            case Step.PASS:
                await self.let_pass(5 * number)
            case Step.TIDY if not self.disk_is_full:
                await self.house.delivery.tidy()
            case Step.COME_OR_GO:
                await self.stop()
                self.there ^= {("store", "langfuse")[number % 2]}
                await self.start()
            case Step.RENAME:
                await self.stop()
                self.house.pipeline = PIPELINES[number % 2]
                await self.start()
            case Step.FILL_DISK:
                self.house.state._changes._execute = full
                self.disk_is_full = True
            case Step.DAMAGE if self.well:
                await self.stop()
                names = self.well.pop(-1 - number % len(self.well))
                self.house.damage(names[0])  # unless it has been trimmed
                assert self.house.audit().balanced, self.house.audit().to_dict()
                await self.start()
            case Step.RETRY | Step.DROP | Step.REPLAY | Step.PAUSE_OR_RESUME | Step.GIVE_UP if not self.disk_is_full:
                await self.operate(step, number)

    async def operate(self, step: Step, number: int) -> None:
        operator = self.house.delivery.operator
        exporter = ("store", "langfuse")[number % 2]
        tenant = (None, "tenant 0", "tenant 1")[number % 3]
        match step:
            case Step.RETRY:
                self.healed = number == 3
                await operator.retry([letter.id for letter in await self.house.dead_letters.list()])
                self.healed = False
            case Step.DROP:
                await operator.drop([letter.id for letter in await self.house.dead_letters.list()][:1])
            case Step.REPLAY if exporter in self.there:
                await operator.replay(exporter, since_ns=0)
            case Step.GIVE_UP:
                with suppress(UsageError):  # nothing has come of that tenant, or for that exporter
                    await operator.give_up(exporter, tenant)
            case Step.PAUSE_OR_RESUME if exporter in self.there:
                paused = (exporter, tenant or "") in self.house.state.paused
                with suppress(UsageError):  # nothing has come of that tenant
                    await (operator.resume if paused else operator.pause)(exporter, tenant)

    async def let_pass(self, steps: int) -> None:
        for _ in range(steps):
            await self.append(0)
            await self.house.clock.advance(7)
            await asyncio.sleep(0.001)  # the threads need a moment of real time

    async def append(self, number: int, kind: str = "") -> None:
        kind = kind or ("poison" if number == 3 else "x" * 300)
        names = [f"<{self.appended} {kind} {at}" for at in range(number + 1)]
        self.appended += 1
        try:
            await self.house.append(*names, trace=self.appended % 5 + 1, tenant=f"tenant {number % 2}")
        except JournalFullError:  # what goes for it can not be written down
            assert self.house.drop_oldest
            assert self.disk_is_full
            return
        self.well.append(names)
        for exporter in self.there:
            self.owed[exporter].update(names)


def full(_connection: apsw.Connection) -> None:
    raise apsw.FullError("database or disk is full")


async def arrive(house: House) -> None:
    """Let time pass until nothing waits for those who are there."""
    while any(items for account, items in house.delivery.waiting().items() if account.pipeline == house.pipeline):
        await house.clock.advance(1)
        await asyncio.sleep(0.001)  # the journal's and the state's threads need a moment of real time
