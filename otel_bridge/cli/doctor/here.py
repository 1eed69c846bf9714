"""The configuration, the disk and the clock of this machine."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from otel_bridge.cli.doctor.finding import Finding, fault, ok, warning
from otel_bridge.errors import FilesError, PlanError
from otel_bridge.files import FOLDER, kind, reason

if TYPE_CHECKING:
    from otel_bridge.plan import Plan

GIB = 1 << 30
SCARCE_BYTES, TOO_FEW_BYTES = GIB, 64 << 20
SKEW_S, TOO_SKEWED_S = 5.0, 60.0  # Date headers have whole seconds


def configuration(config: Path | None, environ: Mapping[str, str]) -> "tuple[Plan | None, list[Finding]]":
    """The plan, where there is one, and what is wrong with it."""
    from otel_bridge.plan import load

    try:
        plan = load(config, environ=environ)
    except PlanError as error:
        return None, [fault("configuration", mistake, error.exit_code) for mistake in error.mistakes]
    told = [warning("configuration", said) for said in plan.warnings if " is taken for " not in said]
    sent = ", ".join(sorted({key for of in plan.service.pipelines.values() for key in of.exporters}))
    return plan, [ok("configuration", f"{plan.origin} can be run; it delivers to {sent}"), *told]


def data_dir(folder: Path) -> list[Finding]:
    """Whether a bridge can keep its files there."""
    there = next(place for place in (folder, *folder.absolute().parents) if kind(place) is not None)
    try:
        if kind(there) != FOLDER:
            raise NotADirectoryError(f"{there} is a {kind(there)}, and no folder")
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        said = reason(there, error)
        return [
            fault(
                "data dir",
                f"{folder} can not be written: {said}; name another with --data-dir or service::data_dir",
                FilesError.exit_code,
            )
        ]
    shown = f"{free / GIB:.1f} GiB" if free >= GIB else f"{free / (1 << 20):.0f} MiB"
    if free < TOO_FEW_BYTES:
        return [
            fault(
                "data dir",
                f"{folder} has {shown} left, and nothing can be taken without room: make some",
                FilesError.exit_code,
            )
        ]
    if free < SCARCE_BYTES:
        return [warning("data dir", f"{folder} has {shown} left, which an outage of a destination may take: make room")]
    is_there = "can be written" if there == folder else "is not there yet, and can be made"
    return [ok("data dir", f"{folder} {is_there}, {shown} free", path=str(folder), freeBytes=free)]


def clock(who: str, theirs_s: float, ours_s: float) -> Finding:
    """Whether two clocks agree; spans are shown when the machine that made them says that they were."""
    skew_s = ours_s - theirs_s
    said = f"this machine's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} that of {who}"
    if abs(skew_s) <= SKEW_S:
        return ok("clock", f"this machine's agrees with that of {who}", skewS=round(skew_s))
    make = fault if abs(skew_s) > TOO_SKEWED_S else warning
    return make("clock", f"{said}, and traces show at a wrong time: set it, as by NTP")
