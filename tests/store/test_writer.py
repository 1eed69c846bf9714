"""What is written once or twice, settled whole or in parts; and what is done where file or disk is damaged or full."""

import errno
import resource
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import FilesError, RefusedError, RetryableError
from otel_bridge.model import Score, TraceAttributes, Translation
from otel_bridge.store.database import VERSION, open_writing
from otel_bridge.store.reader import reading
from otel_bridge.store.statements import text
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from tests.store.conftest import Clock
from tests.store.written import START, TRACE, count, log, points, rows, score, spans, trace_row, translation


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


def test_points_of_every_kind(writer: Writer, path: Path) -> None:
    writer.batch(points())

    with reading(path) as reader:
        rows = reader.rows(
            "SELECT name, kind, is_monotonic, is_delta, start_ns, value, count FROM points ORDER BY name, value"
        )
    assert [tuple(row.values()) for row in rows] == [
        ("latency", "histogram", 0, 1, START - 5, 1.5, 3),
        ("old", "summary", 0, 0, 0, 4.0, 2),
        ("requests", "sum", 1, 0, 0, 0.5, None),
        ("requests", "sum", 1, 0, 0, 7.0, None),
    ]


def test_an_event_is_called_as_its_attribute_says_where_there_is_no_field_for_it(writer: Writer, path: Path) -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for number, field in enumerate(("", "acme.new", "")):
        records.add(time_unix_nano=START + number, event_name=field)
    for record in records[:2]:
        record.attributes.add(key="event.name").value.string_value = "acme.old"
    writer.batch(Batch.from_request(request))

    with reading(path) as reader:
        named = [row["event_name"] for row in reader.rows("SELECT event_name FROM logs ORDER BY time_ns")]
    assert named == ["acme.old", "acme.new", ""]


@pytest.mark.parametrize("label", ["good", ["a", "b"], {"a": 1}, 5, None])
def test_any_label_of_a_score_is_kept(writer: Writer, path: Path, label: Any) -> None:
    writer.settled(Translation(scores=[score("q", metadata={"label": label})]))
    [row] = rows(path, "SELECT label FROM scores")
    assert row["label"] == (label if isinstance(label, str | None) else orjson.dumps(label).decode())


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


def test_what_is_damaged_and_can_not_be_moved_aside_is_told_of(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start as while it runs, however often; it is moved once it can be."""
    writer.batch(spans("before"))
    writer.close()
    again = Writer(path, max_age_s=3600, max_bytes=1 << 30, counters=Counters())
    with path.open("r+b") as file:
        file.write(b"\xa5" * path.stat().st_size)
    denied = PermissionError(errno.EPERM, "Operation not permitted")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", Mock(side_effect=denied))
        for _ in range(2):
            with pytest.raises(RetryableError, match="nor moved aside: Operation not permitted"):
                again.settled(translation("a"))
        with pytest.raises(FilesError, match="nor moved aside: Operation not permitted"):
            Writer(path, max_age_s=3600, max_bytes=1 << 30, counters=Counters())
    again.batch(spans("after"))
    again.close()

    assert [row["name"] for row in rows(path, "SELECT name FROM spans")] == ["after"]


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
    assert (VERSION, digest) == (6, "6fddfed0608a73fb")


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
