"""What trace processors decide is decided once: late parts, judgements, retries and restarts follow it."""

import pytest

from otel_bridge.trace import ANSWER, Decision, Ruling, Trace
from tests.delivery.conftest import House
from tests.delivery.joining import CHAT, GRACE_S, Joins


class Decided(Joins):
    """A house with a processor that decides as it is told, and keeps only what it has found decided before."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.keeps = True
        self.asked = 0

    async def process(self, trace: Trace) -> Trace | None:
        if trace.key.startswith(ANSWER):
            return trace  # it judges what is in another trace
        if "sample" not in trace.rulings:
            self.asked += 1
            kind = Decision.KEPT if self.keeps else Decision.SAMPLED_OUT
            trace.rulings["sample"] = Ruling(kind, "rate", {"sample_rate": 0.5} if self.keeps else {})
            trace.spends["day"] = trace.spent.get("day", 0) + 1
        return trace if trace.rulings["sample"].decision == Decision.KEPT else None

    async def start(self) -> None:
        await self.house.start(built_in=True, settled={"langfuse": self.taker}, process=self.process)  # type: ignore[dict-item]


@pytest.fixture
async def decided(house: House) -> Decided:
    made = Decided(house)
    await made.start()
    return made


@pytest.mark.parametrize("kill", [False, True])
async def test_what_was_kept_stays_kept(decided: Decided, kill: bool) -> None:
    """It is made again after a restart, as its exporter was down, and what comes late goes too; all say the rate."""
    decided.taker.down = True
    await decided.call(1)
    await decided.after(GRACE_S)
    await decided.house.state.flush()  # as whoever leases a part does first
    decided.keeps, decided.taker.down = False, False
    await decided.restart(kill=kill)
    await decided.call(1, {}, span=2, parent=1)
    await decided.after(GRACE_S)
    await decided.after(GRACE_S)

    assert decided.asked == 1
    assert {one.trace.metadata["sample_rate"] for one in decided.taker.observations.values()} == {0.5}
    assert dict(decided.house.state.memory.spent("main", "t")) == {"day": 1}
    assert await decided.accounts() == {"delivered": 2}


@pytest.mark.parametrize("kill", [False, True])
async def test_what_was_sampled_out_stays_out(decided: Decided, kill: bool) -> None:
    """With its late spans, and with judgements of it by trace and by response."""
    decided.keeps = False
    await decided.call(1)
    await decided.after(GRACE_S)
    decided.keeps = True
    await decided.restart(kill=kill)
    await decided.call(1, {}, span=2, parent=1)
    await decided.judge(trace=1)
    await decided.judge()
    await decided.after(GRACE_S)
    await decided.after(GRACE_S)

    assert (decided.asked, decided.taker.received) == (1, 0)
    assert decided.house.counters.value("scores_sampled_out") == 2
    assert await decided.accounts() == {
        "sampled_out": 4,
        "sampled_out:rate": 3,
        "sampled_out:trace_sampled_out": 1,
    }


async def test_a_call_that_was_sampled_out_counts_where_else_it_is_told(decided: Decided) -> None:
    decided.keeps = False
    await decided.call(1)
    await decided.after(GRACE_S)
    decided.keeps = True
    await decided.call(2, CHAT, scope="provider", ms=(10, 90))
    await decided.after(GRACE_S)

    assert decided.taker.tokens == 13
