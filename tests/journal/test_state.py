"""The state survives, commits together, and refuses what it does not know."""

import asyncio
import os
import threading
from collections import Counter
from pathlib import Path

import apsw
import pytest

from otel_bridge.batch import Signal
from otel_bridge.errors import FilesError
from otel_bridge.journal.exporters import Account
from otel_bridge.journal.memory import Remembered
from otel_bridge.journal.parts import Part, Share
from otel_bridge.journal.state import State, open_state
from otel_bridge.telemetry import Counters, Outcome
from otel_bridge.trace import Answer, Decision, Known, Settled

DELIVERED = (Signal.TRACES, Outcome.DELIVERED, "")
ACCOUNT = Account("main", "store", "t", Signal.TRACES)


def a_part(state: State, *seqs: int, key: str = "k", known: Known | None = None) -> Part:
    shares = [Share(seq, Signal.TRACES, 2) for seq in seqs]
    return Part(state.parts.next_id(), "main", "t", key, 0, shares, 10, 5, Settled.ROOT, known=known)


def with_exporters(state: State) -> None:
    state.exporters.register("main", "store", settled=False, start_seq=1, accepted={("t", Signal.TRACES): 7})
    state.exporters.register("main", "langfuse", settled=True, start_seq=1, accepted={})


def remember(known: Known | None = None) -> Remembered:
    return Remembered(1, Decision.KEPT, known or Known())


async def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    known = Known({"name": "run", "tags": ["a"]}, ["aa"], ["bb"], "cc", answers={"r1": an_answer()})
    async with open_state(tmp_path / "state.db", Counters()) as state:
        with_exporters(state)
        state.exporters.confirm("main", "store", "t", 4, Counter({DELIVERED: 3}))
        part = a_part(state, 3, 5, known=known)
        state.record(part, remember(known), 1000)
        state.parts.advance("main", 6, 8)
    async with open_state(tmp_path / "state.db", Counters()) as state:
        assert state.exporters.position("main", "store", "t") == 4
        assert state.exporters.base[ACCOUNT] == 7
        assert state.exporters.ledger == {(ACCOUNT, Outcome.DELIVERED, ""): 3}
        assert state.parts.assembly == {"main": (6, 8)}
        assert await state.parts.after("main", "t", 0) == [part]
        assert await state.memory.remembered("main", [("t", "k"), ("t", "other")]) == {("t", "k"): remember(known)}
        assert state.parts.next_id() > part.id
        assert state.least_seq == 9


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


async def test_parts_are_needed_until_confirmed_by_all_and_passed_by_assembly(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        with_exporters(state)
        state.exporters.register("main", "call_log", settled=True, start_seq=1, accepted={})
        for seq in (1, 2, 3):
            state.record(a_part(state, seq), remember(), 1000)
        state.parts.advance("main", 3, 3)
        assert await state.parts.needed_seq("main") == 1
        state.exporters.confirm("main", "langfuse", "t", 3, Counter())
        assert await state.parts.needed_seq("main") == 1
        state.exporters.confirm("main", "call_log", "t", 1, Counter())
        assert await state.parts.needed_seq("main") == 2
        state.exporters.confirm("main", "call_log", "t", 3, Counter())
        assert await state.parts.needed_seq("main") == 3, (
            "part 3 is still to be skipped when entries are read again from 3"
        )
        state.parts.advance("main", 4, 4)
        assert await state.parts.needed_seq("main") == 4


async def test_parts_stay_while_the_journal_holds_them_and_they_can_be_sent_again(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        with_exporters(state)
        for seq in (1, 2, 3):
            state.record(a_part(state, seq), remember(), 1000)
        state.parts.advance("main", 4, 4)
        state.exporters.confirm("main", "langfuse", "t", 2, Counter())
        await state.parts.prune("main", 2)
        assert [part.id for part in await state.parts.after("main", "t", 0)] == [2, 3]
        await state.parts.prune("main", 4)
        assert [part.id for part in await state.parts.after("main", "t", 0)] == [3], "it is not confirmed yet"


async def test_traces_are_forgotten_in_time(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        state.record(a_part(state, 1, key="early"), remember(), 1000)
        state.record(a_part(state, 2, key="late"), remember(), 2000)
        assert await state.memory.forget("main", 1500) == 1
        assert set(await state.memory.remembered("main", [("t", "early"), ("t", "late")])) == {("t", "late")}


def an_answer(trace: str = "aa", *, counted: bool = True) -> Answer:
    return Answer(trace, "01", "sdk", 10**18, 10**18 + 5, "production", counted)


async def test_answers_are_found_by_their_ids_also_after_a_restart_and_forgotten_in_time(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        state.record(a_part(state, 1, key="early"), remember(), 1000, {"r1": an_answer()})
        state.record(a_part(state, 2, key="late"), remember(), 2000, {"r2": an_answer("bb")})
    async with open_state(tmp_path / "state.db", Counters()) as state:
        asked = [("t", "r1"), ("t", "r2"), ("t", "r3"), ("another", "r1")]
        assert await state.memory.answers("main", asked) == {("t", "r1"): an_answer(), ("t", "r2"): an_answer("bb")}
        assert not await state.memory.answers("another", asked)
        assert [state.memory.lately("main", *one) for one in asked] == [an_answer(), an_answer("bb"), None, None]
        await state.memory.forget("main", 1500)
        assert set(await state.memory.answers("main", asked)) == {("t", "r2")}


async def test_a_later_answer_takes_the_place_of_an_earlier_one_if_it_counts(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        for trace, counted, stays in (("aa", False, "aa"), ("bb", True, "bb"), ("cc", False, "bb"), ("dd", True, "dd")):
            answer = an_answer(trace, counted=counted)
            state.record(a_part(state, 1), remember(), 1000, {"r1": answer})
            found = await state.memory.answers("main", [("t", "r1")])
            assert found["t", "r1"].trace_id == stays
            assert state.memory.lately("main", "t", "r1") == found["t", "r1"]


@pytest.mark.parametrize("question", ["remembered", "answers"])
async def test_what_is_remembered_is_found_without_reading_it_all(tmp_path: Path, question: str) -> None:
    """It may be millions of rows, and every chunk of entries asks."""
    asked: list[str] = []

    def trace(_cursor: apsw.Cursor, statement: str, _values: object) -> bool:
        asked.append(statement)
        return True

    def watch(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    def explain(connection: apsw.Connection) -> list[str]:
        connection.exec_trace = None
        return [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {asked[-1]}", ("[]", "main"))]

    async with open_state(tmp_path / "state.db", Counters()) as state:
        await state._changes._database.run(watch)
        await getattr(state.memory, question)("main", [("t", "k")])
        plan = await state._changes._database.run(explain)

    [searched] = [step for step in plan if step.startswith("SEARCH")]
    assert searched.count("=?") == 3, searched


@pytest.mark.parametrize("version", [99, -1])
async def test_another_format_is_refused_and_left_alone(tmp_path: Path, version: int) -> None:
    """Whoever has to do with it is told what to do, and what it costs."""
    path = tmp_path / "state.db"
    async with open_state(path, Counters()):
        pass
    with apsw.Connection(str(path)) as connection:
        connection.pragma("user_version", version)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(FilesError, match=f"format {version}.*run the version that wrote it, or move it away.*twice"):
        async with open_state(path, Counters()):
            pass
    assert path.read_bytes() == before


async def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    with pytest.raises(FilesError, match=r"state\.db is damaged .*: move it away.* nothing is lost"):
        async with open_state(tmp_path / "state.db", Counters()):
            pass


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


async def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        with_exporters(state)
        await state.flush()
        assert {entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)} == {0o600}


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
