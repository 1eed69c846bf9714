"""Traces that do not say what happened, as async code makes them: spans below one that had ended, or below one that
never came; a run in several traces; spans that took no time; cancellations that look like successes.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.counts import plural
from otel_bridge.query.detector import (
    MAX_FINDINGS,
    MAX_IDS,
    MAX_SPAN_BYTES,
    Detector,
    Finding,
    Severity,
    Window,
    called,
)
from otel_bridge.store.database import REMOTE, TOLD
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements
from otel_bridge.translate.span import attributes

SQL = statements("otel_bridge.query.detectors", "lint.sql")

MOST = 2000
"""Spans that one rule looks at closer."""

TOLERANCE_NS = 10 * 10**6
"""Clocks of some programs count whole milliseconds, or drift while a span is open."""
TOGETHER_NS = 5 * 10**6
"""Between the end of what was cancelled and that of what waited for it."""
CANCELLING_NS = 50 * 10**6
"""Between a failure in a group of tasks and the end of the others."""
MOMENT_NS = 100 * 10**3
"""No model answers so soon."""
QUIET_NS = 10 * 60 * 10**9
"""What stands above may be running still; after so long without anything below it, that is unlikely."""

ERROR = 2
CANCELLATIONS = ("CancelledError", "Cancelled")
MESSAGING_KINDS = (Span.SPAN_KIND_CONSUMER, Span.SPAN_KIND_SERVER)

LATE = (
    "Wait for the task before the span ends; or, where it is to outlive that, give it a span of its own with a link "
    "(`links=`) to the one that started it. Below a generator that was left early, close it (`aclose`) or wrap it in "
    "`stream()` of otel_bridge.sdk. What goes on from a queue says so by kind CONSUMER."
)
ORPHANS = (
    "End every span, also when its block fails or is cancelled (`with span(…):`), have the program send what it has "
    "before it exits (`shutdown`), and let no exporter pick out some spans of a trace: it takes their parents away."
)
SPLIT = (
    "Carry the context along: `asyncio.to_thread`, or opentelemetry-instrumentation-threading for threads and "
    "executors; `ContextQueue` of otel_bridge.sdk for a queue; `stream()` for a generator whose items are fetched in "
    "tasks of their own. Or link the two (`links=`)."
)
AT_ONCE = (
    "Put the span around what is awaited, and not around what makes the coroutine: decorate with `@span`, which waits "
    "for what is async, or write `async with span(…):` around the `await`."
)
CANCELLED = (
    "OpenTelemetry's `start_as_current_span` looks at `Exception` alone, and a cancellation is none: use `span()` of "
    "otel_bridge.sdk, or catch CancelledError, set the status to ERROR, and raise it again."
)


@dataclass(slots=True, frozen=True)
class Fault:
    """One span, or trace, that a rule does not hold for; those of one tenant with the same `says` are told together."""

    tenant: str
    trace_id: str
    id: str | None
    says: str


def find(reader: Reader, window: Window) -> list[Finding]:
    """By rule; of one rule those that concern most spans first."""
    found = []
    for rule, remedy in RULES:
        together: dict[tuple[str, str], list[Fault]] = defaultdict(list)
        for fault in rule(reader, window):
            together[fault.tenant, fault.says].append(fault)
        some = [_finding(faults, remedy) for faults in together.values()]
        found += sorted(some, key=lambda one: -one.numbers["times"])[: MAX_FINDINGS // len(RULES)]
    return found


def _finding(faults: Sequence[Fault], remedy: str) -> Finding:
    traces = list(dict.fromkeys(fault.trace_id for fault in faults))
    where = f" (in {plural(len(traces), 'trace')})" if len(traces) > 1 else ""
    return Finding(
        kind="lint",
        severity=Severity.WARNING,
        says=f"{faults[0].says}{where}",
        remedy=remedy,
        tenant=faults[0].tenant,
        traces=traces,
        observations=list(dict.fromkeys(fault.id for fault in faults if fault.id))[:MAX_IDS],
        numbers={"times": len(faults), "traces": len(traces)},
    )


def _late(reader: Reader, window: Window) -> Iterator[Fault]:
    values = {**window.named, "remote": REMOTE, "tolerance": TOLERANCE_NS, "most": MOST}
    explained: dict[tuple[str, str, str], bool] = {}  # by what stands above, as many may stand below one
    for row in reader.rows(SQL["late"], values):
        place = row["trace_id"], row["tenant"], row["above_id"]
        if place not in explained:
            above = _span(reader, *place)
            explained[place] = above is None or _is_sent(above)
        if explained[place]:
            continue
        late = _span(reader, row["trace_id"], row["tenant"], row["id"])
        if late is not None and not _is_message(late):
            says = f"{called(row['name'])} began after {called(row['above'])}, which it stands below, had ended"
            yield _fault(row, says)


def _span(reader: Reader, trace_id: str, tenant: str, span_id: str) -> Span | None:
    """None of one that is too large."""
    named = {"trace_id": trace_id, "tenant": tenant, "id": span_id, "bytes": MAX_SPAN_BYTES}
    row = reader.row(SQL["span"], named)
    return Span.FromString(row["span"]) if row else None


def _is_message(span: Span) -> bool:
    return span.kind in MESSAGING_KINDS or any(pair.key.startswith("messaging.") for pair in span.attributes)


def _is_sent(span: Span) -> bool:
    return span.kind == Span.SPAN_KIND_PRODUCER or _is_message(span)


def _orphans(reader: Reader, window: Window) -> Iterator[Fault]:
    values = {**window.named, "told": TOLD, "quiet": window.now_ns - QUIET_NS, "most": MOST}
    for row in reader.rows(SQL["orphans"], values):
        yield _fault(row, f"{called(row['name'])} stands below a span of its own program that has never come")


def _split(reader: Reader, window: Window) -> Iterator[Fault]:
    """What begins while another trace of its run goes on, under another name: many of one name are an experiment."""
    told = 0
    main: Row | None = None
    for row in reader.rows(SQL["runs"], window.named):
        if (
            main is None
            or (row["tenant"], row["run"]) != (main["tenant"], main["run"])
            or row["start_ns"] > main["end_ns"]
        ):
            main = row
            continue
        if row["name"] == main["name"] or told >= MAX_FINDINGS or _are_linked(reader, row, main):
            continue
        told += 1
        run = f"the run {called(str(row['run']))}"
        says = f"{called(row['name'])} is a trace of its own, and belongs into {called(main['name'])}: both are {run}"
        yield Fault(row["tenant"], row["trace_id"], None, says)


def _are_linked(reader: Reader, one: Row, other: Row) -> bool:
    pairs = ((one["trace_id"], other["trace_id"]), (other["trace_id"], one["trace_id"]))
    named = [{"tenant": one["tenant"], "trace_id": trace_id, "other": there} for trace_id, there in pairs]
    return any(reader.row(SQL["linked"], values) for values in named)


def _at_once(reader: Reader, window: Window) -> Iterator[Fault]:
    for row in reader.rows(SQL["at_once"], {**window.named, "moment": MOMENT_NS, "most": MOST}):
        yield _fault(row, f"{called(row['name'])} ended before what it stands for had begun: it only made a coroutine")


def _cancelled(reader: Reader, window: Window) -> Iterator[Fault]:
    told = set()
    named = {**window.named, "most": MOST, "bytes": MAX_SPAN_BYTES}
    for row in reader.rows(SQL["marked"], named):
        place = row["trace_id"], row["tenant"], row["id"]
        span = _span(reader, *place)
        if span is not None and _says_cancelled(span):
            told.add(place)
            yield _fault(row, f"{called(row['name'])} was cancelled, and its status says nothing of that")
    failed: dict[tuple[str, str, str], tuple[bool, bool]] = {}
    for row in reader.rows(SQL["failed"], named):
        place = row["trace_id"], row["tenant"], row["id"]
        span = _span(reader, *place)
        how = (_is_stopped(span), _is_group(span)) if span is not None else (False, False)
        if any(how):
            failed[place] = how
    by_parent: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in reader.rows(SQL["below"], {**named, "failed": orjson.dumps(list(failed)).decode()}):
        by_parent[row["trace_id"], row["tenant"], row["above_id"]].append(row)
    for place, rows in by_parent.items():
        is_stopped, is_group = failed[place]
        for row in _cut_short(rows, is_stopped=is_stopped, is_group=is_group):
            if (row["trace_id"], row["tenant"], row["id"]) not in told:
                says = f"{called(row['name'])} was cut short together with {called(row['above'])}, and looks successful"
                yield _fault(row, says)


def _cut_short(rows: Sequence[Row], *, is_stopped: bool, is_group: bool) -> Iterator[Row]:
    """What below one span ended with that by its cancellation, or with a sibling that failed in a group of tasks."""
    failures = sorted(row["end_ns"] for row in rows if row["status"] == ERROR)
    for row in rows:
        if row["status"] == ERROR:
            continue
        began, ended = row["start_ns"], row["end_ns"]
        place = bisect_left(failures, max(began, ended - CANCELLING_NS))
        with_sibling = place < len(failures) and failures[place] <= ended
        if (is_stopped and row["above_end_ns"] - ended <= TOGETHER_NS) or (is_group and with_sibling):
            yield row


def _says_cancelled(span: Span) -> bool:
    said = attributes(span.attributes).get("otel_bridge.outcome") == "cancelled"
    return said or any(kind in CANCELLATIONS for kind, _ in _exceptions(span))


def _is_stopped(span: Span) -> bool:
    """Cancelled, or by a timeout that cancels what it is around: that one comes of a cancellation."""
    if attributes(span.attributes).get("otel_bridge.outcome") in ("cancelled", "timeout"):
        return True
    return any(
        kind in CANCELLATIONS or (kind == "TimeoutError" and "CancelledError" in trace)
        for kind, trace in _exceptions(span)
    )


def _is_group(span: Span) -> bool:
    return "TaskGroup" in span.status.message or any("in a TaskGroup" in trace for _, trace in _exceptions(span))


def _exceptions(span: Span) -> Iterator[tuple[str, str]]:
    """Of each that was recorded, the class without its module, and the stack trace."""
    for event in span.events:
        if event.name == "exception":
            said: dict[str, Any] = attributes(event.attributes)
            kind = str(said.get("exception.type", "")).rpartition(".")[2]
            yield kind, str(said.get("exception.stacktrace", ""))


def _fault(row: Row, says: str) -> Fault:
    return Fault(row["tenant"], row["trace_id"], row["id"], says)


RULES: Sequence[tuple[Callable[[Reader, Window], Iterable[Fault]], str]] = (
    (_late, LATE),
    (_orphans, ORPHANS),
    (_split, SPLIT),
    (_at_once, AT_ONCE),
    (_cancelled, CANCELLED),
)

DETECTOR = Detector("lint", "traces that do not say what happened, as async code makes them, each with its fix", find)
