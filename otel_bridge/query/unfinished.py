"""What of a trace has not ended yet, as far as anybody has told: a span comes when it ends, and not before."""

from time import time_ns

from otel_bridge.query.answer import Answer, moment, name
from otel_bridge.query.heartbeats import is_silent
from otel_bridge.store.database import REMOTE, TOLD
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements

SQL = statements("otel_bridge.query", "unfinished.sql")

MOST = 20
NAMED = 3


def unfinished(reader: Reader, trace_id: str, tenant: str, summary: Answer) -> Answer | None:
    """What is still open of a trace, or that it waits to settle; None where neither is so, or it is not kept.

    `spans` are ids of those that were told to be open, `lastTime` when one of them was told of last; `parents` are ids
    that spans name as what stands above them, and that have not come (20 at most of each). `since` is when the first of
    all began, `said` the same in a sentence.
    """
    if summary["omitted"]:
        return None
    named = {"trace_id": trace_id, "tenant": tenant, "most": MOST}
    spans = reader.rows(SQL["spans"], named)
    parents = reader.rows(SQL["parents"], {**named, "settled": summary["settled"], "told": TOLD})
    if summary["settled"] and not (spans or parents):
        return None
    is_lost = bool(spans) and is_silent(reader, trace_id, tenant, time_ns())
    return {
        "since": min([summary["startTime"], *(moment(row["start_ns"]) for row in spans)]),
        "spans": [row["id"] for row in spans],
        "spanCount": spans[0]["of"] if spans else 0,
        "lastTime": moment(max(row["end_ns"] for row in spans)) if spans else None,
        "parents": [row["id"] for row in parents],
        "said": _said(spans, parents, is_settled=summary["settled"], is_lost=is_lost),
    }


def _said(spans: list[Row], parents: list[Row], *, is_settled: bool, is_lost: bool) -> str:
    begin = "settled in part" if is_settled else "still running"
    if spans:
        have = "has" if spans[0]["of"] == 1 else "have"
        gone = "; no heartbeat comes any more: its program may be gone" if is_lost else ""
        return f"{begin}: {_names([row['name'] for row in spans], spans[0]['of'])} {have} not ended{gone}"
    if local := [row for row in parents if row["place"] != REMOTE]:
        children = sum(row["children"] for row in local)
        below = _names([row["child"] for row in local], children)
        if is_settled:
            return f"{begin}: what stands above {below} has not come: it runs still, or was dropped"
        return f"{begin}: what stands above {below} has not ended"
    if parents:
        return "what stands above it is in another program; it settles when nothing more comes"
    return "all that came has ended; it settles when nothing more comes"


def _names(names: list[str], count: int) -> str:
    shown = [name(each) or "a span without a name" for each in names[:NAMED]]
    more = [f"{count - len(shown)} more"] if count > len(shown) else []
    *first, last = [*shown, *more]
    return f"{', '.join(first)} and {last}" if first else last
