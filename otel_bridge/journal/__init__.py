"""The durable log: what was appended survives a crash, and every reader resumes where it was.

`segments` holds the bulk (append-only files), `state` the small facts about it (a SQLite file): what each exporter has
confirmed and the ledger (`exporters`), settled parts of traces (`parts`), what is remembered of them (`memory`).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from otel_bridge.batch import Batch, Signal


@dataclass(slots=True, frozen=True)
class Entry:
    """One batch of one pipeline, as it was made durable.

    seq: counts up by one for each entry, never reused, over all pipelines and tenants.
    received_ns: when it was appended, nanoseconds since 1970; a wall clock that is set meanwhile makes no difference.
    """

    seq: int
    pipeline: str
    batch: Batch
    received_ns: int

    @property
    def counted(self) -> tuple[str, Signal, int]:
        """Its tenant and signal, and how many items it has."""
        return self.batch.tenant, self.batch.signal, self.batch.item_count


@dataclass(slots=True, frozen=True)
class Lost:
    """What is still known of an entry that was accepted and can not be read any more."""

    seq: int
    pipeline: str
    tenant: str
    signal: Signal
    items: int

    @property
    def counted(self) -> tuple[str, Signal, int]:
        """Its tenant and signal, and how many items it has."""
        return self.tenant, self.signal, self.items


class Journal(Protocol):
    """What the engine asks of a journal; `segments` is the embedded one."""

    @property
    def next_seq(self) -> int:
        """The sequence number that the next durable entry will have; what is below it is durable."""

    async def append(self, entries: Sequence[tuple[str, Batch]]) -> None:
        """Make (pipeline, batch) pairs durable together, all or none; on disk when this returns.

        If cancelled, they may be on disk or not.

        Raises:
            JournalFullError: they would exceed `max_bytes`, or the disk is full or failing; nothing was written.
            RetryableError: the journal is closing, or the disk did not answer in time: it may be stored or not.
            MalformedError: a batch whose items nobody had counted yet can not be read.
            ValueError: a pipeline or tenant has a name that can not be stored.
        """

    def read(self, seq: int) -> Entry | None:
        """One entry by its number, or None where it was trimmed or is damaged (counted)."""

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

    async def wait(self, seq: int) -> None:
        """Return when the entry `seq` is durable (at once if it is)."""

    def tenants(self, pipeline: str, end_seq: int = sys.maxsize) -> dict[str, int]:
        """The tenants that have durable entries of the pipeline here (below `end_seq`), with the highest sequence
        number of each. What this tells of, `scan` gives."""

    def accepted(self) -> tuple[int, dict[tuple[str, str, Signal], int]]:
        """`next_seq`, and (pipeline, tenant, signal) → items ever appended below it, trimmed ones included: both as of
        one moment, while entries are being appended."""

    def held(self) -> tuple[int, dict[tuple[str, str, Signal], int]]:
        """Where the entries that have not been trimmed begin, and their items as in `accepted`."""

    def trim(self, below_seq: int) -> None:
        """Let go of entries below; whole segments disappear when nothing else lies in them, and they are not kept."""

    def oldest(self, size: int) -> int | None:
        """Below which entry all has to go so that `size` bytes more have room; None where they have, or nothing can
        go."""
