"""However much there is, little of it is in memory at once: detectors are asked of a bridge that works."""

import tracemalloc
from collections.abc import Callable

import apsw
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.query import messaging
from otel_bridge.query.detector import MAX_SPAN_BYTES
from otel_bridge.query.detectors import lint
from otel_bridge.store import reader as reading
from otel_bridge.store.reader import Reader, SlowQuestionError
from otel_bridge.store.writer import Writer
from tests.query.conftest import Opened
from tests.query.detectors.spans import came, found, span

MANY = 60
LARGE = "x" * 300_000
TOO_LARGE = "x" * MAX_SPAN_BYTES
GROUP = "unhandled errors in a TaskGroup"


def peak(reader: Reader, detector: str, count: int) -> int:
    """In bytes, Python's and SQLite's, while that many findings are looked for."""
    before = apsw.memory_used()
    apsw.memory_high_water(True)
    tracemalloc.start()
    try:
        findings = found(reader, detector)
        assert len(findings) == count
        return tracemalloc.get_traced_memory()[1] + apsw.memory_high_water() - before
    finally:
        tracemalloc.stop()


def queued(number: int, **said: str) -> Span:
    known = {"messaging__operation__type": "send", "messaging__message__id": f"m{number}"}
    return span(number, trace=number, messaging__destination__name="queue", **known, **said)


def below_a_group(above: str) -> list[Span]:
    """One of those below it has failed, and the others ended with that."""
    some = [span(number, 1, 1, 2, name="call") for number in range(3, MANY)]
    return [span(1, 0, 0, 3, status=2, message=GROUP, input__value=above), span(2, 1, 1, 2, status=2), *some]


def below_what_ended(above: str) -> list[Span]:
    return [span(1, input__value=above), *(span(number, 1, 2, 3, name="call") for number in range(2, MANY))]


def cancelled(size: str) -> list[Span]:
    some = {"otel_bridge__outcome": "cancelled", "input__value": size}
    return [span(number, name="call", **some) for number in range(1, MANY)]


def lost(size: str) -> list[Span]:
    """And one that arrived, as else nobody is known to listen."""
    arrived = span(1, 2, trace=2, messaging__operation__type="process", messaging__message__id="m2")
    return [arrived, *(queued(number, input__value=size) for number in range(2, MANY))]


@pytest.mark.parametrize(
    ("detector", "made"),
    [("lint", below_a_group), ("lint", below_what_ended), ("lint", cancelled), ("message_loss", lost)],
)
def test_large_spans_are_read_one_by_one(
    detector: str, made: Callable[[str], list[Span]], writer: Writer, reader: Opened
) -> None:
    came(writer, *made(LARGE))
    assert peak(reader(), detector, 1) < MANY * len(LARGE) / 3


@pytest.mark.parametrize(("detector", "made"), [("lint", below_a_group), ("lint", below_what_ended)])
def test_what_is_too_large_is_not_looked_into(
    detector: str, made: Callable[[str], list[Span]], writer: Writer, reader: Opened
) -> None:
    came(writer, *made(TOO_LARGE))
    assert found(reader(), detector) == []


def test_a_span_that_stands_above_many_is_read_once(
    writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    parse = lint._span
    monkeypatch.setattr(lint, "_span", lambda *place: read.append(place[-1]) or parse(*place))  # type: ignore[func-returns-value]
    came(writer, *below_what_ended(""))
    assert len(found(reader(), "lint")) == 1
    assert sorted(read) == [f"{number:016x}" for number in range(1, MANY)]


def test_of_more_messages_than_there_is_room_for_the_newest_are_known(
    writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may have been received before, in what is not known, is not said to be lost."""
    monkeypatch.setattr(messaging, "MAX_TOLD", 40)  # of each two: itself and its id
    came(writer, *lost(""))
    came(writer, span(99, trace=99, messaging__operation__type="process", messaging__destination__name="queue",
                      messaging__message__id="other"))  # fmt: skip
    [one] = found(reader(), "message_loss")
    assert one["numbers"]["lost"] == 9
    assert one["traceIds"][-1] == f"{MANY - 1:032x}"


def test_the_time_is_up_while_rows_are_read(writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly somebody takes them: the store itself has no part in that."""
    came(writer, span(1), span(2))
    asked = reader()
    rows = asked.each("SELECT id FROM spans ORDER BY id")
    assert next(rows)["id"] == f"{1:016x}"
    monkeypatch.setattr(reading.time, "monotonic", lambda: float("inf"))
    with pytest.raises(SlowQuestionError, match="did not answer within"):
        next(rows)
