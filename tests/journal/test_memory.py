"""What is remembered of traces is found by its key, and forgotten in time."""

from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from otel_bridge.journal.memory import cut
from otel_bridge.journal.state import open_state
from otel_bridge.telemetry import Counters
from otel_bridge.trace import Known
from otel_bridge.translate.propagate import MAX_METADATA_BYTES, MAX_TAG, MAX_TAGS_LENGTH, MAX_WORD, REMEMBERED
from tests.journal.states import a_part, an_answer, remember


async def test_traces_are_forgotten_in_time(tmp_path: Path) -> None:
    async with open_state(tmp_path / "state.db", Counters()) as state:
        state.record(a_part(state, 1, key="early"), remember(), 1000)
        state.record(a_part(state, 2, key="late"), remember(), 2000)
        assert await state.memory.forget("main", 1500) == 1
        assert set(await state.memory.remembered("main", [("t", "early"), ("t", "late")])) == {("t", "late")}


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


def test_the_largest_is_not_remembered_and_the_rest_as_it_was() -> None:
    """Left out whole: a later part would put less of it in the place of what was sent."""
    said = {"name": "run", "session_id": "s", "tags": ["a"], "metadata": {"a": "x" * 30_000, "b": "y" * 30_000, "c": 1}}
    known, left_out = cut(Known(attributes=said, spans="aa"))
    assert known.attributes == said | {"metadata": {"a": "x" * 30_000, "c": 1}}
    assert (left_out, known.spans, len(said["metadata"])) == (1, "aa", 3)

    known, left_out = cut(Known(attributes=said | {"tags": ["t"] * 15_000, "release": "r" * 10_000}))
    assert known.attributes == {"name": "run", "session_id": "s", "release": "r" * 10_000, "metadata": {}}
    assert left_out == 4


def test_all_that_may_stand_on_each_observation_is_remembered() -> None:
    words = {name: "w" * MAX_WORD for name in REMEMBERED if name not in ("tags", "public", "metadata")}
    tags = [f"{n:{MAX_TAG}}" for n in range(MAX_TAGS_LENGTH // MAX_TAG)]
    metadata = {"large": "x" * (MAX_METADATA_BYTES - 50), "small": 1}
    experiment = {"langfuse.experiment.metadata": "x" * (MAX_METADATA_BYTES - 50)}
    said = Known(attributes={**words, "public": True, "tags": tags, "metadata": metadata, "experiment": experiment})

    assert cut(said) == (said, 0)


async def test_what_the_file_can_not_hold_is_kept_as_near_as_may_be(tmp_path: Path) -> None:
    """A span that began in the year 2500, and half a surrogate: the journal would bring them again at every start."""
    answer = replace(an_answer("\ud800"), start_ns=2**64 - 1, end_ns=2**64 - 1)
    known = Known(attributes={"user_id": "\ud800", "metadata": {"n": 2**70, "b": b"x"}})
    async with open_state(tmp_path / "state.db", Counters()) as state:
        state.record(a_part(state, 1, known=known), remember(known), 1000, {"r1": answer})
        assert await state.flush(durable=True)
        kept = (await state.memory.answers("main", [("t", "r1")]))["t", "r1"]
        assert (kept.trace_id, kept.start_ns, kept.end_ns) == ("?", 2**63 - 1, 2**63 - 1)
        [found] = (await state.memory.remembered("main", [("t", "k")])).values()
        assert found.known.attributes["user_id"] == "?"


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
