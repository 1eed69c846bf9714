"""One segment: where its entries lie and whose they are.

The index of a sealed segment is kept in a small file beside it. That file is only a short cut: it is not synced, and
made again from the segment when it is missing, broken, or about another one.
"""

import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import orjson

from otel_bridge.batch import Batch
from otel_bridge.journal import Entry
from otel_bridge.journal.record import (
    SIGNALS,
    Head,
    ItemCounts,
    Record,
    count_rows,
    counts_from,
    read_record,
)

INDEX_MAGIC = b"otelbrx1"
INDEX_HEAD = struct.Struct("<8sII")  # magic, CRC of everything after it, bytes of JSON
SUFFIX = ".seg"
INDEX_SUFFIX = ".idx"


class Segment:
    """Twelve to sixteen bytes of memory for each entry: columns, and positions by owner.

    size: bytes of the file that are durable and good; what may lie behind them never was acknowledged.
    base: items accepted before it; None if that could not be read.
    items: items accepted in it.
    index_bytes: size of its index file.
    """

    __slots__ = (
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
    )

    def __init__(self, path: Path, head: Head, *, size: int, base: ItemCounts | None = None) -> None:
        self.path = path
        self.marker, self.first_seq, self.follows = head
        self.size = size
        self.base = base
        self.items: ItemCounts = {}
        self.index_bytes = 0
        self._offsets = array("I")  # 0: there is no such entry (any more)
        self._lengths = array("I")
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

    def add(self, record: Record, offset: int, length: int) -> None:
        """Take in an entry; entries come in the order of their numbers, and some may be missing."""
        if record.seq > self.end_seq:
            self.extend(record.seq)
        position = len(self._offsets)
        self._offsets.append(offset)
        self._lengths.append(length)
        for owner in ((record.pipeline, record.tenant), (record.pipeline, None)):
            if (positions := self._positions.get(owner)) is None:
                positions = self._positions[owner] = array("I")
            positions.append(position)
        counted = (record.pipeline, record.tenant, SIGNALS[record.kind])
        self.items[counted] = self.items.get(counted, 0) + record.items

    def extend(self, end_seq: int) -> None:
        """The entries from its end up to this one were here once, and are lost."""
        missing = bytes((end_seq - self.end_seq) * self._offsets.itemsize)
        self._offsets.frombytes(missing)
        self._lengths.frombytes(missing)

    def forget(self, seq: int) -> None:
        """The entry is damaged: do not look again."""
        self._offsets[seq - self.first_seq] = 0

    def place(self, seq: int) -> tuple[int, int] | None:
        """(offset, length) of an entry's record in the file, if it is here."""
        position = seq - self.first_seq
        if 0 <= position < len(self._offsets) and (offset := self._offsets[position]):
            return offset, self._lengths[position]
        return None

    def seqs(self, start_seq: int, pipeline: str, tenant: str | None) -> Iterator[int]:
        """The numbers of a pipeline's (and tenant's) entries, from `start_seq` on."""
        positions = self._positions.get((pipeline, tenant))
        if positions is None:
            return
        at = bisect_left(positions, max(start_seq - self.first_seq, 0))
        while at < len(positions):  # not a for loop: entries may be added meanwhile
            yield self.first_seq + positions[at]
            at += 1

    def last_seqs(self, pipeline: str) -> dict[str, int]:
        """The tenants that have entries of the pipeline here, with the last number of each."""
        return {
            tenant: self.first_seq + positions[-1]
            for (owner, tenant), positions in list(self._positions.items())
            if owner == pipeline and tenant is not None
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
            }
        )
        columns = [self._offsets, self._lengths, *self._positions.values()]
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
        segment.items = counts_from(told["items"])
        segment.index_bytes = path.with_suffix(INDEX_SUFFIX).stat().st_size
        at = 0

        def column(entries: int) -> "array[int]":
            nonlocal at
            values = array("I")
            end = at + entries * values.itemsize
            values.frombytes(columns[at:end])
            at = end
            return values

        segment._offsets = column(told["entries"])
        segment._lengths = column(told["entries"])
        segment._positions = {(pipeline, tenant): column(n) for pipeline, tenant, n in told["owners"]}
        return segment


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
