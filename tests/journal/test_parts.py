"""Parts stay as long as somebody needs them, and no longer than that."""

from collections import Counter
from pathlib import Path

from otel_bridge.journal.state import open_state
from otel_bridge.telemetry import Counters
from tests.journal.states import a_part, remember, with_exporters


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
