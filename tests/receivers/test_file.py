"""The file receiver reads each file once, over restarts, and one bad file does not stop the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.errors import FilesError, RefusedError, RetryableError
from otel_bridge.otlp_json import dump
from otel_bridge.receivers.file import FileConfig, file


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
async def reading(files: Path, consume: Names) -> AsyncIterator[Host]:
    data_dir = files / "data"
    data_dir.mkdir(exist_ok=True)
    host = Host(id="file", data_dir=data_dir)
    async with asynccontextmanager(file.open)(FileConfig(path=str(files / "*.traces.json")), consume, host):
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


async def test_damaged_positions_are_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "positions.json").write_bytes(b"{")
    with pytest.raises(FilesError, match="remove it to read all files again"):
        await reading(tmp_path, Names()).__aenter__()
