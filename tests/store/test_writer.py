"""What is written once or twice, provisionally or settled, and what becomes of it with age, size and damage."""

import resource
import signal
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import FilesError, RefusedError, RetryableError
from otel_bridge.journal.disk import Space
from otel_bridge.model import Level, Observation, ObservationType, Omitted, Score, TraceAttributes, Translation
from otel_bridge.store.database import VERSION, open_writing
from otel_bridge.store.reader import Row, reading
from otel_bridge.store.rows import OPEN
from otel_bridge.store.statements import text
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from tests.store.conftest import Clock

TRACE = "0af7651916cd43dd8448eb211c80319c"
START = 1_700_000_000_000_000_000


def spans(
    *names: str, trace_id: str = TRACE, tenant: str = "default", status: int = 0, service: str = "agents"
) -> Batch:
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.add(key="service.name").value.string_value = service
    scoped = block.scope_spans.add()
    scoped.scope.name = "acme"
    for i, name in enumerate(names):
        scoped.spans.add(
            trace_id=bytes.fromhex(trace_id),
            span_id=(i + 1).to_bytes(8),
            parent_span_id=(1).to_bytes(8) if i else b"",
            name=name,
            start_time_unix_nano=START + i,
            end_time_unix_nano=START + 1000 + i,
            status=Status(code=status),  # type: ignore[arg-type]  # a number is what the wire has
        )
    return Batch.from_request(request, tenant=tenant)


def translation(*names: str, trace_id: str = TRACE, **trace: Any) -> Translation:
    attributes = TraceAttributes(trace_id, **{"name": "run", "session_id": "s1", **trace})
    observations = [
        Observation(
            id=f"{i + 1:016x}",
            trace_id=trace_id,
            parent_id=f"{1:016x}" if i else None,
            type=ObservationType.GENERATION if i else ObservationType.AGENT,
            name=name,
            start_ns=START + i,
            end_ns=START + 2000,
            trace=attributes,
            level=Level.ERROR if name == "broken" else Level.DEFAULT,
            usage={"input": 40, "output": 2, "total": 42} if i else None,
            cost={"total": 0.25} if i else None,
        )
        for i, name in enumerate(names)
    ]
    return Translation(traces=[attributes], observations=observations)


def count(path: Path, table: str) -> int:
    with reading(path) as reader:
        found = reader.row(f"SELECT count(*) AS n FROM {table}")
    assert found is not None
    return int(found["n"])


def rows(path: Path, query: str) -> list[Row]:
    with reading(path) as reader:
        return reader.rows(query)


def trace_row(path: Path, tenant: str = "default") -> dict[str, Any]:
    with reading(path) as reader:
        found = reader.row("SELECT * FROM traces WHERE trace_id = ? AND tenant = ?", (TRACE, tenant))
    assert found is not None
    return found


def test_only_the_owner_may_read(writer: Writer, path: Path) -> None:
    """Prompts are in it; so the file and its write-ahead log are for one person."""
    writer.batch(spans("a"))

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_twice_is_once(writer: Writer, path: Path) -> None:
    for _ in range(2):
        writer.batch(spans("a", "b"))
        writer.settled(translation("a", "b"))
        writer.batch(log())
        writer.batch(points())

    tables = {"traces": 1, "spans": 2, "observations": 2, "logs": 1, "resources": 2, "points": 4}
    assert {table: count(path, table) for table in tables} == tables
    assert trace_row(path)["total_tokens"] == 42


def test_of_a_trace_each_resource_is_kept_once(writer: Writer, path: Path, clock: Clock) -> None:
    """Or megabytes of it under some hundred observations would take all the memory, and the disk."""
    made = translation("a", "b", "c")
    made.observations[0].resource = {"service.name": "one"}
    made.observations[1].resource = made.observations[2].resource = {"note": "x" * 1000}
    writer.settled(made)
    writer.settled(made)

    with reading(path) as reader:
        rows = reader.rows(
            "SELECT o.id, r.resource FROM observations o JOIN observed_resources r ON r.id = o.resource_id"
        )
    assert count(path, "observed_resources") == 2
    assert [orjson.loads(row["resource"]) for row in sorted(rows, key=lambda row: row["id"])] == [
        one.resource for one in made.observations
    ]
    clock.step(4000)
    writer.trim()
    assert (count(path, "observations"), count(path, "observed_resources")) == (0, 0)


def without_root(batch: Batch) -> Batch:
    request = batch.editable()
    del request.resource_spans[0].scope_spans[0].spans[0]  # type: ignore[union-attr]  # it is of spans
    return Batch.from_request(request)


def test_only_what_stays_open_is_read_and_only_once(writer: Writer, path: Path, clock: Clock) -> None:
    """To read a span costs more than to keep it: what settles within the time that its root gives is never read."""

    def read() -> list[str]:
        writer.hear(for_s=60)
        found = rows(path, "SELECT name FROM readings JOIN spans USING (trace_id, id, tenant) ORDER BY name")
        return [row["name"] for row in found]

    in_time, open_still = f"{2:032x}", f"{3:032x}"
    writer.batch(spans("done", trace_id=in_time))
    writer.batch(without_root(spans("", "settling")))
    writer.batch(without_root(spans("", "open", "more of it", trace_id=open_still)))
    clock.step(2)
    assert read() == []
    writer.batch(spans("root"))
    clock.step(2)
    assert read() == ["more of it", "open"]
    clock.step(4)
    for trace_id in (in_time, TRACE):
        writer.settled(translation("a", trace_id=trace_id))
    clock.step(10)
    assert read() == ["more of it", "open"]
    assert not rows(path, "SELECT 1 FROM traces WHERE due_ns IS NOT NULL")


def test_what_is_read_next_is_found_without_looking_at_the_rest(writer: Writer) -> None:
    """Of a trace with a hundred thousand spans all of them were looked at for each two hundred that were read."""
    named = {"trace_id": TRACE, "tenant": "default", "read_to": 0, "at_most": 1}
    [step] = writer._connection.execute("EXPLAIN QUERY PLAN " + writer._sql["unread"], named).fetchall()
    assert "(trace_id=? AND tenant=? AND rowid>?)" in step[3]


def test_what_waits_to_be_read_is_postponed_once(writer: Writer, path: Path, clock: Clock) -> None:
    """Though a span without a parent, as each of some programs is, comes every few seconds."""
    writer.batch(without_root(spans("root", "kid")))
    for number in range(3, 9):
        clock.step(2)
        writer.batch(saying(number))
        writer.hear(for_s=60)
    assert count(path, "readings") == 6
    clock.step(9)
    writer.batch(saying(9))
    writer.hear(for_s=60)
    assert count(path, "readings") == 6
    clock.step(1)
    writer.hear(for_s=60)
    assert count(path, "readings") == 8


def test_what_there_is_no_time_to_read_is_read_later(writer: Writer, path: Path, clock: Clock) -> None:
    for number in range(3):
        writer.batch(spans(*"abcdefgh", trace_id=f"{number:032x}"))
    clock.step(10)
    read = []
    while not read or read[-1] < 24:
        writer.hear(for_s=1e-5)
        read.append(count(path, "readings"))
    assert len(read) > 3
    assert read == sorted(read)


def test_a_span_that_has_ended_is_read_again(writer: Writer, path: Path, clock: Clock) -> None:
    """What it says at its end it had not said at its start."""
    writer.batch(open_span("started", 500, **{"user.id": "ada"}))
    told = trace_row(path)
    writer.batch(saying(1, session_id="night"))
    clock.step(10)
    writer.hear(for_s=60)
    assert (told["user_id"], told["session_id"]) == ("ada", None)
    assert (trace_row(path)["user_id"], trace_row(path)["session_id"]) == ("ada", "night")


@pytest.mark.parametrize("due", [False, True])
def test_to_read_what_is_open_nothing_is_forgotten(
    writer: Writer, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, due: bool
) -> None:
    """It can wait: a bridge that had nothing to do gave up all it had, where somebody else filled the disk."""
    writer.settled(translation("a"))
    if due:
        writer.batch(spans("a", trace_id="f" * 32))
    clock.step(11)
    kept = count(path, "traces")
    with monkeypatch.context() as full, pytest.raises(RetryableError) if due else nullcontext():
        full.setattr(Space, "of", lambda folder: Space(total=1 << 30, free=0, kept=1 << 20))
        writer.hear(for_s=60)
    assert count(path, "traces") == kept
    writer.hear(for_s=60)
    assert count(path, "readings") == due


def test_what_could_not_be_read_now_is_read_later(
    writer: Writer, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apsw

    writer.batch(spans("a", "b"))
    clock.step(11)
    with monkeypatch.context() as full:
        full.setattr(writer, "_put", Mock(side_effect=apsw.FullError("full")))
        with pytest.raises(RetryableError):
            writer.hear(for_s=60)
    writer.hear(for_s=60)
    assert count(path, "readings") == 2


def test_what_can_not_be_read_is_tried_once(writer: Writer, path: Path, clock: Clock) -> None:
    writer.batch(spans("a"))
    clock.step(1)
    writer.batch(spans("b", trace_id="f" * 32))
    writer._connection.execute("UPDATE spans SET span = x'ff' WHERE name = 'a'")
    clock.step(11)
    with pytest.raises(DecodeError):
        writer.hear(for_s=60)
    writer.hear(for_s=60)
    assert [row["trace_id"] for row in rows(path, "SELECT trace_id FROM readings")] == ["f" * 32]


def test_a_span_that_ends_as_the_last_row_is_read_again_too(writer: Writer, path: Path, clock: Clock) -> None:
    """It gets the number of the row that it had when it was read."""
    writer.batch(without_root(spans("root", "kid")))
    writer.batch(open_span("started", 500))
    clock.step(4)
    writer.hear(for_s=60)
    writer.batch(saying(1, session_id="night"))
    clock.step(11)
    writer.hear(for_s=60)
    assert trace_row(path)["session_id"] == "night"


def test_a_heartbeat_after_the_end_takes_nothing_back(writer: Writer, path: Path, clock: Clock) -> None:
    writer.batch(open_span("started", 500))
    writer.batch(saying(1, langfuse_observation_type="generation"))
    clock.step(11)
    writer.hear(for_s=60)
    writer.batch(open_span("heartbeat", 900))  # it was on its way
    assert rows(path, "SELECT type FROM readings") == [{"type": "GENERATION"}]


def test_a_heartbeat_takes_nothing_back_of_what_was_told_first(writer: Writer, path: Path) -> None:
    """It says that the span has not ended, and nothing else."""
    writer.batch(open_span("started", 500, **{"langfuse.observation.type": "agent"}))
    writer.batch(open_span("heartbeat", 900))
    assert rows(path, "SELECT type FROM readings") == [{"type": "AGENT"}]


def saying(number: int, **said: str) -> Batch:
    batch = spans("a")
    request = batch.editable()
    span = request.resource_spans[0].scope_spans[0].spans[0]  # type: ignore[union-attr]  # it is of spans
    span.span_id = number.to_bytes(8)
    for key, value in said.items():
        span.attributes.add(key=key.replace("_", ".")).value.string_value = value
    return Batch.from_request(request)


def test_what_spans_say_of_their_trace_stands_until_it_settles(writer: Writer, path: Path, clock: Clock) -> None:
    """The first who says something is heard, tags are those of all. What has settled knows better what they mean, as
    whether the first spoke for another service."""
    writer.batch(saying(1, user_id="ada", langfuse_trace_tags='["one"]', session_id="night"))
    writer.batch(
        saying(2, user_id="bob", langfuse_trace_tags='["two", "one"]', langfuse_observation_input="x" * 10_000)
    )
    clock.step(10)
    writer.hear(for_s=60)
    came = trace_row(path)
    writer.settled(translation("a", session_id=None, user_id="eve", tags=["two"]))
    became = trace_row(path)

    assert (came["user_id"], came["session_id"], came["tags"]) == ("ada", "night", '["one","two"]')
    assert (became["user_id"], became["session_id"], became["tags"]) == ("eve", None, '["two"]')


def test_what_is_open_still_has_its_say_when_its_trace_settles_in_part(
    writer: Writer, path: Path, clock: Clock
) -> None:
    """What settles lacks the span that said a word, as it has not ended; once it has, it is known who said what."""

    def words() -> tuple[str | None, str | None, str | None]:
        row = trace_row(path)
        return row["user_id"], row["session_id"], row["tags"]

    writer.batch(open_span("started", 500, **{"session.id": "night", "langfuse.trace.tags": '["two"]'}))
    writer.settled(translation("a", "b", session_id=None, user_id="eve"))
    assert words() == ("eve", "night", '["two"]')
    writer.batch(spans("a"))
    writer.settled(translation("a", session_id=None, user_id="eve", tags=["one"]))
    assert words() == ("eve", None, '["one"]')
    writer.settled(translation("late", session_id=None, user_id=None))
    assert words() == ("eve", None, '["one"]')


def test_what_a_settled_part_said_stands_when_the_rest_knows_nothing_of_it(
    writer: Writer, path: Path, clock: Clock
) -> None:
    """What an open span alone has said falls away once it has ended, and not what has settled."""
    writer.batch(open_span("started", 500, **{"session.id": "night", "user.id": "ada"}))
    writer.settled(translation("a", session_id=None, user_id="eve", version="1", tags=["one"]))
    writer.settled(translation("b", session_id=None))
    writer.batch(spans("a"))
    writer.settled(translation("a", session_id=None))
    row = trace_row(path)
    assert (row["session_id"], row["user_id"], row["version"], row["tags"]) == (None, "eve", "1", '["one"]')


def test_a_trace_is_provisional_until_it_settles(writer: Writer, path: Path) -> None:
    writer.batch(spans("a", "b", status=Status.STATUS_CODE_ERROR))
    came = trace_row(path)
    writer.settled(translation("a", "broken"))
    became = trace_row(path)

    assert (came["settled"], came["name"], came["error_count"], came["end_ns"]) == (0, "a", 1, START + 1001)
    assert (became["settled"], became["name"], became["session_id"]) == (1, "run", "s1")
    assert (became["observation_count"], became["error_count"], became["total_tokens"]) == (2, 1, 42)
    assert (became["total_cost"], became["end_ns"]) == (0.25, START + 2000)


def open_span(event: str, after_ns: int, **attributes: str | int) -> Batch:
    """That the first span of the trace has not ended."""
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            trace_id=bytes.fromhex(TRACE),
            span_id=(1).to_bytes(8),
            event_name=f"otel_bridge.span.{event}",
            time_unix_nano=START + after_ns,
        )
    )
    said = {"name": "a", "start_time_unix_nano": START, **attributes}
    for key, value in said.items():
        kind = "int_value" if isinstance(value, int) else "string_value"
        setattr(record.attributes.add(key=key if "." in key else f"otel_bridge.span.{key}").value, kind, value)
    return Batch.from_request(request)


def test_a_span_that_has_not_ended_stands_there_until_it_has(writer: Writer, path: Path) -> None:
    writer.batch(open_span("started", 500))
    writer.batch(open_span("heartbeat", 900))
    [still] = rows(path, "SELECT * FROM spans")
    assert (still["name"], still["start_ns"], still["end_ns"], still["status"]) == ("a", START, START + 900, OPEN)
    assert (trace_row(path)["settled"], trace_row(path)["name"]) == (0, "a")
    writer.batch(spans("ended"))
    writer.batch(open_span("heartbeat", 9000))  # it was on its way
    [ended] = rows(path, "SELECT * FROM spans")
    assert (ended["name"], ended["end_ns"], ended["status"]) == ("ended", START + 1000, 0)


def test_a_status_that_there_is_not_makes_no_span_open(writer: Writer, path: Path) -> None:
    writer.batch(spans("ended", status=-1))
    writer.batch(open_span("heartbeat", 9000))
    [ended] = rows(path, "SELECT * FROM spans")
    assert (ended["end_ns"], ended["status"]) == (START + 1000, 0)


@pytest.mark.parametrize("odd", [{"parent_id": "nonsense"}, {"start_time_unix_nano": -5}, {"name": 7}])
def test_whatever_is_said_of_an_open_span_is_taken(writer: Writer, path: Path, odd: dict[str, str | int]) -> None:
    writer.batch(open_span("started", 500, **odd))
    [still] = rows(path, "SELECT * FROM spans")
    assert still["start_ns"] in (START, START + 500)


def test_what_settles_has_no_span_read_again(writer: Writer, path: Path) -> None:
    """Of a trace of hours each part would read all that came before, whole."""
    writer.batch(spans("a", "b"))
    writer._connection.execute("UPDATE spans SET span = x'ff'")
    writer.settled(translation("a"))

    assert trace_row(path)["settled"] == 1


def test_what_comes_later_does_not_unsettle(writer: Writer, path: Path) -> None:
    """A batch that is delivered again after its trace settled changes nothing of what settled."""
    writer.settled(translation("a", "b"))
    settled = trace_row(path)
    writer.batch(spans("other", "names"))

    assert trace_row(path) == settled


def test_a_late_part_adds_to_its_trace(writer: Writer, path: Path) -> None:
    """What a late part does not know stays as the first part said it; the sums are over both."""
    writer.settled(translation("a", "b", input="question", tags=["x"]))
    late = translation("ignored", "ignored", "late")
    late.observations = late.observations[2:]
    late.traces[0].name = None
    writer.settled(late)

    row = trace_row(path)
    assert (row["name"], row["input"], row["tags"]) == ("run", '"question"', '["x"]')
    assert (row["observation_count"], row["total_tokens"]) == (3, 84)


def test_a_late_part_says_more_of_its_trace_and_takes_nothing_back(writer: Writer, path: Path) -> None:
    """It may not know all that was said before, where that was large."""
    for said in ({"large": "x" * 20_000, "a": 1}, {}, {"a": 2, "b": None}, {}):
        writer.settled(translation("agent", metadata=said))
    with reading(path) as reader:
        row = reader.row("SELECT metadata FROM traces")
    assert row is not None
    assert orjson.loads(row["metadata"]) == {"large": "x" * 20_000, "a": 2, "b": None}


def test_a_piece_of_a_translation_is_enough(writer: Writer, path: Path) -> None:
    """Delivery splits and bisects: an observation without the list of traces still has its trace's attributes."""
    piece = translation("a", "b")
    piece.traces = []
    writer.settled(piece)

    assert trace_row(path)["session_id"] == "s1"


def test_scores_alone_make_no_trace(writer: Writer, path: Path) -> None:
    score = Score("id", "helpful", "yes", "CATEGORICAL", START, trace_id=TRACE)
    writer.settled(Translation(traces=[TraceAttributes(TRACE)], scores=[score]))

    assert (count(path, "scores"), count(path, "traces")) == (1, 0)


def test_tenants_do_not_touch_each_other(writer: Writer, path: Path) -> None:
    """The same trace id from two tenants is two traces."""
    writer.settled(translation("a"))
    other = translation("b", name="theirs")
    other.tenant = "other"
    writer.settled(other)

    assert (trace_row(path)["name"], trace_row(path, "other")["name"]) == ("run", "theirs")


def test_odd_values_are_kept(writer: Writer, path: Path) -> None:
    """Half a surrogate, an integer of 80 bits, times and counts that SQLite has no number for."""
    odd = translation("a", "b")
    odd.observations[0].input = {"half": "\ud800", "huge": 1 << 80}
    odd.observations[1].end_ns = (1 << 64) - 1
    odd.observations[1].usage = {"total": 1 << 70}
    writer.settled(odd)
    request = spans("a").editable()
    assert isinstance(request, ExportTraceServiceRequest)
    request.resource_spans[0].scope_spans[0].spans[0].end_time_unix_nano = (1 << 64) - 1
    writer.batch(Batch.from_request(request))

    assert count(path, "observations") == 2
    assert count(path, "spans") == 1


@pytest.mark.parametrize("where", ["input", "name"])
def test_what_can_not_be_kept_is_refused(writer: Writer, path: Path, where: str) -> None:
    """So that delivery finds the one observation; nothing of the rest is half written."""
    nested: Any = "end"
    for _ in range(2000):
        nested = [nested]
    poison = translation("a", "b")
    setattr(poison.observations[1], where, nested if where == "input" else "\ud800")

    with pytest.raises(RefusedError):
        writer.settled(poison)
    assert count(path, "observations") == 0


def test_bytes_that_are_no_request_are_refused(writer: Writer) -> None:
    with pytest.raises(RefusedError):
        writer.batch(Batch.from_wire(Signal.TRACES, b"\xff\xff\xff"))


def log(body: str = "hello") -> Batch:
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            event_name="acme.said", time_unix_nano=START, trace_id=bytes.fromhex(TRACE), span_id=(1).to_bytes(8)
        )
    )
    record.body.string_value = body
    return Batch.from_request(request)


def points() -> Batch:
    block = ResourceMetrics()
    scoped = block.scope_metrics.add()
    metric = scoped.metrics.add(name="requests", unit="1")
    metric.sum.data_points.add(time_unix_nano=START, as_int=7)
    metric.sum.data_points.add(time_unix_nano=START, as_double=0.5).attributes.add(key="a").value.string_value = "b"
    scoped.metrics.add(name="latency").histogram.data_points.add(time_unix_nano=START, count=3, sum=1.5)
    scoped.metrics.add(name="old").summary.data_points.add(time_unix_nano=START, count=2, sum=4.0)
    scoped.metrics.add(name="empty")
    return Batch.from_request(ExportMetricsServiceRequest(resource_metrics=[block]))


def test_points_of_every_kind(writer: Writer, path: Path) -> None:
    writer.batch(points())

    with reading(path) as reader:
        rows = reader.rows("SELECT name, kind, value, count FROM points ORDER BY name, value")
    assert [tuple(row.values()) for row in rows] == [
        ("latency", "histogram", 1.5, 3),
        ("old", "summary", 4.0, 2),
        ("requests", "sum", 0.5, None),
        ("requests", "sum", 7.0, None),
    ]


def test_old_traces_go_with_all_they_have(writer: Writer, path: Path, clock: Any, counters: Counters) -> None:
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


def test_too_much_makes_the_oldest_go(path: Path, clock: Any, counters: Counters) -> None:
    writer = Writer(path, max_age_s=3600, max_bytes=400_000, counters=counters, now_ns=clock)
    for i in range(40):
        clock.step(1)
        writer.settled(translation("a", trace_id=f"{i:032x}", input="x" * 20_000))
        writer.batch(log(str(i) * 5000))
    writer.trim()

    with reading(path) as reader:
        left = [row["trace_id"] for row in reader.rows("SELECT trace_id FROM traces ORDER BY seen_ns")]
    writer.close()
    assert 0 < len(left) < 40
    assert left[-1] == f"{39:032x}"
    assert path.stat().st_size <= 500_000
    assert counters.value("store_forgotten", reason="max_bytes") == 40 - len(left)


def test_resources_of_none_that_is_here_do_not_crowd_out_traces(path: Path, clock: Any, counters: Counters) -> None:
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


def test_scores_and_omissions_without_a_trace_go_too(path: Path, clock: Any, counters: Counters) -> None:
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


@pytest.mark.parametrize("label", ["good", ["a", "b"], {"a": 1}, 5, None])
def test_any_label_of_a_score_is_kept(writer: Writer, path: Path, label: Any) -> None:
    writer.settled(Translation(scores=[score("q", metadata={"label": label})]))
    [row] = rows(path, "SELECT label FROM scores")
    assert row["label"] == (label if isinstance(label, str | None) else orjson.dumps(label).decode())


def score(score_id: str, **more: Any) -> Score:
    return Score(id=score_id, name="q", value=1.0, data_type="NUMERIC", timestamp_ns=START, **more)


def test_a_file_that_is_no_store_is_moved_aside(path: Path, counters: Counters) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this was never a database" * 100)
    writer = Writer(path, max_age_s=3600, max_bytes=1 << 30, counters=counters)
    writer.batch(spans("a"))
    writer.close()

    assert count(path, "spans") == 1
    assert len(list(path.parent.glob("store.db.unreadable-*"))) == 1


def test_damage_while_running_begins_a_new_store(writer: Writer, path: Path) -> None:
    """What comes next is kept; the damaged file stays for somebody to look at."""
    for i in range(200):
        writer.batch(spans(*"abcdefghij", trace_id=f"{i:032x}"))
    writer.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 200_000)
    again = Writer(path, max_age_s=3600, max_bytes=1 << 30, counters=Counters())
    again.batch(spans("a"))
    again.settled(translation("a"))
    again.close()

    assert trace_row(path)["settled"] == 1
    assert count(path, "spans") == 1
    assert list(path.parent.glob("store.db.unreadable-*"))


def test_a_new_store_begins_as_soon_as_it_can(writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where too many files are open at the moment in which a damaged one was moved aside."""
    for i in range(200):
        writer.batch(spans(*"abcdefghij", trace_id=f"{i:032x}"))
    writer.close()
    again = Writer(path, max_age_s=3600, max_bytes=1 << 30, counters=Counters())
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * 200_000)
    with monkeypatch.context() as patched:
        patched.setattr("otel_bridge.store.writer.open_writing", Mock(side_effect=FilesError("too many files")))
        for _ in range(2):
            with pytest.raises(RetryableError, match="too many files"):
                again.batch(spans("a"))
    again.batch(spans("a"))
    again.close()

    assert count(path, "spans") == 1


def test_damage_that_only_retention_meets_begins_a_new_store(writer: Writer, path: Path, clock: Clock) -> None:
    """Else nothing is ever forgotten again."""
    for i in range(200):
        writer.batch(spans(*"abcdefghij", trace_id=f"{i:032x}"))
    writer.close()
    connection = open_writing(path)
    query = "SELECT pageno FROM dbstat WHERE name = 'spans' AND pagetype = 'leaf' LIMIT 1"
    [(page,)] = connection.execute(query)
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    again = Writer(path, max_age_s=3600, max_bytes=1 << 30, counters=Counters(), now_ns=clock)
    again.batch(spans("a", trace_id="f" * 32))
    clock.step(3601)
    again.batch(spans("b", trace_id="e" * 32))
    again.close()

    assert count(path, "spans") == 1
    assert list(path.parent.glob("store.db.unreadable-*"))


def test_another_schema_is_another_version() -> None:
    """Or the store of an older bridge is taken for one of this, and no statement fits it."""
    digest = sha256(text("otel_bridge.store", "schema.sql").encode()).hexdigest()[:16]
    assert (VERSION, digest) == (5, "1178c96150f42f10")


def test_a_newer_format_is_left_alone(path: Path) -> None:
    open_writing(path).close()
    connection = open_writing(path)
    connection.pragma("user_version", VERSION + 1)
    connection.close()

    with pytest.raises(FilesError, match="newer bridge"):
        open_writing(path)


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(FilesError, match="can not be written"):
        open_writing(tmp_path / "file" / "store.db")


def test_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="there is no store"), reading(tmp_path / "store.db"):
        pass


def test_readers_can_not_write(writer: Writer, path: Path) -> None:
    import apsw

    with reading(path) as reader, pytest.raises(apsw.ReadOnlyError):
        reader.rows("DELETE FROM traces")


def test_a_full_disk_is_tried_again(writer: Writer, path: Path) -> None:
    """SQLite rolls back itself then; what was asked for is refused whole and can be kept later."""
    limit = writer._connection.pragma("max_page_count")
    writer._connection.pragma("max_page_count", 1)
    with pytest.raises(RetryableError, match="full"):
        writer.batch(spans(*"ab" * 500))
    writer._connection.pragma("max_page_count", limit)
    writer.batch(spans("a"))

    assert count(path, "spans") == 1


def test_what_a_failing_disk_says_is_said_with_the_file_and_what_to_do(writer: Writer, path: Path) -> None:
    """SQLite's own words are no more than `disk I/O error`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
    try:
        with pytest.raises(RetryableError) as error:
            writer.batch(spans(*"ab" * 500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert str(error.value).startswith(
        f"the store {path} can not be written now: disk I/O error (SQLITE_IOERR_WRITE); the system's log (`dmesg`) says"
    )
    writer.batch(spans("a"))
    assert count(path, "spans") == 1


def test_a_reader_of_what_is_damaged_is_told_the_file_and_what_to_do(path: Path) -> None:
    writer = Writer(path, max_age_s=3600, max_bytes=1 << 30, counters=Counters())
    writer.batch(spans("a"))
    writer.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    said = f"the store {path} can not be read: .*; move it away, with what begins like it, and start the bridge again"
    with pytest.raises(FilesError, match=said), reading(path) as reader:
        reader.rows("SELECT * FROM spans")
