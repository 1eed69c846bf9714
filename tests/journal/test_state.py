"""The state survives, and refuses what it does not know."""

import os
from collections import Counter
from pathlib import Path

import apsw
import pytest

from otel_bridge.errors import FilesError
from otel_bridge.journal.state import open_state
from otel_bridge.telemetry import Counters, Outcome
from otel_bridge.trace import Known
from tests.journal.states import ACCOUNT, DELIVERED, a_part, an_answer, remember, with_exporters


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


async def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        with_exporters(state)
        await state.flush()
        assert {entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)} == {0o600}
