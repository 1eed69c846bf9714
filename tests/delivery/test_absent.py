"""Exporters and pipelines that come and go, and a state that is lost."""

import asyncio
import time

import apsw
import pytest

from otel_bridge.batch import Signal
from otel_bridge.errors import RetryableError
from tests.delivery.conftest import BACKOFF_S, House, Sink


def down(_names: list[str]) -> Exception:
    return RetryableError("down")


async def tidied(house: House) -> None:
    """Tidy, and let the journal's thread delete what was let go."""
    for _ in range(3):
        await house.delivery.tidy()
        await house.append("something new")
    await house.journal._loop.run_in_executor(house.journal._thread, int)


async def test_what_an_absent_exporter_lacks_is_delivered_when_it_is_back(
    house: House, sinks: type[Sink], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that came while it was away concerns it, although the journal still has it."""
    old, new = sinks(), sinks()
    old.trouble = down
    await house.start(batches={"old": old})
    await house.append("before")
    await house.clock.asleep(BACKOFF_S)
    await house.stop()
    assert house.delivery.left() == {"old": {Signal.TRACES: 1}}
    await house.start(batches={"new": new})
    await house.delivery.tidy()
    assert house.delivery.left() == {}, "nobody delivers that"
    await house.append("meanwhile")
    await new.has(1)
    await house.delivery.tidy()
    assert house.delivery.status()["exporters"]["main/old"]["t"] == {
        "waiting": 1,
        "parked": "not_configured",
        "why": None,
        "tries": 0,
        "oldest_s": 0.0,
        "postponed": 0,
        "settled": False,
        "destination": None,
    }
    assert capsys.readouterr().err.count("an exporter is not configured any more, and items wait for it") == 1
    await house.stop()
    assert house.outcomes("old") == {"waiting": 1}
    old.trouble = lambda _names: None
    await house.start(batches={"old": old, "new": new})
    await house.append("after")
    assert await old.has(2) == ["before", "after"]
    await house.stop()
    assert house.outcomes("old") == {"delivered": 2}


async def test_an_absent_exporter_of_settled_traces_gets_its_own_when_it_is_back(
    house: House, sinks: type[Sink]
) -> None:
    """A part from before, a trace that was open when it went, one that came meanwhile, and one after."""
    old, new = sinks(), sinks()
    old.trouble = down
    await house.start(settled={"old": old, "new": new})
    await house.append("before", trace=1)
    await house.settle()
    await house.append("open", trace=2)
    await house.stop()
    await house.start(settled={"new": new})
    await house.delivery.tidy()
    await house.append("meanwhile", trace=3)
    await house.settle()
    await new.has(3)
    await house.delivery.tidy()
    await house.stop()
    assert house.outcomes("old") == {"waiting": 2}
    old.trouble = lambda _names: None
    await house.start(settled={"old": old, "new": new})
    await house.append("after", trace=4)
    await house.settle()
    assert await old.has(3) == ["before", "open", "after"]
    await house.stop()
    assert house.outcomes("old") == {"delivered": 3}


@pytest.mark.parametrize("settled", [False, True])
async def test_an_absent_exporter_that_lacks_nothing_holds_nothing(
    house: House, sinks: type[Sink], settled: bool
) -> None:
    old, new = sinks(), sinks()
    house.segment_bytes = 4096
    await house.start(**{"settled" if settled else "batches": {"old": old}})
    await house.append("a")
    if settled:
        await house.settle()
    await old.has(1)
    await house.stop()
    await house.start(batches={"new": new})
    await house.delivery.tidy()
    for number in range(100):
        await house.append(f"{number} {'x' * 200}")
    await new.has(100)
    await tidied(house)
    assert len(house.journal._segments) <= 3
    assert "main/old" not in house.delivery.status()["exporters"]
    await house.stop()
    assert house.outcomes("old") == {"delivered": 1}


async def test_a_bridge_ends_that_is_tidying_while_the_state_can_not_be_written(
    house: House, sinks: type[Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.start(settled={"old": sinks()})
    await house.stop()
    await house.start(settled={"new": sinks()})

    def full(_connection: apsw.Connection) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(house.state._changes, "_execute", full)
    house.state.pause("new", "", paused=True)
    tidying = asyncio.create_task(house.delivery.tidy())
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await house.delivery.drain(0)
    tidying.cancel()


@pytest.mark.parametrize("pipeline", ["main", "renamed"])
async def test_what_an_absent_exporter_lacks_gets_too_old_in_the_end(
    house: House, sinks: type[Sink], pipeline: str
) -> None:
    """Entries, a part, and a trace that was open: whether its pipeline is still there, not assembled, or not."""
    old, new = sinks(), sinks()
    old.trouble = down
    house.segment_bytes = 4096
    house.max_age_s = house.clock.steady_ns() / 1e9 - time.time() + 1000  # the clock of the test is ahead
    await house.start(batches={"old": old}, settled={"langfuse": old})
    await house.append("a", "b", trace=1)
    await house.settle()
    await house.append("open", trace=2)
    await house.stop()
    house.pipeline = pipeline
    await house.start(batches={"new": new})
    await house.delivery.tidy()
    for number in range(100):
        await house.append(f"{number} {'x' * 200}")
    await new.has(100)
    await tidied(house)
    kept = len(house.journal._segments)
    assert kept > 3
    await house.clock.advance(1100)
    await tidied(house)
    assert len(house.journal._segments) <= 3
    await house.stop()
    assert house.outcomes("old") == house.outcomes("langfuse") == {"expired": 3}


async def test_what_an_absent_exporter_lacks_can_be_given_up(house: House, sinks: type[Sink]) -> None:
    """An entry and a settled part; of a trace that is open nothing is given up before it has settled."""
    old, new = sinks(), sinks()
    old.trouble = down
    await house.start(batches={"old": old}, settled={"langfuse": old, "new": new})
    await house.append("a", "b", trace=1)
    await house.settle()
    await house.append("open", trace=2)
    await house.stop()
    await house.start(settled={"new": new})
    await house.delivery.tidy()
    give_up = house.delivery.operator.give_up
    assert (await give_up("old"))["givenUp"][0]["items"] == 3
    first = await give_up("langfuse", "t")
    assert (first["givenUp"][0]["items"], first["waiting"]) == (2, 1)
    await house.settle()
    await new.has(3)
    assert (await give_up("langfuse", "t"))["waiting"] == 0
    assert house.delivery.status()["exporters"].keys() == {"main/new"}
    await house.stop()
    assert house.outcomes("old") == house.outcomes("langfuse") == {"evicted": 3}


async def test_what_is_open_in_a_pipeline_that_is_gone_can_be_given_up_at_once(house: House, sinks: type[Sink]) -> None:
    """For one exporter and one tenant; for others it waits, and comes if the pipeline is back."""
    old, new = sinks(), sinks()
    old.trouble = down
    house.segment_bytes = 4096
    await house.start(settled={"langfuse": old, "store": old})
    await house.append("settled", trace=1)
    await house.settle()
    await house.append("open", "too", trace=2)
    await house.append("b's", trace=3, tenant="b")
    await house.stop()
    house.pipeline = "renamed"
    await house.start(batches={"new": new})
    await house.delivery.tidy()
    give_up = house.delivery.operator.give_up
    row = {"pipeline": "main", "exporter": "langfuse", "tenant": "t", "items": 3}
    assert await give_up("langfuse", "t") == {"exporter": "langfuse", "givenUp": [row], "waiting": 0}
    await house.kill()
    assert house.outcomes("langfuse") == {"evicted": 3, "waiting": 1}
    assert house.outcomes("store") == {"waiting": 4}

    old.trouble, house.pipeline = lambda _names: None, "main"
    await house.start(settled={"langfuse": old, "store": old})
    assert sorted(await old.has(5)) == ["b's", "b's", "open", "settled", "too"]
    await house.stop()
    assert house.outcomes("langfuse") == {"evicted": 3, "delivered": 1}
    assert house.outcomes("store") == {"delivered": 4}


async def test_an_end_does_not_wait_for_what_is_open_in_a_pipeline_that_is_gone(
    house: House, sinks: type[Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a whole journal of it."""
    await house.start(settled={"langfuse": sinks()})
    await house.append("open", trace=1)
    await house.stop()
    begun = asyncio.Event()

    async def long(*_given: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("otel_bridge.assemble.Assembler.finish", long)
    house.pipeline = "renamed"
    await house.start(batches={"new": sinks()})
    giving_up = asyncio.create_task(house.delivery.operator.give_up("langfuse"))
    await begun.wait()
    async with asyncio.timeout(10):
        await house.stop()
    with pytest.raises(RetryableError, match="delivery is ending"):
        await giving_up


async def test_what_was_given_up_of_a_pipeline_that_is_gone_frees_the_journal(house: House, sinks: type[Sink]) -> None:
    old, new = sinks(), sinks()
    house.segment_bytes = 4096
    await house.start(settled={"langfuse": old})
    await house.append("open", trace=2)
    await house.stop()
    house.pipeline = "renamed"
    await house.start(batches={"new": new})
    await house.delivery.operator.give_up("langfuse")
    for number in range(100):
        await house.append(f"{number} {'x' * 200}")
    await new.has(100)
    await tidied(house)
    assert len(house.journal._segments) <= 3
    await house.stop()
    assert house.outcomes("langfuse") == {"evicted": 1}


async def test_a_lost_state_costs_duplicates_and_no_data(house: House, sinks: type[Sink]) -> None:
    """Who moves a damaged state away, as the message says, gets everything again that the journal still has."""
    store, langfuse = sinks(), sinks()
    langfuse.trouble = down
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.append("a", "b", trace=1)
    await store.has(2)
    await house.stop()
    for path in house.directory.glob("state.db*"):
        path.unlink()
    langfuse.trouble = lambda _names: None
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.append("after", trace=2)
    await store.has(5)
    await house.settle()
    assert sorted(await langfuse.has(3)) == ["a", "after", "b"]
    await house.stop()
    assert house.outcomes("langfuse") == house.outcomes("store") == {"delivered": 3}


async def test_tidying_goes_on_after_an_error(house: House, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.start(settled={"langfuse": sink})

    async def fail(_pipeline: str) -> int:
        raise OSError("a bug")

    monkeypatch.setattr(house.state.parts, "prune", fail)
    await house.clock.asleep(5.0)
    await house.clock.advance(5)
    await house.clock.asleep(BACKOFF_S)
    monkeypatch.undo()
    assert house.counters.value("task_restarts") == 1
    await house.append("a")
    await house.settle()
    await sink.has(1)
    await asyncio.sleep(0)
    await house.delivery.tidy()
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 1}
