"""Metrics: which there are, and what one was over a time."""

from math import inf, nan
from pathlib import Path
from random import Random
from time import time_ns

import apsw
import orjson
import pytest

from otel_bridge.errors import UsageError
from otel_bridge.query.find import NotFoundError
from otel_bridge.query.metrics import SQL, list_metrics, one_metric
from otel_bridge.store.database import open_reading
from otel_bridge.store.statements import statements
from otel_bridge.store.writer import Writer
from tests.query.conftest import Opened
from tests.query.points import measured

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
NOW_NS = time_ns()


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the tests before took."""
    monkeypatch.setattr("otel_bridge.query.metrics.time_ns", lambda: NOW_NS)


def minutes(*values: object, before: int = 0) -> list[tuple[int, object]]:
    """A value a minute, the last of them so many minutes ago."""
    return [(NOW_NS - (len(values) - 1 - i + before) * MINUTE_NS, value) for i, value in enumerate(values)]


def test_there_is_a_list_of_all(writer: Writer, reader: Opened) -> None:
    measured(writer, "process.memory.usage", minutes(5, 7), kind="sum", attributes={"state": "used"})
    measured(writer, "process.memory.usage", minutes(1, 2, before=1), kind="sum", attributes={"state": "free"})
    measured(writer, "gen_ai.client.operation.duration", minutes((6.0, 3)), kind="histogram", unit="s")
    measured(writer, "requests", minutes(1, 2, 3), kind="sum", grows=True, unit="")
    measured(writer, "requests", minutes(9), kind="gauge", tenant="acme")
    measured(writer, "unknown", minutes(nan))

    rows = list_metrics(reader())["metrics"]
    assert [(row["tenant"], row["name"], row["kind"], row["monotonic"], row["unit"]) for row in rows] == [
        ("acme", "requests", "gauge", False, "By"),
        ("default", "gen_ai.client.operation.duration", "histogram", False, "s"),
        ("default", "process.memory.usage", "sum", False, "By"),
        ("default", "requests", "sum", True, None),
        ("default", "unknown", "gauge", False, "By"),
    ]
    assert [(row["series"], row["points"], row["lastValue"]) for row in rows] == [
        (1, 1, 9), (1, 1, 2.0), (2, 4, 7), (1, 3, 3), (1, 1, None),
    ]  # fmt: skip
    assert {row["name"] for row in list_metrics(reader(), "*.memory.*")["metrics"]} == {"process.memory.usage"}
    assert [row["lastValue"] for row in list_metrics(reader(), "requests", tenant="acme")["metrics"]] == [9]


def test_the_list_has_pages(writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [(tenant, name) for tenant in ("acme", "default") for name in ("a", "b", "m" * 5000, "z")]
    for tenant, name in reversed(expected):
        measured(writer, name, minutes(1, 2, 3), tenant=tenant)

    found, cursor = [], None
    while True:
        page = list_metrics(reader(), limit=3, cursor=cursor)
        found += [(row["tenant"], row["name"][:1]) for row in page["metrics"]]
        if (cursor := page["nextCursor"]) is None:
            break
        assert len(cursor) < 2000
    assert found == [(tenant, name[:1]) for tenant, name in expected]
    monkeypatch.setattr("otel_bridge.query.metrics.COUNTED_POINTS", 2)
    assert list_metrics(reader())["metrics"][0]["points"] == 2


def test_a_measure_over_a_time(writer: Writer, reader: Opened) -> None:
    measured(writer, "memory", minutes(100, 1, 2, 6), attributes={"state": "used"}, service="scribe")
    measured(writer, "memory", minutes(5, before=200))

    found = one_metric(reader(), "memory", "150s")
    [series] = found["series"]
    points = [point["value"] for point in series.pop("points")]
    assert (points, series["trend"]["verdict"]) == ([1, 2, 6], "unknown")
    assert {key: series[key] for key in ("service", "attributes", "stat", "avg", "min", "max", "last")} == {
        "service": "scribe", "attributes": {"state": "used"}, "stat": "value", "avg": 3, "min": 1, "max": 6, "last": 6,
    }  # fmt: skip
    assert (found["kind"], found["unit"], found["seriesCount"]) == ("gauge", "By", 1)
    assert (series["pointCount"], series["lastTime"]) == (3, found["lastTime"])
    assert one_metric(reader(), "memory", "1s")["lastTime"] == found["lastTime"]
    assert one_metric(reader(), "memory", "5h")["seriesCount"] == 2


def test_of_what_only_grows_the_rate_is_told(writer: Writer, reader: Opened) -> None:
    """From the point before the time that was asked for on; a program that began anew counts from 0."""
    began_ns = NOW_NS - 120 * MINUTE_NS
    measured(writer, "calls", minutes(600, 660, 780, before=2), kind="sum", grows=True, start_ns=began_ns)
    measured(writer, "calls", minutes(30, 30), kind="sum", grows=True, start_ns=NOW_NS - 2 * MINUTE_NS)

    [series] = one_metric(reader(), "calls", "210s")["series"]
    assert (series["stat"], [point["value"] for point in series["points"]]) == ("rate", [1, 2, 0.5, 0])
    assert (series["avg"], series["min"], series["max"], series["last"]) == (210 / 240, 0, 2, 0)
    [series] = one_metric(reader(), "calls")["series"]  # the first point tells of what was before the time as well
    assert [point["value"] for point in series["points"]] == [1, 2, 0.5, 0]
    [series] = one_metric(reader(), "calls", "110m")["series"]
    assert len(series["points"]) == 4
    [series] = one_metric(reader(), "calls", "3h")["series"]
    assert series["points"][0]["value"] == pytest.approx(600 / (116 * 60))


def test_a_counter_that_falls_began_anew_though_nobody_says_so(writer: Writer, reader: Opened) -> None:
    measured(writer, "calls", minutes(600, 660, 60, 180), kind="sum", grows=True)

    [series] = one_metric(reader(), "calls")["series"]
    assert [point["value"] for point in series["points"]] == [1, 1, 2]


def test_a_counter_that_says_that_it_began_anew_need_not_have_fallen(writer: Writer, reader: Opened) -> None:
    measured(writer, "calls", minutes(60, before=1), kind="sum", grows=True, start_ns=NOW_NS - 99 * MINUTE_NS)
    measured(writer, "calls", minutes(120), kind="sum", grows=True, start_ns=NOW_NS - MINUTE_NS // 2)
    measured(writer, "took", minutes((6, 3), before=1), kind="histogram", start_ns=NOW_NS - 99 * MINUTE_NS)
    measured(writer, "took", minutes((20, 4)), kind="histogram", start_ns=NOW_NS - MINUTE_NS // 2)

    assert [point["value"] for point in one_metric(reader(), "calls")["series"][0]["points"]] == [2]
    assert [point["value"] for point in one_metric(reader(), "took")["series"][0]["points"]] == [5]


def test_what_was_added_is_told_as_a_rate(writer: Writer, reader: Opened) -> None:
    measured(writer, "calls", minutes(60, 120, 30), kind="sum", delta=True)
    [series] = one_metric(reader(), "calls")["series"]
    assert (series["stat"], [point["value"] for point in series["points"]]) == ("rate", [2, 0.5])

    measured(writer, "said", minutes(60), kind="sum", delta=True, start_ns=NOW_NS - 30 * SECOND_NS)
    [series] = one_metric(reader(), "said")["series"]
    assert [point["value"] for point in series["points"]] == [2]


@pytest.mark.parametrize("kind", ["histogram", "exponential_histogram", "summary"])
def test_of_a_histogram_the_mean_is_told(writer: Writer, reader: Opened, kind: str) -> None:
    """Of what was measured since the point before; where nothing was, there is none."""
    measured(writer, "took", minutes((10, 5), (16, 7), (16, 7), (26, 9)), kind=kind)

    [series] = one_metric(reader(), "took")["series"]
    assert (series["stat"], [point["value"] for point in series["points"]]) == ("mean", [3, 5])
    assert (series["avg"], series["last"]) == (4, 5)


def test_of_a_histogram_of_what_was_added_each_point_counts(writer: Writer, reader: Opened) -> None:
    measured(writer, "took", minutes((10, 5), (0, 0), (18, 2)), kind="histogram", delta=True)

    [series] = one_metric(reader(), "took")["series"]
    assert [point["value"] for point in series["points"]] == [2, 9]
    assert series["avg"] == 4


@pytest.mark.parametrize("kind", ["gauge", "sum"])
def test_a_leak_is_flagged_and_noise_is_not(writer: Writer, reader: Opened, kind: str) -> None:
    """Memory every ten seconds for an hour, as the instrumentation of the system's metrics tells it."""
    noise = Random(7)
    times = [NOW_NS - (359 - i) * 10 * SECOND_NS for i in range(360)]
    for name, grows in (("leak", 1e5), ("flat", 0)):
        values = [2e8 + grows * i + 5e6 * (i % 20) / 20 + noise.gauss(0, 5e6) for i in range(360)]
        measured(writer, "process.memory.usage", zip(times, values, strict=True), kind=kind, service=name)

    told = {
        series["service"]: series["trend"] for series in one_metric(reader(), "process.memory.usage", "2h")["series"]
    }
    assert told["leak"]["verdict"] == "rising"
    assert told["leak"]["slopePerHour"] == pytest.approx(3.6e7, rel=0.1)
    assert told["flat"]["verdict"] == "flat"


def test_many_points_are_shown_as_fewer(writer: Writer, reader: Opened) -> None:
    """And nothing is lost to what is told of all."""
    values = [float(i % 1000) for i in range(3000)]
    measured(writer, "m", [(NOW_NS - (3000 - i) * SECOND_NS, value) for i, value in enumerate(values)])

    [series] = one_metric(reader(), "m")["series"]
    assert (series["pointCount"], len(series["points"])) == (3000, 120)
    assert (series["avg"], series["min"], series["max"], series["last"]) == (499.5, 0, 999, 999)
    assert series["points"][0] == {"time": series["points"][0]["time"], "value": 12}
    times = [point["time"] for point in series["points"]]
    assert times == sorted(set(times))


def test_what_is_no_measure_is_left_out(writer: Writer, reader: Opened) -> None:
    """Nor can it be in an answer; and clocks that are a year ahead say nothing of the last hour."""
    measured(writer, "m", [*minutes(nan, 1, inf, -inf, 1e300, 3), (2**64 - 1, 9), (NOW_NS + 10**17, 8), (0, 7)])

    [series] = one_metric(reader(), "m")["series"]
    assert [point["value"] for point in series["points"]] == [1, 3]
    assert one_metric(reader(), "m")["lastTime"].startswith("2262")
    measured(writer, "n", minutes(nan))
    [series] = one_metric(reader(), "n")["series"]
    assert (series["points"], series["avg"], series["last"], series["trend"]["verdict"]) == ([], None, None, "unknown")


def test_no_answer_is_without_bounds(writer: Writer, reader: Opened) -> None:
    long = "x" * 2**15
    for i in range(60):
        measured(writer, "m", minutes(1), attributes={"i": str(i), long: long}, service=long, unit=long)
    measured(writer, "m", minutes(*range(130)))
    measured(writer, long, minutes(1), unit=long)

    found = one_metric(reader(), "m")
    assert (found["seriesCount"], len(found["series"])) == (61, 50)
    assert len(orjson.dumps(found)) < 200_000
    assert len(orjson.dumps(list_metrics(reader()))) < 10_000


def test_tenants_are_kept_apart(writer: Writer, reader: Opened) -> None:
    """Though their programs call themselves the same."""
    measured(writer, "m", minutes(1, 1, 1))
    measured(writer, "m", [(time + 1, value) for time, value in minutes(7, 7)], tenant="acme")

    both = one_metric(reader(), "m")
    assert {series["tenant"]: series["avg"] for series in both["series"]} == {"default": 1, "acme": 7}
    assert both["seriesCount"] == 2
    [series] = one_metric(reader(), "m", tenant="acme")["series"]
    assert (series["tenant"], series["avg"]) == ("acme", 7)
    with pytest.raises(NotFoundError, match="no metric 'm' of the tenant 'beta'"):
        one_metric(reader(), "m", tenant="beta")
    with pytest.raises(UsageError, match="no tenant 'betta'"):
        list_metrics(reader(), tenant="betta")


def test_what_can_not_be_answered_is_said(writer: Writer, reader: Opened) -> None:
    measured(writer, "process.memory.usage", minutes(1))

    with pytest.raises(NotFoundError, match=r"did you mean process\.memory\.usage"):
        one_metric(reader(), "proces.memory.usge")
    for odd in ("x", "\ud800", "process.memory.*"):
        with pytest.raises(NotFoundError, match=r"no metric|metrics` lists"):
            one_metric(reader(), odd)
    with pytest.raises(UsageError, match="write it as 500ms"):
        one_metric(reader(), "process.memory.usage", "soon")
    for limit in (0, 201):
        with pytest.raises(UsageError, match="1 to 200"):
            one_metric(reader(), "process.memory.usage", limit=limit)
        with pytest.raises(UsageError, match="1 to 200"):
            list_metrics(reader(), limit=limit)
    with pytest.raises(UsageError, match="256 at most"):
        list_metrics(reader(), "m" * 257)


def test_an_index_leads_to_all_of_it(writer: Writer, tmp_path: Path) -> None:
    """Nothing goes through points that were not asked for."""
    connection: apsw.Connection = open_reading(tmp_path / "store.db")
    names = ("tenant", "name", "after", "pattern", "limit", "most", "since_ns", "until_ns", "series", "time_ns")
    values = dict.fromkeys((*names, "kind", "is_delta", "stat"))
    for sql in statements("otel_bridge.query", "metrics.sql").values():
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert not [step for step in plan if step.startswith(("SCAN points", "SCAN p"))], sql
    assert "(tenant=? AND name=? AND series=? AND time_ns>? AND time_ns<?)" in " ".join(
        row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {SQL['points']}", values)
    )
    connection.close()
