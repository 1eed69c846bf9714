"""Names of queues, topics and events that are sent to and that nobody listens to, though somebody listens to one that
is nearly written so: `signals:discovered` and `signals.discovered`.
"""

from collections import defaultdict

from otel_bridge.query.detector import Detector, Finding, Severity, Window, called
from otel_bridge.query.messaging import Arrived, Message, Way, messages, spans_of, traces_of
from otel_bridge.store.reader import Reader

REMEDY = "Send and listen under one name: write it once, as a constant that both sides use."


def find(reader: Reader, window: Window) -> list[Finding]:
    """Those that were sent to most often first."""
    told = messages(reader, window)
    arrived = Arrived(told)
    heard: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in arrived.messages:
        if each.destination:
            heard[each.tenant, plain(each.destination)].add(each.destination)
    sent: dict[tuple[str, str], list[Message]] = defaultdict(list)
    arriving = set()  # under another name, as where a broker has a name of its own for it
    for each in told:
        if each.way is Way.SENT and each.destination:
            place = each.tenant, each.destination
            if arrived.has(each):
                arriving.add(place)
            if each.is_due(window):
                sent[place].append(each)
    found = []
    for (tenant, name), some in sent.items():
        near = heard.get((tenant, plain(name)), set())
        if near and name not in near and (tenant, name) not in arriving:
            found.append(_finding(tenant, name, min(near), some))
    return sorted(found, key=lambda one: (-one.numbers["sent"], one.says))


def plain(name: str) -> str:
    """A name without what people write differently: case, and what stands between its words."""
    return "".join(filter(str.isalnum, name.casefold())) or name


def _finding(tenant: str, name: str, near: str, sent: list[Message]) -> Finding:
    times = "once" if len(sent) == 1 else f"{len(sent)} times"
    return Finding(
        kind="name_mismatch",
        severity=Severity.WARNING,
        says=f"{called(name)} was sent to {times} and nobody receives from it: did you mean {called(near)}?",
        remedy=REMEDY,
        tenant=tenant,
        traces=traces_of(sent),
        observations=spans_of(sent),
        numbers={"sent": len(sent)},
    )


DETECTOR = Detector("name_mismatch", "names that are sent to and not received from, and one that was meant", find)
