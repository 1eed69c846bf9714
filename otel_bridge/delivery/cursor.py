"""What an exporter reads through: the next of a tenant, in order, until it is confirmed.

One for batches as they come and one for settled parts of traces; both keep nothing but a position, and the stretches
before it that were postponed.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from otel_bridge.batch import Batch, Signal
from otel_bridge.clock import Clock
from otel_bridge.delivery.parts import Parts
from otel_bridge.delivery.piece import Piece, batches_of
from otel_bridge.journal import Entry, Journal, Lost
from otel_bridge.journal.exporters import DAMAGED, Exporters, Outcomes
from otel_bridge.journal.parts import Part
from otel_bridge.journal.state import State
from otel_bridge.model import Translation
from otel_bridge.telemetry import Outcome
from otel_bridge.trace import Decision

FOREVER_NS = 1 << 63
OPEN = sys.maxsize
PARTS_AT_ONCE = 64


@dataclass(slots=True)
class Lease:
    """The next of a tenant, taken but not confirmed.

    position: of the last entry or part in it.
    pieces: what is to be sent.
    items: how many accepted items it stands for.
    losses: what has become of items of it that are not sent.
    unfit: what could not be translated, to be set aside.
    oldest_ns: when the first of it was received; None where that is not known any more.
    expires_ns: the steady time at which its newest item has reached `max_age`.
    more: whether there is more behind it.
    """

    position: int
    oldest_ns: int | None
    pieces: list[Piece] = field(default_factory=list)
    items: Counter[Signal] = field(default_factory=Counter)
    losses: Outcomes = field(default_factory=Counter)
    unfit: list[Batch] = field(default_factory=list)
    expires_ns: int = 0
    more: bool = False


class Retention:
    """How long accepted items are tried: `max_age_s` from their receipt, or for ever if None.

    What came after the start can not be older than the start, whatever the wall clock said when it came.
    """

    def __init__(self, max_age_s: float | None, clock: Clock, next_seq: int) -> None:
        self._max_age_ns = None if max_age_s is None else int(max_age_s * 1e9)
        self._next_seq = next_seq
        self._started_ns = clock.steady_ns()

    def expires_ns(self, seq: int, received_ns: int) -> int:
        """The steady time at which what an entry holds is given up."""
        if self._max_age_ns is None:
            return FOREVER_NS
        return (max(received_ns, self._started_ns) if seq >= self._next_seq else received_ns) + self._max_age_ns


class Stretch(Protocol):
    """What is to be done, behind `position` up to and with `high`; that is OPEN where there is always more to come."""

    high: int

    @property
    def position(self) -> int:
        """Up to where it is done."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left of it; never of an open one."""
        return self.position >= self.high

    def confirm(self, position: int, outcomes: Outcomes) -> None:
        """All of it up to this position is done, with these outcomes."""

    def postpone(self, high: int) -> "Stretch":
        """Leave out of the last stretch what it begins with, up to and with `high`."""


class _Stored(Stretch):
    """As the state has it."""

    def __init__(self, exporters: Exporters, owner: tuple[str, str, str], high: int = OPEN) -> None:
        self._exporters = exporters
        self._owner = owner
        self.high = high

    @property
    def position(self) -> int:
        if self.high == OPEN:
            return self._exporters.position(*self._owner)
        return self._exporters.postponed_position(*self._owner, self.high)

    def confirm(self, position: int, outcomes: Outcomes) -> None:
        if self.high == OPEN:
            self._exporters.confirm(*self._owner, position, outcomes)
        else:
            self._exporters.confirm_postponed(*self._owner, self.high, position, outcomes)

    def postpone(self, high: int) -> Stretch:
        self._exporters.postpone(*self._owner, high)
        return _Stored(self._exporters, self._owner, high)


def stretches(exporters: Exporters, pipeline: str, exporter: str, tenant: str) -> list[Stretch]:
    """What an exporter has postponed, and after that the open one."""
    owner = (pipeline, exporter, tenant)
    return [_Stored(exporters, owner, high) for high in (*(high for _, high in exporters.postponed(*owner)), OPEN)]


class Source(Protocol):
    """What a lane leases from."""

    def stretches(self, tenant: str) -> list[Stretch]:
        """What is to be done for a tenant, in order; all but the last one are postponed."""

    async def lease(self, tenant: str, position: int, high: int, max_bytes: int, max_items: int) -> Lease | None:
        """What follows a position, up to and with `high`: at least one entry or part, more up to the limits; None if
        there is nothing."""


class Cursor(Source, Protocol):
    """What an exporter reads through; its last stretch is open."""

    def heads(self) -> Mapping[str, int]:
        """The tenants that have something here, with the position of their newest."""

    async def wait(self) -> None:
        """Return when more came than `heads` last told of."""


class _Positions:
    """How far an exporter is, in the state."""

    def __init__(self, state: State, pipeline: str, exporter: str) -> None:
        self._state = state
        self._pipeline = pipeline
        self._exporter = exporter

    def stretches(self, tenant: str) -> list[Stretch]:
        return stretches(self._state.exporters, self._pipeline, self._exporter, tenant)


class EntryCursor(_Positions):
    """Batches as they came; those of one signal are merged."""

    def __init__(
        self,
        journal: Journal,
        state: State,
        pipeline: str,
        exporter: str,
        *,
        retention: Retention,
        clock: Clock,
        thread: ThreadPoolExecutor,
    ) -> None:
        super().__init__(state, pipeline, exporter)
        self._journal = journal
        self._retention = retention
        self._clock = clock
        self._thread = thread
        self._seen_seq = 0

    def heads(self) -> Mapping[str, int]:
        self._seen_seq = self._journal.next_seq
        return self._journal.tenants(self._pipeline)

    async def wait(self) -> None:
        await self._journal.wait(self._seen_seq)

    async def lease(self, tenant: str, position: int, high: int, max_bytes: int, max_items: int) -> Lease | None:
        head_seq = min(self._journal.tenants(self._pipeline).get(tenant, 0), high)
        found = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._journal.scan, position + 1, self._pipeline, tenant, max_bytes, max_items
        )
        entries = [entry for entry in found if entry.seq <= high]
        if not entries:
            return None
        taken: dict[Signal, list[Batch]] = {}
        lease = Lease(entries[-1].seq, next((entry.received_ns for entry in entries if isinstance(entry, Entry)), None))
        known = self._state.exporters.registered[self._pipeline, self._exporter]
        for entry in entries:
            if known.concerns(entry.seq):
                self._take(lease, entry, taken)
        lease.pieces.extend(Batch.merge(batches) for batches in taken.values())
        lease.more = lease.position < head_seq
        return lease

    def _take(self, lease: Lease, entry: Entry | Lost, taken: dict[Signal, list[Batch]]) -> None:
        if isinstance(entry, Lost):
            lease.items[entry.signal] += entry.items
            lease.losses[entry.signal, Outcome.DEAD_LETTERED, DAMAGED] += entry.items
            return
        batch = entry.batch
        lease.items[batch.signal] += batch.item_count
        expires_ns = self._retention.expires_ns(entry.seq, entry.received_ns)
        if expires_ns <= self._clock.steady_ns():
            lease.losses[batch.signal, Outcome.EXPIRED, "max_age"] += batch.item_count
            return
        lease.expires_ns = max(lease.expires_ns, expires_ns)
        taken.setdefault(batch.signal, []).append(batch)


class PartCursor(_Positions):
    """Settled parts of traces, translated; merged across traces."""

    def __init__(
        self,
        parts: Parts,
        state: State,
        pipeline: str,
        exporter: str,
        *,
        retention: Retention,
        clock: Clock,
        tell_omitted: bool = False,
    ) -> None:
        """`tell_omitted`: the exporter has had the spans as they came, and is told of what nothing becomes."""
        super().__init__(state, pipeline, exporter)
        self._parts = parts
        self._tell_omitted = tell_omitted
        self._retention = retention
        self._clock = clock
        self._seen = 0

    def heads(self) -> Mapping[str, int]:
        self._seen = self._parts.newest
        return self._parts.heads

    async def wait(self) -> None:
        await self._parts.wait(self._seen)

    async def lease(self, tenant: str, position: int, high: int, max_bytes: int, max_items: int) -> Lease | None:
        found = await self._state.parts.after(self._pipeline, tenant, position, PARTS_AT_ONCE)
        parts = [part for part in found if part.id <= high]
        if not parts:
            return None
        lease = Lease(parts[0].id, parts[0].received_ns)
        translations = await fill(lease, parts, self._take, max_bytes, max_items)
        if translations:
            lease.pieces.append(Translation.merge(translations))
        lease.more = lease.position < parts[-1].id or len(parts) == PARTS_AT_ONCE
        return lease

    async def _take(self, lease: Lease, part: Part) -> Translation | None:
        """Account for a part; returns what is to be sent of it."""
        items = self._state.exporters.registered[self._pipeline, self._exporter].items(part.shares)
        if not items:
            return None
        lease.items += items
        expires_ns = self._retention.expires_ns(part.shares[-1].seq, part.received_ns)
        if expires_ns <= self._clock.steady_ns():
            _lose(lease, items, Outcome.EXPIRED, "max_age")
            return None
        lease.expires_ns = max(lease.expires_ns, expires_ns)
        made = await self._parts.make(part)
        _lose(lease, made.lost, Outcome.DEAD_LETTERED, DAMAGED)
        lease.losses.update(made.losses(items - made.lost))
        if made.decision == Decision.KEPT and made.translation is None:
            lease.unfit.extend(batches_of(made.trace))
        return made.sent(tell_omitted=self._tell_omitted)


async def fill(
    lease: Lease,
    parts: Sequence[Part],
    take: Callable[[Lease, Part], Awaitable[Translation | None]],
    max_bytes: int,
    max_items: int,
) -> list[Translation]:
    """Take parts into a lease: at least one of which something is to be sent, more up to the limits; what that is."""
    translations: list[Translation] = []
    observations = taken_bytes = 0
    for part in parts:
        if translations and (taken_bytes + part.size > max_bytes or observations >= max_items):
            break
        lease.position = part.id
        translation = await take(lease, part)
        if translation is not None:
            translations.append(translation)
            observations += len(translation.observations)
            taken_bytes += max(part.size, translation.size)
    return translations


def _lose(lease: Lease, items: Counter[Signal], outcome: Outcome, reason: str) -> None:
    for signal, lost in items.items():
        lease.losses[signal, outcome, reason] += lost
