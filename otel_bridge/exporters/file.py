"""Append batches to files: JSON lines, or OTLP protobuf with the length first."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Literal

import orjson
from google.protobuf.message import DecodeError

from otel_bridge.batch import REQUESTS, Batch, Signal
from otel_bridge.component import Consume, Host, exporter
from otel_bridge.config import Config, LocalPath
from otel_bridge.errors import FilesError, RetryableError
from otel_bridge.files import reason
from otel_bridge.otlp_files import LENGTH_BYTES
from otel_bridge.otlp_json import dump, is_json

MAX_RECORD = 128 << 20  # above what is ever written; what begins as OTLP itself does would be longer
READ_BYTES = 1 << 20
MARK_BYTES = 64 << 20  # of records between marks, so the most that a start looks at again: a tenth of a second
SAMPLE_BYTES = 4096


class FileConfig(Config):
    """`json`: one file, a request on each line, as the Collector's file exporter writes it. `proto`: a file for each
    signal (`out.pb` → `out.traces.pb`, `out.logs.pb` …), each request after its length as four big-endian bytes.
    """

    path: LocalPath
    format: Literal["json", "proto"] = "json"
    fsync: bool = False


@exporter(FileConfig)
async def file(config: FileConfig, host: Host) -> AsyncIterator[Consume]:
    """Append batches to files: JSON lines, or OTLP protobuf with the length first."""
    writing = asyncio.Lock()

    with ExitStack() as opened:
        marks = {signal: _Mark(path, host) for signal, path in paths(config).items()}
        for signal, path in paths(config).items():
            end_of_records = _end_of_lines if config.format == "json" else partial(_marked_end, signal, marks[signal])
            await asyncio.to_thread(_cut_off, path, end_of_records)
        files = {signal: opened.enter_context(_open(path)) for signal, path in paths(config).items()}

        def write(batch: Batch) -> None:
            file = files[batch.signal]
            if config.format == "json":
                _append(file, dump(batch.request) + b"\n", fsync=config.fsync)
            else:
                marks[batch.signal].reach(_append(file, _framed(batch.wire), fsync=config.fsync))

        async def consume(batch: Batch) -> None:
            async with writing:
                try:
                    await asyncio.to_thread(write, batch)
                except OSError as error:
                    raise RetryableError(f"{config.path} could not be written: {error.strerror or error}") from error

        yield consume


def paths(config: FileConfig) -> dict[Signal, Path]:
    """Where each signal goes."""
    if config.format == "json":
        return dict.fromkeys(Signal, config.path)
    return {signal: config.path.with_suffix(f".{signal}{config.path.suffix}") for signal in Signal}


def _open(path: Path) -> BinaryIO:
    """Unbuffered and for its owner alone: prompts are private, and what was written must be in the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FilesError(f"{path} cannot be opened for writing: {reason(path, error)}; name another path") from error
    return os.fdopen(descriptor, "ab", buffering=0)


def _cut_off(path: Path, end_of_records: Callable[[BinaryIO, int], int]) -> None:
    """Half a record, from when the machine died, spoils those after it. It was not confirmed, and comes again.

    Where the file had become longer already, what did not come to the disk is zero.
    """
    if not path.is_file():
        return
    with suppress(OSError), path.open("rb+") as file:  # where it can only be appended to, it is
        size = file.seek(0, os.SEEK_END)
        if (end := end_of_records(file, size)) < size:
            file.truncate(end)


def _end_of_lines(file: BinaryIO, size: int) -> int:
    """Where the last line ends; what somebody else has written without an end of line stays, and gets one."""
    start, tail = size, b""
    while start and b"\n" not in tail:
        start, end = max(0, start - READ_BYTES), start
        file.seek(start)
        tail = file.read(end - start) + tail
    _, _, rest = tail.rpartition(b"\n")
    if not rest or (rest.startswith((b"{", b"\0")) and not is_json(rest)):
        return size - len(rest)
    file.seek(size)
    file.write(b"\n")
    return size + 1


class _Mark:
    """Up to where a file is whole records, remembered every `MARK_BYTES`: to find the last record's end, all before it
    would have to be read, at each start."""

    def __init__(self, path: Path, host: Host) -> None:
        of = blake2b(f"{host.id}\n{path.absolute()}".encode(), digest_size=8).hexdigest()
        self._path = path
        self._written = host.data_dir / f"file-whole-{of}.json"
        self._log = host.log
        self._end = 0

    def find(self) -> int:
        """The end of a whole record, 0 where none is known; not of another file that has come in the place of this."""
        try:
            end, before = orjson.loads(self._written.read_bytes())
            self._end = end if before == _before(self._path, end) else 0
        except (OSError, ValueError, TypeError):
            self._end = 0
        return self._end

    def reach(self, end: int) -> None:
        """A whole record ends here."""
        if 0 <= end - self._end < MARK_BYTES:
            return
        self._end = end
        draft = self._written.with_suffix(".new")
        try:
            draft.touch(mode=0o600)
            draft.write_bytes(orjson.dumps([end, _before(self._path, end)]))
            draft.replace(self._written)
        except OSError as error:
            self._log.warning(
                "the next start will take longer: how far a file is whole can not be kept", why=str(error)
            )


def _before(path: Path, end: int) -> str:
    """What stands before a place, as a hash."""
    with path.open("rb") as file:
        file.seek(max(0, end - SAMPLE_BYTES))
        return blake2b(file.read(min(SAMPLE_BYTES, end)), digest_size=16).hexdigest()


def _marked_end(signal: Signal, mark: _Mark, file: BinaryIO, size: int) -> int:
    """As `_end_of_framed`, from the mark on."""
    end = _end_of_framed(signal, file, size, mark.find())
    mark.reach(end)
    return end


def _end_of_framed(signal: Signal, file: BinaryIO, size: int, at: int) -> int:
    """Where the last whole record ends, looking on from where one begins; of what is no file of records, its end."""
    last = at
    while at < size:
        file.seek(at)
        length = int.from_bytes(file.read(LENGTH_BYTES), "big")
        if length > MAX_RECORD:
            return size
        if not length:
            found = _after_nothing(file, at, size)
            if found == size:
                break
            at += (found - at) // LENGTH_BYTES * LENGTH_BYTES
            continue
        if at + LENGTH_BYTES + length > size:
            break
        last, at = at, at + LENGTH_BYTES + length
    file.seek(last)
    return last if _is_torn(signal, file.read(at - last)[LENGTH_BYTES:]) else at


def _after_nothing(file: BinaryIO, at: int, size: int) -> int:
    """Where something is again, after bytes that are zero; `size` where nothing is."""
    file.seek(at)
    while at < size:
        chunk = file.read(READ_BYTES)
        if rest := chunk.lstrip(b"\0"):
            return at + len(chunk) - len(rest)
        at += len(chunk)
    return size


def _is_torn(signal: Signal, wire: bytes) -> bool:
    """Whether the end of a record never came to the disk."""
    if not wire.endswith(b"\0"):
        return False
    try:
        REQUESTS[signal].FromString(wire)
    except DecodeError:
        return True
    return False


def _framed(wire: bytes) -> bytes:
    return len(wire).to_bytes(LENGTH_BYTES, "big") + wire


def _append(out: BinaryIO, record: bytes, *, fsync: bool) -> int:
    """All of it or nothing: half a record would spoil those after it. Returns where it ends."""
    start = os.fstat(out.fileno()).st_size
    try:
        rest = memoryview(record)
        while rest:
            rest = rest[out.write(rest) :]
        if fsync:
            os.fsync(out.fileno())
    except OSError:
        os.ftruncate(out.fileno(), start)
        raise
    return start + len(record)
