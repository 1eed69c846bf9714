"""Ask detectors what is wrong with the traces of the last hour, say."""

import importlib
import pkgutil
from collections.abc import Collection, Sequence
from functools import lru_cache
from time import time_ns

from otel_bridge.errors import UsageError
from otel_bridge.mistakes import hint
from otel_bridge.query import detectors as folder
from otel_bridge.query.answer import Answer, moment
from otel_bridge.query.detector import MAX_FINDINGS, SEVERITIES, Detector, Finding, Window
from otel_bridge.query.find import check_tenant
from otel_bridge.query.quantities import duration_ns
from otel_bridge.store.reader import Reader
from otel_bridge.store.statements import statements

SQL = statements("otel_bridge.query", "detect.sql")

LAST = "1h"
LONGEST_NS = 10 * 366 * 86400 * 10**9

MAX_TRACES = 2000
MAX_SPANS = 20_000
"""Of all traces that are looked at: one that has more alone is passed over."""


@lru_cache(1)
def detectors() -> Sequence[Detector]:
    """All detectors: every file in `detectors/` holds one; by name."""
    found = [
        importlib.import_module(f"{folder.__name__}.{module.name}").DETECTOR
        for module in pkgutil.iter_modules(folder.__path__)
    ]
    return sorted(found, key=lambda detector: detector.name)


def detect(
    reader: Reader,
    names: Collection[str] = (),
    last: str = LAST,
    *,
    tenant: str | None = None,
    tenants: Collection[str] = (),
    now_ns: int | None = None,
) -> Answer:
    """What detectors find: `{"findings", "detectors", "startTime", "endTime", "traceCount", "partial"}`.

    names: of detectors; without one, all that look for faults.
    last: how far to look back, as `1h`.
    tenant: whose traces; None is everybody's. tenants: those that are configured.
    now_ns: the end of what is looked at; the wall clock unless given.

    The findings come by severity, and of one severity by detector, 100 of each at most. `partial`: only the newest
    traces of that time, and none that is too large, could be looked at, `traceCount` of them.

    Raises:
        UsageError: there is no such detector or tenant, or `last` is no duration.
        SlowQuestionError: the reader's time is up.
    """
    asked = chosen(names)
    seen = window(reader, last, tenant=tenant, now_ns=now_ns)
    if not seen.traces:
        check_tenant(reader, tenant, tenants)
    found: list[Finding] = []
    for detector in asked:
        found += detector.find(reader, seen)[:MAX_FINDINGS]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return {
        "findings": [finding.answer() for finding in found],
        "detectors": [detector.name for detector in asked],
        "startTime": moment(seen.since_ns),
        "endTime": moment(seen.now_ns),
        "traceCount": len(seen.traces),
        "partial": seen.is_cut,
    }


def chosen(names: Collection[str]) -> Sequence[Detector]:
    """The detectors of these names, in the order of all; without a name, those that look for faults.

    Raises:
        UsageError: there is none of such a name.
    """
    known = {detector.name: detector for detector in detectors()}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no detector {name[:50]!r}" + hint(name, sorted(known)))
    return [each for each in detectors() if each.name in names or not (names or each.is_advice)]


def window(reader: Reader, last: str = LAST, *, tenant: str | None = None, now_ns: int | None = None) -> Window:
    """The newest traces that came first within that time and are not too large, and what time it is.

    Raises:
        UsageError: `last` is no duration.
    """
    long_ns = duration_ns(last)
    if not 0 < long_ns <= LONGEST_NS:
        raise UsageError(f"last is {last[:50]!r}, it may be anything up to ten years, as 30m, 12h or 7d")
    now = time_ns() if now_ns is None else now_ns
    since = max(0, now - int(long_ns))
    rows = reader.rows(SQL["traces"], {"since": since, "tenant": tenant, "most": MAX_TRACES + 1})
    traces: list[tuple[str, str]] = []
    room = MAX_SPANS
    for row in rows[:MAX_TRACES]:
        if row["spans"] > MAX_SPANS:
            continue
        room -= row["spans"]
        if room < 0:
            break
        traces.append((row["trace_id"], row["tenant"]))
    return Window(since, now, tenant, traces, is_cut=len(traces) < len(rows))
