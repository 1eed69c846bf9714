"""What goes with age and size, and with what."""

from pathlib import Path

from otel_bridge.model import Omitted, Translation
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from tests.store.conftest import Clock
from tests.store.written import TRACE, count, log, points, rows, score, spans, translation


def test_old_traces_go_with_all_they_have(writer: Writer, path: Path, clock: Clock, counters: Counters) -> None:
    """By when they were first seen: the times in spans may be anything."""
    writer.batch(spans("a"))
    writer.batch(log())
    writer.settled(translation("a"))
    writer.batch(points())
    clock.step(3000)
    writer.batch(spans("young", trace_id="f" * 32))
    clock.step(1000)
    writer.trim()

    tables = ("traces", "spans", "observations", "logs", "points")
    assert {table: count(path, table) for table in tables} == {
        "traces": 1, "spans": 1, "observations": 0, "logs": 0, "points": 0,
    }  # fmt: skip
    assert counters.value("store_forgotten", reason="max_age") == 1


def test_too_much_makes_the_oldest_go_with_all_they_have(path: Path, clock: Clock, counters: Counters) -> None:
    writer = Writer(path, max_age_s=3600, max_bytes=400_000, counters=counters, now_ns=clock)
    for i in range(40):
        clock.step(1)
        trace_id = f"{i:032x}"
        writer.batch(spans("a", "left out", trace_id=trace_id))
        writer.batch(log(str(i) * 5000, trace_id))
        clock.step(10)
        writer.hear(for_s=60)
        made = translation("a", trace_id=trace_id, input="x" * 20_000)
        made.observations[0].resource = {"host": trace_id}
        made.scores.append(score(str(i), trace_id=trace_id))
        made.dropped.append(Omitted(f"{2:016x}", trace_id, "noise"))
        writer.settled(made)
    [oldest] = rows(path, "SELECT trace_id FROM traces ORDER BY seen_ns LIMIT 1")
    writer.batch(log("late", first := oldest["trace_id"]))
    late = Translation(scores=[score("late", trace_id=first)], dropped=[Omitted(f"{3:016x}", first, "noise")])
    writer.settled(late)
    writer._forget_oldest("max_bytes")
    writer.trim()

    left = [row["trace_id"] for row in rows(path, "SELECT trace_id FROM traces ORDER BY seen_ns")]
    for table in ("spans", "readings", "observations", "observed_resources", "omitted", "scores", "logs"):
        found = {row["trace_id"] for row in rows(path, f"SELECT trace_id FROM {table}")}
        assert found, table
        assert found <= set(left), table
    assert first not in left
    writer.close()
    assert 0 < len(left) < 40
    assert left[-1] == f"{39:032x}"
    assert path.stat().st_size <= 500_000
    assert counters.value("store_forgotten", reason="max_bytes") == 40 - len(left)


def test_resources_of_none_that_is_here_do_not_crowd_out_traces(path: Path, clock: Clock, counters: Counters) -> None:
    """Each process of a fleet says its own id; the oldest go with what they sent, those in use stay."""
    writer = Writer(path, max_age_s=3600, max_bytes=400_000, counters=counters, now_ns=clock)
    for i in range(40):
        clock.step(1)
        writer.batch(spans("a", trace_id=f"{i:032x}", service=f"{i}" + "x" * 20_000))
        writer.batch(spans("b", trace_id=f"{i + 1000:032x}"))
    writer.trim()
    left = count(path, "traces")
    assert 0 < left < 80
    assert count(path, "resources") <= left / 2 + 2
    assert not rows(path, "SELECT 1 FROM spans WHERE resource_id NOT IN (SELECT id FROM resources)")

    clock.step(4000)
    writer.batch(spans("c"))
    writer.trim()
    assert (count(path, "traces"), count(path, "resources")) == (1, 1)


def test_scores_and_omissions_without_a_trace_go_too(path: Path, clock: Clock, counters: Counters) -> None:
    writer = Writer(path, max_age_s=3600, max_bytes=400_000, counters=counters, now_ns=clock)
    writer.settled(translation("a"))
    writer.settled(Translation(scores=[score("of it", trace_id=TRACE)], dropped=[Omitted("02", TRACE, "again")]))
    for i in range(40):
        clock.step(1)
        alone = score(str(i), session_id="s", comment="x" * 20_000)
        writer.settled(Translation(scores=[alone], dropped=[Omitted("01", f"{i:032x}", "again")]))
    writer._forget_oldest("max_bytes")
    assert count(path, "omitted") < 40
    writer.trim()
    assert path.stat().st_size <= 500_000
    assert 0 < count(path, "scores") < 40

    clock.step(4000)
    writer.trim()
    assert (count(path, "scores"), count(path, "omitted"), count(path, "traces")) == (0, 0, 0)
