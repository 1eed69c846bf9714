"""When traces settle, what their parts hold, and what a restart finds."""

import sys
from typing import TYPE_CHECKING, Any

import pytest

from otel_bridge.assemble import AssembleConfig, Conclusion
from otel_bridge.batch import Signal
from otel_bridge.journal.exporters import Account
from otel_bridge.journal.parts import Part
from otel_bridge.telemetry import Outcome
from otel_bridge.trace import Answer, Decision, Known, Settled

if TYPE_CHECKING:
    from tests.assemble.conftest import Assembly

REMOTE = 0x300
ANSWER = Answer(f"{1:032x}", "01", "sdk", 1, 2, None, True)


def items(part: Part) -> int:
    return sum(share.items for share in part.shares)


async def test_a_trace_settles_when_its_root_is_here_and_it_is_quiet(assembly: "Assembly") -> None:
    await assembly.spans(1, (2, 1))
    await assembly.spans(1, (1, None))
    assert not await assembly.after(5.9)
    [part] = await assembly.after(0.1)
    assert (part.key, part.settled, part.number, items(part)) == (f"{1:032x}", Settled.ROOT, 0, 2)


async def test_the_status_tells_what_is_open_and_what_it_is_behind_with(assembly: "Assembly") -> None:
    def told() -> tuple[int, ...]:
        status = assembly.assembler.status()
        return tuple(status[name] for name in ("open_traces", "open_items", "unread_entries", "due_traces"))

    await assembly.spans(1, (2, 1))
    await assembly.spans(1, (1, None))
    await assembly.spans(2, (9, 8))
    assert told() == (2, 3, 0, 0)
    await assembly.clock.advance(6)
    assert told() == (2, 3, 0, 1)
    await assembly.step()
    assert told() == (1, 1, 0, 0)


async def test_the_status_is_told_as_fast_where_very_many_are_open(assembly: "Assembly") -> None:
    """Nobody else's turn comes meanwhile."""

    def steps() -> int:
        taken = 0

        def count(*_: object) -> Any:
            nonlocal taken
            taken += 1
            return count

        before = sys.gettrace()
        sys.settrace(count)
        try:
            assembly.assembler.status()
        finally:
            sys.settrace(before)
        return taken

    await assembly.spans(1, (1, None))
    await assembly.step()
    of_one = steps()
    for trace in range(2, 60):
        await assembly.spans(trace, (1, None))
    await assembly.step()
    assert assembly.assembler.status()["open_traces"] == 59
    assert steps() == of_one
    await assembly.clock.advance(6)
    assert assembly.assembler.status()["due_traces"] == 59


async def test_every_arrival_begins_the_quiet_time_anew(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None))
    await assembly.after(5)
    await assembly.logs(1, "gen_ai.choice")
    assert not await assembly.after(5)
    [part] = await assembly.after(1)
    assert {share.signal for share in part.shares} == {Signal.TRACES, Signal.LOGS}


async def test_a_remote_parent_is_waited_for_longer(assembly: "Assembly") -> None:
    await assembly.spans(1, (2, 9, REMOTE))
    assert not await assembly.after(29.9)
    [part] = await assembly.after(0.1)
    assert part.settled == Settled.REMOTE


async def test_a_trace_whose_top_is_unknown_settles_when_idle(assembly: "Assembly") -> None:
    """One parent is remote, the other is a span of this process that has not ended yet."""
    await assembly.spans(1, (2, 9, REMOTE), (4, 3))
    assert not await assembly.after(119.9)
    [part] = await assembly.after(0.1)
    assert part.settled == Settled.IDLE


async def test_heartbeats_keep_a_trace_open_and_are_accounted_for_as_open_spans(assembly: "Assembly") -> None:
    await assembly.spans(1, (2, 1))
    for _ in range(3):
        await assembly.after(100)
        await assembly.logs(1, "otel_bridge.span.heartbeat")
    assert not assembly.settled
    [part] = await assembly.after(120)
    assert items(part) == 1
    account = Account("main", "langfuse", "t", Signal.LOGS)
    assert assembly.state.exporters.ledger[account, Outcome.FILTERED, "open_span"] == 3


async def test_a_trace_is_never_held_longer_than_max_hold(assembly: "Assembly") -> None:
    for number in range(9):
        await assembly.spans(1, (number + 2, 1))
        await assembly.after(100)
    [part] = await assembly.step()
    assert part.settled == Settled.HELD


async def test_above_max_held_bytes_the_oldest_goes_early(assembly: "Assembly") -> None:
    assembly.config = AssembleConfig(max_held_bytes=3000)
    await assembly.restart()
    for trace in (1, 2, 3):
        await assembly.spans(trace, (1, 9))
    assert assembly.settled
    assert {(part.key, part.settled) for part in assembly.settled} == {(f"{1:032x}", Settled.FLUSHED)}
    assert assembly.counters.value("flushed_early") == 1


async def test_what_open_traces_take_in_memory_counts_however_small_they_are(assembly: "Assembly") -> None:
    """A thousand bytes and more, where the wire has sixty."""
    assembly.config = AssembleConfig(max_held_bytes=100_000)
    await assembly.restart()
    for trace in range(1, 151):
        await assembly.spans(trace, (1, 9))
    assert 60 < assembly.assembler.status()["open_traces"] <= 100
    assert assembly.counters.value("flushed_early") == len(assembly.settled)


async def test_what_a_trace_took_is_given_back_when_it_settles(assembly: "Assembly") -> None:
    """Also what is compared only until its root is here, and what is remembered of earlier parts."""
    assembly.known = Known(root_id="aa", spans="A" * 20_000)
    await assembly.spans(1, *((span, span + 100) for span in range(2, 60)))
    without_root = assembly.assembler.status()["held_bytes"]
    await assembly.spans(1, (1, None))
    with_root = assembly.assembler.status()["held_bytes"]
    assert without_root - with_root > 10_000
    await assembly.after(6)
    assert set(assembly.assembler.status().values()) == {0}

    await assembly.spans(1, (200, 1))
    assert assembly.assembler.status()["held_bytes"] > 20_000
    await assembly.after(6)
    assert set(assembly.assembler.status().values()) == {0}


async def test_a_late_span_makes_a_further_part_that_knows_the_earlier_one(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None))
    await assembly.after(6)
    await assembly.spans(1, (2, 1))
    _, late = await assembly.after(6)
    assert (late.number, late.known, items(late)) == (1, assembly.known, 1)


async def test_late_spans_cost_little_whatever_was_said_of_their_trace(assembly: "Assembly") -> None:
    """What is large is sent once: all that a part knows is written again with the next."""
    assembly.known = Known(attributes={"name": "run", "metadata": {"small": 1, "large": "x" * 900_000}}, root_id="aa")
    await assembly.spans(1, (1, None))
    await assembly.after(6)
    for span in range(2, 12):
        await assembly.spans(1, (span, 1))
        await assembly.after(6)
    assert [part.known.attributes for part in assembly.settled[1:] if part.known] == [
        {"name": "run", "metadata": {"small": 1}}
    ] * 10
    assert assembly.counters.value("attributes_not_remembered") == 11
    await assembly.stop()
    assert (assembly.directory / "state.db").stat().st_size < 500_000


async def test_a_late_span_follows_the_decision(assembly: "Assembly") -> None:
    assembly.decision = Decision.FILTERED
    await assembly.spans(1, (1, None))
    await assembly.after(6)
    await assembly.spans(1, (2, 1))
    _, late = await assembly.after(6)
    assert late.decision == Decision.FILTERED


async def test_a_late_span_after_a_restart_still_knows(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None))
    await assembly.after(6)
    await assembly.restart()
    await assembly.spans(1, (2, 1))
    _, late = await assembly.after(6)
    assert (late.number, late.known) == (1, assembly.known)


async def test_what_is_not_remembered_any_more_begins_again(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None))
    await assembly.after(6)
    await assembly.after(3600)
    assert await assembly.state.memory.forget("main", assembly.clock.steady_ns()) == 1
    await assembly.spans(1, (2, 1))
    _, again = await assembly.after(120)
    assert (again.number, again.known) == (0, None)


async def test_traces_of_two_tenants_with_one_id_stay_apart(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None), tenant="a")
    await assembly.spans(1, (1, None), tenant="b")
    assert {part.tenant for part in await assembly.after(6)} == {"a", "b"}


async def test_bodies_are_read_back_when_a_part_is_wanted(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None), (2, 1))
    await assembly.spans(2, (7, None))
    await assembly.spans(1, (3, 2))
    await assembly.after(6)
    await assembly.restart()
    trace, lost = await assembly.assembler.trace(assembly.settled[0])
    assert [record.span.name for record in trace.spans] == ["span 1", "span 2", "span 3"]
    assert not lost


async def test_what_the_journal_lost_is_told(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None))
    [part] = await assembly.after(6)
    gone = Part(9, "main", "t", part.key, 0, [part.shares[0]._replace(seq=999, items=4)], 1, 0, Settled.ROOT)
    trace, lost = await assembly.assembler.trace(gone)
    assert not trace.spans
    assert lost == {Signal.TRACES: 4}


async def test_metrics_and_records_of_no_trace_are_filtered_once(assembly: "Assembly") -> None:
    """Also when they are read again, because a trace that began before them is still open at a restart."""
    await assembly.spans(1, (2, 1))
    await assembly.metrics(3)
    await assembly.logs(0, "app.started", "app.ready")
    await assembly.restart()
    await assembly.step()
    filtered = {
        (account.signal, reason): count
        for (account, outcome, reason), count in assembly.state.exporters.ledger.items()
        if outcome == Outcome.FILTERED
    }
    assert filtered == {(Signal.METRICS, "metrics"): 3, (Signal.LOGS, "no_trace"): 2}


async def test_what_is_found_damaged_at_a_restart_is_counted_once_and_only_as_far_as_it_was_not(
    assembly: "Assembly",
) -> None:
    """Of an open trace everything, of metrics nothing, as they were filtered before; whatever is read again."""
    await assembly.spans(1, (2, 1))
    await assembly.spans(2, (2, 1), (3, 1))
    await assembly.metrics(3)
    for _ in range(2):
        await assembly.restart()
        for seq in (2, 3):
            assembly.journal._segments[0].forget(seq)
        await assembly.step()
        counted = {
            (account.signal, *rest): items
            for (account, *rest), items in assembly.state.exporters.ledger.items()
            if items
        }
        assert counted == {
            (Signal.METRICS, Outcome.FILTERED, "metrics"): 3,
            (Signal.TRACES, Outcome.DEAD_LETTERED, "damaged"): 2,
        }


async def test_open_traces_are_rebuilt_and_their_clocks_begin_anew(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None))
    await assembly.after(5)
    await assembly.restart()
    assert not await assembly.after(5.9)
    [part] = await assembly.after(6)
    assert items(part) == 1


async def test_a_restart_makes_no_second_part_of_what_was_recorded(assembly: "Assembly") -> None:
    """The first trace stays open, so everything behind it is read again; the second had settled."""
    await assembly.spans(1, (2, 1))
    await assembly.spans(2, (1, None))
    await assembly.after(6)
    await assembly.restart()
    await assembly.after(6)
    await assembly.after(120)
    assert [part.key for part in assembly.settled] == [f"{2:032x}", f"{1:032x}"]
    assert len({part.id for part in assembly.settled}) == 2


SCORE = "gen_ai.evaluation.result"


async def test_a_score_of_a_trace_that_is_here_settles_soon_also_where_its_root_is_not(assembly: "Assembly") -> None:
    """Its topmost span has a parent elsewhere, so that what else comes late waits longer."""
    assembly.known = Known()
    await assembly.spans(1, (2, 1, REMOTE))
    await assembly.after(30)
    await assembly.logs(1, SCORE)
    assert len(await assembly.after(6)) == 2
    await assembly.logs(1, SCORE, "gen_ai.choice")
    assert len(await assembly.after(6)) == 2


async def test_a_score_of_a_session_settles_soon_as_there_is_nothing_to_wait_for(assembly: "Assembly") -> None:
    await assembly.judgement("s-1", of="session.id")
    [part] = await assembly.after(6)
    assert part.key == "session:s-1"


async def test_a_score_of_a_trace_that_has_not_come_waits_and_is_told_of(assembly: "Assembly") -> None:
    await assembly.logs(1, SCORE, "score")
    assert not await assembly.after(6)
    assert assembly.assembler.status()["waiting_scores"] == 2
    await assembly.logs(1, "otel_bridge.span.started")
    assert assembly.assembler.status()["waiting_scores"] == 0
    assert await assembly.after(120)


async def test_an_error_on_the_way_loses_nothing(assembly: "Assembly") -> None:
    await assembly.spans(1, (1, None))
    await assembly.clock.advance(6)

    async def fail(_part: Part) -> Conclusion:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await assembly.assembler.step(fail)
    await assembly.assembler.recover()
    await assembly.step()
    [part] = await assembly.after(6)
    assert items(part) == 1


async def test_what_is_kept_of_entries_stays_within_its_limit(
    assembly: "Assembly", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_bridge.assemble.KEPT_BYTES", 1000)
    for trace in range(1, 51):
        await assembly.spans(trace, (1, None))
    await assembly.step()
    kept = assembly.assembler._bodies
    assert 0 < sum(size for size, _ in kept._kept.values()) == kept._kept_bytes <= 1000


class TestJudgementsOfAResponse:
    """They name neither a trace nor a span: only the id of the response."""

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_one_that_comes_later_settles_soon(self, assembly: "Assembly", restarted: bool) -> None:
        assembly.answers = {"r1": ANSWER}
        await assembly.spans(1, (1, None))
        await assembly.after(6)
        if restarted:
            await assembly.restart()
        await assembly.judgement("r1")
        _, part = await assembly.after(6)
        assert (part.key, part.settled) == ("answer:r1", Settled.ROOT)

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_one_that_comes_earlier_waits_for_its_response(self, assembly: "Assembly", restarted: bool) -> None:
        await assembly.judgement("r1")
        assert not await assembly.after(600)
        if restarted:
            await assembly.restart()
        assembly.answers = {"r1": ANSWER}
        await assembly.spans(1, (1, None))
        assert [part.key for part in await assembly.after(6)] == [ANSWER.trace_id, "answer:r1"]

    async def test_one_of_an_unknown_response_waits_as_long_as_may_be(self, assembly: "Assembly") -> None:
        assembly.answers = {"r2": ANSWER}
        await assembly.judgement("r1")
        await assembly.spans(1, (1, None))
        assert len(await assembly.after(899)) == 1
        _, part = await assembly.after(1)
        assert (part.key, part.settled, part.known) == ("answer:r1", Settled.HELD, None)

    async def test_one_of_another_tenant_goes_on_waiting(self, assembly: "Assembly") -> None:
        assembly.answers = {"r1": ANSWER}
        await assembly.judgement("r1", tenant="another")
        await assembly.spans(1, (1, None))
        await assembly.after(6)
        await assembly.judgement("r1", tenant="a third")
        assert len(await assembly.after(600)) == 1

    async def test_what_is_too_long_for_an_id_is_none(self, assembly: "Assembly") -> None:
        await assembly.judgement("r" * 201)
        account = Account("main", "langfuse", "t", Signal.LOGS)
        assert assembly.state.exporters.ledger[account, Outcome.FILTERED, "no_trace"] == 1
