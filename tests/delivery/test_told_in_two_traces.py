"""A call that is told in two traces counts in one of them."""

import pytest

from tests.delivery.joining import CHAT, GRACE_S, IDLE_S, Joins, ids


@pytest.mark.parametrize("between", ["nothing", "a restart", "a kill"])
async def test_it_counts_in_the_one_that_settles_first(joins: Joins, between: str) -> None:
    await joins.call(1)
    await joins.after(GRACE_S)
    if between != "nothing":
        await joins.restart(kill=between == "a kill")
    await joins.call(2, scope="sdk", ms=(10, 90))
    await joins.after(GRACE_S)
    assert joins.taker.tokens == 13
    [left] = [one for one in joins.taker.observations.values() if one.usage is None]
    assert left.trace_id == f"{2:032x}"
    assert left.metadata["uncounted_usage"]["total"] == 13


async def test_it_counts_once_however_many_others_come_between(joins: Joins, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept in memory is for speed."""
    monkeypatch.setattr("otel_bridge.journal.memory.MAX_LATELY", 1)
    await joins.call(1)
    await joins.after(GRACE_S)
    await joins.call(3, {**CHAT, "gen_ai.response.id": "r3"})
    await joins.after(GRACE_S)
    await joins.call(2, scope="sdk", ms=(10, 90))
    await joins.after(GRACE_S)
    assert joins.taker.tokens == 2 * 13


async def test_it_counts_once_where_both_settle_at_one_moment(joins: Joins) -> None:
    await joins.call(1)
    await joins.call(2, scope="sdk", ms=(10, 90))
    await joins.after(GRACE_S)
    assert joins.taker.tokens == 13


async def test_what_comes_late_of_it_does_not_count_either(joins: Joins) -> None:
    await joins.call(1)
    await joins.after(GRACE_S)
    await joins.call(2, scope="sdk", ms=(10, 90), span=2, parent=1)
    await joins.after(IDLE_S)
    await joins.call(2, scope="framework", ms=(5, 95), span=1)
    await joins.after(GRACE_S)
    assert len(joins.taker.observations) == 3
    assert joins.taker.tokens == 13


@pytest.mark.parametrize(
    ("scope", "ms"),
    [
        pytest.param("framework", (200, 300), id="at another time"),
        pytest.param("sdk", (50, 150), id="by another instrumentation, not within the time of the first"),
    ],
)
async def test_two_calls_of_one_id_are_two(joins: Joins, scope: str, ms: tuple[int, int]) -> None:
    """There are servers that give every response the same id."""
    await joins.call(1)
    await joins.after(GRACE_S)
    await joins.call(2, scope=scope, ms=ms)
    await joins.after(GRACE_S)
    assert joins.taker.tokens == 26


async def test_one_that_says_no_usage_leaves_it_to_the_other(joins: Joins) -> None:
    await joins.call(1, {"gen_ai.operation.name": "chat", "gen_ai.response.id": "r1"})
    await joins.after(GRACE_S)
    await joins.call(2, scope="sdk", ms=(10, 90))
    await joins.after(GRACE_S)
    await joins.call(3, scope="another", ms=(20, 80))
    await joins.after(GRACE_S)
    assert joins.taker.tokens == 13


async def test_it_counts_once_however_often_its_parts_are_made(joins: Joins) -> None:
    """In an outage, from the journal after a kill, in whatever order."""
    joins.taker.down = True
    await joins.call(1)
    await joins.after(GRACE_S)
    await joins.call(2, scope="sdk", ms=(10, 90))
    await joins.after(GRACE_S)
    await joins.house.state.memory.forget("main", joins.house.clock.steady_ns() + 10**18)
    await joins.restart(kill=True)
    joins.taker.down = False
    await joins.after(0)
    assert len(joins.taker.observations) == 2
    assert joins.taker.tokens == 13


async def test_a_judgement_is_on_the_one_that_counts(joins: Joins) -> None:
    await joins.call(1)
    await joins.after(GRACE_S)
    await joins.call(2, scope="sdk", ms=(10, 90))
    await joins.after(GRACE_S)
    await joins.judge()
    await joins.after(GRACE_S)
    assert joins.taker.judged == [ids(1, 1)]
