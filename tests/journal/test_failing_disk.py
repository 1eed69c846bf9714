"""A disk that fails, hangs, or may not keep what it was given: nobody hears OK for what is not safe."""

import asyncio
import errno
import resource
import threading
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.batch import Signal
from otel_bridge.errors import JournalFullError, RetryableError
from otel_bridge.journal.disk import UnsyncedDisk
from otel_bridge.journal.record import SIGNALS
from otel_bridge.journal.segments import open_segments
from otel_bridge.telemetry import Counters
from tests.journal.journals import FailingDisk, Make, wires, without_index


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_a_failed_commit_is_refused_and_its_segment_left(journal_dir: Path, batch: Make, operation: str) -> None:
    """Nobody hears OK, the number is used by the next that succeeds, and nothing of the failed one ever comes back."""
    disk, counters = FailingDisk(), Counters()
    async with open_segments(journal_dir, disk=disk, counters=counters) as journal:
        await journal.append([("main", batch(b"before"))])
        disk.fail[operation] = (errno.EIO, 1)
        results = await asyncio.gather(
            *(journal.append([("main", batch(b"failed"))]) for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [JournalFullError] * 3
        await journal.append([("main", batch(b"after"))])

        assert wires(journal) == [b"before", b"after"]
        assert journal.next_seq == 3
        assert journal.healthy
        assert not disk.synced_after_failure
        assert counters.value("journal_write_failures", reason="EIO") == 1
    without_index(journal_dir)
    async with open_segments(journal_dir, counters=counters) as journal:
        assert wires(journal) == [b"before", b"after"]
        assert counters.value("journal_corrupt_records") == 0


@pytest.mark.parametrize("full", ["write", "sync", "show"])
async def test_what_comes_after_a_commit_that_memory_failed_for_is_kept(
    journal_dir: Path, batch: Make, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """Nothing that is acknowledged lies behind what such a commit has left, whatever it did not come to."""
    disk, counters = FailingDisk(), Counters()

    def out_of_memory(*_: object) -> None:
        monkeypatch.undo()
        raise MemoryError

    async with open_segments(journal_dir, disk=disk, counters=counters) as journal:
        await journal.append([("main", batch(b"before"))])
        if full == "write":
            write = disk.write
            monkeypatch.setattr(disk, "write", lambda fd, parts: out_of_memory(write(fd, [b"".join(parts)[:70]])))
        elif full == "sync":
            monkeypatch.setattr(disk, "sync", out_of_memory)
        else:  # the second of two is taken in half
            monkeypatch.setattr("otel_bridge.journal.segment.SIGNALS", OutOfMemory(monkeypatch, at=2))
        with pytest.raises(MemoryError):
            await journal.append([("main", batch(b"failed")), ("other", batch(b"failed"))])
        await journal.append([("main", batch(b"after"))])

        assert wires(journal) == [b"before", b"after"]
        assert wires(journal, "other") == []
        assert journal.next_seq == 3
        assert sum(journal.accepted()[1].values()) == 2
        assert journal.healthy
    for _ in range(2):
        async with open_segments(journal_dir, counters=counters) as journal:
            assert wires(journal) == [b"before", b"after"]
            assert sum(journal.accepted()[1].values()) == 2
        without_index(journal_dir)
    assert counters.value("journal_corrupt_records") + counters.value("journal_missing_records") == 0


class OutOfMemory(dict[int, Signal]):
    """What kinds of entries are called, and no memory for the answer when it is asked for the nth time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, at: int) -> None:
        super().__init__(SIGNALS)
        self._monkeypatch = monkeypatch
        self._left = at

    def __getitem__(self, kind: int) -> Signal:
        self._left -= 1
        if not self._left:
            self._monkeypatch.undo()
            raise MemoryError
        return super().__getitem__(kind)


async def test_a_failed_commit_that_cannot_be_cut_off_is_ignored_for_ever(journal_dir: Path, batch: Make) -> None:
    disk, counters = FailingDisk(), Counters()
    async with open_segments(journal_dir, disk=disk, counters=counters) as journal:
        await journal.append([("main", batch(b"before"))])
        disk.fail = {"sync": (errno.EIO, 1), "truncate": (errno.EIO, 1)}
        with pytest.raises(JournalFullError):
            await journal.append([("main", batch(b"failed"))])
        await journal.append([("main", batch(b"after"))])
    without_index(journal_dir)
    async with open_segments(journal_dir, counters=counters) as journal:
        assert wires(journal) == [b"before", b"after"]
        assert counters.value("journal_corrupt_records") + counters.value("journal_missing_records") == 0


@pytest.mark.parametrize("operation", ["sync", "create", "rename", "sync_directory"])
async def test_three_failures_in_a_row_are_unhealthy_until_one_succeeds(
    journal_dir: Path, batch: Make, operation: str
) -> None:
    disk = FailingDisk()
    async with open_segments(journal_dir, disk=disk) as journal:
        await journal.append([("main", batch(b"before"))])
        disk.fail = {"write": (errno.EIO, 1), operation: (errno.EIO, 4 if operation == "create" else 3)}
        healthy = []
        for _ in range(4):
            with pytest.raises(JournalFullError):
                await journal.append([("main", batch(b"failed"))])
            healthy.append(journal.healthy)
        assert healthy == [True, True, False, False]
        assert wires(journal) == [b"before"]

        disk.fail = {}
        await journal.append([("main", batch(b"after"))])
        assert journal.healthy
        assert wires(journal) == [b"before", b"after"]


class StuckDisk(UnsyncedDisk):
    """A disk whose syncs hang until told."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()

    def sync(self, fd: int) -> None:
        assert self.answers.wait(30)


async def test_nobody_waits_longer_than_the_timeout_for_a_disk_that_hangs(journal_dir: Path, batch: Make) -> None:
    """Those who wait hear that it may be stored or not, those who come hear it at once, and it heals by itself."""
    disk, counters = StuckDisk(), Counters()
    async with open_segments(journal_dir, disk=disk, counters=counters, commit_timeout_s=0.05) as journal:
        disk.answers.clear()
        first = asyncio.create_task(journal.append([("main", batch(b"in the commit"))]))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(journal.append([("main", batch(b"behind it"))]))
        results = await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 5)
        assert [type(result) for result in results] == [RetryableError] * 2
        with pytest.raises(JournalFullError, match="does not answer"):
            await journal.append([("main", batch(b"refused"))])
        assert not journal.healthy

        disk.answers.set()
        await journal.wait(1)
        while not journal.healthy:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        await journal.append([("main", batch(b"after"))])
        assert wires(journal) == [b"in the commit", b"after"]
    assert counters.value("journal_stalls") == 1
    assert counters.value("journal_refused", reason="stalled") == 1


@pytest.mark.parametrize(
    ("mounted", "doubted"),
    [
        ("ext4 /dev/sda1 rw,relatime", None),
        ("xfs /dev/sda1 rw", None),
        ("overlay overlay rw,lowerdir=/l,upperdir=/u", None),
        ("overlay overlay rw,lowerdir=/l,upperdir=/u,volatile", "volatile"),
        ("tmpfs tmpfs rw,size=65536k", "gone when the machine is"),
        ("nfs4 host:/export rw,vers=4.2", "nfs4 may answer before"),
        ("fuse.sshfs me@host: rw", "fuse.sshfs may answer before"),
    ],
)
async def test_a_place_that_may_not_keep_what_it_was_given_is_doubted(
    journal_dir: Path, monkeypatch: pytest.MonkeyPatch, mounted: str, doubted: str | None
) -> None:
    mounts = f"22 1 8:1 / / rw shared:1 - ext4 /dev/root rw\n23 22 8:2 / {journal_dir.parent} rw - {mounted}\n"
    read_text = Path.read_text

    def read(path: Path, *args: Any, **kwargs: Any) -> str:
        return mounts if path == Path("/proc/self/mountinfo") else read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read)
    async with open_segments(journal_dir) as journal:
        assert (doubted is None) == (journal.doubt is None)
        assert (doubted or "") in (journal.doubt or "")


async def test_locks_that_hold_nobody_off_are_doubted(journal_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    async with open_segments(journal_dir) as journal:
        assert "does not keep locks" in (journal.doubt or "")


async def test_when_no_file_can_be_opened_nothing_is_lost(journal_dir: Path, batch: Make) -> None:
    """Out of descriptors: what is read is not taken for damaged, and what is refused is accepted later."""
    async with open_segments(journal_dir, max_bytes=1 << 20, segment_bytes=600, disk=UnsyncedDisk()) as journal:
        await journal.append([("main", batch(bytes(400)))])
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                journal.scan(0, "main")
            with pytest.raises(JournalFullError, match="EMFILE"):
                await journal.append([("main", batch(bytes(400)))])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await journal.append([("main", batch(b"after"))])
        assert wires(journal) == [bytes(400), b"after"]
