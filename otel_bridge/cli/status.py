"""`otel-bridge status`: how the running bridge is, for people; with `--json` what its API says."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from otel_bridge.cli.asking import ask, running
from otel_bridge.cli.findings import faults, findings
from otel_bridge.cli.output import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    UrlOption,
    print_json,
    print_row,
    print_table,
    print_wrapped,
)
from otel_bridge.counts import plural
from otel_bridge.telemetry import Outcome, printable
from otel_bridge.undelivered import NOT_CONFIGURED, PAUSED, configured

AT_THE_DOOR = ("refused", "rejected", "dropped", "rate_limited", "tls_refused")
UNTIL = "for service::assemble::idle (max_hold, where it names a response)"
MIB = 1 << 20


def status(
    url: UrlOption = None, config: ConfigOption = None, data_dir: DataDirOption = None, json: JsonOption = False
) -> None:
    """Show how the running bridge is: where it listens, what waits and why, what was dropped; exit 1 if it needs you.

    That is when it can not do its work, its last configuration was rejected, or a destination is parked.
    """
    found = ask(running(url, config, data_dir), "/api/v1/status")
    if json:
        print_json(found)
    else:
        _show(found)
    if faults(found):
        raise typer.Exit(1)


def _show(status: Mapping[str, Any]) -> None:
    from otel_bridge.query.outline import duration

    ready = "ready" if status["ready"] else "NOT READY"
    up = duration(status["uptime_s"] * 1000)
    print(printable(f"otel-bridge {status['version']}: {ready}, up for {up}"), end="\n\n")
    for key, addresses in status["endpoints"].items():
        print_row(key, addresses)
    print_row("config", f"{status['configuration']}, since {status['configuration_loaded_at']}")
    journal = status["journal"]
    print_row("journal", f"{journal['used_bytes'] / MIB:.1f} MiB of {journal['max_bytes'] / MIB:.0f} MiB")
    print_row("data", status["data_dir"])
    if scores := sum(of["waiting_scores"] for of in status["assembly"].values()):
        print_row("scores", f"{plural(scores, 'score')} kept until what is judged has come, or {UNTIL}")
    rows = list(_lanes(status))
    if rows:
        print()
        print_table([("pipeline", "exporter", "tenant", "state", "waiting", "oldest", "delivered", "project"), *rows])
        for whom, why in _troubles(status):
            print_wrapped(f"{whom}: {why}", "- ")
    if dropped := list(_dropped(status)):
        print("\ndropped, ever:")
        print_table([("", *row) for row in dropped])
    if letters := [
        ("", one["exporter"], one["tenant"], str(one["letters"]), one["reason"]) for one in status["dead_letters"]
    ]:
        print("\ndead letters:")
        print_table(letters)
    if refused := list(_refused(status)):
        print("\nat the door, since the start:")
        print_table([("", *row) for row in refused])
    if found := findings(status):
        print()
    for one in found:
        print_wrapped(one, "! ")


def _lanes(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each exporter and tenant."""
    from otel_bridge.query.outline import duration

    delivered: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for row in status["outcomes"]:
        if row["outcome"] == Outcome.DELIVERED:
            delivered[row["pipeline"], row["exporter"], row["tenant"]] += row["items"]
    for of, tenants in status["exporters"].items():
        pipeline, _, exporter = of.partition("/")
        for tenant, lane in tenants.items():
            oldest = duration(lane["oldest_s"] * 1000) if lane["oldest_s"] else ""
            done = str(delivered[pipeline, exporter, tenant])
            yield pipeline, exporter, tenant, _state(lane), str(lane["waiting"]), oldest, done, _project(lane)


def _project(lane: Mapping[str, Any]) -> str:
    """Which one its keys are of, where the destination has said so."""
    project = (lane.get("destination") or {}).get("project")
    return f"{project['name']} ({project['id']})" if project else ""


def _troubles(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(whom, what it answered last) of what is tried again; who is parked is among the findings."""
    from otel_bridge.batch import DEFAULT_TENANT

    said: defaultdict[str, list[str]] = defaultdict(list)
    for of, tenants in status["exporters"].items():
        for tenant, lane in tenants.items():
            if lane["why"] and not lane["parked"]:
                whose = "" if tenant == DEFAULT_TENANT else f" for {tenant}"
                said[lane["why"]].append(f"{configured(of)}{whose}")
    for why, whom in said.items():
        yield ", ".join(dict.fromkeys(whom)), why


def _state(lane: Mapping[str, Any]) -> str:
    parked = lane["parked"]
    if parked in (PAUSED, NOT_CONFIGURED):
        return str(parked).replace("_", " ")
    if parked:
        return f"parked: {parked}"
    if lane["why"]:
        return f"trying again ({plural(lane['tries'], 'time')})"
    return "delivering" if lane["waiting"] else "up to date"


def _dropped(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """What left the journal in another way than by being delivered."""
    for row in status["outcomes"]:
        if row["outcome"] != Outcome.DELIVERED:
            reason = f": {row['reason']}" if row["reason"] else ""
            owner = (row["pipeline"], row["exporter"], row["tenant"])
            yield *owner, str(row["items"]), f"{row['outcome']}{reason}"


def _refused(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """What never came into the journal."""
    for one in status["counters"]:
        if one["name"] in AT_THE_DOOR and one["value"]:
            labels = ", ".join(str(said) for key, said in one.items() if key not in ("name", "value"))
            yield str(one["value"]), f"{one['name']}: {labels}" if labels else one["name"]
