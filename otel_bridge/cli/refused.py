"""What a bridge has refused to take in, and why. Light: `otel-bridge run` asks before its program starts."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from otel_bridge.cli.asking import ANSWER_TIMEOUT_S, ask
from otel_bridge.cli.found import Viewer
from otel_bridge.errors import BridgeError

Refused = Mapping[str, int]
"""Reason → how often, since the start of the bridge."""


def refused(viewer: Viewer, *, timeout_s: float = ANSWER_TIMEOUT_S) -> Refused | None:
    """What a bridge has refused so far; None where its viewer does not answer."""
    try:
        return refused_in(ask(viewer, "/api/v1/status", timeout_s=timeout_s))
    except BridgeError:
        return None


def refused_in(status: Mapping[str, Any]) -> Refused:
    """The same, as its status says it."""
    found: Counter[str] = Counter()
    for one in status["counters"]:
        if one["name"] == "refused" or (one["name"] == "tls_refused" and one["component"].startswith("otlp")):
            found[one["reason"]] += one["value"]
    return dict(found)


def since(before: Refused | None, now: Refused | None) -> Refused:
    """What was refused between; nothing where one of them is not known."""
    if before is None or now is None:
        return {}
    return {reason: more for reason, count in now.items() if (more := count - before.get(reason, 0)) > 0}
