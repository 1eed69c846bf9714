"""Sending again what the journal still holds: the same bytes, counted apart, also after a kill in the middle."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from otel_bridge.errors import RefusedError, RetryableError, UsageError
from tests.delivery.conftest import BACKOFF_S, House, Sink

HOUR_NS = 3600 * 10**9


async def replay(house: House, exporter: str, **wanted: Any) -> dict[str, Any]:
    """From an hour ago of the wall clock, by which entries are stamped, to far after it, where the test's clock is."""
    return await house.delivery.operator.replay(exporter, **{"since_ns": time.time_ns() - HOUR_NS, **wanted})


async def done(house: House) -> None:
    while house.state.replays:
        await house.clock.advance(0.01)
        await asyncio.sleep(0.001)


def sent_again(house: House, exporter: str) -> dict[str, int]:
    counted: dict[str, int] = {}
    for line in house.audit().lines:
        if line.account.exporter == exporter:
            for outcome, items in line.replayed.items():
                counted[outcome] = counted.get(outcome, 0) + items
    return counted


async def test_everything_goes_again_with_the_same_bytes_and_is_not_accepted_again(
    house: House, sinks: type[Sink]
) -> None:
    store, langfuse = sinks(), sinks()
    house.segment_bytes = 4096
    house.keep_bytes = 1 << 20
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    for number in range(6):
        await house.append(f"agent {number}", "x" * 1000, trace=number + 1)
        await store.has(2 * number + 2)
    await house.settle()
    await langfuse.has(12)
    for _ in range(3):
        await house.delivery.tidy()
    before = (sorted(store.names), sorted(langfuse.names), sorted(store.wires))

    for exporter in ("store", "langfuse"):
        begun = await replay(house, exporter)
        assert begun["heldSince"].startswith("20")
        assert len(begun["replays"]) == 1
    await done(house)

    assert (sorted(set(store.names)), len(store.names)) == (sorted(set(before[0])), 24)
    assert (sorted(set(langfuse.names)), len(langfuse.names)) == (sorted(set(before[1])), 24)
    assert sorted(langfuse.again) == before[1]
    await house.stop()
    assert house.outcomes("store") == house.outcomes("langfuse") == {"delivered": 12}
    assert sent_again(house, "store") == sent_again(house, "langfuse") == {"delivered": 12}
    assert orjson.loads(orjson.dumps(house.delivery.status()))["replayed"][0]["delivered"] == 12


async def test_without_keep_only_what_the_journal_still_has_goes_again(house: House, sink: Sink) -> None:
    house.segment_bytes = 4096
    await house.start(batches={"store": sink})
    for number in range(6):
        await house.append(f"{number} {'x' * 3000}")
        await sink.has(number + 1)
    for _ in range(3):
        await house.delivery.tidy()
    await house.journal._loop.run_in_executor(house.journal._thread, int)
    await replay(house, "store")
    await done(house)
    assert 0 < len(sink.names) - 6 < 4


@pytest.mark.parametrize("kind", ["batches", "settled"])
async def test_only_what_was_asked_for_goes_again(house: House, sink: Sink, kind: str) -> None:
    await house.start(**{kind: {"store": sink}})
    await house.append("a", trace=1, tenant="a")
    await house.append("b", trace=2, tenant="b")
    between_ns = time.time_ns()
    await house.append("late", trace=3, tenant="b")
    if kind == "settled":
        await house.settle()
    await sink.has(3)
    while any(house.delivery.waiting().values()):  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)
    await replay(house, "store", tenant="a")
    await done(house)
    assert sink.names[3:] == ["a"]
    await replay(house, "store", until_ns=between_ns)
    await done(house)
    assert sorted(sink.names[4:]) == ["a", "b"]
    await replay(house, "store", since_ns=between_ns)
    await done(house)
    assert sink.names[6:] == ["late"]
    with pytest.raises(UsageError, match="there is no tenant 'nobody', there are: a, b, default"):
        await replay(house, "store", tenant="nobody")
    assert (await replay(house, "store", tenant="default"))["replays"] == []  # it is configured, and has sent nothing


async def test_a_replay_goes_on_after_a_kill(house: House, sinks: type[Sink]) -> None:
    store, langfuse = sinks(), sinks()
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.append("agent", "llm")
    await house.settle()
    await store.has(2)
    await langfuse.has(2)
    store.trouble = langfuse.trouble = lambda _names: RetryableError("down", 30)
    for exporter, sink in (("store", store), ("langfuse", langfuse)):
        calls = len(sink.calls)
        await replay(house, exporter)
        while len(sink.calls) == calls:
            await house.clock.advance(0.01)
            await asyncio.sleep(0.001)
    assert [one["why"] for one in house.delivery.status()["replays"]] == ["down", "down"]
    await house.kill()
    assert house.outcomes("store") == house.outcomes("langfuse") == {"delivered": 2}
    store.trouble = langfuse.trouble = lambda _names: None
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await done(house)
    assert store.names == langfuse.names == ["agent", "llm", "agent", "llm"]
    await house.stop()
    assert house.outcomes("store") == house.outcomes("langfuse") == {"delivered": 2}
    assert sent_again(house, "store") == sent_again(house, "langfuse") == {"delivered": 2}


async def test_what_is_refused_when_it_is_sent_again_is_a_letter_that_the_ledger_knows_nothing_of(
    house: House, sink: Sink
) -> None:
    await house.start(batches={"store": sink})
    await house.append("a", "b")
    await sink.has(2)
    sink.trouble = lambda names: RefusedError("no a") if "a" in names else None
    await replay(house, "store")
    await done(house)
    [letter] = await house.dead_letters.list()
    assert letter.items == 0
    sink.trouble = lambda _names: None
    await house.delivery.operator.retry([letter.id])
    assert sink.names == ["a", "b", "b", "a"]
    await house.stop()
    assert house.outcomes("store") == {"delivered": 2}
    assert sent_again(house, "store") == {"delivered": 1, "dead_lettered": 1}


async def test_new_data_does_not_wait_for_a_replay(house: House, sink: Sink) -> None:
    await house.start(batches={"store": sink})
    await house.append("old")
    await sink.has(1)
    sink.trouble = lambda names: RetryableError("down", 30) if "old" in names else None
    await replay(house, "store")
    await house.append("new")
    await sink.has(2)
    assert sink.names == ["old", "new"]


async def test_what_is_postponed_was_not_had_and_does_not_go_again(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: RetryableError("500") if "cursed" in names else None
    await house.start(batches={"store": sink})
    await house.append("cursed")
    for tries in (1, 2, 3):
        await sink.called(tries)
        await house.clock.asleep(BACKOFF_S)
        if tries < 3:
            await house.clock.advance(BACKOFF_S)
    await house.append("well")
    while "well" not in sink.names:
        await house.clock.advance(BACKOFF_S)
        await asyncio.sleep(0.001)  # the threads of the journal and of cutting need a moment of real time
    await replay(house, "store")
    await done(house)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1, "waiting": 1}
    assert sent_again(house, "store") == {"delivered": 1}


async def test_what_always_fails_in_a_replay_holds_up_nothing_of_it(house: House, sink: Sink) -> None:
    """As long as it is tried, the replay is not done; after a kill it goes again with what came behind it."""
    house.config = house.config.model_copy(update={"max_batch_items": 1})
    await house.start(batches={"store": sink})
    for name in ("cursed", "a", "b"):
        await house.append(name)
    await sink.has(3)
    sink.trouble = lambda names: RetryableError("500") if "cursed" in names else None
    await replay(house, "store")
    while len(sink.names) < 5:
        await house.clock.advance(BACKOFF_S)
        await asyncio.sleep(0.001)  # as above
    assert sink.names[3:] == ["a", "b"]
    [left] = house.delivery.status()["replays"]
    assert left["position"] == 0
    await house.kill()
    sink.trouble = lambda _names: None
    await house.start(batches={"store": sink})
    await done(house)
    assert set(sink.names[5:]) == {"cursed", "a", "b"}
    await house.stop()
    assert house.outcomes("store") == {"delivered": 3}
