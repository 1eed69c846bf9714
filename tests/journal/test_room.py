"""A journal that is full refuses, and takes again when enough was trimmed."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from otel_bridge.batch import Signal
from otel_bridge.errors import JournalFullError
from otel_bridge.journal.disk import UnsyncedDisk
from otel_bridge.journal.segments import open_segments
from tests.journal.journals import FailingDisk, Make, fill, segment_names, trimmed, wires


async def test_room_is_left_for_the_other_files_on_the_disk(journal_dir: Path, batch: Make) -> None:
    """Without it the state could not be written, nothing confirmed, and nothing ever let go of."""

    class SmallDisk(UnsyncedDisk):
        full = True

        def require(self, directory: Path, size: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "full")

    disk = SmallDisk()
    disk.full = False
    async with open_segments(journal_dir, disk=disk) as journal:
        await journal.append([("main", batch(b"a"))])
        disk.full = True
        with pytest.raises(JournalFullError, match="disk of the journal is full"):
            await journal.append([("main", batch(b"b"))])
        assert wires(journal) == [b"a"]
        journal._no_space_until = 0.0
        with pytest.raises(JournalFullError):
            await journal.append([("main", batch(b"b"))])
        await trimmed(journal, 2)
        assert journal.scan(0, "main") == [], "what was delivered goes, although nothing new comes"


async def test_trim_deletes_whole_segments_and_keeps_the_counts(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir, max_bytes=1 << 20, segment_bytes=1000) as journal:
        for n in range(20):
            await journal.append([("main", batch(bytes(300), items=n))])
        files = len(segment_names(journal_dir))
        await trimmed(journal, 11)

        assert len(segment_names(journal_dir)) < files
        assert [entry.seq for entry in journal.scan(11, "main")] == list(range(11, 21))
        assert journal.read(1) is None
        await trimmed(journal, 21)

    async with open_segments(journal_dir) as journal:
        assert journal.next_seq == 21
        assert journal.accepted()[1] == {("main", "default", Signal.TRACES): sum(range(20))}


async def test_full_refuses_until_below_nine_tenths(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir, max_bytes=16_000) as journal:
        accepted, refusal = await fill(journal, batch(bytes(500)))
        assert "max_bytes 16000" in str(refusal)
        assert refusal.retry_after_s
        with pytest.raises(JournalFullError):
            await journal.append([("main", batch(b""))])  # it would fit, but a full journal waits for room

        assert len(journal.scan(0, "main")) == accepted
        assert journal.used_bytes <= 16_000 + journal._segments[-2].index_bytes
        await trimmed(journal, accepted)
        await journal.append([("main", batch(bytes(500)))])
        assert journal.healthy


async def test_where_room_is_made_what_fits_is_taken_also_after_one_that_did_not(
    journal_dir: Path, batch: Make
) -> None:
    """Nobody makes room for it, so it would be refused until exporters have caught up, with one of them down."""

    async def nothing_goes(_size: int) -> None:
        """As while the bridge reads another configuration."""

    async with open_segments(journal_dir, max_bytes=40_000) as journal:
        journal.make_room = nothing_goes
        await fill(journal, batch(bytes(2000)))
        assert journal.used_bytes > 0.9 * 40_000
        await journal.append([("main", batch(b""))])


async def test_one_that_is_too_large_does_not_shut_out_others(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir, max_bytes=10_000) as journal:
        with pytest.raises(JournalFullError):
            await journal.append([("main", batch(bytes(20_000)))])
        await journal.append([("main", batch())])


class TinyDisk(UnsyncedDisk):
    """A disk of so many bytes."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size

    def write(self, fd: int, parts: Sequence[bytes]) -> None:
        used = sum(path.stat().st_size for path in self._directory.iterdir())
        content = b"".join(parts)
        super().write(fd, [content[: max(self._size - used, 0)]])
        if used + len(content) > self._size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk_refuses_reads_on_and_accepts_again_after_trimming(journal_dir: Path, batch: Make) -> None:
    """Even where one segment fills the disk."""
    async with open_segments(journal_dir, disk=TinyDisk(journal_dir, 120_000)) as journal:
        accepted, refusal = await fill(journal, batch(bytes(5000)))
        assert "disk" in str(refusal)
        assert accepted > 5
        assert len(journal.scan(0, "main", max_bytes=1 << 20)) == accepted
        assert journal.healthy

        journal._no_space_until = 0  # the pause is over
        await fill(journal, batch(bytes(5000)))  # the next segment begins on the reserve, and fills up too
        await trimmed(journal, journal.next_seq)
        await journal.append([("main", batch(b"room again"))])
        assert wires(journal, start=journal.next_seq - 1) == [b"room again"]


async def test_what_was_trimmed_while_nothing_could_be_deleted_goes_later(journal_dir: Path, batch: Make) -> None:
    """The only segment fills the disk and is read to its end: it goes when the next one has begun, without a trim."""
    async with open_segments(journal_dir, disk=TinyDisk(journal_dir, 120_000)) as journal:
        await fill(journal, batch(bytes(5000)))
        await trimmed(journal, journal.next_seq)
        journal._no_space_until = 0  # the pause is over
        accepted, _ = await fill(journal, batch(bytes(5000)))
        assert accepted > 5


async def test_trimming_that_fails_is_done_later(journal_dir: Path, batch: Make) -> None:
    disk = FailingDisk()
    async with open_segments(journal_dir, disk=disk, max_bytes=1 << 20, segment_bytes=500) as journal:
        for _ in range(6):
            await journal.append([("main", batch(bytes(400)))])
        disk.fail = {"unlink": (errno.EIO, 1)}
        journal.trim(4)
        await journal.append([("main", batch(bytes(400)))])
        journal.trim(5)
        await journal.append([("main", batch(bytes(400)))])

        assert segment_names(journal_dir)[0] == f"{5:020d}"
        assert [entry.seq for entry in journal.scan(5, "main")] == [5, 6, 7, 8]


async def test_what_the_files_take_is_counted_anew_at_each_start(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir, max_bytes=1 << 20, segment_bytes=1000, disk=UnsyncedDisk()) as journal:
        for _ in range(9):
            await journal.append([("main", batch(bytes(300)))])
    async with open_segments(journal_dir) as journal:
        files = [entry.stat().st_size for entry in os.scandir(journal_dir) if entry.name.endswith((".seg", ".idx"))]
        assert journal.used_bytes == sum(files)
