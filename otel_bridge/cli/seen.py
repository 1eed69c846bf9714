"""What `otel-bridge run` says at the end: what came while the program ran, in sums and in a line."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from otel_bridge.cli.asking import LateError, ask
from otel_bridge.cli.found import Viewer
from otel_bridge.cli.questions import load_traces
from otel_bridge.cli.refused import Refused, refused_in, since
from otel_bridge.counts import plural
from otel_bridge.errors import BridgeError
from otel_bridge.sides import side_of
from otel_bridge.undelivered import configured, reasons

WAIT_S, LOOK_EVERY_S = 1.0, 0.02
ANSWERS_S = 3.0  # for all answers of a bridge together: the program has ended, and somebody waits for the next one
# Refusals over who sends: keys, and the handshakes of TLS.
ABOUT_ACCESS = {"unauthenticated", "too_many_failures", "no_certificate", "bad_certificate", "expired_certificate"}
ABOUT_ACCESS |= {"certificate_not_yet_valid", "unknown_ca", "refused_by_client", "plaintext", "tls_version"}
ABOUT_ACCESS |= {"no_shared_cipher", "other"}
PAGES = 50  # of 200 traces; more are not counted


def seen_by_bridge(
    viewer: Viewer, began: datetime, before: Refused | None, stopped: Callable[[], bool]
) -> dict[str, Any] | None:
    """What a bridge that goes on has seen since, as `_sums` says, or `{"error": sentence}`; with it `why`, the reasons
    for which exporters do not take it now, and `untried`, those that have never had anything of its tenants.

    What it has acknowledged comes to its store a tenth of a second later; a bridge that many send to always has
    something on the way, so that is not waited for longer than a second; nor for its answers longer than three.

    before: what it had refused until then; None: that is not known. stopped: whether nobody wants to know any more;
    then it is None.
    """
    until_s, answered_s = time.monotonic() + WAIT_S, time.monotonic() + ANSWERS_S
    try:
        while _on_the_way(status := _status(viewer, answered_s)) and time.monotonic() < until_s and not stopped():
            time.sleep(LOOK_EVERY_S)
        traces, is_all = _since(viewer, began, answered_s)
        tenants = {found["tenant"] for found in traces}
        seen = {
            **_sums(traces, {} if traces else since(before, refused_in(status)), is_all=is_all),
            "why": reasons(status["exporters"], tenants),
            "untried": _untried(status, tenants),
        }
    except BridgeError as error:
        seen = {"error": str(error)}
    return None if stopped() else seen


def seen_in_store(store: Path, began: datetime, refusals: Refused) -> dict[str, Any]:
    """What the store of a bridge that has ended holds since, as `_sums` says, or `{"error": sentence}`.

    refusals: what that bridge had refused meanwhile.
    """
    try:
        traces, is_all = _since(store, began)
    except BridgeError as error:
        return {"error": str(error)}
    return _sums(traces, refusals, is_all=is_all)


def _status(viewer: Viewer, until_s: float) -> dict[str, Any]:
    return ask(viewer, "/api/v1/status", timeout_s=_left_s(until_s))


def _left_s(until_s: float) -> float:
    return max(LOOK_EVERY_S, until_s - time.monotonic())


def told(seen: Mapping[str, Any], again: str = "", otherwise: str | None = None, code: int = 0) -> str:
    """What was seen, in a line; of several traces, the largest is the one to look at.

    again: what a command has to be told to find the same bridge. otherwise: why none may come, where that is known.
    code: the program's exit code.
    """
    if "error" in seen:
        return str(seen["error"])
    if not seen["traces"] and otherwise:
        return f"no spans came: {otherwise}"
    if not seen["traces"] and seen["refused"]:
        refusals, pages = ", ".join(seen["refused"]), {_page(reason) for reason in seen["refused"]}
        often = plural(sum(seen["refused"].values()), "request")
        return f"no spans came, and the bridge refused {often} meanwhile: {refusals}; see {' and '.join(sorted(pages))}"
    if not seen["traces"]:
        failed = f"the program ended with exit code {code}; if it had begun its work: " if code else ""
        remedy = "is the program instrumented? opentelemetry-bootstrap -a requirements says what it lacks"
        return f"no spans came; {failed}{remedy}"
    more = "" if seen["all"] else "more than "
    parts = [f"{more}{plural(len(seen['traces']), 'trace')}", plural(seen["spans"], "span")]
    parts += [plural(seen["tokens"], "token")] if seen["tokens"] else []
    parts += [f"${seen['cost']:.2g}"] if seen["cost"] else []
    parts += [plural(seen["errors"], "error")] if seen["errors"] else []
    parts += [] if seen["settled"] else ["open for some seconds more"]
    return f"{' · '.join(parts)} · otel-bridge trace {seen['largest'][:8]}{again}"


def not_taken(seen: Mapping[str, Any], again: str = "") -> list[str]:
    """What keeps a bridge that goes on from delivering it, in lines; again: as of `told`."""
    lines = [
        f"{to} does not take it now ({'; '.join(why)}): it is kept, and sent when that is over;"
        f" `otel-bridge status{again}` says how it goes"
        for to, why in seen.get("why", {}).items()
    ]
    if untried := ", ".join(to for to in seen.get("untried", ()) if to not in seen["why"]):
        lines.append(
            f"whether {untried} takes it is not known yet: `otel-bridge status{again}` says so in some seconds"
        )
    return lines


def _page(reason: str) -> str:
    """Where more is said of a refusal."""
    return "docs/access.md" if reason in ABOUT_ACCESS else "docs/operating.md#senders-that-ask-too-much"


def _untried(status: Mapping[str, Any], tenants: Collection[str]) -> list[str]:
    """The exporters that something of these tenants waits for, and that have never taken anything of theirs."""
    taken = {
        configured(f"{row['pipeline']}/{row['exporter']}")
        for row in status["outcomes"]
        if row["outcome"] == "delivered" and row["tenant"] in tenants
    }
    waiting = (
        configured(exporter)
        for exporter, lanes in status["exporters"].items()
        if any(lane["waiting"] > 0 and tenant in tenants for tenant, lane in lanes.items())
    )
    return [exporter for exporter in dict.fromkeys(waiting) if exporter not in taken]


def _on_the_way(status: Mapping[str, Any]) -> bool:
    """Whether something is in the journal, and not yet in the store."""
    exporters = status["exporters"]
    stores = [tenants for name, tenants in exporters.items() if "/store" in name and side_of(name) == name]
    return any(tenant["waiting"] for tenants in stores for tenant in tenants.values())


def _since(source: Viewer | Path, began: datetime, until_s: float = math.inf) -> tuple[list[dict[str, Any]], bool]:
    """The traces, and whether that is all; of a viewer, as far as it has answered until a moment.

    Raises:
        BridgeError: there is no answer to begin with.
    """
    since = began.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    traces: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(PAGES):
        try:
            page = load_traces(source, f"start:>{since}", limit=200, cursor=cursor, timeout_s=_left_s(until_s))
        except LateError:
            if cursor is None:
                raise
            break
        traces += page["traces"]
        if (cursor := page["nextCursor"]) is None:
            return traces, True
    return traces, False


def _sums(traces: list[dict[str, Any]], refusals: Refused, *, is_all: bool) -> dict[str, Any]:
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
