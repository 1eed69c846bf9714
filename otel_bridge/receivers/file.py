"""OTLP files: each read once, from where the last run stopped, then done."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import orjson

from otel_bridge.batch import Batch
from otel_bridge.component import Consume, Host, receiver
from otel_bridge.config import Config, LocalPattern
from otel_bridge.errors import ConsumeError, FilesError, MalformedError, ParkedError, RetryableError
from otel_bridge.journal.disk import Disk
from otel_bridge.model import Omitted
from otel_bridge.otlp_files import read_batches
from otel_bridge.tasks import owned_tasks
from otel_bridge.validate import check

RETRY_S = 5.0


class FileConfig(Config):
    """Which files."""

    path: LocalPattern  # one file, or a pattern as `exports/**/*.traces.pb`


@receiver(FileConfig)
async def file(config: FileConfig, consume: Consume, host: Host) -> AsyncIterator[None]:
    """OTLP files, protobuf or JSON: each is read once."""
    paths = await asyncio.to_thread(_matching, config.path)
    if not paths:
        host.log.warning("no file matches", path=config.path)
    positions = _Positions(host)
    async with owned_tasks() as tasks:
        tasks.create_task(_read_all(paths, positions, consume, host))
        yield


def _matching(pattern: str) -> list[Path]:
    path = Path(pattern).absolute()
    return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


class _Positions:
    """How many batches of each file a receiver has taken; on disk, so that a restart goes on behind them."""

    def __init__(self, host: Host) -> None:
        self._disk = Disk()
        self._path = host.data_dir / f"positions.{quote(host.id, safe='')}.json"
        try:
            self._taken: dict[str, int] = orjson.loads(self._path.read_bytes()) if self._path.exists() else {}
        except orjson.JSONDecodeError as error:
            raise FilesError(f"{self._path} is damaged; remove it to read all files again") from error
        except OSError as error:
            raise FilesError(f"{self._path} can not be read: {error.strerror}") from error

    def of(self, path: Path) -> int:
        return self._taken.get(str(path), 0)

    def advance(self, path: Path) -> None:
        self._taken[str(path)] = self.of(path) + 1

    def write(self) -> None:
        """Put them on disk, whole whenever the machine dies: half of them would keep the bridge from starting.

        Raises:
            OSError: they are as before.
        """
        written = self._path.with_suffix(".new")
        fd = self._disk.create(written)
        try:
            self._disk.write(fd, [orjson.dumps(self._taken)])
            self._disk.sync(fd)
        finally:
            os.close(fd)
        self._disk.rename(written, self._path)
        self._disk.sync_directory(self._path.parent)


async def _read_all(paths: list[Path], positions: _Positions, consume: Consume, host: Host) -> None:
    for path in paths:
        rejected: list[Omitted] = []
        try:
            batches = read_batches(path, host.counters, rejected, skip=positions.of(path))
            while batch := await asyncio.to_thread(next, batches, None):
                for omitted in rejected:
                    host.counters.add("rejected", reason=omitted.reason)
                rejected.clear()
                await _take(batch, consume, host)
                positions.advance(path)
                await _write(positions, host)
        except (MalformedError, FilesError) as error:  # in this file; the next may be better
            host.counters.add("refused", reason="malformed" if isinstance(error, MalformedError) else "unreadable")
            host.log.warning("a file was not read to its end", error=str(error))


async def _take(batch: Batch, consume: Consume, host: Host) -> None:
    checked, _rejected = await asyncio.to_thread(check, batch, "file", host.counters)
    while checked.item_count:
        try:
            await consume(checked)
        except (RetryableError, ParkedError) as error:
            named_s = error.retry_after_s if isinstance(error, RetryableError) else None
            await asyncio.sleep(RETRY_S if named_s is None else named_s)
        except ConsumeError as error:
            host.counters.add("refused", reason="refused")
            host.log.warning("a batch of a file was refused", error=str(error))
            return
        else:
            return


async def _write(positions: _Positions, host: Host) -> None:
    """Not before this is done is the next batch taken: each that is taken without it comes twice after a restart."""
    while True:
        try:
            return await asyncio.to_thread(positions.write)
        except OSError as error:
            host.log.warning("how far files are read can not be written; trying again", error=error.strerror)
        await asyncio.sleep(RETRY_S)
