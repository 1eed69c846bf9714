"""From files to segments after any crash: torn ends are dropped, damage costs what it hit and is counted.

Entries that were appended together come back together or not at all.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from pathlib import Path

from otel_bridge.journal.disk import unusable
from otel_bridge.journal.record import (
    COUNTS,
    FIRST_RECORD,
    HEAD,
    MARK,
    RECORD_BYTES,
    Head,
    ItemCounts,
    Record,
    read_counts,
    read_head,
    read_mark,
    read_record,
    record_length,
)
from otel_bridge.journal.segment import SUFFIX, Segment, read_at

SEGMENT_NAME = re.compile(r"(\d{20})\.seg")
OUR_NAME = re.compile(r"\d{20}\.(seg|idx|tmp)|lock|reserve|quarantine")
WINDOW = 1 << 20


@dataclass(slots=True)
class Scan:
    """What reading a whole segment gave.

    damage: (offset, length) of what lies before the segment's last good byte and is no entry of it.
    torn: bytes behind that.
    """

    segment: Segment
    damage: list[tuple[int, int]] = field(default_factory=list)
    torn: int = 0


@dataclass(slots=True)
class Recovered:
    """What a directory holds.

    segments: oldest first; scans: those of them that had to be read whole.
    end_seq: where the entries end, as far as can be known; next_seq: a number that surely never was used.
    unreadable: segments without a head. strays: names that are not the journal's.
    corrupt: entries that are damaged; missing: entries that are gone; unknown: how many of both have no owner.
    """

    segments: list[Segment] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    end_seq: int = 1
    next_seq: int = 1
    unreadable: list[Path] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    corrupt: int = 0
    missing: int = 0
    unknown: int = 0


class _Window:
    """A file read a window at a time."""

    def __init__(self, fd: int) -> None:
        self.size = os.fstat(fd).st_size
        self._fd = fd
        self._start = 0
        self._bytes = b""

    def at(self, offset: int, length: int) -> bytes:
        """Bytes of the file, fewer at its end."""
        if offset < self._start or offset + length > self._start + len(self._bytes):
            self._start = offset
            self._bytes = read_at(self._fd, min(max(length, WINDOW), self.size - offset), offset)
        return self._bytes[offset - self._start : offset - self._start + length]

    def find(self, marker: bytes, offset: int) -> int:
        """Where the marker comes next, or the end of the file."""
        while offset < self.size:
            found = self.at(offset, WINDOW).find(marker)
            if found >= 0:
                return offset + found
            offset += WINDOW - len(marker) + 1
        return self.size


def _records(window: _Window, marker: bytes) -> Iterator[tuple[int, int, Record]]:
    """(offset, length, record) of all whole records; what lies between is damage."""
    offset = FIRST_RECORD
    while offset < window.size:
        start = window.at(offset, RECORD_BYTES)
        if len(start) == RECORD_BYTES and start.startswith(marker):
            length = record_length(start)
            if length <= window.size - offset and (record := read_record(window.at(offset, length), marker)):
                yield offset, length, record
                offset += length
                continue
        offset = window.find(marker, offset + 1)


class _Commit:
    """Takes the records of a segment, and gives their entries to it when it is sure that they belong there."""

    def __init__(self, result: Scan) -> None:
        self._result = result
        self._segment = result.segment
        self._entries: list[tuple[int, int, Record]] = []
        self._start = 0

    @property
    def next_seq(self) -> int:
        """The lowest number that the next entry can have."""
        return self._entries[-1][2].seq + 1 if self._entries else self._segment.end_seq

    def take(self, offset: int, length: int, record: Record) -> None:
        """Hold an entry until its commit has ended."""
        self._entries.append((offset, length, record._replace(wire=b"")))

    def mark(self, offset: int, length: int, mark: Record) -> None:
        """The commit was written to its end: what is damaged of it is lost, and known by the mark."""
        told = read_mark(mark)
        if told is None or mark.seq < self._segment.end_seq:
            return
        self.keep_all()
        for seq, owner, items in told:
            if self._segment.place(seq) is None:
                self._segment.lose(seq, owner, items)
        self.keep(offset, offset + length)

    def keep_all(self) -> None:
        """These entries were acknowledged."""
        for offset, length, record in self._entries:
            self._segment.add(record, offset, length)
            self.keep(offset, offset + length)
        self._entries.clear()

    def keep_whole(self) -> None:
        """Nothing tells whether these entries were acknowledged: those that were appended together stay together."""
        entries, self._entries = self._entries, []
        for entry in entries:
            record = entry[2]
            if record.member != len(self._entries) or (self._entries and record.seq != self._entries[-1][2].seq + 1):
                self._entries.clear()
            if record.member == len(self._entries):
                self._entries.append(entry)
            if len(self._entries) == record.members:
                self._segment.skip(self._entries[0][2].seq)
                self.keep_all()
        self._entries.clear()

    def keep(self, start: int, end: int) -> None:
        """Bytes of the segment are good; what lies before them, behind others that are, is damaged."""
        segment = self._segment
        if start > segment.size:
            self._result.damage.append((segment.size, start - segment.size))
        segment.size = max(segment.size, end)


def scan(path: Path, head: Head, limit_seq: int | None = None) -> Scan:
    """Read a segment whole; entries from `limit_seq` on were never acknowledged, those below were.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        window = _Window(fd)
        segment = Segment(path, head, size=min(FIRST_RECORD, window.size))
        result = Scan(segment)
        commit = _Commit(result)
        most = window.size // RECORD_BYTES  # no number can be further on than this
        for offset, length, record in _records(window, head.marker):
            if record.kind == COUNTS:
                if (counts := read_counts(record)) is not None:
                    segment.base, segment.unknown_before = counts
                    commit.keep(offset, offset + length)
            elif limit_seq is not None and record.seq >= limit_seq:
                break
            elif record.kind == MARK:
                commit.mark(offset, length, record)
            elif commit.next_seq <= record.seq < head.first_seq + most:
                commit.take(offset, length, record)
        if limit_seq is None:
            commit.keep_whole()
        else:
            commit.keep_all()
        result.torn = window.size - segment.size
    finally:
        os.close(fd)
    return result


def recover(directory: Path) -> Recovered:
    """Read what is in a journal's directory; changes nothing, and may be done while a bridge writes there.

    Segments with an index are not read, so this takes the time of reading the last one.

    Raises:
        FilesError: a later version wrote a segment, or a file cannot be read.
    """
    found = Recovered()
    heads: list[tuple[Path, Head]] = []
    lost_seqs = 1
    try:
        for path in sorted(directory.iterdir()):
            if not OUR_NAME.fullmatch(path.name):
                found.strays.append(path.name)
            elif path.suffix == SUFFIX and (raw := _first_bytes(path)) is not None:
                head = read_head(raw, path) or Segment.head_from_index(path)
                if head is None:
                    found.unreadable.append(path)
                    lost_seqs = int(path.stem) + path.stat().st_size // RECORD_BYTES + 1
                elif head.first_seq != int(path.stem):
                    found.strays.append(path.name)  # a copy under another name
                else:
                    heads.append((path, head))
        follows = [head.follows for _, head in heads[1:]]
        for (path, head), next_follows in zip_longest(heads, follows):
            _take(found, path, head, next_follows)
        _attribute(found.segments)
        found.unknown = sum(segment.unknown for segment in found.segments)
    except OSError as error:
        raise unusable(directory, error) from error
    found.next_seq = max(found.next_seq, lost_seqs)
    return found


def _first_bytes(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(2 * HEAD.size)
    except FileNotFoundError:  # trimmed meanwhile, by a running bridge
        return None


def _take(found: Recovered, path: Path, head: Head, follows: int | None) -> None:
    """Add one segment; `follows` is where the next one says that this one ends."""
    if found.segments and head.follows > found.end_seq:
        found.missing += head.follows - found.end_seq  # a segment in between is gone
        found.segments.append(_stand_in(path.parent, found.end_seq, head.follows))
    try:
        segment = Segment.from_index(path, head)
        if segment is None:
            segment = _take_scanned(found, scan(path, head, follows), follows)
        else:
            found.end_seq = found.next_seq = segment.end_seq
            if (size := path.stat().st_size) < segment.size:
                corrupt, missing = segment.cut(size)
                found.corrupt += corrupt
                found.missing += missing
                found.scans.append(Scan(segment))  # the index is written again
    except FileNotFoundError:  # trimmed meanwhile, by a running bridge
        return
    found.segments.append(segment)


def _take_scanned(found: Recovered, result: Scan, known_end: int | None) -> Segment:
    """Judge what a scan has not found; without `known_end`, what is torn off was never acknowledged."""
    segment = result.segment
    found.scans.append(result)
    found.corrupt += segment.lost_count
    if known_end is None:
        found.end_seq = segment.end_seq
        found.next_seq = segment.end_seq + (result.torn // RECORD_BYTES + 1 if result.torn else 0)
        return segment
    cut_short = known_end - segment.end_seq
    if cut_short and result.torn:
        found.corrupt += cut_short
        result.damage.append((segment.size, result.torn))
    else:
        found.missing += cut_short
    segment.extend(known_end)
    result.torn = 0
    found.end_seq = found.next_seq = known_end
    return segment


def _stand_in(directory: Path, first_seq: int, end_seq: int) -> Segment:
    """For segments that are gone: all their entries are lost, and only an index that was left knows more of them."""
    path = Segment.path_in(directory, first_seq)
    head = Segment.head_from_index(path)
    segment = head and Segment.from_index(path, head)
    if segment is None or segment.end_seq > end_seq:
        segment = Segment(path, Head(bytes(8), first_seq, first_seq), size=0)
    segment.cut(0)
    segment.extend(end_seq)
    return segment


def _attribute(segments: list[Segment]) -> None:
    """Give entries of which nothing is known to those who lack items by the counts of the next segment.

    So the accounts are right; which of the entries was whose does not matter any more.
    """
    before: ItemCounts | None = None
    for segment, following in pairwise(segments):
        before = before if segment.base is None else segment.base
        if before is None:
            continue
        before = {owner: before.get(owner, 0) + segment.items.get(owner, 0) for owner in before | segment.items}
        seqs = segment.unknown_seqs()
        lacking = [
            (owner, lack) for owner, n in (following.base or {}).items() if (lack := n - before.get(owner, 0)) > 0
        ]
        if lacking and len(seqs) >= len(lacking):
            none = [(lacking[-1][0], 0)] * (len(seqs) - len(lacking))
            for seq, (owner, items) in zip(seqs, none + lacking, strict=True):
                segment.lose(seq, owner, items)
            before |= {owner: before.get(owner, 0) + items for owner, items in lacking}
