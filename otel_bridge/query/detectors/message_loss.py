"""Messages that were sent and never received, and those that one consumer received twice."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from otel_bridge.counts import plural
from otel_bridge.query.detector import Detector, Finding, Severity, Window, called
from otel_bridge.query.messaging import GRACE_NS, Arrived, Message, Way, messages, spans_of, traces_of
from otel_bridge.query.outline import duration
from otel_bridge.store.reader import Reader

NAMED = 3

APART_NS = 10**8
"""Where nobody says who a consumer is, what is received at one time is received by several."""

LOST = (
    "Look at what received from there at that time: whether it ended, refused them or passed them over; a message is "
    "to be acknowledged when it has been handled, and not before."
)
TWICE = (
    "Have who receives remember the ids that it has handled, and pass those over; and acknowledge before the time is "
    "up after which a message comes again."
)


def find(reader: Reader, window: Window) -> list[Finding]:
    """Those with the most messages first."""
    told = messages(reader, window)
    found = [*_lost(told, window), *_twice(told, window)]
    return sorted(found, key=lambda one: (-one.numbers.get("lost", 0), -one.numbers.get("twice", 0), one.says))


def _lost(told: Sequence[Message], window: Window) -> Iterable[Finding]:
    """By destination; only of those from which somebody is known to receive: who tells of nothing may have received
    everything."""
    arrived = Arrived(told)
    heard = {(each.tenant, each.destination) for each in arrived.messages if each.ids}
    sent: dict[tuple[str, str | None], dict[str, Message]] = defaultdict(dict)
    lost: dict[tuple[str, str | None], dict[str, Message]] = defaultdict(dict)
    for each in told:
        if each.way is not Way.SENT or not each.ids:
            continue
        [message_id], place = each.ids, (each.tenant, each.destination)
        has_arrived = arrived.has(each)
        if has_arrived:
            heard.add(place)
        if each.is_due(window):
            sent[place][message_id] = each
            if not has_arrived:
                lost[place][message_id] = each
    for (tenant, destination), some in lost.items():
        if (tenant, destination) in heard:
            yield _lost_there(tenant, destination, some, len(sent[tenant, destination]))


def _lost_there(tenant: str, destination: str | None, lost: dict[str, Message], sent: int) -> Finding:
    to = f" to {called(destination)}" if destination else ""
    of = f"{len(lost)} of {plural(sent, 'message')}{to} {'was' if len(lost) == 1 else 'were'}"
    return Finding(
        kind="message_loss",
        severity=Severity.ERROR,
        says=f"{of} sent and not received within {duration(GRACE_NS / 1e6)}: {_named(lost)}",
        remedy=LOST,
        tenant=tenant,
        traces=traces_of(lost.values()),
        observations=[each.span_id for each in lost.values() if each.span_id],
        numbers={"sent": sent, "lost": len(lost)},
    )


def _twice(told: Sequence[Message], window: Window) -> Iterable[Finding]:
    """By destination and consumer. What was received and then processed came once; what failed may come again."""
    came: dict[tuple[str, ...], dict[str, list[Message]]] = defaultdict(lambda: defaultdict(list))
    processed = {(each.tenant, one) for each in told if each.way is Way.PROCESSED for one in each.ids}
    for each in told:
        is_then = each.start_ns >= window.since_ns
        if each.way is Way.SENT or not (each.is_done and is_then and each.trace_id and each.span_id):
            continue
        consumer = (each.tenant, each.destination or "", each.service, each.name, each.way, *each.consumer)
        for one in dict.fromkeys(each.ids):
            if each.way is Way.PROCESSED or (each.tenant, one) not in processed:
                came[consumer][one].append(each)
    for (tenant, destination, *_), by_id in came.items():
        twice = {one: times for one, times in by_id.items() if _is_again(times)}
        if twice:
            yield _twice_there(tenant, destination, twice, len(by_id))


def _is_again(times: list[Message]) -> bool:
    """Whether one comes after the other: what goes on at one time is one delivery that two tell of."""
    spans = {each.span_id: each for each in sorted(times, key=lambda each: (each.start_ns, each.end_ns))}
    apart_ns = 0 if times[0].consumer else APART_NS
    return any(after.start_ns - before.end_ns >= apart_ns for before, after in pairwise(spans.values()))


def _twice_there(tenant: str, destination: str, twice: dict[str, list[Message]], received: int) -> Finding:
    first = next(iter(twice.values()))[0]
    source = f" from {called(destination)}" if destination else ""
    by = f"{called(first.name)}" + (f" of {called(first.service)}" if first.service else "")
    was = "was" if len(twice) == 1 else "were"
    every = [each for times in twice.values() for each in times]
    return Finding(
        kind="message_loss",
        severity=Severity.WARNING,
        says=f"{plural(len(twice), 'message')}{source} {was} {first.way} more than once by {by}: {_named(twice)}",
        remedy=TWICE,
        tenant=tenant,
        traces=traces_of(every),
        observations=spans_of(every),
        numbers={"received": received, "twice": len(twice)},
    )


def _named(ids: Iterable[str]) -> str:
    every = list(ids)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(called(each, "''") for each in every[:NAMED]) + more


DETECTOR = Detector("message_loss", "messages that were sent and never received, or received twice", find)
