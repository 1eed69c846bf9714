"""What tests ask of a journal, and a disk that fails as told."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from otel_bridge.batch import Batch
from otel_bridge.errors import JournalFullError
from otel_bridge.journal.disk import Disk
from otel_bridge.journal.reader import Reader
from otel_bridge.journal.segments import Segments

Make = Callable[..., Batch]


def wires(journal: Reader, pipeline: str = "main", tenant: str | None = None, start: int = 0) -> list[bytes]:
    return [entry.batch.wire for entry in journal.scan(start, pipeline, tenant)]


def segment_names(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob("*.seg"))


def without_index(directory: Path) -> None:
    for index in directory.glob("*.idx"):
        index.unlink()


async def fill(journal: Segments, batch: Batch) -> tuple[int, JournalFullError]:
    """Append until refused; how many there was room for, and the answer to the next."""
    accepted = 0
    while True:
        try:
            await journal.append([("main", batch)])
        except JournalFullError as error:
            return accepted, error
        accepted += 1


async def trimmed(journal: Segments, below_seq: int) -> None:
    """Trim, and wait for the thread that does it."""
    journal.trim(below_seq)
    await asyncio.get_running_loop().run_in_executor(journal._thread, int)


class FailingDisk(Disk):
    """Fails the next operations of a name, as often as told; keeps count of syncs."""

    def __init__(self) -> None:
        self.fail: dict[str, tuple[int, int]] = {}  # operation → (errno, times)
        self.syncs = 0
        self.synced_after_failure = False
        self._failed_fds: set[int] = set()

    def _may_fail(self, operation: str) -> None:
        number, times = self.fail.get(operation, (0, 0))
        if times:
            self.fail[operation] = (number, times - 1)
            raise OSError(number, os.strerror(number))

    def create(self, path: Path) -> int:
        self._may_fail("create")
        fd = super().create(path)
        self._failed_fds.discard(fd)
        return fd

    def write(self, fd: int, parts: Sequence[bytes]) -> None:
        if self.fail.get("write", (0, 0))[1]:
            super().write(fd, [b"".join(parts)[:70]])  # some of it gets through
        self._may_fail("write")
        super().write(fd, parts)

    def sync(self, fd: int) -> None:
        self.syncs += 1
        self.synced_after_failure |= fd in self._failed_fds
        try:
            self._may_fail("sync")
        except OSError:
            self._failed_fds.add(fd)
            raise
        super().sync(fd)

    def truncate(self, fd: int, size: int) -> None:
        self._may_fail("truncate")
        super().truncate(fd, size)

    def rename(self, source: Path, target: Path) -> None:
        self._may_fail("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._may_fail("unlink")
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self._may_fail("sync_directory")
        super().sync_directory(path)
