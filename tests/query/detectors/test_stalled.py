"""Runs that stand still, or whose program has fallen silent."""

from otel_bridge.store.writer import Writer
from tests.query.conftest import Opened
from tests.query.detectors.spans import beat, came, found, span

MINUTE = 60


def test_a_run_that_hangs_is_found_once_nothing_has_moved_for_ten_minutes(writer: Writer, reader: Opened) -> None:
    for number, name, more in (
        (1, "research", {}), (2, "chat", {}), (3, "fetch", {"server__address": "api.example"}),
    ):  # fmt: skip
        beat(writer, number, number - 1, start=number, told=11 * MINUTE, name=name, **more)

    assert found(reader(), "stalled", now=10 * MINUTE + 2) == []

    [one] = found(reader(), "stalled", now=10 * MINUTE + 4)
    assert one["says"] == (
        "research stands still for 10 min 01 s: it waits for fetch (api.example), which is open for 10 min 01 s "
        "(and 2 spans with it)"
    )
    assert "timeout" in one["remedy"]
    assert (one["severity"], one["traceIds"], one["observationIds"]) == ("warning", [f"{1:032x}"], [f"{3:016x}"])
    assert one["numbers"]["openSpans"] == 3


def test_long_work_that_goes_on_is_no_standstill(writer: Writer, reader: Opened) -> None:
    """It began an hour ago, and has ended a step a minute ago; another one only writes log records."""
    beat(writer, 1, told=60 * MINUTE)
    came(writer, span(2, 1, 0, 59 * MINUTE), settled=False)

    assert found(reader(), "stalled", now=60 * MINUTE + 5) == []


def test_a_program_that_was_killed_is_lost_and_the_end_of_its_spans_takes_that_back(
    writer: Writer, reader: Opened
) -> None:
    for told in (50, 60):
        beat(writer, 1, told=told, name="agent")
        beat(writer, 2, 1, start=1, told=told, name="tool")

    assert found(reader(), "stalled", now=60 + 29) == []
    [one] = found(reader(), "stalled", now=60 + 31)
    assert one["says"] == "agent fell silent 31.0 s ago, while tool was open: its program may be gone"
    assert (one["severity"], one["observationIds"]) == ("error", [f"{2:016x}"])

    came(writer, span(2, 1, 1, 61), span(1, 0, 0, 62))
    assert found(reader(), "stalled", now=60 + 31) == []


def test_heartbeats_may_be_slow(writer: Writer, reader: Opened) -> None:
    """Somebody has set them to a minute: the second is awaited as long as the first let wait."""
    beat(writer, 1, told=60)
    assert found(reader(), "stalled", now=120) == []
    beat(writer, 1, told=120)
    assert found(reader(), "stalled", now=120 + 149) == []
    assert found(reader(), "stalled", now=120 + 151)[0]["severity"] == "error"


def test_what_fell_silent_before_the_window_is_an_old_story(writer: Writer, reader: Opened) -> None:
    beat(writer, 1, told=60)

    assert len(found(reader(), "stalled", now=60 + 3600, last="1h")) == 1
    assert found(reader(), "stalled", now=60 + 3601, last="1h") == []


def test_parents_in_a_circle_keep_nobody_waiting(writer: Writer, reader: Opened) -> None:
    for number, parent in ((1, 3), (2, 1), (3, 2), (4, 9)):
        beat(writer, number, parent, start=number)

    [one] = found(reader(), "stalled")
    assert one["numbers"]["openSpans"] == 4


def test_those_that_hang_are_not_hidden_by_many_that_run(writer: Writer, reader: Opened) -> None:
    for number in range(1, 151):
        beat(writer, number, trace=number, start=900, told=1000)
    beat(writer, 1, trace=999, start=0, told=1000)

    assert [one["traceIds"] for one in found(reader(), "stalled", now=1001)] == [[f"{999:032x}"]]
