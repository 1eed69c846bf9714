"""One segment: where its entries lie and whose they are.

The index of a sealed segment is kept in a small file beside it. That file is only a short cut: it is not synced, and
made again from the segment when it is missing, broken, or about another one.
"""

import os
import struct
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import orjson

from otel_bridge.batch import Batch, Signal
from otel_bridge.journal import Entry, Lost
from otel_bridge.journal.record import (
    KINDS,
    SIGNALS,
    Head,
    ItemCounts,
    Record,
    count_rows,
    counts_from,
    read_record,
)

INDEX_MAGIC = b"otelbrx3"
INDEX_HEAD = struct.Struct("<8sII")  # magic, CRC of everything after it, bytes of JSON
SUFFIX = ".seg"
INDEX_SUFFIX = ".idx"
TORN = 255  # in the place of a kind


class Segment:
    """About twenty bytes of memory for each entry: columns, and positions by owner.

    size: bytes of the file that are durable and good; what may lie behind them never was acknowledged.
    base: items accepted before it; None if that could not be read.
    unknown_before: entries of unknown owners before it.
    items: items accepted in it.
    index_bytes: size of its index file.
    """

    __slots__ = (
        "_item_counts",
        "_kinds",
        "_lengths",
        "_offsets",
        "_positions",
        "base",
        "first_seq",
        "follows",
        "index_bytes",
        "items",
        "marker",
        "path",
        "size",
        "unknown_before",
    )

    def __init__(self, path: Path, head: Head, *, size: int, base: ItemCounts | None = None) -> None:
        self.path = path
        self.marker, self.first_seq, self.follows = head
        self.size = size
        self.base = base
        self.unknown_before = 0
        self.items: ItemCounts = {}
        self.index_bytes = 0
        self._offsets = array("I")  # 0: there is no such entry (any more)
        self._lengths = array("I")
        self._item_counts = array("I")
        self._kinds = array("B")  # 0: nothing is known of the entry; TORN: it is none
        self._positions: dict[tuple[str, str | None], array[int]] = {}  # tenant None: of all tenants

    @staticmethod
    def path_in(directory: Path, first_seq: int) -> Path:
        """Where the segment that starts with this entry lies."""
        return directory / f"{first_seq:020d}{SUFFIX}"

    @property
    def index_path(self) -> Path:
        """Where its index lies, once it is sealed."""
        return self.path.with_suffix(INDEX_SUFFIX)

    @property
    def end_seq(self) -> int:
        """The number after its last entry."""
        return self.first_seq + len(self._offsets)

    @property
    def disk_bytes(self) -> int:
        """What it takes on disk."""
        return self.size + self.index_bytes

    @property
    def entry_count(self) -> int:
        """How many entries are in it that have not been found damaged."""
        return sum(1 for offset in self._offsets if offset)

    @property
    def lost_count(self) -> int:
        """How many entries were in it that are damaged or gone."""
        return len(self._offsets) - self.entry_count - self._kinds.count(TORN)

    @property
    def unknown(self) -> int:
        """How many entries were here of which not even the owner is known."""
        return self._kinds.count(0)

    def unknown_seqs(self) -> list[int]:
        """The numbers of entries of which not even the owner is known."""
        return [self.first_seq + position for position, kind in enumerate(self._kinds) if not kind]

    def add(self, record: Record, offset: int, length: int) -> None:
        """Take in an entry; entries come in the order of their numbers, and some may be missing."""
        if record.seq > self.end_seq:
            self.extend(record.seq)
        position = len(self._offsets)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._item_counts.append(record.items)
        self._kinds.append(record.kind)
        for owner in ((record.pipeline, record.tenant), (record.pipeline, None)):
            if (positions := self._positions.get(owner)) is None:
                positions = self._positions[owner] = array("I")
            positions.append(position)
        counted = (record.pipeline, record.tenant, SIGNALS[record.kind])
        self.items[counted] = self.items.get(counted, 0) + record.items

    def take_back(self, end_seq: int, size: int, items: ItemCounts) -> None:
        """Be again as before the entry `end_seq` was added, and those after it, the last of them maybe half."""
        end = end_seq - self.first_seq
        for column in (self._offsets, self._lengths, self._item_counts, self._kinds):
            del column[end:]
        for positions in self._positions.values():
            del positions[bisect_left(positions, end) :]
        self.size, self.items = size, items

    def extend(self, end_seq: int) -> None:
        """The entries from its end up to this one were here once, and are lost."""
        self._extend(end_seq, 0)

    def skip(self, end_seq: int) -> None:
        """The numbers from its end up to this one are those of entries that nobody can have been told of."""
        self._extend(end_seq, TORN)

    def _extend(self, end_seq: int, kind: int) -> None:
        numbers = end_seq - self.end_seq
        for column in (self._offsets, self._lengths, self._item_counts):
            column.frombytes(bytes(numbers * column.itemsize))
        self._kinds.frombytes(bytes([kind]) * numbers)

    def lose(self, seq: int, owner: tuple[str, str, Signal], items: int) -> None:
        """An entry was here whose content is damaged or gone, but not whose it was and how many items it had."""
        self.extend(max(seq + 1, self.end_seq))
        pipeline, tenant, signal = owner
        position = seq - self.first_seq
        self._item_counts[position] = items
        self._kinds[position] = KINDS[signal]
        for key in ((pipeline, tenant), (pipeline, None)):
            insort(self._positions.setdefault(key, array("I")), position)
        self.items[owner] = self.items.get(owner, 0) + items

    def forget(self, seq: int) -> None:
        """The entry is damaged: do not look again."""
        self._offsets[seq - self.first_seq] = 0

    def cut(self, size: int) -> tuple[int, int]:
        """The file ends earlier than it did: forget what lies behind. Returns how many entries were cut through (one
        at most), and how many are gone without a trace."""
        corrupt = missing = 0
        for position, (offset, length) in enumerate(zip(self._offsets, self._lengths, strict=True)):
            if offset and offset + length > size:
                self._offsets[position] = 0
                corrupt += offset < size
                missing += offset >= size
        self.size = size
        return corrupt, missing

    def place(self, seq: int) -> tuple[int, int] | None:
        """(offset, length) of an entry's record in the file, if it is here."""
        position = seq - self.first_seq
        if 0 <= position < len(self._offsets) and (offset := self._offsets[position]):
            return offset, self._lengths[position]
        return None

    def item_count(self, seq: int) -> int:
        """The items of an entry, damaged or not."""
        return self._item_counts[seq - self.first_seq]

    def lost(self, seq: int, pipeline: str) -> Lost:
        """What is known of an entry of the pipeline whose bytes are damaged."""
        position = seq - self.first_seq
        [tenant] = (
            tenant
            for (owner, tenant), positions in list(self._positions.items())
            if owner == pipeline and tenant is not None and _holds(positions, position)
        )
        return Lost(seq, pipeline, tenant, SIGNALS[self._kinds[position]], self._item_counts[position])

    def seqs(self, start_seq: int, pipeline: str, tenant: str | None) -> Iterator[int]:
        """The numbers of a pipeline's (and tenant's) entries, from `start_seq` on."""
        positions = self._positions.get((pipeline, tenant))
        if positions is None:
            return
        at = bisect_left(positions, max(start_seq - self.first_seq, 0))
        while at < len(positions):  # not a for loop: entries may be added meanwhile
            yield self.first_seq + positions[at]
            at += 1

    def last_seqs(self, pipeline: str, end_seq: int) -> dict[str, int]:
        """The tenants that have entries of the pipeline here below `end_seq`, with the last number of each."""
        return {
            tenant: self.first_seq + positions[below - 1]
            for (owner, tenant), positions in list(self._positions.items())
            if owner == pipeline
            and tenant is not None
            and (below := bisect_left(positions, max(end_seq - self.first_seq, 0)))
        }

    def entry(self, seq: int, raw: bytes) -> Entry | None:
        """The entry that these bytes of the file hold, or None if they are damaged."""
        record = read_record(raw, self.marker)
        if record is None or record.seq != seq:
            return None
        batch = Batch.from_wire(SIGNALS[record.kind], record.wire, tenant=record.tenant, item_count=record.items)
        return Entry(seq, record.pipeline, batch, record.received_ns)

    def pack_index(self) -> bytes:
        """The content of its index file."""
        told = orjson.dumps(
            {
                "marker": self.marker.hex(),
                "first_seq": self.first_seq,
                "follows": self.follows,
                "size": self.size,
                "entries": len(self._offsets),
                "owners": [(*owner, len(positions)) for owner, positions in self._positions.items()],
                "items": count_rows(self.items),
                "base": None if self.base is None else count_rows(self.base),
                "unknown_before": self.unknown_before,
            }
        )
        columns = [self._offsets, self._lengths, self._item_counts, self._kinds, *self._positions.values()]
        body = b"".join([told, *(column.tobytes() for column in columns)])
        return INDEX_HEAD.pack(INDEX_MAGIC, google_crc32c.value(body), len(told)) + body

    @staticmethod
    def head_from_index(path: Path) -> Head | None:
        """The head of a segment whose own is broken, if its index file has it."""
        found = _read_index(path)
        return found and Head(bytes.fromhex(found[0]["marker"]), found[0]["first_seq"], found[0]["follows"])

    @classmethod
    def from_index(cls, path: Path, head: Head) -> "Segment | None":
        """A sealed segment by its index file; None if there is none, or none that is whole and about this segment."""
        found = _read_index(path)
        if found is None or found[0]["marker"] != head.marker.hex():
            return None
        told, columns = found
        segment = cls(path, head, size=told["size"], base=None if told["base"] is None else counts_from(told["base"]))
        segment.unknown_before = told["unknown_before"]
        segment.items = counts_from(told["items"])
        segment.index_bytes = path.with_suffix(INDEX_SUFFIX).stat().st_size
        at = 0

        def column(entries: int, typecode: Literal["I", "B"] = "I") -> "array[int]":
            nonlocal at
            values = array(typecode)
            end = at + entries * values.itemsize
            values.frombytes(columns[at:end])
            at = end
            return values

        segment._offsets = column(told["entries"])
        segment._lengths = column(told["entries"])
        segment._item_counts = column(told["entries"])
        segment._kinds = column(told["entries"], "B")
        segment._positions = {(pipeline, tenant): column(n) for pipeline, tenant, n in told["owners"]}
        return segment


def _holds(positions: "array[int]", position: int) -> bool:
    at = bisect_left(positions, position)
    return at < len(positions) and positions[at] == position


def _read_index(path: Path) -> tuple[dict[str, Any], bytes] | None:
    """What a whole index file tells, and its columns."""
    try:
        raw = path.with_suffix(INDEX_SUFFIX).read_bytes()
    except OSError:  # whatever keeps it from being read, the segment itself tells the same
        return None
    if len(raw) < INDEX_HEAD.size:
        return None
    magic, crc, told_bytes = INDEX_HEAD.unpack_from(raw)
    body = raw[INDEX_HEAD.size :]
    if magic != INDEX_MAGIC or google_crc32c.value(body) != crc:
        return None
    return orjson.loads(body[:told_bytes]), body[told_bytes:]


def read_at(fd: int, length: int, offset: int) -> bytes:
    """Bytes of a file, fewer at its end; what the disk cannot read (a bad sector) comes as zeros."""
    try:
        return os.pread(fd, length, offset)
    except OSError:
        if length <= 4096:
            return bytes(length)
        half = length // 2
        return read_at(fd, half, offset) + read_at(fd, length - half, offset + half)
