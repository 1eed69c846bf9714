"""Runs that have come to a standstill: something is open, and nothing has begun or ended for ten minutes; or the
program has fallen silent in the midst of it.

A span is told of while it runs by heartbeats of the SDK; of programs without them nothing is found here.
"""

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.counts import plural
from otel_bridge.query.answer import milliseconds
from otel_bridge.query.detector import MAX_FINDINGS, Detector, Finding, Severity, Window, called
from otel_bridge.query.heartbeats import SILENT_NS, is_silent
from otel_bridge.query.outline import duration
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements
from otel_bridge.translate.span import attributes

SQL = statements("otel_bridge.query.detectors", "stalled.sql")

STALLED_NS = 10 * 60 * 10**9

MOST_OPEN = 500
"""Of one trace; those that began last, as the deepest of all is mostly among them."""

PEERS = (
    "otel_bridge.waits_on",
    "peer.service",
    "service.peer.name",
    "server.address",
    "messaging.destination.name",
    "gen_ai.request.model",
)
"""What says whom a span waits for, the most telling first."""


def find(reader: Reader, window: Window) -> list[Finding]:
    """Those of which something was told within the window, those that stand still for longest first."""
    found = []
    limits = {"silent": window.now_ns - SILENT_NS, "still": window.now_ns - STALLED_NS, "most": MAX_FINDINGS}
    for row in reader.rows(SQL["open"], {**window.named, **limits}):
        named = {"trace_id": row["trace_id"], "tenant": row["tenant"], "most": MOST_OPEN}
        deepest = _deepest(reader.rows(SQL["spans"], named))
        named["id"] = deepest["id"]
        is_lost = is_silent(reader, row["trace_id"], row["tenant"], window.now_ns)
        if is_lost or row["moved_ns"] < limits["still"]:
            span = reader.rows(SQL["span"], named)[0]["span"]
            found.append(_finding(row, deepest, span, window.now_ns, is_lost=is_lost))
    return found


def _finding(row: Row, deepest: Row, span: bytes, now_ns: int, *, is_lost: bool) -> Finding:
    run = called(row["name"], "a run without a name")
    what = _waiting(deepest["name"], attributes(Span.FromString(span).attributes))
    open_ms = milliseconds(deepest["start_ns"], now_ns)
    silent_ms, still_ms = milliseconds(row["told_ns"], now_ns), milliseconds(row["moved_ns"], now_ns)
    if is_lost:
        says = f"{run} fell silent {duration(silent_ms)} ago, while {what} was open: its program may be gone"
        remedy = (
            "Look whether that process was killed (SIGKILL, out of memory, a machine that is gone) or can no longer "
            "reach the bridge; start the run again if it was."
        )
    else:
        others = row["open_count"] - 1
        above = f" (and {plural(others, 'span')} with it)" if others else ""
        says = (
            f"{run} stands still for {duration(still_ms)}: it waits for {what}, which is open for "
            f"{duration(open_ms)}{above}"
        )
        remedy = "Look at what that call waits for, and give it a timeout, as `async with asyncio.timeout(60):`."
    return Finding(
        kind="stalled",
        severity=Severity.ERROR if is_lost else Severity.WARNING,
        says=says,
        remedy=remedy,
        tenant=row["tenant"],
        traces=[row["trace_id"]],
        observations=[deepest["id"]],
        numbers={"openMs": open_ms, "silentMs": silent_ms, "stillMs": still_ms, "openSpans": row["open_count"]},
    )


def _waiting(name: str, said: dict[str, Any]) -> str:
    peer = next((str(said[key]) for key in PEERS if said.get(key)), None)
    return f"{called(name)} ({called(peer)})" if peer and peer not in name else called(name)


def _deepest(rows: list[Row]) -> Row:
    """The one furthest down; of several the one that began last. Whatever the parents say, a circle too."""
    by_id = {row["id"]: row for row in rows}
    depths: dict[str, int] = {}
    for row in rows:
        way: list[str] = []
        current = row["id"]
        while current in by_id and current not in depths and len(way) < len(rows):
            way.append(current)
            current = by_id[current]["parent_id"]
        depth = depths.get(current, 0)
        for span_id in reversed(way):
            depth = depths.setdefault(span_id, depth + 1)
    return max(rows, key=lambda row: (depths[row["id"]], row["start_ns"], row["id"]))


DETECTOR = Detector("stalled", "runs that stand still or whose program has fallen silent, and what they wait for", find)
