"""Changes commit together, are seen by what is asked after them, and wait for a disk that does not take them."""

import asyncio
import threading
from collections import Counter
from pathlib import Path

import apsw
import pytest

from otel_bridge.batch import Signal
from otel_bridge.errors import FilesError
from otel_bridge.journal.state import State, open_state
from otel_bridge.telemetry import Counters, Outcome
from tests.journal.states import ACCOUNT, DELIVERED, a_part, remember, with_exporters


async def test_a_confirmation_and_its_account_are_one_transaction(tmp_path: Path) -> None:
    """Whatever moment another process looks, the cursor and the ledger agree."""
    path = tmp_path / "state.db"
    async with open_state(path, Counters()) as state:
        with_exporters(state)
        await state.flush()
        reader = apsw.Connection(str(path))
        for position in range(1, 30):
            state.exporters.confirm("main", "store", "t", position, Counter({DELIVERED: 1}))
            await state.flush()
            [(at, items)] = reader.execute("SELECT (SELECT position FROM cursor), (SELECT items FROM ledger)")
            assert at == items == position
        reader.close()


async def test_questions_see_what_was_changed_before_them(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        state.record(a_part(state, 1), remember(), 1000)
        assert len(await state.parts.after("main", "t", 0)) == 1
        assert await state.parts.heads("main") == {"t": 1}


async def test_a_question_waits_until_what_was_changed_before_it_can_be_written(tmp_path: Path) -> None:
    """An exporter that was told of no new part would wait for the next one."""
    async with open_state(tmp_path / "state.db", Counters()) as state:
        limit = await state._changes._database.run(lambda connection: connection.pragma("max_page_count", 1))
        state.record(a_part(state, 1, key="x" * 9000), remember(), 1000)
        asked = asyncio.create_task(state.parts.after("main", "t", 0))
        assert not await state.flush()
        assert not asked.done()
        await state._changes._database.run(lambda connection: connection.pragma("max_page_count", limit + 1000))
        assert len(await asked) == 1


async def test_a_checkpoint_that_fails_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_connection: apsw.Connection) -> None:
        raise apsw.FullError("database or disk is full")

    async with open_state(tmp_path / "state.db", Counters()) as state:
        with_exporters(state)
        with monkeypatch.context() as patched:
            patched.setattr("otel_bridge.journal.changes._checkpoint", full)
            assert not await state.flush(durable=True)
        assert await state.flush(durable=True)


async def test_a_failure_is_told_once_and_so_is_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        limit = await state._changes._database.run(lambda connection: connection.pragma("max_page_count", 1))
        state.record(a_part(state, 1, key="x" * 9000), remember(), 1000)
        for _ in range(5):
            assert not await state.flush()
        await state._changes._database.run(lambda connection: connection.pragma("max_page_count", limit + 1000))
        assert await state.flush()
    told = capsys.readouterr().err
    assert told.count("can not be written") == told.count("is written again") == 1


async def test_what_cannot_be_written_is_kept_and_written_later(tmp_path: Path) -> None:
    path, counters = tmp_path / "state.db", Counters()
    async with open_state(path, counters) as state:
        with_exporters(state)
        await state.flush()
        limit = await state._changes._database.run(lambda connection: connection.pragma("max_page_count", 1))
        state.exporters.confirm("main", "store", "t", 1, Counter({(Signal.TRACES, Outcome.FILTERED, "x" * 9000): 1}))
        assert not await state.flush()
        assert counters.value("state_commit_failures") == 1
        await state._changes._database.run(lambda connection: connection.pragma("max_page_count", limit + 1000))
        state.exporters.confirm("main", "store", "t", 2, Counter({DELIVERED: 1}))
        assert await state.flush(durable=True)
    async with open_state(path, counters) as state:
        assert state.exporters.position("main", "store", "t") == 2
        assert state.exporters.ledger.total() == 2


@pytest.mark.parametrize("found_by", ["the start", "a question", "a change"])
async def test_a_file_that_is_damaged_inside_ends_the_bridge_with_what_to_do(tmp_path: Path, found_by: str) -> None:
    """Going on without it would lose what was confirmed; going on with it, who knows."""
    path = tmp_path / "state.db"

    def damage() -> None:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (path.stat().st_size - 4096))

    async with open_state(path, Counters()) as state:
        with_exporters(state)
        for seq in range(1, 200):
            state.record(a_part(state, seq, key=f"{seq}" * 50), remember(), 1000)
    if found_by == "the start":
        damage()

    async def run() -> None:
        async with open_state(path, Counters()) as state:
            assert found_by != "the start"
            await state.flush(durable=True)
            await state._changes._database.run(lambda connection: connection.execute("PRAGMA cache_size = 0"))
            damage()
            if found_by == "a change":
                state.exporters.confirm("main", "store", "t", 4, Counter({DELIVERED: 3}))
            else:
                asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(_asking(state)))
            await asyncio.wait_for(asyncio.Event().wait(), 10)

    with pytest.raises(FilesError, match=r"state\.db is damaged .*: move it away.* nothing is lost"):
        await run()


async def _asking(state: State) -> None:
    with pytest.raises(FilesError):
        await state.parts.after("main", "t", 0)


async def test_what_a_cancelled_question_had_with_it_is_committed(tmp_path: Path) -> None:
    """A question takes along all that changed before it; it may be cancelled while the disk is still busy."""
    path = tmp_path / "state.db"
    busy = threading.Event()
    async with open_state(path, Counters()) as state:
        with_exporters(state)
        working = asyncio.ensure_future(state._changes._database.run(lambda _connection: busy.wait(30)))
        await asyncio.sleep(0)
        state.exporters.confirm("main", "store", "t", 4, Counter({DELIVERED: 3}))
        asking = asyncio.ensure_future(state.parts.heads("main"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        busy.set()
        await working
    async with open_state(path, Counters()) as state:
        assert state.exporters.position("main", "store", "t") == 4
        assert state.exporters.ledger == {(ACCOUNT, Outcome.DELIVERED, ""): 3}
