"""Messages between programs or agents, as their spans, span events and log records tell of them by OpenTelemetry's
`messaging.*`: who has sent which, and who has received which.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_bridge.query.detector import MAX_SPAN_BYTES, Window
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements
from otel_bridge.translate.span import attributes

SQL = statements("otel_bridge.query", "messaging.sql")

MAX_ROWS = 20_000
"""So many spans and so many log records, the newest, are looked through for what was sent; and for what was received
twice as many, as a message may be told of by who has received it before who has sent it tells of that."""

MAX_TOLD = 200_000
"""So many messages, their ids and what they came of, are kept of spans, and of log records: the newest. Of half of that
it is looked for what was sent."""

MAX_CHARACTERS = 250
"""What is longer is no id, and no name that anybody has given."""

GRACE_NS = 5 * 60 * 10**9
"""What is under way for less may arrive yet; who works on it may tell of it only when that is done."""


_read: WeakKeyDictionary[Reader, tuple[str | None, list["Message"]]] = WeakKeyDictionary()
"""What a reader has read of one tenant's, or of everybody's: it answers from one moment, and several detectors ask."""


class Way(StrEnum):
    """What was done with a message."""

    SENT = "sent"
    RECEIVED = "received"
    PROCESSED = "processed"


WAYS = {
    "send": Way.SENT,
    "publish": Way.SENT,
    "create": Way.SENT,
    "receive": Way.RECEIVED,
    "process": Way.PROCESSED,
    "deliver": Way.PROCESSED,
}
CONSUMERS = (
    "messaging.consumer.group.name",
    "messaging.kafka.consumer.group",
    "messaging.destination.subscription.name",
    "messaging.client.id",
    "gen_ai.agent.id",
    "gen_ai.agent.name",
    "agent.id",
    "agent.name",
)
"""Who receives: each of several gets a message of its own."""


@dataclass(slots=True, frozen=True)
class Message:
    """Something was done with one message, or with several at once.

    trace_id: None of a log record without a trace. ids: of the messages. destination: a queue, a topic, an event's
    name. consumer: who received it, where that is said; service: of which program. above: (trace id, span id) of what
    it came from. is_done: neither failed nor still under way. is_new: among the rows that are looked through for what
    was sent.
    """

    way: Way
    tenant: str
    trace_id: str | None
    span_id: str | None
    name: str
    start_ns: int
    end_ns: int
    ids: Sequence[str]
    destination: str | None
    consumer: tuple[str, ...]
    service: str
    above: Sequence[tuple[str, str]]
    is_done: bool
    is_new: bool

    def is_due(self, window: Window) -> bool:
        """Whether it was sent within the window, and so long ago that it should have arrived."""
        is_then = self.start_ns >= window.since_ns and self.end_ns <= window.now_ns - GRACE_NS
        return self.way is Way.SENT and self.is_done and self.is_new and is_then and self.trace_id is not None


def messages(reader: Reader, window: Window) -> Sequence[Message]:
    """All that the newest spans and log records tell of, in the order in which they came."""
    tenant, told = _read.get(reader, (None, None))
    if told is None or tenant != window.tenant:
        services: dict[bytes, str] = {}
        spans = _newest(reader, window, "spans", _of_span, services)
        logs = _newest(reader, window, "logs", _of_log, services)
        told = [*spans, *logs]
        _read[reader] = window.tenant, told
    return told


class Arrived:
    """Which of the messages that were sent somebody is known to have received, by their ids or by what came of them.

    messages: what was received or processed.
    """

    def __init__(self, told: Iterable[Message]) -> None:
        self.messages = [each for each in told if each.way is not Way.SENT]
        self._ids = {(each.tenant, one) for each in self.messages for one in each.ids}
        self._above = {(each.tenant, *one) for each in self.messages for one in each.above}

    def has(self, sent: Message) -> bool:
        """Whether one that was sent has arrived."""
        return (sent.tenant, sent.trace_id, sent.span_id) in self._above or any(
            (sent.tenant, one) in self._ids for one in sent.ids
        )


def traces_of(some: Iterable[Message]) -> list[str]:
    """The ids of the traces that tell of them, each once."""
    return list(dict.fromkeys(each.trace_id for each in some if each.trace_id))


def spans_of(some: Iterable[Message]) -> list[str]:
    """The ids of the spans that tell of them, each once."""
    return list(dict.fromkeys(each.span_id for each in some if each.span_id))


def _newest(
    reader: Reader,
    window: Window,
    where: str,
    read: Callable[[Row], Iterator[Message]],
    services: dict[bytes, str],
) -> Iterator[Message]:
    """services: the names of programs by the id of their resource, as far as they are known."""
    named = {"tenant": window.tenant, "half": MAX_ROWS, "whole": 2 * MAX_ROWS, "bytes": MAX_SPAN_BYTES}
    found: list[Message] = []
    room = MAX_TOLD
    for row in reader.each(SQL[where], named):
        resource = row["resource_id"]
        if resource not in services:
            services[resource] = _service(reader, resource)
        row |= {"service": services[resource], "is_new": row["is_new"] and room > MAX_TOLD // 2}
        some = list(read(row))
        found += reversed(some)
        room -= sum(1 + len(each.ids) + len(each.above) for each in some)
        if room <= 0:
            break
    return reversed(found)


def _of_span(row: Row) -> Iterator[Message]:
    span = Span.FromString(row["span"])
    links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
    above = [*links, *([(row["trace_id"], row["parent_id"])] if row["parent_id"] else [])]
    is_done = row["status"] not in (-1, Status.STATUS_CODE_ERROR)
    linked = [each for link in span.links for each in _ids(attributes(link.attributes))]
    times = row["start_ns"], row["end_ns"]
    told = (_message(row, attributes(span.attributes), linked, above, times, is_done=is_done),)
    happened = (
        _message(row, {"event.name": event.name, **attributes(event.attributes)}, (), (), times, is_done=True)
        for event in span.events
    )
    yield from (each for each in (*told, *happened) if each is not None)


def _of_log(row: Row) -> Iterator[Message]:
    said = attributes(LogRecord.FromString(row["record"]).attributes)
    said = {**({"event.name": row["name"]} if row["name"] else {}), **said}
    found = _message(row, said, (), (), (row["time_ns"], row["time_ns"]), is_done=True)
    if found is not None:
        yield found


def _message(
    row: Row,
    said: dict[str, Any],
    linked: Sequence[str],
    above: Sequence[tuple[str, str]],
    times: tuple[int, int],
    *,
    is_done: bool,
) -> Message | None:
    way = WAYS.get(_text(said, "messaging.operation.type", "messaging.operation") or "")
    if way is None:
        return None
    return Message(
        way=way,
        tenant=row["tenant"],
        trace_id=row["trace_id"],
        span_id=row["id"],
        name=row["name"],
        start_ns=times[0],
        end_ns=times[1],
        ids=[*_ids(said), *(linked if way is not Way.SENT else ())],
        destination=_text(said, "messaging.destination.name", "messaging.destination", "event.name"),
        consumer=tuple(f"{key}={told}" for key in CONSUMERS if (told := _text(said, key))),
        service=row["service"],
        above=above,
        is_done=is_done,
        is_new=bool(row["is_new"]),
    )


def _ids(said: dict[str, Any]) -> list[str]:
    found = _text(said, "messaging.message.id", "messaging.message_id")
    return [] if found is None else [found]


def _text(said: dict[str, Any], *keys: str) -> str | None:
    """The first that is said, as text; numbers are ids, too."""
    for key in keys:
        told = said.get(key)
        if isinstance(told, str | int) and not isinstance(told, bool) and 0 < len(str(told)) <= MAX_CHARACTERS:
            return str(told)
    return None


def _service(reader: Reader, resource_id: bytes) -> str:
    row = reader.row(SQL["resource"], {"id": resource_id, "bytes": MAX_SPAN_BYTES})
    said = attributes(Resource.FromString(row["resource"]).attributes) if row else {}
    return str(said.get("service.name", ""))[:MAX_CHARACTERS]
