"""Messages that were lost or came twice, and names that nobody listens to."""

from collections.abc import Iterable
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import Batch
from otel_bridge.query import messaging
from otel_bridge.store.writer import Writer
from tests.query.conftest import Opened
from tests.query.detectors.spans import at, beat, came, found, pairs, span

LATER = 2 * 3600
QUEUE = "signals.discovered"


def sent(number: int, message: str, to: str | None = QUEUE, start: float = 0, **said: Any) -> Span:
    return _span(number, "send", message, to, start, **said)


def got(
    number: int, message: str, source: str | None = QUEUE, start: float = 1, how: str = "process", **said: Any
) -> Span:
    return _span(number, how, message, source, start, **{"name": f"{how} {source}", **said})


def _span(number: int, how: str, message: str, place: str | None, start: float, **said: Any) -> Span:
    named = {} if place is None else {"messaging__destination__name": place}
    known = {"messaging__operation__type": how, "messaging__message__id": message, **named}
    return span(number, 0, start, start + 0.1, **{**known, **said})


def said(findings: Iterable[dict[str, Any]]) -> list[str]:
    return [one["says"] for one in findings]


def test_of_a_thousand_messages_exactly_the_three_that_were_dropped_are_found(writer: Writer, reader: Opened) -> None:
    dropped = {17, 400, 999}
    came(writer, *[sent(n, f"m{n}") for n in range(1, 1001)], settled=False)
    received = [got(2000 + n, f"m{n}", trace=2) for n in range(1, 1001) if n not in dropped]
    came(writer, *received, service="other", settled=False)

    [one] = found(reader(), "message_loss")
    assert one["observationIds"] == [f"{n:016x}" for n in sorted(dropped)]
    assert one["numbers"] == {"sent": 1000, "lost": 3}
    assert one["says"] == (
        "3 of 1000 messages to signals.discovered were sent and not received within 5 min 00 s: m17, m400, m999"
    )
    assert one["severity"] == "error"


@pytest.mark.parametrize("now", [5 * 60 - 1, 5 * 60 + 1])
def test_what_is_under_way_may_arrive_yet(writer: Writer, reader: Opened, now: int) -> None:
    came(writer, sent(1, "a"), got(2, "a"), sent(3, "b"))

    assert len(found(reader(), "message_loss", now=now)) == (now > 5 * 60)


def test_a_message_has_arrived_however_that_is_told(writer: Writer, reader: Opened) -> None:
    """By its id in a link, by a link or a child without an id, by who works on it still, by a log record; failed or
    not."""
    came(writer, *[sent(n, f"m{n}") for n in range(1, 7)])
    batch = span(10, 0, 2, 3, trace=2, messaging__operation__type="receive", messaging__destination__name=QUEUE)
    batch.links.add(trace_id=b"x" * 16, span_id=b"y" * 8).attributes.extend(pairs({"messaging.message.id": "m1"}))
    came(
        writer, batch,
        span(11, 0, 2, 3, trace=2, links=[(1, 2)], messaging__operation__type="process"),
        span(12, 3, 2, 3, messaging__operation__type="process"),
        got(13, "m4", status=2),
    )  # fmt: skip
    beat(writer, 14, trace=2, messaging__operation__type="process", messaging__message__id="m5")
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=at(2), event_name=QUEUE)
    record.attributes.extend(pairs({"messaging.operation.type": "receive", "messaging.message.id": "m6"}))
    writer.batch(Batch.from_request(logs))

    assert found(reader(), "message_loss") == []


def test_nothing_is_lost_where_nobody_tells_of_receiving(writer: Writer, reader: Opened) -> None:
    """A queue of another company's, say; nor is what could not be sent, which has failed where it is seen."""
    came(writer, sent(1, "a", "billing"), sent(2, "b"), got(3, "b"), sent(4, "c", status=2))

    assert found(reader(), "message_loss") == []


def test_who_receives_twice_is_told_of(writer: Writer, reader: Opened) -> None:
    came(writer, sent(1, "a"), sent(2, "b"), got(3, "a"), got(4, "b"), got(5, "a", start=30))

    [one] = found(reader(), "message_loss")
    assert one["says"] == (
        "1 message from signals.discovered was processed more than once by process signals.discovered of agents: a"
    )
    assert (one["severity"], one["observationIds"]) == ("warning", [f"{3:016x}", f"{5:016x}"])


def test_what_comes_to_several_or_again_after_it_failed_is_as_it_should_be(writer: Writer, reader: Opened) -> None:
    came(
        writer, *[sent(n, f"m{n}") for n in range(1, 6)],
        got(11, "m1", gen_ai__agent__name="a"), got(12, "m1", start=5, gen_ai__agent__name="b"),  # to each of two
        got(13, "m2", how="receive"), got(14, "m2", start=2),  # received, then processed
        got(15, "m3", status=2), got(16, "m3", start=5),  # again, as it failed
        got(17, "m4"), got(18, "m4", start=1.15),  # two that are told at once, and nobody says who they are
        got(19, "m5", how="receive"), got(20, "m5", start=1.2, status=2), got(21, "m5", how="receive", start=9),
        got(22, "m5", start=10),
    )  # fmt: skip
    assert found(reader(), "message_loss") == []


def test_tenants_have_nothing_to_do_with_each_other(writer: Writer, reader: Opened) -> None:
    came(writer, sent(1, "a"), sent(2, "b"), got(3, "b"), tenant="acme")
    came(writer, got(4, "a", trace=2), tenant="globex")

    [one] = found(reader(), "message_loss", tenant="acme")
    assert (one["tenant"], one["numbers"]["lost"]) == ("acme", 1)
    assert found(reader(), "message_loss", tenant="globex") == []


def test_who_receives_may_have_told_of_it_before_what_is_still_looked_at(
    writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many spans the newest are looked through; who sent tells of it after who received."""
    came(writer, got(1, "a"), got(2, "b"), settled=False)
    came(writer, sent(3, "a"), sent(4, "lost"), sent(5, "b"), settled=False)
    monkeypatch.setattr(messaging, "MAX_ROWS", 2)

    [one] = found(reader(), "message_loss")
    assert one["observationIds"] == [f"{4:016x}"]


def test_a_name_that_nobody_listens_to_and_the_one_that_was_meant(writer: Writer, reader: Opened) -> None:
    came(
        writer, sent(1, "a", "signals:discovered"), sent(2, "b", "signals:discovered"),
        sent(3, "c", "SignalsDiscovered"), sent(4, "d"), got(5, "d"), sent(6, "e", "orders"),
    )  # fmt: skip

    first, second = found(reader(), "name_mismatch")
    assert first["says"] == (
        "signals:discovered was sent to 2 times and nobody receives from it: did you mean signals.discovered?"
    )
    assert first["observationIds"] == [f"{1:016x}", f"{2:016x}"]
    assert second["says"].startswith("SignalsDiscovered was sent to once")
    assert found(reader(), "name_mismatch", now=60) == []


def test_a_listener_that_waits_still_is_enough_and_events_have_names_too(writer: Writer, reader: Opened) -> None:
    came(writer, span(1, messaging__operation__type="publish", event__name="task:done"))
    beat(writer, 2, trace=2, messaging__operation__type="receive", messaging__destination__name="task.done")

    assert said(found(reader(), "name_mismatch", "message_loss")) == [
        "task:done was sent to once and nobody receives from it: did you mean task.done?"
    ]


def test_two_names_that_are_both_listened_to_or_that_a_broker_gives_are_right(writer: Writer, reader: Opened) -> None:
    came(
        writer, sent(1, "a", "a-1"), got(2, "a", "a-1"), sent(3, "b", "a1"), got(4, "b", "a1"),
        sent(5, "c", "Orders"), got(6, "c", "orders"), sent(7, "x", "é:ü"), sent(8, "y", "::"), got(9, "z", ".."),
    )  # fmt: skip

    assert found(reader(), "name_mismatch") == []
