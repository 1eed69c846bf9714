"""What a running journal promises: durable when append returns, in order, and refusing rather than losing."""

import asyncio
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import FilesError, MalformedError, RetryableError
from otel_bridge.journal import Journal
from otel_bridge.journal.disk import UnsyncedDisk
from otel_bridge.journal.reader import read_segments
from otel_bridge.journal.segments import Segments, open_segments
from otel_bridge.telemetry import Counters
from tests.journal.journals import FailingDisk, Make, segment_names, wires


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
