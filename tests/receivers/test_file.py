"""The file receiver reads each file once, over restarts, and one bad file does not stop the others."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog import DropEvent

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.errors import FilesError, RefusedError, RetryableError
from otel_bridge.journal.disk import Disk
from otel_bridge.otlp_json import dump
from otel_bridge.receivers.file import FileConfig, file
from tests.waiting import until


def line(name: str) -> bytes:
    span = {
        "trace_id": b"t" * 16,
        "span_id": b"s" * 8,
        "name": name,
        "start_time_unix_nano": 1,
        "end_time_unix_nano": 2,
    }
    return dump(ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [span]}]}])) + b"\n"


class Names:
    """A consumer that keeps the names of the spans, and refuses those that it is told to, once."""

    def __init__(self, **refused: Exception) -> None:
        self.seen: list[str] = []
        self.refused = refused
        self._changed = asyncio.Event()

    async def __call__(self, batch: Batch) -> None:
        request = batch.request
        assert isinstance(request, ExportTraceServiceRequest)
        name = request.resource_spans[0].scope_spans[0].spans[0].name
        self._changed.set()
        if name in self.refused:
            raise self.refused.pop(name)
        self.seen.append(name)

    async def until(self, *names: str) -> None:
        """Return when these were taken, and everything to refuse was refused."""
        async with asyncio.timeout(5):
            while self.seen != list(names) or self.refused:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def reading(files: Path, consume: Names, receiver: str = "file", only: str = "*") -> AsyncIterator[Host]:
    data_dir = files / "data"
    data_dir.mkdir(exist_ok=True)
    host = Host(id=receiver, data_dir=data_dir)
    async with asynccontextmanager(file.open)(FileConfig(path=str(files / f"{only}.traces.json")), consume, host):
        yield host


async def test_files_are_read_in_order_and_once(tmp_path: Path) -> None:
    """A restart goes on behind what was taken, and finds what was appended since."""
    for name, content in {"b": line("b1") + line("b2"), "a": line("a1"), "c": line("c1")}.items():
        (tmp_path / f"{name}.traces.json").write_bytes(content)
    first = Names(c1=RetryableError("not before the restart", retry_after_s=60))
    async with reading(tmp_path, first) as host:
        await first.until("a1", "b1", "b2")
        assert host.counters.value("received", signal="traces", transport="file") == 4

    (tmp_path / "b.traces.json").write_bytes(line("b1") + line("b2") + line("b3"))
    second = Names()
    async with reading(tmp_path, second):
        await second.until("b3", "c1")


@pytest.mark.parametrize(("one", "other"), [("file/a", "file/b"), ("file", "file/../../file")])
async def test_receivers_side_by_side_keep_their_own_places(tmp_path: Path, one: str, other: str) -> None:
    """Over a restart too, and whatever they are called."""
    names = {of: [f"{of}{number}" for number in range(20)] for of in "ab"}
    for of, lines in names.items():
        (tmp_path / f"{of}.traces.json").write_bytes(b"".join(line(name) for name in lines))
    first, second = (Names(**{f"{of}19": RetryableError("after the restart", retry_after_s=60)}) for of in "ab")
    async with reading(tmp_path, first, one, "a"), reading(tmp_path, second, other, "b"):
        await first.until(*names["a"][:-1])
        await second.until(*names["b"][:-1])

    first, second = Names(), Names()
    async with reading(tmp_path, first, one, "a"), reading(tmp_path, second, other, "b"):
        await first.until("a19")
        await second.until("b19")


async def test_a_bad_id_costs_its_span_only(tmp_path: Path) -> None:
    bad = line("bad").replace(b"74" * 16, b"no hex")
    (tmp_path / "a.traces.json").write_bytes(line("a1") + bad + line("a2"))
    consume = Names()
    async with reading(tmp_path, consume) as host:
        await consume.until("a1", "a2")
        assert host.counters.value("rejected", reason="bad_id") == 1
        assert host.counters.value("refused") == 0


async def test_a_place_that_can_not_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next batch waits for it, so that a restart sends no more than one twice; nothing ends."""
    monkeypatch.setattr("otel_bridge.receivers.file.RETRY_S", 0.01)
    in_the_way = tmp_path / "data" / "positions.file.new"
    in_the_way.mkdir(parents=True)
    (tmp_path / "a.traces.json").write_bytes(line("a1") + line("a2"))
    consume = Names()
    said = asyncio.Event()

    def hear(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        said.set()
        raise DropEvent

    structlog.configure(processors=[hear])
    try:
        async with reading(tmp_path, consume):
            await asyncio.wait_for(said.wait(), 5)
            assert consume.seen == ["a1"]
            in_the_way.rmdir()
            await consume.until("a1", "a2")
    finally:
        structlog.reset_defaults()


async def test_what_may_work_later_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a.traces.json").write_bytes(line("a1") + line("a2"))
    consume = Names(a1=RetryableError("later", retry_after_s=0))
    async with reading(tmp_path, consume) as host:
        await consume.until("a1", "a2")
        assert host.counters.value("received") == 2


async def test_what_never_works_is_passed_over_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.traces.json").write_bytes(line("a1") + line("a2"))
    consume = Names(a1=RefusedError("never"))
    async with reading(tmp_path, consume) as host:
        await consume.until("a2")
        assert host.counters.value("refused", reason="refused") == 1


async def test_a_malformed_file_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.traces.json").write_bytes(line("a1") + b"{nonsense")
    (tmp_path / "b.traces.json").write_bytes(line("b1"))
    consume = Names()
    async with reading(tmp_path, consume) as host:
        await consume.until("a1", "b1")
        assert host.counters.value("refused", reason="malformed") == 1


async def test_places_are_on_disk_before_they_have_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or after a loss of power an empty file may stand there, with which the bridge does not start."""
    done: list[str] = []
    for name in ("write", "sync", "rename", "sync_directory"):
        real = getattr(Disk, name)
        monkeypatch.setattr(Disk, name, lambda *given, real=real, name=name: done.append(name) or real(*given))
    (tmp_path / "a.traces.json").write_bytes(line("a1"))
    consume = Names()
    async with reading(tmp_path, consume) as host:
        await until(lambda: (host.data_dir / "positions.file.json").exists() and done[-1:] == ["sync_directory"])

    assert done == ["write", "sync", "rename", "sync_directory"]


async def test_damaged_positions_are_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "positions.file.json").write_bytes(b"{")
    with pytest.raises(FilesError, match="remove it to read all files again"):
        await reading(tmp_path, Names()).__aenter__()
