"""What somebody should know of a bridge's status, in sentences; imports nothing, as `healthcheck` is run often."""

from collections.abc import Mapping
from typing import Any

PAUSED, NOT_CONFIGURED, NO_KEYS = "paused", "not_configured", "no_keys"


def faults(status: Mapping[str, Any]) -> list[str]:
    """What somebody has to act on, for a status as `GET /api/v1/status` tells it; empty where all is well."""
    found = [] if status["ready"] else ["it can not do its work: its log says why"]
    if rejected := status["configuration_rejected"]:
        first, *others = rejected["mistakes"]
        more = f" (and {len(others)} more)" if others else ""
        found.append(f"the configuration was rejected at {rejected['at']}, what ran before goes on: {first}{more}")
    parked = (
        _parked(side_of(exporter), tenant, lane)
        for exporter, tenants in status["exporters"].items()
        for tenant, lane in tenants.items()
        if lane["parked"] not in (None, PAUSED)
    )
    return found + list(dict.fromkeys(parked))


def findings(status: Mapping[str, Any]) -> list[str]:
    """The same, and what somebody switched off and may have forgotten."""
    alone = (
        f"{exporter} is paused for {', '.join(tenants)}, whose data is kept"
        for exporter, tenants in status["paused_tenants"].items()
    )
    return [*faults(status), *(f"{exporter} is paused, its data is kept" for exporter in status["paused"]), *alone]


def side_of(exporter: str) -> str:
    """`main/store.settled`, as the status has it, as the configuration calls it."""
    return exporter.partition("/")[2].removesuffix(".settled")


def _parked(exporter: str, tenant: str, lane: Mapping[str, Any]) -> str:
    if lane["parked"] == NOT_CONFIGURED:
        said = f"{exporter} is not configured any more, and {lane['waiting']} items of {tenant} wait for it"
    else:
        why = f": {lane['why']}" if lane["why"] else ""
        said = f"{exporter} is parked for {tenant} ({lane['parked']}{why})"
    give_up = f"`otel-bridge give-up {exporter} --tenant {tenant}` gives up what waits"
    return f"{said}; {give_up}" if lane["parked"] in (NOT_CONFIGURED, NO_KEYS) else said
