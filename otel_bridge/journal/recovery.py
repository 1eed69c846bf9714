"""From files to segments after any crash: torn ends are dropped, damage costs what it hit and is counted.

Entries that were appended together come back together or not at all.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from otel_bridge.journal.disk import unusable
from otel_bridge.journal.record import (
    COUNTS,
    FIRST_RECORD,
    HEAD,
    RECORD_BYTES,
    Head,
    Record,
    read_counts,
    read_head,
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
    corrupt: entries that are damaged; missing: entries of which there is no trace.
    """

    segments: list[Segment] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    end_seq: int = 1
    next_seq: int = 1
    unreadable: list[Path] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    corrupt: int = 0
    missing: int = 0


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


def scan(path: Path, head: Head, limit_seq: int | None = None) -> Scan:
    """Read a segment whole; entries from `limit_seq` on were never acknowledged.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        window = _Window(fd)
        segment = Segment(path, head, size=min(FIRST_RECORD, window.size))
        result = Scan(segment)
        together: list[tuple[int, int, Record]] = []
        most = window.size // RECORD_BYTES  # no number can be further on than this

        def keep(start: int, end: int) -> None:
            if start > segment.size:
                result.damage.append((segment.size, start - segment.size))
            segment.size = end

        for offset, length, record in _records(window, head.marker):
            if record.kind == COUNTS:
                segment.base = read_counts(record)
                keep(offset, offset + length)
                continue
            if limit_seq is not None and record.seq >= limit_seq:
                break
            if not segment.end_seq <= record.seq < head.first_seq + most:
                continue
            if record.member != len(together) or (together and record.seq != together[-1][2].seq + 1):
                together.clear()
            if record.member == len(together):
                together.append((offset, length, record))
            if len(together) == record.members:
                for at, n, one in together:
                    segment.add(one, at, n)
                keep(together[0][0], offset + length)
                together.clear()
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
    found.corrupt += segment.end_seq - segment.first_seq - segment.entry_count
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
