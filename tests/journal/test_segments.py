"""What a running journal promises: durable when append returns, readable by anybody, refusing rather than losing."""

import asyncio
import errno
import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import FilesError, JournalFullError, MalformedError, RetryableError
from otel_bridge.journal import Journal
from otel_bridge.journal.disk import Disk, UnsyncedDisk
from otel_bridge.journal.reader import Reader, read_segments
from otel_bridge.journal.record import Record
from otel_bridge.journal.segment import Segment
from otel_bridge.journal.segments import Segments, open_segments
from otel_bridge.telemetry import Counters

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


async def test_what_was_appended_is_read_back_whole(journal_dir: Path, batch: Make) -> None:
    sent = batch(b"wire bytes", tenant="blue", signal=Signal.LOGS, items=7)
    async with open_segments(journal_dir) as opened:
        journal: Journal = opened
        await journal.append([("main", sent)])
        entry = journal.read(1)

    assert entry is not None
    assert (entry.seq, entry.pipeline) == (1, "main")
    assert (entry.batch.wire, entry.batch.tenant, entry.batch.signal) == (b"wire bytes", "blue", Signal.LOGS)
    assert entry.batch.item_count == 7
    assert entry.received_ns > 1_700_000_000 * 10**9


async def test_a_restart_resumes_where_it_was(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir) as journal:
        await journal.append([("main", batch(b"one", items=2))])
    async with open_segments(journal_dir) as journal:
        await journal.append([("main", batch(b"two", items=3))])
    async with open_segments(journal_dir) as journal:
        assert journal.next_seq == 3
        assert wires(journal) == [b"one", b"two"]
        assert journal.accepted()[1] == {("main", "default", Signal.TRACES): 5}


async def test_entries_of_one_append_have_numbers_in_a_row(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir) as journal:
        pairs = [[("a", batch(b"%d" % n)), ("b", batch(b"%d" % n))] for n in range(20)]
        await asyncio.gather(*(journal.append(pair) for pair in pairs))
        first = [entry.seq for entry in journal.scan(0, "a")]
        second = [entry.seq for entry in journal.scan(0, "b")]

        assert second == [seq + 1 for seq in first]
        assert wires(journal, "a") == wires(journal, "b")


async def test_many_waiting_callers_share_a_sync(journal_dir: Path, batch: Make) -> None:
    disk = FailingDisk()
    async with open_segments(journal_dir, disk=disk) as journal:
        before = disk.syncs
        await asyncio.gather(*(journal.append([("main", batch())]) for _ in range(200)))

        assert disk.syncs == before + 1
        assert journal.next_seq == 201


async def test_a_commit_takes_no_more_than_commit_bytes(journal_dir: Path, batch: Make) -> None:
    disk = FailingDisk()
    async with open_segments(journal_dir, disk=disk, commit_bytes=1000) as journal:
        before = disk.syncs
        await asyncio.gather(*(journal.append([("main", batch(bytes(400)))]) for _ in range(10)))

        assert disk.syncs == before + 5


async def test_scan_gives_a_pipeline_and_a_tenant_their_own(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir, max_bytes=1 << 20, segment_bytes=600) as journal:
        for n in range(30):
            await journal.append([("ab"[n % 2], batch(b"%d" % n, tenant="xyz"[n % 3]))])

        assert wires(journal, "a") == [b"%d" % n for n in range(0, 30, 2)]
        assert wires(journal, "b", "y") == [b"%d" % n for n in range(30) if n % 2 and n % 3 == 1]
        assert [entry.seq for entry in journal.scan(20, "b", "y")] == [20, 26]
        assert journal.tenants("a") == {"x": 25, "y": 29, "z": 27}
        assert wires(journal, "c") == []


async def test_scan_stops_at_max_bytes_but_gives_at_least_one(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir) as journal:
        for n in range(5):
            await journal.append([("main", batch(bytes([n]) * 1000))])

        assert len(journal.scan(0, "main", max_bytes=10)) == 1
        assert len(journal.scan(0, "main", max_bytes=2200)) == 2
        assert [entry.seq for entry in journal.scan(3, "main", max_bytes=2200)] == [3, 4]


async def test_scan_stops_at_max_items(journal_dir: Path, batch: Make) -> None:
    """Before it has read what its caller would not take."""
    async with open_segments(journal_dir, disk=UnsyncedDisk()) as journal:
        await journal.append([("main", batch(b"%d" % n, items=2)) for n in range(9)])
        assert len(journal.scan(0, "main", max_items=1)) == 1
        assert len(journal.scan(0, "main", max_items=5)) == 3


async def test_no_tenant_is_told_of_before_its_entry_can_be_read(
    journal_dir: Path, batch: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks between two steps of the writing thread must not take an entry for lost."""
    told: list[dict[str, int]] = []
    async with open_segments(journal_dir, disk=UnsyncedDisk()) as journal:
        add = Segment.add

        def watched(segment: Segment, record: Record, offset: int, length: int) -> None:
            add(segment, record, offset, length)
            told.append(journal.tenants("main"))

        monkeypatch.setattr(Segment, "add", watched)
        await journal.append([("main", batch(b"a")), ("main", batch(b"b"))])
        assert told == [{}, {}]
        assert journal.tenants("main") == {"default": 2}
        assert journal.tenants("main", 2) == {"default": 1}


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


async def test_wait_returns_when_the_entry_is_durable(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir) as journal:
        waiting = asyncio.create_task(journal.wait(2))
        await journal.append([("main", batch())])
        assert not waiting.done()
        await journal.append([("main", batch())])
        await asyncio.wait_for(waiting, 5)
        await journal.wait(1)
        assert journal.read(2) is not None


async def test_a_wait_that_is_given_up_leaves_nothing_behind(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir) as journal:
        waiting = asyncio.create_task(journal.wait(1))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await journal.append([("main", batch())])
        assert not journal._waiting


async def test_a_cancelled_append_spares_the_others(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir) as journal:
        appends = [asyncio.create_task(journal.append([("main", batch(b"%d" % n))])) for n in range(10)]
        await asyncio.sleep(0)
        appends[3].cancel()
        results = await asyncio.gather(*appends, return_exceptions=True)

        assert [isinstance(result, asyncio.CancelledError) for result in results] == [n == 3 for n in range(10)]
        assert set(wires(journal)) >= {b"%d" % n for n in range(10) if n != 3}


async def test_leaving_finishes_what_was_begun(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir, commit_bytes=100) as journal:
        appends = [asyncio.create_task(journal.append([("main", batch(bytes(100)))])) for _ in range(10)]
        await asyncio.sleep(0)
    await asyncio.gather(*appends)

    assert len(wires(read_segments(journal_dir))) == 10
    with pytest.raises(RetryableError, match="closing"):
        await journal.append([("main", batch())])


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


async def test_numbers_are_not_used_again_after_everything_was_trimmed(journal_dir: Path, batch: Make) -> None:
    for n in range(5):
        async with open_segments(journal_dir) as journal:
            assert journal.next_seq == n + 1
            journal.trim(journal.next_seq)
            await journal.append([("main", batch())])


async def test_numbers_start_above_what_others_remember(journal_dir: Path, batch: Make) -> None:
    counters = Counters()
    async with open_segments(journal_dir, least_seq=500) as journal:
        await journal.append([("main", batch())])
        assert journal.read(500) is not None
    async with open_segments(journal_dir, least_seq=700) as journal:
        pass
    async with open_segments(journal_dir, counters=counters) as journal:
        await journal.append([("main", batch())])
        assert [entry.seq for entry in journal.scan(0, "main")] == [500, 700]
    assert counters.value("journal_missing_records") == 0


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


async def test_one_that_is_too_large_does_not_shut_out_others(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir, max_bytes=10_000) as journal:
        with pytest.raises(JournalFullError):
            await journal.append([("main", batch(bytes(20_000)))])
        await journal.append([("main", batch())])


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


async def test_reading_goes_on_from_other_threads_while_it_grows_and_goes(journal_dir: Path, batch: Make) -> None:
    """Every entry is read once, in order and whole, by a thread that trims behind itself."""
    total = 400
    async with open_segments(journal_dir, max_bytes=1 << 20, segment_bytes=2000, disk=UnsyncedDisk()) as journal:
        loop = asyncio.get_running_loop()

        def follow() -> list[bytes]:
            found: list[bytes] = []
            at = 1
            while len(found) < total:
                asyncio.run_coroutine_threadsafe(journal.wait(at), loop).result(30)
                for entry in journal.scan(at, "main", max_bytes=3000):
                    found.append(entry.batch.wire)
                    at = entry.seq + 1
                journal.trim(at)
            return found

        reading = asyncio.create_task(asyncio.to_thread(follow))
        for n in range(total):
            await journal.append([("main", batch(b"%d" % n * 50))])
        assert await reading == [b"%d" % n * 50 for n in range(total)]


async def test_a_second_instance_is_refused_and_the_first_unharmed(journal_dir: Path, batch: Make) -> None:
    program = f"""
import asyncio
from pathlib import Path
from otel_bridge.errors import FilesError
from otel_bridge.journal.segments import open_segments

async def main():
    try:
        async with open_segments(Path({str(journal_dir)!r})):
            print("opened")
    except FilesError as error:
        print(error)
        raise SystemExit(error.exit_code)

asyncio.run(main())
"""
    async with open_segments(journal_dir) as journal:
        second = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
        )
        assert second.returncode == 73
        assert str(journal_dir) in second.stdout
        assert f"process {os.getpid()}" in second.stdout
        await journal.append([("main", batch())])


def test_the_directory_and_its_files_are_for_our_eyes_only(journal_dir: Path, batch: Make) -> None:
    async def run() -> None:
        async with open_segments(journal_dir) as journal:
            await journal.append([("main", batch())])

    before = os.umask(0)
    try:
        journal_dir.mkdir(mode=0o777)
        asyncio.run(run())
    finally:
        os.umask(before)

    assert stat.S_IMODE(journal_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in journal_dir.iterdir()} == {0o600}


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to(path.parent)])
async def test_what_is_no_directory_is_refused_by_name(journal_dir: Path, make: Callable[[Path], None]) -> None:
    make(journal_dir)
    with pytest.raises(FilesError, match="journal"):
        async with open_segments(journal_dir):
            pytest.fail("opened")


async def test_a_batch_that_cannot_be_stored_is_refused_alone(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir) as journal:
        results = await asyncio.gather(
            journal.append([("main", batch(b"good"))]),
            journal.append([("main", batch(tenant="\ud800"))]),
            journal.append([("main", batch(tenant="t" * 70_000))]),
            journal.append([("main", Batch.from_wire(Signal.TRACES, b"\xff\xff"))]),
            journal.append([]),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [
            type(None),
            UnicodeEncodeError,
            ValueError,
            MalformedError,
            type(None),
        ]
        assert wires(journal) == [b"good"]


async def test_an_error_of_the_body_comes_out_as_it_is(journal_dir: Path) -> None:
    with pytest.raises(KeyError):
        async with open_segments(journal_dir):
            raise KeyError("mine")


@pytest.mark.slow
async def test_a_million_entries_are_small_in_memory(journal_dir: Path, batch: Make) -> None:
    """Columns, not objects: less than 40 bytes for each."""
    import tracemalloc

    entry = batch(b"x", tenant="t")
    many = 20_000
    async with open_segments(journal_dir, disk=UnsyncedDisk()) as journal:
        await journal.append([("main", entry)])
        tracemalloc.start()
        try:
            for _ in range(many // 1000):
                await journal.append([("main", entry)] * 1000)
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert held / many < 40


def test_a_journal_is_what_the_engine_asks_for() -> None:
    names = {name for name in vars(Journal) if not name.startswith("_")}
    assert names <= set(dir(Segments))


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


async def test_what_the_files_take_is_counted_anew_at_each_start(journal_dir: Path, batch: Make) -> None:
    async with open_segments(journal_dir, max_bytes=1 << 20, segment_bytes=1000, disk=UnsyncedDisk()) as journal:
        for _ in range(9):
            await journal.append([("main", batch(bytes(300)))])
    async with open_segments(journal_dir) as journal:
        files = [entry.stat().st_size for entry in os.scandir(journal_dir) if entry.name.endswith((".seg", ".idx"))]
        assert journal.used_bytes == sum(files)


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


@pytest.mark.parametrize("days", [-30, 30])
async def test_a_wall_clock_that_is_set_changes_no_receipt(
    journal_dir: Path, batch: Make, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Else what came meanwhile would be too old, or never be, after the next start."""
    async with open_segments(journal_dir, disk=UnsyncedDisk()) as journal:
        now_ns = time.time_ns()
        monkeypatch.setattr("time.time_ns", lambda: now_ns + days * 86400 * 10**9)
        await journal.append([("main", batch())])
        entry = journal.read(1)
    assert entry is not None
    assert abs(entry.received_ns - now_ns) < 3600 * 10**9
    assert segment_names(journal_dir) == [f"{1:020d}"]
