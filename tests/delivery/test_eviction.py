"""`when_full: drop_oldest`: the oldest go, new ones are taken, and what was not delivered is counted as evicted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import apsw
import pytest

from otel_bridge.errors import JournalFullError, RetryableError, UnwrittenError
from tests.delivery.conftest import House, Sink

TEXT = "x" * 2000


def small(house: House) -> None:
    house.segment_bytes, house.max_bytes, house.drop_oldest = 4096, 32 << 10, True


def full(_connection: apsw.Connection) -> None:
    raise apsw.FullError("database or disk is full")


def down(_names: list[str]) -> Exception:
    return RetryableError("down", 900)


async def fill(house: House, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        await house.append(f"<{number}> {TEXT}", trace=number + 1, tenant=f"tenant {number % 2}")


@pytest.mark.parametrize("kill", [False, True])
async def test_what_was_not_delivered_is_evicted_for_each_exporter_and_the_rest_arrives(
    house: House, sinks: type[Sink], kill: bool
) -> None:
    """One exporter keeps up, one is down, one takes settled traces and is down; none of them loses the count."""
    small(house)
    store, otlp, langfuse = sinks(), sinks(), sinks()
    otlp.trouble = langfuse.trouble = down
    await house.start(batches={"store": store, "otlp": otlp}, settled={"langfuse": langfuse})
    for number in range(60):
        await fill(house, 1, number)
        await store.has(number + 1)
        if number % 20 == 19:
            await house.clock.advance(6)
            await asyncio.sleep(0.01)
    assert house.journal.used_bytes <= house.max_bytes
    assert house.audit().balanced, house.audit().to_dict()
    await (house.kill() if kill else house.stop())
    counted = house.outcomes("otlp")
    assert counted["evicted"] >= 30
    assert counted["evicted"] + counted["waiting"] == 60
    assert sum(house.outcomes("langfuse").values()) == 60
    assert house.outcomes("langfuse")["evicted"] == counted["evicted"]

    otlp.trouble = langfuse.trouble = lambda _names: None
    await house.start(batches={"store": store, "otlp": otlp}, settled={"langfuse": langfuse})
    await otlp.has(60 - counted["evicted"])
    while any(items for items in house.delivery.waiting().values()):
        await house.clock.advance(1)
        await asyncio.sleep(0.001)
    await house.stop()
    assert house.outcomes("otlp") == {"delivered": 60 - counted["evicted"], "evicted": counted["evicted"]}
    assert house.outcomes("langfuse") == {"delivered": 60 - counted["evicted"], "evicted": counted["evicted"]}
    assert {name[:4] for name in otlp.names} >= {f"<{number}>" for number in range(50, 60)}


async def test_of_a_part_of_which_some_has_gone_the_rest_is_delivered(house: House, sink: Sink) -> None:
    small(house)
    sink.trouble = down
    await house.start(settled={"langfuse": sink})
    await house.append(f"first {TEXT}", trace=1)
    await fill(house, 4, 1)
    await house.append(f"last {TEXT}", trace=1)
    await house.settle()
    more = 10
    while not house.counters.value("evicted"):
        await fill(house, 1, more)
        more += 1
    assert house.audit().balanced, house.audit().to_dict()

    sink.trouble = lambda _names: None
    await house.clock.advance(900)
    await house.settle()
    while any(house.delivery.waiting().values()):
        await house.clock.advance(6)
        await asyncio.sleep(0.001)
    await house.stop()
    assert {name.partition(" ")[0] for name in sink.names if name[0] != "<"} == {"last"}
    found = house.outcomes("langfuse")
    assert found == {"delivered": len(sink.names), "evicted": 6 + more - 10 - len(sink.names)}


async def test_a_lease_that_was_evicted_is_not_counted_as_delivered_as_well(house: House, sink: Sink) -> None:
    small(house)
    going, arrived = asyncio.Event(), asyncio.Event()

    async def slow(batch: object) -> None:
        arrived.set()
        await going.wait()
        await sink(batch)  # type: ignore[arg-type]

    await house.start()
    await house.delivery.batches("main", "store", slow)
    await fill(house, 1)
    await arrived.wait()
    await fill(house, 40, 1)
    going.set()
    while any(items for items in house.delivery.waiting().values()):
        await house.clock.advance(1)
        await asyncio.sleep(0.001)
    await house.stop()
    counted = house.outcomes("store")
    assert counted["evicted"] >= 10
    assert counted["delivered"] + counted["evicted"] == 41


async def test_who_goes_away_while_room_is_made_stops_no_assembly(house: House, sink: Sink) -> None:
    """As a sender does whose deadline passes just then."""
    small(house)
    await house.start(settled={"langfuse": sink})
    assembly = house.delivery._assembling[house.pipeline]
    number = 0
    while not assembly.cancelling():
        sender = asyncio.create_task(fill(house, 1, number))
        while not sender.done() and not assembly.cancelling():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        number += 1
    assert house.delivery.well, "it is only held up"
    sender.cancel()
    await asyncio.wait([sender])
    assert sender.cancelled()

    sink.names.clear()
    house.journal.limit(max_bytes=1 << 20, keep_bytes=0, segment_bytes=4096)  # no other eviction begins it again
    await fill(house, 1, number)
    await house.settle()
    await sink.has(1)
    assert house.delivery.well
    await house.stop()
    counted = house.outcomes("langfuse")
    assert counted["evicted"] > 0
    assert counted["delivered"] + counted["evicted"] == number


async def test_a_bug_while_room_is_made_refuses_what_comes_and_stops_nothing(
    house: House, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(house)
    await house.start(settled={"langfuse": sink})

    async def bug(_end_seq: int) -> bool:
        raise ValueError("a bug")

    monkeypatch.setattr(house.delivery._eviction, "account", bug)
    with pytest.raises(JournalFullError):
        await fill(house, 40)
    assert house.counters.value("task_restarts", task="make_room") == 1
    await house.settle()
    await sink.has(10)

    monkeypatch.undo()
    await fill(house, 1, 40)
    await house.stop()


async def test_assembly_that_has_ended_is_not_well(house: House, sink: Sink) -> None:
    """Whatever ended it."""
    await house.start(settled={"langfuse": sink})
    assert house.delivery.well
    assembly = house.delivery._assembling[house.pipeline]
    assembly.cancel()
    await asyncio.wait([assembly])
    assert not house.delivery.well


async def test_nothing_goes_where_the_count_can_not_be_written(house: House, sink: Sink) -> None:
    small(house)
    sink.trouble = down
    await house.start(batches={"store": sink})
    await fill(house, 5)
    executed, house.state._changes._execute = house.state._changes._execute, full  # type: ignore[method-assign]
    with pytest.raises(JournalFullError):
        await fill(house, 40, 5)
    first_seq, _ = house.journal.held()
    assert first_seq == 1
    house.state._changes._execute = executed  # type: ignore[method-assign]
    await fill(house, 40, 45)
    await house.stop()
    assert house.outcomes("store")["evicted"] > 0


async def test_what_is_kept_to_be_sent_again_goes_before_anything_is_refused(house: House, sink: Sink) -> None:
    small(house)
    house.drop_oldest, house.keep_bytes = False, 1 << 30
    await house.start(batches={"store": sink})
    for number in range(40):
        await fill(house, 1, number)
        await sink.has(number + 1)
        await house.delivery.tidy()
    first_seq, _ = house.journal.held()
    assert 1 < first_seq < 35, "it is kept, as long as there is room"
    assert house.journal.used_bytes <= house.max_bytes


async def test_who_sends_does_not_wait_for_a_state_that_can_not_be_written(house: House, sink: Sink) -> None:
    """Changes wait for room on its disk, and what asks for parts of traces waits for these changes."""
    small(house)
    sink.trouble = down
    await house.start(settled={"langfuse": sink})
    await fill(house, 12)
    await house.clock.advance(6)  # parts are recorded
    await sink.called(1)
    executed, house.state._changes._execute = house.state._changes._execute, full  # type: ignore[method-assign]
    house.state.pause("langfuse", "", paused=True)
    with pytest.raises(JournalFullError):
        async with asyncio.timeout(20):
            await fill(house, 40, 12)
    house.state._changes._execute = executed  # type: ignore[method-assign]
    await fill(house, 1, 60)
    assert house.audit().balanced, house.audit().to_dict()


@pytest.mark.parametrize("holder", ["somebody gives up", "it tidies", "nobody"])
async def test_who_sends_does_not_wait_for_a_state_that_can_not_be_written_any_more(
    house: House, sink: Sink, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    """Since it was asked whether it can be: for parts of traces asks whoever moves places, and who makes room."""
    small(house)
    sink.trouble = down
    await house.start(settled={"gone": sink})
    await fill(house, 12)
    await house.clock.advance(6)  # parts are recorded
    await sink.called(1)
    await house.stop()
    await house.start(settled={"langfuse": sink})
    await house.delivery.tidy()
    written, asking = house.state.flush, set[asyncio.Future[Any]]()
    holders: dict[str, Callable[[], Awaitable[Any]]] = {
        "somebody gives up": lambda: house.delivery.operator.give_up("gone"),
        "it tidies": house.delivery.tidy,
        "nobody": lambda: asyncio.sleep(0),
    }

    async def flush() -> bool:
        could = await written()
        if not asking:
            monkeypatch.setattr(house.state._changes, "_execute", full)
            house.state.pause("langfuse", "", paused=True)
            asking.add(asyncio.ensure_future(holders[holder]()))
            await asyncio.sleep(0)
        return could

    monkeypatch.setattr(house.state, "flush", flush)
    with pytest.raises(JournalFullError):
        async with asyncio.timeout(20):
            await fill(house, 40, 12)
    [asked] = asking
    if holder == "somebody gives up":
        with pytest.raises(UnwrittenError, match="can not be written now"):
            await asked
    monkeypatch.undo()
    await asked if holder == "it tidies" else None
    await fill(house, 1, 60)
    assert house.audit().balanced, house.audit().to_dict()


async def test_a_backlog_is_given_up_a_piece_at_a_time_and_others_have_their_turn(
    house: House, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who makes room comes between two pieces; and delivery that ends does, and nothing is given up after that."""
    monkeypatch.setattr("otel_bridge.delivery.giving_up.READ_BYTES", 1)  # an entry at a time
    small(house)
    sink.trouble = down
    await house.start(batches={"otlp": sink})
    await fill(house, 12)
    giving_up = asyncio.create_task(house.delivery.operator.give_up("otlp"))
    await asyncio.sleep(0)
    await house.delivery.make_room(16 << 10)
    assert not giving_up.done()
    await house.delivery.drain(0)
    with pytest.raises(RetryableError, match="delivery is ending"):
        await giving_up
    await house.stop()
    left = house.outcomes("otlp")
    assert left["waiting"] > 0
    assert left["waiting"] + left["evicted"] == 12
