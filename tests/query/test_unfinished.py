"""What is said of a trace that has not ended, or has settled in part."""

import pytest

from otel_bridge.model import Omitted, Translation
from otel_bridge.query.observations import one_observation
from otel_bridge.query.outline import outline
from otel_bridge.query.traces import list_traces, one_trace
from otel_bridge.store.writer import Writer
from otel_bridge.trace import Decision
from tests.query.conftest import START, Opened, Settled
from tests.query.detectors.spans import beat, found
from tests.query.spans import ONE, came, still_open

SECOND = 10**9
BEAT = 60 * SECOND  # after the start, as `still_open` tells


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long after the start it is asked, in ns."""
    after = [BEAT + SECOND]
    for clock in ("unfinished.time_ns", "filter.clock_ns"):
        monkeypatch.setattr(f"otel_bridge.query.{clock}", lambda: START + after[-1])
    return after


def test_a_program_that_tells_nothing_any_more_may_be_gone(writer: Writer, reader: Opened, now: list[int]) -> None:
    """It was killed, say; one that is alive tells of itself every ten seconds."""

    def said() -> str:
        return str(one_trace(reader(), ONE)["unfinished"]["said"])

    beat(writer, 1, told=50, name="agent")
    still_open(writer, 1, "agent")

    def listed(status: str) -> int:
        return len(list_traces(reader(), f"status:{status}")["traces"])

    now.append(BEAT + 29 * SECOND)
    assert said() == "still running: agent has not ended"
    assert (listed("running"), listed("lost")) == (1, 0)
    now.append(BEAT + 31 * SECOND)
    assert (listed("running"), listed("lost")) == (0, 1)
    assert said().endswith("agent has not ended; no heartbeat comes any more: its program may be gone")
    came(writer, span=1, parent=0)
    assert "gone" not in said()
    assert (listed("running"), listed("lost")) == (0, 0)


def test_all_who_say_that_a_program_is_gone_give_slow_heartbeats_their_time(
    writer: Writer, reader: Opened, now: list[int]
) -> None:
    """They come each minute, from two programs that tell of one trace in turn."""
    for number, told in ((1, 60), (2, 90), (1, 120), (2, 150)):
        beat(writer, number, start=30 * number - 30, told=told)

    def gone(after: float) -> set[bool]:
        now.append(round(after * SECOND))
        statuses = [status for status in ("running", "lost") if list_traces(reader(), f"status:{status}")["traces"]]
        said = one_trace(reader(), ONE)["unfinished"]["said"]
        stalled = [one["severity"] for one in found(reader(), "stalled", now=after)]
        return {statuses == ["lost"], statuses != ["running"], "gone" in said, "error" in stalled}

    assert gone(150 + 31) == {False}
    assert gone(150 + 149) == {False}
    assert gone(150 + 151) == {True}


def test_of_an_open_trace_is_said_what_has_not_ended(writer: Writer, reader: Opened) -> None:
    """That is the span above those that came, whether anything has told of it or not; and it is no mistake."""

    def said() -> tuple[str, str]:
        found = one_trace(reader(), ONE)
        return found["unfinished"]["said"], outline(found)

    came(writer, parent=1)
    above, text = said()
    assert above == "still running: what stands above running has not ended"
    assert f"open: {above}\nsince: 2023-11-14 22:13:20 UTC\n" in text
    assert one_trace(reader(), ONE)["unfinished"]["parents"] == [f"{1:016x}"]

    still_open(writer, 1, "agent")
    above, text = said()
    assert above == "still running: agent has not ended"
    assert "told of last: 2023-11-14 22:14:20 UTC\n" in text
    assert "SPAN  agent  60.0 s · not ended" in text
    [told] = [row for row in one_trace(reader(), ONE)["observations"] if row["open"]]
    shown = one_observation(reader(), ONE, told["id"])
    assert (shown["name"], shown["open"], shown["logCount"]) == ("agent", True, 0)
    for number in range(2, 7):
        still_open(writer, number, f"tool {number}")
    assert said()[0] == "still running: agent, tool 2, tool 3 and 3 more have not ended"

    came(writer, number=2, parent=0)
    assert one_trace(reader(), f"{2:032x}")["unfinished"]["said"].startswith("all that came has ended")


def test_what_has_settled_has_not_ended_where_something_runs_still(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    """A parent in another program may never come here; of what is not kept, nothing is waited for."""
    for number in (1, 2, 3, 4, 6):
        settled(number, ((9, 0),))
    came(writer, number=1, parent=0)
    came(writer, number=2, parent=1, flags=0x100)
    came(writer, number=3, parent=1, flags=0x300)
    still_open(writer, 1, "agent", number=4)
    came(writer, number=6, parent=1)
    came(writer, number=5)
    writer.settled(Translation(dropped=[Omitted("", f"{5:032x}", "rate", Decision.SAMPLED_OUT)]))

    found = [one_trace(reader(), f"{number:032x}") for number in (1, 2, 3, 4, 6, 5)]
    assert [one["unfinished"] and one["unfinished"]["said"] for one in found] == [
        None,
        "settled in part: what stands above running has not come: it runs still, or was dropped",
        None,
        "settled in part: agent has not ended",
        None,
        None,
    ]
    assert f"{found[5]['id']} not kept (sampled: rate)\n" in outline(found[5])


def test_a_trace_that_settled_in_part_is_marked_and_keeps_the_root_that_is_known(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    """Told elsewhere as two without a parent; here they stand below what they came under, and that names the trace."""

    def shown(number: int = 1) -> tuple[str, bool, list[tuple[str, int]]]:
        [listed] = list_traces(reader(), f"id:{number:032x}")["traces"]
        found = one_trace(reader(), f"{number:032x}", full=True)
        assert (found["name"], found["partial"]) == (listed["name"], listed["partial"])
        return listed["name"], listed["partial"], [(row["name"], row["depth"]) for row in found["observations"]]

    def parts(number: int) -> None:
        for span in (8, 9):
            came(writer, number, span, parent=1, flags=0x100)
        settled(number, ((8, 0), (9, 0)), name="observation 8")

    still_open(writer, 1, "agent")
    parts(1)
    assert shown() == ("agent", True, [("agent", 0), ("observation 8", 1), ("observation 9", 1)])
    assert "(in part)" in outline(one_trace(reader(), ONE))
    assert len(list_traces(reader(), "status:partial")["traces"]) == 1
    came(writer, span=1, parent=0)
    settled(1, ((1, 0),), name="observation 1")
    assert shown() == ("observation 1", False, [("observation 1", 0), ("observation 8", 1), ("observation 9", 1)])

    parts(2)
    assert shown(2) == ("observation 8", True, [("observation 8", 0), ("observation 9", 0)])
    still_open(writer, 1, "agent", number=3)
    settled(3, ((8, 0),), name="by hand")
    assert shown(3)[:2] == ("by hand", True)
    still_open(writer, 1, "agent", number=4)
    settled(4, ((8, 1),), name="observation 8")  # by `max_hold`: its parent may still come
    assert shown(4)[:2] == ("agent", True)


def test_a_trace_whose_root_has_ended_is_whole_but_where_heartbeats_tell_otherwise(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    """What a processor leaves out at the door is no span that runs still."""

    def shown() -> tuple[bool, str | None]:
        found = one_trace(reader(), ONE)
        assert len(list_traces(reader(), "status:partial")["traces"]) == found["partial"]
        return found["partial"], found["unfinished"] and found["unfinished"]["said"]

    came(writer, span=1, parent=0)
    came(writer, span=3, parent=2, flags=0x100)
    settled(1, ((1, 0), (3, 1)))
    assert shown() == (False, None)

    still_open(writer, 2, "inner")
    assert shown() == (True, "settled in part: inner has not ended")


def test_parents_elsewhere_do_not_hide_the_one_that_is_missing_here(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    settled(1)
    for number in range(21):
        came(writer, span=100 + number, parent=200 + number, flags=0x300)
    assert one_trace(reader(), ONE)["unfinished"] is None

    came(writer, span=9, parent=8, flags=0x100, start_ns=START + 60)
    assert one_trace(reader(), ONE)["unfinished"]["parents"] == [f"{8:016x}"]
