"""Files that hold whole records, whatever happens while they are written."""

import asyncio
import resource
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from signal import SIG_IGN, SIGXFSZ, signal
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge import otlp_json
from otel_bridge.batch import Batch, Signal
from otel_bridge.component import Consume, Host
from otel_bridge.errors import FilesError, RetryableError
from otel_bridge.exporters import file as exported
from otel_bridge.exporters.file import FileConfig, file


def spans(name: str = "span") -> Batch:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name=name, trace_id=b"\1" * 16, span_id=b"\2" * 8)
    return Batch.from_request(request)


def logs() -> Batch:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(severity_text="INFO")
    return Batch.from_request(request)


@asynccontextmanager
async def writing(path: Path, **settings: Any) -> AsyncIterator[Consume]:
    config = FileConfig(path=path, **settings)
    async with asynccontextmanager(file.open)(config, Host(id="file", data_dir=path.parent)) as consume:
        yield consume


def unframe(data: bytes) -> list[bytes]:
    records = []
    while data:
        size = int.from_bytes(data[:4], "big")
        records.append(data[4 : 4 + size])
        assert len(records[-1]) == size
        data = data[4 + size :]
    return records


async def test_json_is_a_request_on_each_line(tmp_path: Path) -> None:
    async with writing(tmp_path / "out.json") as consume:
        await consume(spans("one\ntwo"))
        await consume(logs())

    first, second = (tmp_path / "out.json").read_bytes().splitlines()
    assert otlp_json.parse(Signal.TRACES, first) == spans("one\ntwo").request
    assert otlp_json.parse(Signal.LOGS, second) == logs().request


@pytest.mark.parametrize("fsync", [False, True])
async def test_proto_is_a_file_for_each_signal_with_the_length_first(tmp_path: Path, fsync: bool) -> None:
    async with writing(tmp_path / "new" / "out.pb", format="proto", fsync=fsync) as consume:
        await asyncio.gather(*(consume(spans(f"span {n}")) for n in range(20)), consume(logs()))

    records = unframe((tmp_path / "new" / "out.traces.pb").read_bytes())
    assert sorted(records) == sorted(spans(f"span {n}").wire for n in range(20))
    assert unframe((tmp_path / "new" / "out.logs.pb").read_bytes()) == [logs().wire]


async def test_what_was_there_stays_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    for name in ("first", "second"):
        async with writing(tmp_path / "out.json") as consume:
            await consume(spans(name))
    assert len((tmp_path / "out.json").read_bytes().splitlines()) == 2
    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == 0o600


async def test_a_path_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="name another path"):
        async with writing(tmp_path):
            pass


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal(SIGXFSZ, SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal(SIGXFSZ, ignored)


async def test_a_full_disk_leaves_whole_records_and_is_retryable(tmp_path: Path) -> None:
    path = tmp_path / "out.pb"
    async with writing(path, format="proto") as consume:
        await consume(spans())
        with full_disk(len(spans().wire) + 100), pytest.raises(RetryableError, match="could not be written"):
            await consume(spans("x" * 1000))
        await consume(spans("after"))
    assert unframe((tmp_path / "out.traces.pb").read_bytes()) == [spans().wire, spans("after").wire]


@pytest.mark.parametrize("form", ["json", "proto"])
async def test_half_a_record_from_before_a_crash_spoils_none_after_it(tmp_path: Path, form: str) -> None:
    """It was not confirmed, so it comes again."""
    path = tmp_path / "out"
    written = path if form == "json" else tmp_path / "out.traces"
    for name in ("one", "cut", "two"):
        async with writing(path, format=form) as consume:
            await consume(spans(name))
        if name == "cut":
            written.write_bytes(written.read_bytes()[:-5])

    raw = written.read_bytes()
    if form == "json":
        read = [otlp_json.parse(Signal.TRACES, line) for line in raw.splitlines()]
    else:
        read = [Batch.from_wire(Signal.TRACES, record).request for record in unframe(raw)]
    assert read == [spans("one").request, spans("two").request]


async def test_a_start_looks_at_what_came_last_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would read all of a file of many gigabytes, while nobody can send."""
    monkeypatch.setattr(exported, "MARK_BYTES", 1000)
    path, written = tmp_path / "out.pb", tmp_path / "out.traces.pb"
    async with writing(path, format="proto") as consume:
        for _ in range(200):
            await consume(spans("x" * 50))
    whole = b"\xff" + written.read_bytes()[1:]
    written.write_bytes(whole + b"\0\0\1\0half")
    async with writing(path, format="proto"):
        pass
    assert written.read_bytes() == whole, "nobody saw that it does not begin with a record"

    others = [spans("another file").wire] * 400
    written.write_bytes(b"".join(len(one).to_bytes(4, "big") + one for one in others) + b"\0\0\1\0half")
    async with writing(path, format="proto"):
        pass
    assert unframe(written.read_bytes()) == others


def torn(wire: bytes, whole: int) -> bytes:
    """A record of which so many bytes came to the disk, while the file is as long as it would be, or longer."""
    return (len(wire).to_bytes(4, "big") + wire)[:whole].ljust(8000, b"\0")


@pytest.mark.parametrize(
    ("form", "left"),
    [
        ("json", bytes(5000)),
        ("json", otlp_json.dump(spans("lost").request)[:30] + bytes(5000)),
        ("json", otlp_json.dump(spans("lost").request) + bytes(5000)),
        ("json", bytes(4096) + b'"}]}]}]}'),
        ("proto", bytes(5000)),
        ("proto", torn(spans("lost").wire, 30)),
        ("proto", torn(spans("lost").wire, 30)[: len(spans("lost").wire) + 4]),
        ("proto", torn(spans("lost").wire, 3)),
    ],
)
async def test_what_a_loss_of_power_leaves_spoils_nothing(tmp_path: Path, form: str, left: bytes) -> None:
    """The file is longer, and what was written to it is not there."""
    written = tmp_path / ("out" if form == "json" else "out.traces")
    async with writing(tmp_path / "out", format=form) as consume:
        await consume(spans("one"))
    whole = written.read_bytes()
    written.write_bytes(whole + left)
    async with writing(tmp_path / "out", format=form) as consume:
        await consume(spans("one"))
    assert written.read_bytes() == whole + whole


@pytest.mark.parametrize(
    ("form", "there", "kept"),
    [
        ("json", b"somebody's words", b"somebody's words\n"),
        ("json", b'{"a": 1}', b'{"a": 1}\n'),
        ("proto", b"\x0a\x7fno record", b"\x0a\x7fno record"),
    ],
)
async def test_what_is_no_record_of_ours_stays(tmp_path: Path, form: str, there: bytes, kept: bytes) -> None:
    written = tmp_path / ("out" if form == "json" else "out.traces")
    written.write_bytes(there)
    async with writing(tmp_path / "out", format=form) as consume:
        await consume(spans("one"))

    assert written.read_bytes().startswith(kept)
    assert len(written.read_bytes()) > len(kept)
