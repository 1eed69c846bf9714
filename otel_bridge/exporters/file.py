"""Append batches to files: JSON lines, or OTLP protobuf with the length first."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal

from otel_bridge.batch import Batch, Signal
from otel_bridge.component import Consume, Host, exporter
from otel_bridge.config import Config, LocalPath
from otel_bridge.errors import FilesError, RetryableError
from otel_bridge.files import reason
from otel_bridge.otlp_json import dump


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
        files = {signal: opened.enter_context(_open(path)) for signal, path in paths(config).items()}

        def write(batch: Batch) -> None:
            record = dump(batch.request) + b"\n" if config.format == "json" else _framed(batch.wire)
            _append(files[batch.signal], record, fsync=config.fsync)

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


def _framed(wire: bytes) -> bytes:
    return len(wire).to_bytes(4, "big") + wire


def _append(out: BinaryIO, record: bytes, *, fsync: bool) -> None:
    """All of it or nothing: half a record would spoil those after it."""
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
