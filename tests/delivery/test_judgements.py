"""A judgement that names a response alone becomes a score on its call, whichever trace settles first."""

import asyncio
import time

import pytest

from otel_bridge.delivery import audit
from tests.delivery.joining import CHAT, GRACE_S, MAX_HOLD_S, Joins, ids


@pytest.mark.parametrize("between", ["nothing", "a restart", "a kill"])
@pytest.mark.parametrize("first", ["the call", "the judgement"])
async def test_one_that_names_a_response_is_a_score_on_its_call(joins: Joins, first: str, between: str) -> None:
    """The call's trace may settle long before or after."""
    steps = [joins.call(1, span=7), joins.judge()]
    for step in steps if first == "the call" else reversed(steps):
        await step
        await joins.after(600)
        if between != "nothing":
            await joins.restart(kill=between == "a kill")
    await joins.after(GRACE_S)
    await joins.after(GRACE_S)
    assert joins.taker.judged == [ids(1, 7)]
    assert await joins.accounts() == {"delivered": 2}


async def test_one_that_came_first_finds_its_call_when_all_is_settled_at_the_end(joins: Joins) -> None:
    await joins.judge()
    await joins.call(1)
    await joins.house.delivery.drain(5, settle=True)
    assert joins.taker.judged == [ids(1, 1)]


async def test_one_of_an_unknown_response_is_counted_out(joins: Joins) -> None:
    await joins.call(1)
    await joins.judge("another")
    await joins.after(GRACE_S)
    await joins.after(MAX_HOLD_S)
    assert not joins.taker.scores
    assert await joins.accounts() == {"delivered": 1, "filtered": 1, "filtered:unknown_response": 1}


async def test_what_is_counted_out_is_counted_under_its_own_signal(joins: Joins) -> None:
    """Also where it goes with traces in one batch."""
    await joins.house.delivery.operator.pause("langfuse")
    joins.taker.down = True
    await joins.call(1)
    await joins.judge("another")
    await joins.after(GRACE_S)
    await joins.after(MAX_HOLD_S)
    joins.taker.down = False
    await joins.house.delivery.operator.resume("langfuse")
    await joins.after(1)
    assert await joins.accounts() == {"delivered": 1, "filtered": 1, "filtered:unknown_response": 1}
    found = {line.account.signal: line.reasons for line in audit(joins.house.directory).lines}
    assert found == {"traces": {}, "logs": {"filtered:unknown_response": 1}}


async def test_tenants_never_meet(joins: Joins) -> None:
    """Two have the same ids; a third has a judgement alone."""
    await joins.call(1, tenant="a")
    await joins.call(2, tenant="b")
    for tenant in ("a", "b", "c"):
        await joins.judge(tenant=tenant)
    for _ in range(2):
        await joins.after(GRACE_S)
    await joins.after(MAX_HOLD_S)
    assert sorted(joins.taker.judged) == [ids(1, 1), ids(2, 1)]
    assert joins.taker.tokens == 26
    assert (await joins.accounts())["filtered:unknown_response"] == 1


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_late_one_that_names_its_trace_finds_the_call_in_it(joins: Joins, restarted: bool) -> None:
    await joins.call(1, {"gen_ai.operation.name": "invoke_agent"})
    await joins.call(1, span=7, parent=1)
    await joins.after(GRACE_S)
    if restarted:
        await joins.restart()
    await joins.judge(trace=1)
    await joins.after(GRACE_S)
    assert joins.taker.judged == [ids(1, 7)]


async def test_one_that_names_its_trace_stays_in_it(joins: Joins) -> None:
    await joins.call(1)
    await joins.call(2, {"gen_ai.operation.name": "chat"})
    await joins.after(GRACE_S)
    await joins.judge(trace=2)
    await joins.after(GRACE_S)
    assert joins.taker.judged == [(f"{2:032x}", None)]


async def test_the_span_whose_usage_counts_is_judged_whenever_the_judgement_comes(joins: Joins) -> None:
    """A wrapper tells of the response as well, and began earlier."""
    for trace in (1, 2):
        response = {"gen_ai.response.id": f"r{trace}"}
        await joins.call(trace, {"gen_ai.operation.name": "invoke_agent"} | response)
        await joins.call(trace, {**CHAT, **response}, span=7, parent=1, ms=(10, 90))
    await joins.judge("r1", trace=1)
    await joins.after(GRACE_S)
    await joins.judge("r2", trace=2)
    await joins.after(GRACE_S)
    assert sorted(joins.taker.judged) == [ids(1, 7), ids(2, 7)]


async def test_it_is_the_same_score_when_it_is_made_again(joins: Joins) -> None:
    """In an outage, from the journal after a kill, and by a replay when nothing is remembered any more."""
    await joins.call(1)
    await joins.after(GRACE_S)
    joins.taker.down = True
    await joins.judge()
    await joins.after(GRACE_S)
    await joins.house.state.memory.forget("main", joins.house.clock.steady_ns() + 10**18)
    await joins.restart(kill=True)
    joins.taker.down = False
    await joins.after(0)
    before = dict(joins.taker.scores)
    assert joins.taker.judged == [ids(1, 1)]
    received = joins.taker.received

    await joins.house.delivery.operator.replay("langfuse", since_ns=time.time_ns() - 10**12)
    while joins.taker.received < received + 2:
        await joins.house.clock.advance(0.01)
        await asyncio.sleep(0.001)
    assert joins.taker.scores == before


async def test_one_that_could_not_be_translated_finds_its_call_when_it_is_retried(
    joins: Joins, monkeypatch: pytest.MonkeyPatch
) -> None:
    await joins.call(1)
    await joins.after(GRACE_S)
    with monkeypatch.context() as patched:
        patched.setattr("otel_bridge.translate.scores._id", lambda *_: 1 / 0)
        await joins.judge()
        await joins.after(GRACE_S)
    [letter] = await joins.house.dead_letters.list()
    assert letter.reason == "translation"
    await joins.house.delivery.operator.retry([letter.id])
    assert joins.taker.judged == [ids(1, 1)]
    assert await joins.accounts() == {"delivered": 2}
