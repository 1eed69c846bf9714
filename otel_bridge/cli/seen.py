"""What `otel-bridge run` says at the end: what came while the program ran, in sums and in a line."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from otel_bridge.cli.asking import ask
from otel_bridge.cli.found import Viewer
from otel_bridge.cli.questions import load_traces
from otel_bridge.errors import BridgeError

WAIT_S, LOOK_EVERY_S = 1.0, 0.02


class Watch:
    """What comes to a bridge while a program runs; made when that has started, and asked when it has ended.

    began: from when on.
    """

    def __init__(self, viewer: Viewer, began: datetime) -> None:
        self._viewer, self._began = viewer, began
        self._before = self._refused_until_now()
        self._refused: Mapping[str, int] = {}

    def ask_bridge(self, *, stopped: Callable[[], bool]) -> dict[str, Any]:
        """What a bridge that goes on has seen, as `_sums` says.

        What it has acknowledged comes to its store some hundredths of a second later; a bridge that many send to always
        has something on the way, so that is not waited for longer than a second.

        stopped: whether nobody wants to know any more.
        """
        until_s = time.monotonic() + WAIT_S
        traces: list[dict[str, Any]] = []
        try:
            while not stopped():
                is_last = time.monotonic() > until_s
                if is_last or not _on_the_way(self._viewer):
                    traces = _since(self._viewer, self._began)
                    if traces or is_last:
                        break
                time.sleep(LOOK_EVERY_S)
        except BridgeError as error:
            return {"error": str(error)}
        self.count_refused()
        return _sums(traces, self._refused)

    def count_refused(self) -> None:
        """Ask what was refused: a bridge that has ended says nothing of it any more."""
        now = self._refused_until_now()
        self._refused = {why: n - self._before.get(why, 0) for why, n in now.items() if n > self._before.get(why, 0)}

    def ask_store(self, store: Path) -> dict[str, Any]:
        """What the file of a bridge that has ended holds, as `_sums` says."""
        try:
            return _sums(_since(store, self._began), self._refused)
        except BridgeError as error:
            return {"error": str(error)}

    def _refused_until_now(self) -> dict[str, int]:
        """Why the bridge has taken in nothing of what it was asked to: reason → how often."""
        with suppress(BridgeError):  # who does not answer is asked for the traces too, and that is told
            counters = ask(self._viewer, "/api/v1/status")["counters"]
            return {one["reason"]: one["value"] for one in counters if one["name"] in ("refused", "tls_refused")}
        return {}


def told(seen: Mapping[str, Any]) -> str:
    """What was seen, in a line; of several traces, the largest is the one to look at."""
    if "error" in seen:
        return str(seen["error"])
    if not seen["traces"] and seen["refused"]:
        return f"no spans came, and the bridge has refused some: {', '.join(seen['refused'])}; docs/access.md says more"
    if not seen["traces"]:
        return "no spans came; is the program instrumented? opentelemetry-bootstrap -a requirements says what it lacks"
    parts = [_count(len(seen["traces"]), "trace"), _count(seen["spans"], "span")]
    parts += [f"{seen['tokens']} tokens"] if seen["tokens"] else []
    parts += [f"${seen['cost']:.2g}"] if seen["cost"] else []
    parts += [_count(seen["errors"], "error")] if seen["errors"] else []
    return f"{' · '.join(parts)} · otel-bridge trace {seen['largest'][:8]}"


def _on_the_way(viewer: Viewer) -> bool:
    """Whether something is in the journal, and not yet in the store."""
    exporters = ask(viewer, "/api/v1/status")["exporters"]
    stores = [tenants for name, tenants in exporters.items() if _is_store(name.partition("/")[2])]
    return any(tenant["waiting"] for tenants in stores for tenant in tenants.values())


def _is_store(exporter: str) -> bool:
    return exporter.partition("/")[0] == "store" and not exporter.endswith(".settled")


def _since(source: Viewer | Path, began: datetime) -> list[dict[str, Any]]:
    since = began.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return list(load_traces(source, f"start:>{since}", limit=200)["traces"])


def _sums(traces: list[dict[str, Any]], refused: Mapping[str, int]) -> dict[str, Any]:
    """`{"traces": [id, …], "largest": id or None, "spans", "tokens", "cost", "errors": n, "refused": {reason: n}}`."""
    largest = max(traces, key=lambda found: found["observationCount"], default=None)
    return {
        "traces": [found["id"] for found in traces],
        "largest": largest and largest["id"],
        "spans": sum(found["observationCount"] for found in traces),
        "tokens": sum(found["totalTokens"] or 0 for found in traces),
        "cost": sum(found["totalCost"] or 0 for found in traces),
        "errors": sum(found["errorCount"] for found in traces),
        "refused": {} if traces else dict(refused),
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
