"""Metrics: which there are, and one over a time, by series: what it was, at least, at most and last, and its trend."""

from collections.abc import Collection
from difflib import get_close_matches
from itertools import islice
from time import time_ns
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)

from otel_bridge.errors import UsageError
from otel_bridge.query.answer import ID_CHARACTERS, Answer, cut, moment, name
from otel_bridge.query.cursor import read_cursor, write_cursor
from otel_bridge.query.find import NotFoundError, check_tenant
from otel_bridge.query.names import MAX_PATTERN, as_glob, checked, storable
from otel_bridge.query.quantities import since_ns
from otel_bridge.query.resources import services
from otel_bridge.query.trend import trend
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements
from otel_bridge.translate.span import attributes

SQL = statements("otel_bridge.query", "metrics.sql")

MAX_METRICS = 200
MAX_SERIES = 200
COUNTED_SERIES = 1000
COUNTED_POINTS = 10_000
"""Of each metric in a list."""
FOUND_SERIES = 10_000
"""That are looked through for those with points in the time asked for; each start of a program makes new ones."""

MAX_POINTS = 120
"""Of one series that are shown; where there are more, each stands for some beside each other."""

ATTRIBUTE_CHARACTERS = 2000
AHEAD_NS = 300 * 10**9
"""By which clocks of programs may be ahead of this one."""
EVER_NS = (1 << 63) - 1

POINTS: dict[str, Any] = {
    "gauge": NumberDataPoint,
    "sum": NumberDataPoint,
    "histogram": HistogramDataPoint,
    "exponential_histogram": ExponentialHistogramDataPoint,
    "summary": SummaryDataPoint,
}


def list_metrics(
    reader: Reader,
    pattern: str = "",
    limit: int = 50,
    cursor: str | None = None,
    *,
    tenant: str | None = None,
    tenants: Collection[str] = (),
) -> Answer:
    """`{"metrics": [...], "nextCursor": ...}`: those there are, by tenant and name.

    `series` are counted up to 1,000, `points` up to 10,000; `lastValue` is the newest number, of a histogram the mean
    of what that point counts.

    pattern: names with `*` in them, or one; nothing is all.
    tenant: whose; None is everybody's. tenants: those that are configured.

    Raises:
        UsageError: something can not be used as it is, or there is no such tenant.
    """
    _check_limit(limit, MAX_METRICS)
    pattern = checked(pattern)
    _, first_of, after = (0, "", "") if cursor is None else read_cursor(cursor, 2)
    glob = as_glob(pattern or "*")
    found: list[tuple[str, str]] = []
    for whose in _tenants(reader, tenant):
        if whose >= first_of and len(found) <= limit:
            more = _names(reader, whose, glob, after if whose == first_of else "", limit + 1 - len(found))
            found += [(whose, each) for each in more]
    if not found:
        check_tenant(reader, tenant, tenants)
    shown = found[:limit]
    return {
        "metrics": [_listed(reader, *each) for each in shown],
        "nextCursor": _cursor(*shown[-1]) if len(found) > len(shown) else None,
    }


def one_metric(
    reader: Reader,
    metric: str,
    last: str = "1h",
    limit: int = 50,
    *,
    tenant: str | None = None,
) -> Answer:
    """A metric over the `last` time: its kind and unit, and its `series`, those that said something last first.

    Of each series `avg`, `min`, `max` and `last` are of its `stat`: `value`; of sums that only grow, or are told by
    what was added, `rate` per second; of histograms and summaries the `mean` of what was measured. `points` are 120 at
    most, each then for several beside each other; `trend` as in `trend.py`. `seriesCount` counts those with points in
    the time.

    tenant: whose; None is everybody's.

    Raises:
        NotFoundError: there is no metric of this name.
        UsageError: the time or limit can not be used.
    """
    _check_limit(limit, MAX_SERIES)
    now_ns = time_ns()
    named: dict[str, Any] = {
        "name": storable(metric),
        "since_ns": since_ns(last, now_ns),
        "until_ns": now_ns + AHEAD_NS,
    }
    known = [
        {"tenant": whose, **row}
        for whose in _tenants(reader, tenant)
        for row in _series(reader, {**named, "tenant": whose, "since_ns": 0, "until_ns": EVER_NS}, limit=1)
    ]
    if not known:
        raise _unknown(reader, metric, tenant)
    newest = max(known, key=lambda row: row["time_ns"])
    found = [
        {"tenant": each["tenant"], **row}
        for each in known
        for row in _series(reader, {**named, "tenant": each["tenant"]}, limit=limit)
    ]
    found.sort(key=lambda row: row["time_ns"], reverse=True)
    point = _point(reader, named | newest)
    return {
        "name": name(metric, ID_CHARACTERS),
        **_kind(point),
        "since": moment(named["since_ns"]),
        "lastTime": moment(point["time_ns"]),
        "seriesCount": sum({row["tenant"]: row["of"] for row in found}.values()),
        "series": [_measured(reader, named | row) for row in found[:limit]],
    }


def _listed(reader: Reader, tenant: str, metric: str) -> Answer:
    named = {"tenant": tenant, "name": metric, "since_ns": 0, "until_ns": EVER_NS}
    [newest] = _series(reader, named, limit=1, most=COUNTED_SERIES)
    [counted] = reader.rows(SQL["count"], {**named, "most": COUNTED_POINTS})
    point = _point(reader, named | newest)
    is_mean = point["count"] is not None
    return {
        "name": name(metric, ID_CHARACTERS),
        "tenant": tenant,
        **_kind(point),
        "series": newest["of"],
        "points": counted["n"],
        "lastValue": _ratio(point["value"], point["count"]) if is_mean else point["value"],
        "lastTime": moment(point["time_ns"]),
    }


def _measured(reader: Reader, named: dict[str, Any]) -> Answer:
    point = _point(reader, named)
    stat = "value" if point["count"] is None else "mean"
    if point["kind"] == "sum" and (point["is_monotonic"] or point["is_delta"]):
        stat = "rate"
    asked = {**named, "kind": point["kind"], "is_delta": point["is_delta"], "stat": stat, "most": MAX_POINTS}
    rows = reader.rows(SQL["points"], asked)
    values = [row["part"] / row["whole"] for row in rows]
    read = POINTS[point["kind"]].FromString(point["point"] or b"")
    return {
        "tenant": named["tenant"],
        "service": services(reader, [point["resource_id"]])[point["resource_id"]],
        "scope": name(point["scope"]) or None,
        "attributes": cut(attributes(read.attributes), ATTRIBUTE_CHARACTERS),
        "stat": stat,
        "lastTime": moment(point["time_ns"]),
        "pointCount": sum(row["n"] for row in rows),
        "avg": _ratio(sum(row["part"] for row in rows), sum(row["whole"] for row in rows)),
        "min": min((row["low"] for row in rows), default=None),
        "max": max((row["high"] for row in rows), default=None),
        "last": rows[-1]["last"] if rows else None,
        "trend": trend([row["time_ns"] for row in rows], values),
        "points": [{"time": moment(row["time_ns"]), "value": value} for row, value in zip(rows, values, strict=True)],
    }


def _kind(point: Row) -> Answer:
    return {"kind": point["kind"], "monotonic": bool(point["is_monotonic"]), "unit": name(point["unit"]) or None}


def _point(reader: Reader, named: dict[str, Any]) -> Row:
    [row] = reader.rows(SQL["point"], named)
    return row


def _series(reader: Reader, named: dict[str, Any], *, limit: int, most: int = FOUND_SERIES) -> list[Row]:
    return reader.rows(SQL["series"], {**named, "limit": limit, "most": most})


def _tenants(reader: Reader, tenant: str | None) -> list[str]:
    return [row["tenant"] for row in reader.rows(SQL["tenants"])] if tenant is None else [tenant]


def _names(reader: Reader, tenant: str, glob: str, after: str, limit: int) -> list[str]:
    asked = {"tenant": tenant, "pattern": glob, "after": after, "limit": limit}
    return [row["name"] for row in reader.rows(SQL["names"], asked)]


def _unknown(reader: Reader, metric: str, tenant: str | None) -> NotFoundError:
    names = (each for whose in _tenants(reader, tenant) for each in _names(reader, whose, "*", "", MAX_METRICS))
    close = get_close_matches(metric[:MAX_PATTERN], islice(names, MAX_METRICS), 1)
    of = "" if tenant is None else f" of the tenant {tenant[:50]!r}"
    hint = f"did you mean {close[0]}?" if close else "`otel-bridge metrics` lists those it holds"
    return NotFoundError(f"the store holds no metric {metric[:MAX_PATTERN]!r}{of}: {hint}")


def _cursor(tenant: str, metric: str) -> str:
    """Of a name that is no name, by its length, all that begin so count as one."""
    last = metric if len(metric) <= ID_CHARACTERS else metric[:ID_CHARACTERS] + "\U0010ffff"
    return write_cursor(0, tenant, last)


def _check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise UsageError(f"limit is {limit}, it may be 1 to {most}")


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
