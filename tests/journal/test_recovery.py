"""What a journal makes of files that a crash, a disk or somebody's hand has changed."""

import asyncio
import os
import shutil
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import google_crc32c
import pytest

from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import FilesError
from otel_bridge.journal import Entry, Lost
from otel_bridge.journal import record as form
from otel_bridge.journal.disk import UnsyncedDisk
from otel_bridge.journal.reader import Reader, read_segments
from otel_bridge.journal.recovery import recover
from otel_bridge.journal.segments import Segments, open_segments
from otel_bridge.telemetry import Counters

Make = Callable[..., Batch]


def written(directory: Path, groups: Sequence[Sequence[bytes]], *, segment_bytes: int = 1 << 20) -> None:
    """A journal in which each group of wires was appended together."""

    async def write() -> None:
        async with open_segments(
            directory, max_bytes=1 << 30, segment_bytes=segment_bytes, disk=UnsyncedDisk()
        ) as journal:
            for group in groups:
                await journal.append([("main", Batch.from_wire(Signal.TRACES, wire, item_count=1)) for wire in group])

    asyncio.run(write())


def without_index(directory: Path) -> None:
    """As after a crash: what was the last segment has no index."""
    for index in directory.glob("*.idx"):
        index.unlink()


def reopened(
    directory: Path, look: Callable[[Segments], object] = lambda journal: None
) -> tuple[dict[int, bytes], Counters]:
    """Open, look, append one, close; what it held by number, and what it counted."""
    counters = Counters()

    async def run() -> dict[int, bytes]:
        async with open_segments(directory, counters=counters, disk=UnsyncedDisk()) as journal:
            look(journal)
            found = journal.scan(0, "main", max_bytes=1 << 30)
            held = {entry.seq: entry.batch.wire for entry in found if isinstance(entry, Entry)}
            await journal.append([("main", Batch.from_wire(Signal.TRACES, b"new", item_count=1))])
            last = journal.next_seq - 1
            entry = journal.read(last)
            assert entry is not None
            assert entry.batch.wire == b"new"
            assert last not in held
            return held

    return asyncio.run(run()), counters


def lost_of(journal: Segments) -> list[Lost]:
    """What of the journal is damaged; the accounts hold it all the same."""
    found = journal.scan(0, "main", max_bytes=1 << 30)
    assert journal.accepted()[1] == {("main", "default", Signal.TRACES): len(found)}
    assert journal.unknown() == 0
    return [entry for entry in found if isinstance(entry, Lost)]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def segment_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


@pytest.mark.slow
def test_cut_off_at_any_byte_it_keeps_the_whole_appends_before(tmp_path: Path) -> None:
    """A torn end costs the append that it hit, without alarm; entries of one append stay together."""
    groups = [[b"one"], [b"two a", b"two b"], [b"three"], [b"four a", b"four b", b"four c"]]
    written(tmp_path / "whole", groups)
    whole = segment_files(tmp_path / "whole")[0].read_bytes()
    scanned = recover(tmp_path / "whole").segments[0]
    ends = []
    seq = 0
    for group in groups:
        seq += len(group)
        offset, length = scanned.place(seq) or (0, 0)
        ends.append(offset + length)
    for size in range(2 * form.HEAD.size, len(whole)):
        directory = tmp_path / "cut"
        directory.mkdir()
        (directory / f"{1:020d}.seg").write_bytes(whole[:size])
        held, counters = reopened(directory)

        expected = [wire for group, end in zip(groups, ends, strict=True) if end <= size for wire in group]
        assert list(held.values()) == expected
        assert counters.value("journal_corrupt_records") == 0
        shutil.rmtree(directory)


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [True, False])
def test_a_flipped_bit_costs_one_entry_at_most_and_its_account_is_known(tmp_path: Path, indexed: bool) -> None:
    """Wherever it is: in the head, in the counts, in an entry, in a mark; with an index or without."""
    groups = [[b"one"], [b"two a", b"two b"], [b"three " * 5], [b"four"]]
    written(tmp_path / "whole", groups)
    if not indexed:
        without_index(tmp_path / "whole")
    path = segment_files(tmp_path / "whole")[0]
    whole = bytearray(path.read_bytes())
    everything = [wire for group in groups for wire in group]
    for at in range(len(whole)):
        directory = tmp_path / "flipped"
        shutil.copytree(tmp_path / "whole", directory)
        whole[at] ^= 1 << (at % 8)
        (directory / path.name).write_bytes(whole)
        whole[at] ^= 1 << (at % 8)
        lost: list[Lost] = []
        held, _ = reopened(directory, lambda journal: lost.extend(lost_of(journal)))  # noqa: B023 - called at once

        gone = [seq for seq in range(1, len(everything) + 1) if seq not in held]
        assert len(gone) <= 1, at
        assert list(held.values()) == [wire for seq, wire in enumerate(everything, 1) if seq not in gone]
        assert lost == [Lost(seq, "main", "default", Signal.TRACES, 1) for seq in gone], at
        shutil.rmtree(directory)


def test_damage_in_the_middle_is_counted_and_put_aside(journal_dir: Path) -> None:
    written(journal_dir, [[b"%d" % n * 100] for n in range(10)])
    without_index(journal_dir)
    path = segment_files(journal_dir)[0]
    content = path.read_bytes()
    at = content.index(b"4" * 100)
    path.write_bytes(content[:at] + b"X" + content[at + 1 :])
    held, counters = reopened(journal_dir)

    assert sorted(held) == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert counters.value("journal_corrupt_records") == 1
    (aside,) = (journal_dir / "quarantine").iterdir()
    assert b"X" + b"4" * 99 in aside.read_bytes()
    _, again = reopened(journal_dir)
    assert again.value("journal_corrupt_records") == 0, "counted once, not at each start"


def test_damage_found_when_reading_is_counted_once_and_put_aside(journal_dir: Path) -> None:
    """The start does not read segments that have an index; the reader finds it."""
    written(journal_dir, [[b"%d" % n * 100] for n in range(10)])
    path = segment_files(journal_dir)[0]
    content = path.read_bytes()
    at = content.index(b"4" * 100)
    path.write_bytes(content[:at] + b"X" + content[at + 1 :])

    def look(journal: Segments) -> None:
        assert journal.read(5) is None
        assert journal.read(5) is None

        assert journal.scan(5, "main", max_items=1) == [Lost(5, "main", "default", Signal.TRACES, 1)]

    held, counters = reopened(journal_dir, look)
    assert sorted(held) == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert counters.value("journal_corrupt_records") == 1
    assert len(list((journal_dir / "quarantine").iterdir())) == 1


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**32 - 1])
def test_a_wild_length_costs_its_own_record(journal_dir: Path, length: int) -> None:
    written(journal_dir, [[b"one"], [b"two"], [b"three"]])
    without_index(journal_dir)
    path = segment_files(journal_dir)[0]
    content = bytearray(path.read_bytes())
    offset, _ = recover(journal_dir).segments[0].place(2) or (0, 0)
    struct.pack_into("<I", content, offset + form.START.size, length)
    path.write_bytes(content)
    held, counters = reopened(journal_dir)

    assert list(held.values()) == [b"one", b"three"]
    assert counters.value("journal_corrupt_records") == 1


@pytest.mark.parametrize("tail", [bytes(100_000), b"garbage" * 1000, b"\xff" * 45])
def test_a_tail_of_zeros_or_garbage_is_dropped(journal_dir: Path, tail: bytes) -> None:
    written(journal_dir, [[b"one"], [b"two"]])
    without_index(journal_dir)
    with segment_files(journal_dir)[0].open("ab") as file:
        file.write(tail)
    held, counters = reopened(journal_dir)

    assert list(held.values()) == [b"one", b"two"]
    assert counters.value("journal_torn_bytes") == len(tail)
    assert counters.value("journal_corrupt_records") == 0
    held, counters = reopened(journal_dir)
    assert list(held.values()) == [b"one", b"two", b"new"]
    assert counters.value("journal_missing_records") == 0


def test_a_number_that_a_torn_record_may_have_had_is_not_used_again(journal_dir: Path) -> None:
    """Somebody may remember it as confirmed, and would skip the new entry."""
    written(journal_dir, [[b"one"], [b"two"], [b"three"]])
    without_index(journal_dir)
    path = segment_files(journal_dir)[0]
    os.truncate(path, path.stat().st_size - 1)
    seqs: list[int] = []
    reopened(journal_dir, lambda journal: seqs.append(journal.next_seq))
    assert seqs[0] > 3


@pytest.mark.parametrize("index_left", [True, False])
def test_a_missing_segment_in_the_middle_costs_its_entries_and_no_account(journal_dir: Path, index_left: bool) -> None:
    """Its index tells whose they were; without that, what its neighbours have counted does."""
    written(journal_dir, [[b"%d" % n * 300] for n in range(9)], segment_bytes=1000)
    gone = segment_files(journal_dir)[1]
    lost = recover(journal_dir).segments[1].entry_count
    gone.unlink()
    if not index_left:
        without_index(journal_dir)
    counted = []
    for _ in range(2):
        found: list[Lost] = []
        held, counters = reopened(journal_dir, lambda journal: found.extend(lost_of(journal)))  # noqa: B023 - at once
        counted.append(counters.value("journal_missing_records"))

        assert sum(entry.items for entry in found) == lost
        assert [entry.seq for entry in found] == [seq for seq in range(1, 10) if seq not in held][:lost]
    assert counted[0] == lost


def test_what_a_missing_segment_held_is_known_to_its_tenants(journal_dir: Path) -> None:
    def append(*tenants: str) -> None:
        async def run() -> None:
            async with open_segments(journal_dir, disk=UnsyncedDisk()) as journal:
                for tenant in tenants:
                    await journal.append([("main", Batch.from_wire(Signal.LOGS, b"x", tenant=tenant, item_count=3))])

        asyncio.run(run())

    append("a", "b")
    append("b", "c", "c")
    append("a")
    segment_files(journal_dir)[1].unlink()
    without_index(journal_dir)
    journal = read_segments(journal_dir)

    by_tenant = {
        tenant: sum(entry.items for entry in journal.scan(0, "main", tenant) if isinstance(entry, Lost))
        for tenant in "abc"
    }
    assert by_tenant == {"a": 0, "b": 3, "c": 6}
    assert journal.accepted() == (7, {("main", tenant, Signal.LOGS): 6 for tenant in "abc"})
    assert journal.unknown() == 0


def test_damage_that_leaves_no_trace_of_an_owner_is_counted_by_its_numbers(journal_dir: Path) -> None:
    """A bad page may hold several small appends with their marks; nobody knows any more whose they were."""
    written(journal_dir, [[b"%d" % n * 100] for n in range(9)])
    without_index(journal_dir)
    path = segment_files(journal_dir)[0]
    content = bytearray(path.read_bytes())
    found = recover(journal_dir).segments[0]
    start, end = (found.place(3) or (0, 0))[0], (found.place(6) or (0, 0))[0]
    content[start:end] = bytes(end - start)
    path.write_bytes(content)

    def look(journal: Segments) -> None:
        assert journal.unknown() == 3
        assert journal.accepted() == (10, {("main", "default", Signal.TRACES): 6})

    held, counters = reopened(journal_dir, look)
    assert sorted(held) == [1, 2, 6, 7, 8, 9]
    assert counters.value("journal_corrupt_records") == counters.value("journal_unknown_records") == 3

    async def let_go() -> int:
        async with open_segments(journal_dir, disk=UnsyncedDisk()) as journal:
            journal.trim(journal.next_seq)
        return read_segments(journal_dir).unknown()

    assert asyncio.run(let_go()) == 3, "as long as the accounts lack them"


def test_a_sealed_segment_cut_short_costs_its_end_and_is_counted(journal_dir: Path) -> None:
    written(journal_dir, [[b"%d" % n * 300] for n in range(9)], segment_bytes=1000)
    path = segment_files(journal_dir)[1]
    segment = recover(journal_dir).segments[1]
    offset, length = segment.place(segment.end_seq - 1) or (0, 0)
    os.truncate(path, offset + length - 1)
    held, counters = reopened(journal_dir)

    assert len(held) == 8
    assert counters.value("journal_corrupt_records") == 1
    held, counters = reopened(journal_dir)
    assert counters.value("journal_corrupt_records") + counters.value("journal_missing_records") == 0


def test_a_segment_without_a_head_is_read_by_its_index_or_put_aside(journal_dir: Path) -> None:
    written(journal_dir, [[b"%d" % n * 300] for n in range(9)], segment_bytes=1000)
    first, second = segment_files(journal_dir)[:2]
    lost = recover(journal_dir).segments[1].entry_count
    for path in (first, second):
        path.write_bytes(bytes(512) + path.read_bytes()[512:])
    second.with_suffix(".idx").unlink()
    held, counters = reopened(journal_dir)

    assert counters.value("journal_unreadable_segments") == 1
    assert counters.value("journal_missing_records") == lost
    assert (journal_dir / "quarantine" / second.name).exists()
    assert len(held) >= 9 - lost - 2  # the first lost what lay under the zeros


@pytest.mark.parametrize("damage", ["missing", "empty", "flipped", "of another"])
def test_a_broken_index_is_made_again(journal_dir: Path, damage: str) -> None:
    written(journal_dir, [[b"%d" % n * 300] for n in range(9)], segment_bytes=1000)
    first, second = sorted(journal_dir.glob("*.idx"))[:2]
    good = second.read_bytes()
    flipped = bytearray(good)
    flipped[-1] ^= 1
    match damage:
        case "missing":
            second.unlink()
        case "empty":
            second.write_bytes(b"")
        case "flipped":
            second.write_bytes(flipped)
        case "of another":
            second.write_bytes(first.read_bytes())
    held, counters = reopened(journal_dir)

    assert list(held.values()) == [b"%d" % n * 300 for n in range(9)]
    assert counters.value("journal_corrupt_records") + counters.value("journal_missing_records") == 0
    assert second.read_bytes() == good


def test_strays_are_reported_and_left_and_leftovers_go(journal_dir: Path) -> None:
    written(journal_dir, [[b"one"]])
    (journal_dir / "notes.txt").write_text("mine")
    (journal_dir / f"{7:020d}.tmp").write_bytes(b"half a segment")
    (journal_dir / f"{9:020d}.idx").write_bytes(b"index of nothing")
    shutil.copy(segment_files(journal_dir)[0], journal_dir / f"{5:020d}.seg")  # the same entries, twice
    held, counters = reopened(journal_dir)

    assert list(held.values()) == [b"one"]
    assert counters.value("journal_stray_files") == 2
    assert (journal_dir / "notes.txt").read_text() == "mine"
    assert not (journal_dir / f"{7:020d}.tmp").exists()
    assert not (journal_dir / f"{9:020d}.idx").exists()


@pytest.mark.parametrize(("version", "which"), [(form.VERSION + 1, "newer"), (1, "older")])
def test_an_unknown_format_is_refused_and_nothing_changed(journal_dir: Path, version: int, which: str) -> None:
    written(journal_dir, [[b"one"]])
    path = segment_files(journal_dir)[0]
    newer = struct.pack("<8sI", form.MAGIC, version)
    path.write_bytes(newer + struct.pack("<I", google_crc32c.value(newer)) + b"whatever comes then")
    (journal_dir / f"{7:020d}.tmp").write_bytes(b"left")
    before = {file.name: file.read_bytes() for file in journal_dir.iterdir() if file.name != "lock"}
    with pytest.raises(FilesError, match=f"format {version}.*start the {which} otel-bridge"):
        reopened(journal_dir)

    assert {file.name: file.read_bytes() for file in journal_dir.iterdir() if file.name != "lock"} == before


def test_content_that_looks_like_records_is_never_taken_for_some(journal_dir: Path) -> None:
    """A sender who knows the format still does not know the marker of the segment."""
    fake = form.Record(3, 0, 1, 0, 1, "main", "victim", 1, b"forged")
    forged = b"".join(form.pack_record(bytes([n] * 8), fake) + fake.wire for n in range(256))
    old = journal_dir.with_name("old")
    written(old, [[b"old"] * 20])
    written(journal_dir, [[b"one"], [forged + segment_files(old)[0].read_bytes()], [b"three"]])
    without_index(journal_dir)
    path = segment_files(journal_dir)[0]
    content = bytearray(path.read_bytes())
    content[content.index(forged) - 20] ^= 1  # its record is damaged, so the next is searched for inside
    path.write_bytes(content)
    seen: list[dict[str, int]] = []
    held, counters = reopened(journal_dir, lambda journal: seen.append(journal.tenants("main")))

    assert list(held.values()) == [b"one", b"three"]
    assert seen == [{"default": 3}]
    assert counters.value("journal_corrupt_records") == 1


def test_a_journal_can_be_read_beside_its_writer(journal_dir: Path) -> None:
    async def run() -> list[bytes]:
        async with open_segments(journal_dir) as journal:
            await journal.append([("main", Batch.from_wire(Signal.TRACES, b"one", item_count=4))])
            before = names(journal_dir)
            beside: Reader = read_segments(journal_dir)
            assert beside.accepted() == journal.accepted() == (2, {("main", "default", Signal.TRACES): 4})
            assert beside.next_seq == journal.next_seq
            assert names(journal_dir) == before
            return [entry.batch.wire for entry in beside.scan(0, "main")]

    assert asyncio.run(run()) == [b"one"]


def test_reading_where_no_journal_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="no journal"):
        read_segments(tmp_path / "nowhere")


@pytest.mark.slow
def test_a_large_backlog_is_ready_at_once(journal_dir: Path) -> None:
    """Only the last segment is read: 256 MiB behind it cost next to nothing. (The promise: 1 GiB in 2 s.)"""
    written(journal_dir, [[bytes(16_000)] * 64 for _ in range(256)], segment_bytes=16 << 20)
    assert len(segment_files(journal_dir)) > 15
    segment_files(journal_dir)[-1].with_suffix(".idx").unlink()
    started = time.perf_counter()
    found = recover(journal_dir)
    assert time.perf_counter() - started < 1
    assert len(found.scans) == 1
    assert found.next_seq == 256 * 64 + 1
