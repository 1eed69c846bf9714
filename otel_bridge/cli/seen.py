"""What `otel-bridge run` says at the end: what came while the program ran, in sums and in a line."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from otel_bridge.cli.asking import ask
from otel_bridge.cli.found import Viewer
from otel_bridge.cli.questions import load_traces
from otel_bridge.counts import plural
from otel_bridge.errors import BridgeError
from otel_bridge.sides import side_of

WAIT_S, LOOK_EVERY_S = 1.0, 0.02
PAGES = 50  # of 200 traces; more are not counted


def seen_by_bridge(viewer: Viewer, began: datetime, stopped: Callable[[], bool]) -> dict[str, Any] | None:
    """What a bridge that goes on has seen since, as `_sums` says, or `{"error": sentence}`.

    What it has acknowledged comes to its store a tenth of a second later; a bridge that many send to always has
    something on the way, so that is not waited for longer than a second.

    stopped: whether nobody wants to know any more; then it is None.
    """
    until_s = time.monotonic() + WAIT_S
    try:
        while _on_the_way(viewer) and time.monotonic() < until_s and not stopped():
            time.sleep(LOOK_EVERY_S)
        traces, is_all = _since(viewer, began)
        seen = _sums(traces, {} if traces else refused(viewer), is_all=is_all)
    except BridgeError as error:
        seen = {"error": str(error)}
    return None if stopped() else seen


def seen_in_store(store: Path, began: datetime, refusals: Mapping[str, int]) -> dict[str, Any]:
    """What the store of a bridge that has ended holds since, as `_sums` says, or `{"error": sentence}`.

    refusals: what that bridge had `refused`.
    """
    try:
        traces, is_all = _since(store, began)
    except BridgeError as error:
        return {"error": str(error)}
    return _sums(traces, refusals, is_all=is_all)


def refused(viewer: Viewer) -> dict[str, int]:
    """Why a bridge has taken in nothing of what it was asked to, if it was: reason → how often, since its start.

    Raises:
        UnreachableError: no viewer answers.
    """
    found: Counter[str] = Counter()
    for one in ask(viewer, "/api/v1/status")["counters"]:
        if one["name"] == "refused" or (one["name"] == "tls_refused" and one["component"].startswith("otlp")):
            found[one["reason"]] += one["value"]
    return dict(found)


def told(seen: Mapping[str, Any], again: str = "", otherwise: str | None = None) -> str:
    """What was seen, in a line; of several traces, the largest is the one to look at.

    again: what a command has to be told to find the same bridge. otherwise: why none may come, where that is known.
    """
    if "error" in seen:
        return str(seen["error"])
    if not seen["traces"] and otherwise:
        return f"no spans came: {otherwise}"
    if not seen["traces"] and seen["refused"]:
        reasons = ", ".join(seen["refused"])
        return f"no spans came, and the bridge has refused some since it began: {reasons}; docs/access.md says more"
    if not seen["traces"]:
        return "no spans came; is the program instrumented? opentelemetry-bootstrap -a requirements says what it lacks"
    more = "" if seen["all"] else "more than "
    parts = [f"{more}{plural(len(seen['traces']), 'trace')}", plural(seen["spans"], "span")]
    parts += [plural(seen["tokens"], "token")] if seen["tokens"] else []
    parts += [f"${seen['cost']:.2g}"] if seen["cost"] else []
    parts += [plural(seen["errors"], "error")] if seen["errors"] else []
    parts += [] if seen["settled"] else ["open for some seconds more"]
    return f"{' · '.join(parts)} · otel-bridge trace {seen['largest'][:8]}{again}"


def waiting(left: Mapping[str, Mapping[str, int]], again: str = "") -> str:
    """What is still to be delivered, by exporter and signal, in a line; again: as of `told`."""
    of = {"traces": "span", "logs": "log record", "metrics": "data point"}
    said = [
        f"{' and '.join(plural(items, of[signal]) for signal, items in sorted(signals.items(), reverse=True))} to {to}"
        for to, signals in left.items()
    ]
    return (
        f"still to be delivered: {', '.join(said)}; the next bridge with these files does that,"
        f" `otel-bridge audit{again}` counts it"
    )


def _on_the_way(viewer: Viewer) -> bool:
    """Whether something is in the journal, and not yet in the store."""
    exporters = ask(viewer, "/api/v1/status")["exporters"]
    stores = [tenants for name, tenants in exporters.items() if "/store" in name and side_of(name) == name]
    return any(tenant["waiting"] for tenants in stores for tenant in tenants.values())


def _since(source: Viewer | Path, began: datetime) -> tuple[list[dict[str, Any]], bool]:
    """The traces, and whether that is all."""
    since = began.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    traces: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(PAGES):
        page = load_traces(source, f"start:>{since}", limit=200, cursor=cursor)
        traces += page["traces"]
        if (cursor := page["nextCursor"]) is None:
            return traces, True
    return traces, False


def _sums(traces: list[dict[str, Any]], refusals: Mapping[str, int], *, is_all: bool) -> dict[str, Any]:
    """Plain JSON: `traces` (ids) and whether these are `all`, the id of the `largest`, whether all are `settled`; sums
    of `spans`, `tokens`, `cost` in dollars and `errors`; `refused` where nothing came.

    tokens, cost: null where a trace has not settled: what it says is understood then.
    """
    largest = max(traces, key=lambda found: found["observationCount"], default=None)
    is_settled = all(found["settled"] for found in traces)
    return {
        "traces": [found["id"] for found in traces],
        "all": is_all,
        "largest": largest and largest["id"],
        "settled": is_settled,
        "spans": sum(found["observationCount"] for found in traces),
        "tokens": sum(found["totalTokens"] or 0 for found in traces) if is_settled else None,
        "cost": sum(found["totalCost"] or 0 for found in traces) if is_settled else None,
        "errors": sum(found["errorCount"] for found in traces),
        "refused": {} if traces else dict(refusals),
    }
