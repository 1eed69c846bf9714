"""What somebody should know of a bridge's status, in sentences; light, as `healthcheck` is run often."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otel_bridge.counts import plural
from otel_bridge.undelivered import NOT_CONFIGURED, PAUSED, configured, reason

NO_KEYS = "no_keys"
NEEDS_A_RESTART = "needs a restart"  # says the bridge of what it can not change while it runs


def faults(status: Mapping[str, Any]) -> list[str]:
    """What somebody has to act on, for a status as `GET /api/v1/status` tells it; empty where all is well."""
    found = [] if status["ready"] else ["it can not do its work: its log says why"]
    if rejected := status["configuration_rejected"]:
        first, *others = rejected["mistakes"]
        more = f" (and {len(others)} more)" if others else ""
        found.append(f"the configuration was rejected at {rejected['at']}, what ran before goes on: {first}{more}")
    parked = (
        _parked(configured(exporter), tenant, lane)
        for exporter, tenants in status["exporters"].items()
        for tenant, lane in tenants.items()
        if lane["parked"] not in (None, PAUSED)
    )
    return found + list(dict.fromkeys(parked))


def findings(status: Mapping[str, Any]) -> list[str]:
    """The same, and what somebody should look at: what was switched off and may be forgotten, and dead letters."""
    alone = (
        f"{exporter} is paused for {', '.join(tenants)}, whose data is kept"
        for exporter, tenants in status["paused_tenants"].items()
    )
    paused = (f"{exporter} is paused, its data is kept" for exporter in status["paused"])
    return [*faults(status), *paused, *alone, *_dead_letters(status)]


def is_to_move(status: Mapping[str, Any], data_dir: Path) -> bool:
    """Whether a bridge has read that its data dir is this one, and stays on another until it is restarted."""
    rejected = status["configuration_rejected"] or {"mistakes": ()}
    moved = f"service::data_dir: {data_dir.absolute()} {NEEDS_A_RESTART}"
    return any(moved in mistake for mistake in rejected["mistakes"])


def _dead_letters(status: Mapping[str, Any]) -> list[str]:
    """For each exporter what it would not take, why, and where to look."""
    exporters: dict[str, dict[str, int]] = {}
    for one in status["dead_letters"]:
        reasons = exporters.setdefault(one["exporter"], {})
        reasons[one["reason"]] = reasons.get(one["reason"], 0) + one["letters"]
    return [
        f"{plural(sum(reasons.values()), 'dead letter')} of {exporter or 'an unreadable exporter'}"
        f" ({', '.join(f'{letters} {reason}' for reason, letters in reasons.items())}):"
        f" `otel-bridge dead-letter list{f' --exporter {exporter}' if exporter else ''}` shows them"
        for exporter, reasons in exporters.items()
    ]


def _parked(exporter: str, tenant: str, lane: Mapping[str, Any]) -> str:
    if lane["parked"] == NOT_CONFIGURED:
        said = (
            f"{exporter} is not configured any more, with {plural(lane['waiting'], 'item')} of {tenant} waiting for it"
        )
    else:
        said = f"{exporter} is parked for {tenant} ({reason(lane)})"
    give_up = f"`otel-bridge give-up {exporter} --tenant {tenant}` gives up what waits"
    return f"{said}; {give_up}" if lane["parked"] in (NOT_CONFIGURED, NO_KEYS) else said
