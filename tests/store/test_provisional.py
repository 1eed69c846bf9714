"""What is known of a trace before it settles, and what of it stands afterwards."""

from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_bridge.store.rows import OPEN
from otel_bridge.store.writer import Writer
from tests.store.conftest import Clock
from tests.store.written import START, open_span, rows, saying, spans, trace_row, translation


def test_what_spans_say_of_their_trace_stands_until_it_settles(writer: Writer, path: Path, clock: Clock) -> None:
    """The first who says something is heard, tags are those of all. What has settled knows better what they mean, as
    whether the first spoke for another service."""
    writer.batch(saying(1, user_id="ada", langfuse_trace_tags='["one"]', session_id="night"))
    writer.batch(
        saying(2, user_id="bob", langfuse_trace_tags='["two", "one"]', langfuse_observation_input="x" * 10_000)
    )
    clock.step(10)
    writer.hear(for_s=60)
    came = trace_row(path)
    writer.settled(translation("a", session_id=None, user_id="eve", tags=["two"]))
    became = trace_row(path)

    assert (came["user_id"], came["session_id"], came["tags"]) == ("ada", "night", '["one","two"]')
    assert (became["user_id"], became["session_id"], became["tags"]) == ("eve", None, '["two"]')


def test_what_is_open_still_has_its_say_when_its_trace_settles_in_part(
    writer: Writer, path: Path, clock: Clock
) -> None:
    """What settles lacks the span that said a word, as it has not ended; once it has, it is known who said what."""

    def words() -> tuple[str | None, str | None, str | None]:
        row = trace_row(path)
        return row["user_id"], row["session_id"], row["tags"]

    writer.batch(open_span("started", 500, **{"session.id": "night", "langfuse.trace.tags": '["two"]'}))
    writer.settled(translation("a", "b", session_id=None, user_id="eve"))
    assert words() == ("eve", "night", '["two"]')
    writer.batch(spans("a"))
    writer.settled(translation("a", session_id=None, user_id="eve", tags=["one"]))
    assert words() == ("eve", None, '["one"]')
    writer.settled(translation("late", session_id=None, user_id=None))
    assert words() == ("eve", None, '["one"]')


def test_what_a_settled_part_said_stands_when_the_rest_knows_nothing_of_it(
    writer: Writer, path: Path, clock: Clock
) -> None:
    """What an open span alone has said falls away once it has ended, and not what has settled."""
    writer.batch(open_span("started", 500, **{"session.id": "night", "user.id": "ada"}))
    writer.settled(translation("a", session_id=None, user_id="eve", version="1", tags=["one"]))
    writer.settled(translation("b", session_id=None))
    writer.batch(spans("a"))
    writer.settled(translation("a", session_id=None))
    row = trace_row(path)
    assert (row["session_id"], row["user_id"], row["version"], row["tags"]) == (None, "eve", "1", '["one"]')


def test_a_trace_is_provisional_until_it_settles(writer: Writer, path: Path) -> None:
    writer.batch(spans("a", "b", status=Status.STATUS_CODE_ERROR))
    came = trace_row(path)
    writer.settled(translation("a", "broken"))
    became = trace_row(path)

    assert (came["settled"], came["name"], came["error_count"], came["end_ns"]) == (0, "a", 1, START + 1001)
    assert (became["settled"], became["name"], became["session_id"]) == (1, "run", "s1")
    assert (became["observation_count"], became["error_count"], became["total_tokens"]) == (2, 1, 42)
    assert (became["total_cost"], became["end_ns"]) == (0.25, START + 2000)


def test_a_span_that_has_not_ended_stands_there_until_it_has(writer: Writer, path: Path) -> None:
    writer.batch(open_span("started", 500))
    writer.batch(open_span("heartbeat", 900))
    [still] = rows(path, "SELECT * FROM spans")
    assert (still["name"], still["start_ns"], still["end_ns"], still["status"]) == ("a", START, START + 900, OPEN)
    assert (trace_row(path)["settled"], trace_row(path)["name"]) == (0, "a")
    writer.batch(spans("ended"))
    writer.batch(open_span("heartbeat", 9000))  # it was on its way
    [ended] = rows(path, "SELECT * FROM spans")
    assert (ended["name"], ended["end_ns"], ended["status"]) == ("ended", START + 1000, 0)


def test_a_status_that_there_is_not_makes_no_span_open(writer: Writer, path: Path) -> None:
    writer.batch(spans("ended", status=-1))
    writer.batch(open_span("heartbeat", 9000))
    [ended] = rows(path, "SELECT * FROM spans")
    assert (ended["end_ns"], ended["status"]) == (START + 1000, 0)


@pytest.mark.parametrize("odd", [{"parent_id": "nonsense"}, {"start_time_unix_nano": -5}, {"name": 7}])
def test_whatever_is_said_of_an_open_span_is_taken(writer: Writer, path: Path, odd: dict[str, str | int]) -> None:
    writer.batch(open_span("started", 500, **odd))
    [still] = rows(path, "SELECT * FROM spans")
    assert still["start_ns"] in (START, START + 500)


def test_what_settles_has_no_span_read_again(writer: Writer, path: Path) -> None:
    """Of a trace of hours each part would read all that came before, whole."""
    writer.batch(spans("a", "b"))
    writer._connection.execute("UPDATE spans SET span = x'ff'")
    writer.settled(translation("a"))

    assert trace_row(path)["settled"] == 1


def test_what_comes_later_does_not_unsettle(writer: Writer, path: Path) -> None:
    """A batch that is delivered again after its trace settled changes nothing of what settled."""
    writer.settled(translation("a", "b"))
    settled = trace_row(path)
    writer.batch(spans("other", "names"))

    assert trace_row(path) == settled
