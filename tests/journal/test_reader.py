"""Entries are read by pipeline and tenant, also while others are written and let go of."""

import asyncio
from pathlib import Path

import pytest

from otel_bridge.journal.disk import UnsyncedDisk
from otel_bridge.journal.record import Record
from otel_bridge.journal.segment import Segment
from otel_bridge.journal.segments import open_segments
from tests.journal.journals import Make, segment_names, trimmed, wires


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


async def test_to_ask_for_tenants_after_each_commit_takes_no_longer_where_there_are_many_segments(
    journal_dir: Path, batch: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is told of what has come since, and of nothing that was let go of."""
    async with open_segments(journal_dir, max_bytes=1 << 20, segment_bytes=600, disk=UnsyncedDisk()) as journal:
        for n in range(30):
            await journal.append([("main", batch(b"%d" % n, tenant=f"t{n}"))])
        assert journal.tenants("main") == {f"t{n}": n + 1 for n in range(30)}
        asked: list[Segment] = []
        last_seqs = Segment.last_seqs
        monkeypatch.setattr(Segment, "last_seqs", lambda *given: asked.append(given[0]) or last_seqs(*given))
        assert journal.tenants("main")["t29"] == 30
        assert len(asked) == 1 < len(segment_names(journal_dir))

        await journal.append([("main", batch(b"more", tenant="t0"))])
        await trimmed(journal, 20)
        assert journal.tenants("main")["t0"] == 31
        assert "t1" not in journal.tenants("main")
        assert journal.tenants("main", 25)["t23"] == 24
        assert "t29" not in journal.tenants("main", 25)
