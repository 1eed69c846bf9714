"""What stays open is read as its dialect says it: when, how much at once, and how often."""

from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.errors import RetryableError
from otel_bridge.journal.disk import Space
from otel_bridge.store.writer import Writer
from tests.store.conftest import Clock
from tests.store.written import (
    START,
    TRACE,
    count,
    open_span,
    rows,
    saying,
    spans,
    trace_row,
    translation,
    without_root,
)


def test_only_what_stays_open_is_read_and_only_once(writer: Writer, path: Path, clock: Clock) -> None:
    """To read a span costs more than to keep it: what settles within the time that its root gives is never read."""

    def read() -> list[str]:
        writer.hear(for_s=60)
        found = rows(path, "SELECT name FROM readings JOIN spans USING (trace_id, id, tenant) ORDER BY name")
        return [row["name"] for row in found]

    in_time, open_still = f"{2:032x}", f"{3:032x}"
    writer.batch(spans("done", trace_id=in_time))
    writer.batch(without_root(spans("", "settling")))
    writer.batch(without_root(spans("", "open", "more of it", trace_id=open_still)))
    clock.step(2)
    assert read() == []
    writer.batch(spans("root"))
    clock.step(2)
    assert read() == ["more of it", "open"]
    clock.step(4)
    for trace_id in (in_time, TRACE):
        writer.settled(translation("a", trace_id=trace_id))
    clock.step(10)
    assert read() == ["more of it", "open"]
    assert not rows(path, "SELECT 1 FROM traces WHERE due_ns IS NOT NULL")


def test_what_is_read_next_is_found_without_looking_at_the_rest(writer: Writer) -> None:
    """Of a trace with a hundred thousand spans all of them were looked at for each two hundred that were read."""
    named = {"trace_id": TRACE, "tenant": "default", "read_to": 0, "at_most": 1}
    [step] = writer._connection.execute("EXPLAIN QUERY PLAN " + writer._sql["unread"], named).fetchall()
    assert "(trace_id=? AND tenant=? AND rowid>?)" in step[3]


def test_what_waits_to_be_read_is_postponed_once(writer: Writer, path: Path, clock: Clock) -> None:
    """Though a span without a parent, as each of some programs is, comes every few seconds."""
    writer.batch(without_root(spans("root", "kid")))
    for number in range(3, 9):
        clock.step(2)
        writer.batch(saying(number))
        writer.hear(for_s=60)
    assert count(path, "readings") == 6
    clock.step(9)
    writer.batch(saying(9))
    writer.hear(for_s=60)
    assert count(path, "readings") == 6
    clock.step(1)
    writer.hear(for_s=60)
    assert count(path, "readings") == 8


def test_what_there_is_no_time_to_read_is_read_later(writer: Writer, path: Path, clock: Clock) -> None:
    for number in range(3):
        writer.batch(spans(*"abcdefgh", trace_id=f"{number:032x}"))
    clock.step(10)
    read = []
    while not read or read[-1] < 24:
        writer.hear(for_s=1e-5)
        read.append(count(path, "readings"))
    assert len(read) > 3
    assert read == sorted(read)


def test_a_span_that_has_ended_is_read_again(writer: Writer, path: Path, clock: Clock) -> None:
    """What it says at its end it had not said at its start."""
    writer.batch(open_span("started", 500, **{"user.id": "ada"}))
    told = trace_row(path)
    writer.batch(saying(1, session_id="night"))
    clock.step(10)
    writer.hear(for_s=60)
    assert (told["user_id"], told["session_id"]) == ("ada", None)
    assert (trace_row(path)["user_id"], trace_row(path)["session_id"]) == ("ada", "night")


@pytest.mark.parametrize("due", [False, True])
def test_to_read_what_is_open_nothing_is_forgotten(
    writer: Writer, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, due: bool
) -> None:
    """It can wait: a bridge that had nothing to do gave up all it had, where somebody else filled the disk."""
    writer.settled(translation("a"))
    if due:
        writer.batch(spans("a", trace_id="f" * 32))
    clock.step(11)
    kept = count(path, "traces")
    with monkeypatch.context() as full, pytest.raises(RetryableError) if due else nullcontext():
        full.setattr(Space, "of", lambda folder: Space(total=1 << 30, free=0, kept=1 << 20))
        writer.hear(for_s=60)
    assert count(path, "traces") == kept
    writer.hear(for_s=60)
    assert count(path, "readings") == due


def test_what_could_not_be_read_now_is_read_later(
    writer: Writer, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apsw

    writer.batch(spans("a", "b"))
    clock.step(11)
    with monkeypatch.context() as full:
        full.setattr(writer, "_put", Mock(side_effect=apsw.FullError("full")))
        with pytest.raises(RetryableError):
            writer.hear(for_s=60)
    writer.hear(for_s=60)
    assert count(path, "readings") == 2


def test_what_can_not_be_read_is_tried_once(writer: Writer, path: Path, clock: Clock) -> None:
    writer.batch(spans("a"))
    clock.step(1)
    writer.batch(spans("b", trace_id="f" * 32))
    writer._connection.execute("UPDATE spans SET span = x'ff' WHERE name = 'a'")
    clock.step(11)
    with pytest.raises(DecodeError):
        writer.hear(for_s=60)
    writer.hear(for_s=60)
    assert [row["trace_id"] for row in rows(path, "SELECT trace_id FROM readings")] == ["f" * 32]


def test_a_span_that_ends_as_the_last_row_is_read_again_too(writer: Writer, path: Path, clock: Clock) -> None:
    """It gets the number of the row that it had when it was read."""
    writer.batch(without_root(spans("root", "kid")))
    writer.batch(open_span("started", 500))
    clock.step(4)
    writer.hear(for_s=60)
    writer.batch(saying(1, session_id="night"))
    clock.step(11)
    writer.hear(for_s=60)
    assert trace_row(path)["session_id"] == "night"


@pytest.mark.parametrize("order", [1, -1])
def test_a_heartbeat_takes_nothing_back_of_what_was_told_at_the_start(writer: Writer, path: Path, order: int) -> None:
    """It says that the span has not ended, and nothing else; what was to be tried again may come after it."""
    told = [open_span("started", 500, **{"langfuse.observation.type": "agent"}), open_span("heartbeat", 900)]
    for batch in told[::order]:
        writer.batch(batch)
    [still] = rows(path, "SELECT type, end_ns, span FROM readings JOIN spans USING (trace_id, id, tenant)")
    assert (still["type"], still["end_ns"]) == ("AGENT", START + 900)
    assert [pair.key for pair in Span.FromString(still["span"]).attributes] == ["langfuse.observation.type"]


def test_a_heartbeat_after_the_end_takes_nothing_back(writer: Writer, path: Path, clock: Clock) -> None:
    writer.batch(open_span("started", 500))
    writer.batch(saying(1, langfuse_observation_type="generation"))
    clock.step(11)
    writer.hear(for_s=60)
    writer.batch(open_span("heartbeat", 900))  # it was on its way
    assert rows(path, "SELECT type FROM readings") == [{"type": "GENERATION"}]
