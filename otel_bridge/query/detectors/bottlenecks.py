"""Where the time goes: what is waited for longest over all traces, and what runs one after another and could run at
once. It is no fault that something takes longest, so this is advice.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import orjson

from otel_bridge.counts import plural
from otel_bridge.query.critical_path import Piece, children_of, own_times
from otel_bridge.query.detector import MAX_IDS, Detector, Finding, Severity, Window, called
from otel_bridge.query.outline import duration
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements

SQL = statements("otel_bridge.query.detectors", "bottlenecks.sql")

MOST_NAMES = 5
MOST_IN_A_ROW = 20
LEAST_SHARE = 0.1
LEAST_NS = 100 * 10**6
"""On an average, in each trace: what takes less is not worth somebody's time."""

LEAST_SAVED_NS = 200 * 10**6
GAP_NS = 50 * 10**6
"""Between two that run one after the other and nothing else: in more time somebody thinks."""

SIDE_BY_SIDE = ("TOOL", "RETRIEVER")
CALLS = "GENERATION"
ERROR = 2
MAX_DETAIL = 100_000
WORD = re.compile(r"\w{4,}|\d{2,}")

MODEL = (
    "A smaller model, a shorter prompt or answer, what is cached of the prompt, or streaming makes it shorter; "
    "`otel-bridge trace` shows what was said to it."
)
ELSE = (
    "Look into what it does in that time: spans of its own below it say more. What does not need the one before can "
    "run at the same time, and what is asked again and again can be kept."
)
AT_ONCE = (
    "Start them together, as tasks of an `asyncio.TaskGroup`, if none needs the answer of the one before: nothing of "
    "what they said shows that it does."
)


@dataclass(slots=True)
class Waited:
    """How long spans of one name were waited for: together, and each in its trace, the longest first in the end."""

    total_ns: int = 0
    each: list[tuple[int, str, str]] = field(default_factory=list)  # ns, trace id, span id
    type: str = "SPAN"


def find(reader: Reader, window: Window) -> list[Finding]:
    """What is waited for longest first, then what could run at once, by what that saves."""
    rows = reader.rows(SQL["spans"], window.named)
    waited: dict[str, dict[str, Waited]] = defaultdict(lambda: defaultdict(Waited))
    took: dict[str, int] = defaultdict(int)
    in_a_row = []
    for (tenant, trace_id), of_trace in groupby(rows, key=lambda row: (row["tenant"], row["trace_id"])):
        spans = {row["id"]: row for row in of_trace}
        if len(spans) == 1:  # there it is no question where the time went
            continue
        pieces = [Piece(row["id"], row["parent_id"], row["start_ns"], row["end_ns"]) for row in spans.values()]
        own = own_times(pieces)
        took[tenant] += sum(own.values())
        for span_id, own_ns in own.items():
            one = waited[tenant][spans[span_id]["name"]]
            one.total_ns += own_ns
            one.each.append((own_ns, trace_id, span_id))
            one.type = spans[span_id]["type"] or one.type
        in_a_row += [(row, sum(own.values())) for row in _in_a_row(spans, pieces)]
    found = [one for tenant, names in waited.items() for one in _longest(tenant, names, took[tenant])]
    found.sort(key=lambda one: -one.numbers["ownMs"])
    return found + _at_once(reader, in_a_row)


def _longest(tenant: str, names: dict[str, Waited], took_ns: int) -> Iterator[Finding]:
    for name, one in sorted(names.items(), key=lambda pair: (-pair[1].total_ns, pair[0]))[:MOST_NAMES]:
        one.each.sort(key=lambda each: (-each[0], each[1:]))
        traces = list(dict.fromkeys(trace_id for _, trace_id, _ in one.each))
        share, slowest_ns = one.total_ns / took_ns, one.each[0][0]
        if share < LEAST_SHARE or one.total_ns < LEAST_NS * len(traces):
            continue
        often = plural(len(traces), "trace")
        slowest = f", the slowest {duration(slowest_ns / 1e6)}" if len(one.each) > 1 else ""
        yield Finding(
            kind="bottlenecks",
            severity=Severity.INFO,
            says=f"{called(name)} takes {share:.0%} of the time: {duration(one.total_ns / 1e6)} in {often}{slowest}",
            remedy=MODEL if one.type == CALLS else ELSE,
            tenant=tenant,
            traces=traces[:MAX_IDS],
            observations=[span_id for _, _, span_id in one.each[:MAX_IDS]],
            numbers={
                "ownMs": one.total_ns / 1e6,
                "share": round(share, 4),
                "times": len(one.each),
                "slowestMs": slowest_ns / 1e6,
            },
        )


def _in_a_row(spans: dict[str, Row], pieces: Sequence[Piece]) -> Iterator[list[Row]]:
    """Siblings that did one thing after another, with nothing between them, and so that it took time."""
    for below in children_of(pieces).values():
        row: list[Row] = []
        for piece in sorted(below, key=lambda piece: (piece.start_ns, piece.end_ns, piece.id)):
            one = spans[piece.id]
            follows = bool(row) and 0 <= one["start_ns"] - row[-1]["end_ns"] <= GAP_NS and len(row) < MOST_IN_A_ROW
            suits = one["type"] in SIDE_BY_SIDE and one["status"] != ERROR  # what failed is tried again
            if not (suits and follows):
                yield from _if_long(row)
                row = []
            if suits:
                row.append(one)
        yield from _if_long(row)


def _if_long(row: list[Row]) -> list[list[Row]]:
    return [row] if len(row) > 1 and _saved_ns(row) >= LEAST_SAVED_NS else []


def _saved_ns(row: Sequence[Row]) -> int:
    took: list[int] = [one["end_ns"] - one["start_ns"] for one in row]
    return sum(took) - max(took)


def _at_once(reader: Reader, found: list[tuple[list[Row], int]]) -> list[Finding]:
    findings: list[Finding] = []
    worth = [(row, took_ns) for row, took_ns in found if _saved_ns(row) >= LEAST_SHARE * took_ns]
    worth.sort(key=lambda pair: (-_saved_ns(pair[0]), pair[0][0]["trace_id"], pair[0][0]["id"]))
    for row, took_ns in worth[: 4 * MOST_NAMES]:
        if len(findings) < MOST_NAMES and _are_apart(reader, row):
            names = dict.fromkeys(called(one["name"]) for one in row)
            what = f"{plural(len(row), 'call')} of {' and '.join(names)}" if len(names) < 3 else ", ".join(names)
            saved_ms, took_ms = _saved_ns(row) / 1e6, took_ns / 1e6
            findings.append(
                Finding(
                    kind="bottlenecks",
                    severity=Severity.INFO,
                    says=(
                        f"{what} ran one after another, and could run at once: that would save {duration(saved_ms)} "
                        f"of {duration(took_ms)}"
                    ),
                    remedy=AT_ONCE,
                    tenant=row[0]["tenant"],
                    traces=[row[0]["trace_id"]],
                    observations=[one["id"] for one in row],
                    numbers={"savedMs": saved_ms, "tookMs": took_ms, "calls": len(row)},
                )
            )
    return findings


def _are_apart(reader: Reader, row: Sequence[Row]) -> bool:
    """Whether none seems to need what another before it gave: nothing of that is said to it. Where nothing is known of
    what was said, they are apart if they are calls of one thing."""
    ids = orjson.dumps([one["id"] for one in row]).decode()
    named = {"trace_id": row[0]["trace_id"], "tenant": row[0]["tenant"], "ids": ids, "most": MAX_DETAIL}
    said = {one["id"]: one for one in reader.rows(SQL["said"], named)}
    inputs = [said.get(one["id"], {}).get("input") for one in row]
    outputs = [said.get(one["id"], {}).get("output") for one in row]
    if any(each is None for each in (*inputs, *outputs[:-1])):
        return len({one["name"] for one in row}) == 1 and not any(inputs)
    if len(set(inputs)) < len(inputs):  # the same is asked again: there is a reason for that
        return False
    given: set[str] = set()
    known: set[str] = set()
    for asked, answered in zip(inputs, outputs, strict=True):
        words = _words(asked)
        if words & (given - known):
            return False
        known |= words
        given |= _words(answered)
    return True


def _words(text: object) -> set[str]:
    """Of what was said, without the names of fields."""
    try:
        held = orjson.loads(str(text))
    except ValueError:
        held = str(text)
    found, waiting = set(), [held]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        else:
            found |= set(WORD.findall(str(one).casefold()))
    return found


DETECTOR = Detector("bottlenecks", "what is waited for longest, and what could run at once", find, is_advice=True)
