"""Reading segments, from any thread, while they grow and go."""

import os
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from threading import Lock

from otel_bridge.batch import Signal
from otel_bridge.errors import FilesError
from otel_bridge.journal import Entry, Lost
from otel_bridge.journal.record import ItemCounts
from otel_bridge.journal.recovery import recover
from otel_bridge.journal.segment import Segment, read_at
from otel_bridge.telemetry import Counters


class Reader:
    """The reading half of a journal, over segments that are oldest first and never changed in place: a new list is
    put where the old one was."""

    def __init__(self, segments: list[Segment], next_seq: int, counters: Counters) -> None:
        self._segments = segments
        self._next_seq = next_seq
        self._counters = counters
        self._sealed: tuple[list[Segment], dict[str, dict[str, int]]] = [], {}  # what `tenants` found in these
        self._showing = Lock()  # held while what has become durable is added, all of it

    @property
    def next_seq(self) -> int:
        """The sequence number that the next durable entry will have; what is below it is durable."""
        return self._next_seq

    @property
    def used_bytes(self) -> int:
        """What the segments take on disk."""
        return sum(segment.disk_bytes for segment in self._segments)

    def read(self, seq: int) -> Entry | None:
        """One entry by its number, or None where it was trimmed or is damaged (counted)."""
        segments = self._segments
        at = bisect_right(segments, seq, key=_first_seq) - 1
        if at < 0 or seq >= self._next_seq:
            return None
        with _opened(segments[at]) as fd:
            return self._entry(segments[at], seq, fd)

    def scan(
        self,
        start_seq: int,
        pipeline: str,
        tenant: str | None = None,
        max_bytes: int = 4 << 20,
        max_items: int = sys.maxsize,
    ) -> list[Entry | Lost]:
        """The next durable entries of a pipeline (and tenant) from `start_seq` on: at least one if there is any, more
        while they fit `max_bytes` and those before have less than `max_items`. What is damaged comes as Lost; entries
        of others in between are skipped without being read."""
        found: list[Entry | Lost] = []
        bytes_left, items_left = max_bytes, max_items
        next_seq, segments = self._next_seq, self._segments
        for segment in segments[max(bisect_right(segments, start_seq, key=_first_seq) - 1, 0) :]:
            seqs = segment.seqs(start_seq, pipeline, tenant)
            if (first := next(seqs, None)) is None:
                continue
            with _opened(segment) as fd:
                for seq in chain((first,), seqs):
                    _, length = segment.place(seq) or (0, 0)
                    if seq >= next_seq or (found and (length > bytes_left or items_left <= 0)):
                        return found
                    found.append(self._entry(segment, seq, fd) or segment.lost(seq, pipeline))
                    bytes_left -= length
                    items_left -= segment.item_count(seq)
        return found

    def tenants(self, pipeline: str, end_seq: int = sys.maxsize) -> dict[str, int]:
        """The tenants that have durable entries of the pipeline here (below `end_seq`), with the highest sequence
        number of each. What this tells of, `scan` gives."""
        end_seq = min(end_seq, self._next_seq)  # an entry is in its segment a moment before it counts as durable
        segments = self._segments
        if segments and segments[-1].first_seq <= end_seq:
            return self._sealed_tenants(segments, pipeline) | segments[-1].last_seqs(pipeline, end_seq)
        return _last_seqs(segments, pipeline, end_seq)

    def accepted(self) -> tuple[int, dict[tuple[str, str, Signal], int]]:
        """`next_seq`, and (pipeline, tenant, signal) → items ever appended below it, trimmed ones included: both as of
        one moment, while entries are being appended."""
        with self._showing:
            segments = self._segments_from_base()
            total: ItemCounts = dict(segments[0].base or {}) if segments else {}
            for segment in segments:
                for owner, items in segment.items.items():
                    total[owner] = total.get(owner, 0) + items
            return self._next_seq, total

    def unknown(self) -> int:
        """How many entries were ever found damaged so that not even their owners are known; `accepted` lacks them."""
        segments = self._segments_from_base()
        before = segments[0].unknown_before if segments and segments[0].base is not None else 0
        return before + sum(segment.unknown for segment in segments)

    def held(self) -> tuple[int, dict[tuple[str, str, Signal], int]]:
        """Where the entries that have not been trimmed begin, and their items as in `accepted`."""
        segments = self._segments
        total: Counter[tuple[str, str, Signal]] = Counter()
        for segment in segments:
            total.update(dict(segment.items))
        return segments[0].first_seq if segments else self._next_seq, dict(total)

    def _segments_from_base(self) -> list[Segment]:
        """The last that says what was accepted before it, and those after it; all of them where none does."""
        segments = self._segments
        says = (place for place in range(len(segments) - 1, -1, -1) if segments[place].base is not None)
        return segments[next(says, 0) :]

    def _sealed_tenants(self, segments: list[Segment], pipeline: str) -> dict[str, int]:
        """As `tenants`, of all segments but the last one, which alone changes; asked with each commit."""
        known_of, known = self._sealed
        if known_of is not segments:
            known_of, known = self._sealed = segments, {}
        if pipeline not in known:
            known[pipeline] = _last_seqs(segments[:-1], pipeline, sys.maxsize)
        return known[pipeline]

    def _entry(self, segment: Segment, seq: int, fd: int | None) -> Entry | None:
        place = segment.place(seq)
        if place is None or fd is None:
            return None
        offset, length = place
        raw = read_at(fd, length, offset)
        entry = segment.entry(seq, raw)
        if entry is None:
            segment.forget(seq)
            self._damaged(segment, offset, raw)
        return entry

    def _damaged(self, segment: Segment, offset: int, raw: bytes) -> None:
        self._counters.add("journal_corrupt_records")


def read_segments(directory: Path, counters: Counters | None = None) -> Reader:
    """The journal in a directory as it is now, without changing anything, whether or not a bridge is writing to it.

    Raises:
        FilesError: there is none, it cannot be read, or a later version wrote it.
    """
    if not directory.is_dir():
        raise FilesError(f"{directory} is no journal: name the data_dir of a bridge that has run")
    found = recover(directory)
    counters = counters or Counters()
    counters.add("journal_corrupt_records", found.corrupt)
    counters.add("journal_missing_records", found.missing)
    return Reader(found.segments, found.end_seq, counters)


@contextmanager
def _opened(segment: Segment) -> Iterator[int | None]:
    """The segment's file, or None where it was trimmed meanwhile."""
    try:
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _last_seqs(segments: list[Segment], pipeline: str, end_seq: int) -> dict[str, int]:
    last: dict[str, int] = {}
    for segment in segments:
        last |= segment.last_seqs(pipeline, end_seq)
    return last


def _first_seq(segment: Segment) -> int:
    return segment.first_seq
