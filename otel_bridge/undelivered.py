"""What was not delivered, to whom, and why, as a status tells it and as a bridge says at its end. Light."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from otel_bridge.counts import plural
from otel_bridge.sides import side_of

PAUSED, NOT_CONFIGURED = "paused", "not_configured"
OPEN, NO_TIME = "of traces that are open", "there was no time left for it"
NOTHING_SAID: Mapping[str, Any] = {"waiting": {}, "why": {}, "deadLettered": {}}
ITEMS = {"traces": "spans", "logs": "logRecords", "metrics": "dataPoints"}
NOUNS = {"spans": "span", "logRecords": "log record", "dataPoints": "data point"}


def reason(lane: Mapping[str, Any]) -> str | None:
    """Why what waits in a lane of the status is not taken, as far as that is known."""
    if lane["parked"] in (PAUSED, NOT_CONFIGURED):
        return str(lane["parked"]).replace("_", " ")
    return ": ".join(said for said in (lane["parked"], lane["why"]) if said) or None


def reasons(exporters: Mapping[str, Mapping[str, Any]], tenants: Collection[str] | None = None) -> dict[str, list[str]]:
    """The same for the exporters of a status as the configuration calls them, of these tenants or of all; those of
    which nothing is known are left out."""
    found: dict[str, list[str]] = {}
    for exporter, lanes in exporters.items():
        for tenant, lane in lanes.items():
            why = reason(lane) if lane["waiting"] > 0 and (tenants is None or tenant in tenants) else None
            said = found.setdefault(configured(exporter), []) if why else []
            if why and why not in said:
                said.append(why)
    return found


def configured(exporter: str) -> str:
    """`main/store.settled`, as the status has it, as the configuration calls it."""
    return side_of(exporter.partition("/")[2])


def last_words(left: Mapping[str, Mapping[str, int]], status: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON, of a bridge that has ended: `waiting`, what is `left` by exporter and kind of item; `why`, reasons
    by exporter; `deadLettered` since its start, by exporter and reason."""
    known = {**_unhindered(status), **reasons(status["exporters"])}
    dead: dict[str, Counter[str]] = {}
    for one in status["counters"]:
        if one["name"] == "dead_lettered":
            dead.setdefault(side_of(one["exporter"]), Counter())[one["reason"]] += one["value"]
    waiting = {to: {ITEMS[signal]: items for signal, items in signals.items()} for to, signals in left.items()}
    return {"waiting": waiting, "why": {to: known.get(to, [NO_TIME]) for to in left}, "deadLettered": dead}


def _unhindered(status: Mapping[str, Any]) -> dict[str, list[str]]:
    """Why what waits was not delivered where nothing went wrong, by exporter as the configuration calls them."""
    why: dict[str, set[str]] = {}
    for exporter, lanes in status["exporters"].items():
        has_open = status["assembly"].get(exporter.partition("/")[0], {}).get("open_traces", 0) > 0
        for lane in lanes.values():
            if lane["waiting"] > 0:
                why.setdefault(configured(exporter), set()).add(OPEN if has_open and lane["settled"] else NO_TIME)
    return {exporter: sorted(said) for exporter, said in why.items()}


def undelivered(said: Mapping[str, Any], again: str = "") -> list[str]:
    """The same in lines; again: what a command has to be told to find the same bridge."""
    lines = []
    if said["waiting"]:
        next_one = f"the next bridge with these files does that, `otel-bridge audit{again}` counts it"
        lines.append(f"{waiting(said)}; {next_one}")
    for to, dead in said["deadLettered"].items():
        lines.append(
            f"not taken by {to}: {plural(sum(dead.values()), 'item')} ({', '.join(dead)});"
            f" `otel-bridge dead-letter list{again}` shows why"
        )
    return lines


def waiting(said: Mapping[str, Any]) -> str:
    """What waits of it, if anything does, and why."""
    left = said["waiting"].items()
    shown = [f"{_items(counted)} to {to} ({'; '.join(said['why'][to])})" for to, counted in left]
    return f"still to be delivered: {', '.join(shown)}"


def _items(counted: Mapping[str, int]) -> str:
    return " and ".join(plural(items, NOUNS[kind]) for kind, items in sorted(counted.items(), reverse=True))
