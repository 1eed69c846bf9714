"""What a bridge says last: what was not delivered, to whom, why, and what becomes of it. Light, as `run` uses it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from otel_bridge.cli.findings import reasons
from otel_bridge.counts import plural
from otel_bridge.sides import side_of

SLOW, OPEN = "it takes longer than the end of a bridge waits", "of traces that are open"
NOTHING_SAID: Mapping[str, Any] = {"waiting": {}, "why": {}, "deadLettered": {}}
ITEMS = {"traces": "span", "logs": "log record", "metrics": "data point"}


def last_words(left: Mapping[str, Mapping[str, int]], status: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON, of a bridge that has ended: `waiting`, what is `left` by exporter and signal; `why`, reasons by
    exporter; `deadLettered` since its start, by exporter and reason."""
    known = reasons(status["exporters"])
    unknown = OPEN if any(of["open_traces"] for of in status["assembly"].values()) else SLOW
    dead: dict[str, Counter[str]] = {}
    for one in status["counters"]:
        if one["name"] == "dead_lettered":
            dead.setdefault(side_of(one["exporter"]), Counter())[one["reason"]] += one["value"]
    return {"waiting": left, "why": {to: known.get(to, [unknown]) for to in left}, "deadLettered": dead}


def undelivered(said: Mapping[str, Any], again: str = "") -> list[str]:
    """The same in lines; again: what a command has to be told to find the same bridge."""
    lines = []
    if left := said["waiting"]:
        shown = ", ".join(f"{_items(signals)} to {to} ({'; '.join(said['why'][to])})" for to, signals in left.items())
        lines.append(
            f"still to be delivered: {shown}; the next bridge with these files does that,"
            f" `otel-bridge audit{again}` counts it"
        )
    for to, dead in said["deadLettered"].items():
        lines.append(
            f"not taken by {to}: {plural(sum(dead.values()), 'item')} ({', '.join(dead)});"
            f" `otel-bridge dead-letter list{again}` shows why"
        )
    return lines


def _items(signals: Mapping[str, int]) -> str:
    return " and ".join(plural(items, ITEMS[signal]) for signal, items in sorted(signals.items(), reverse=True))
