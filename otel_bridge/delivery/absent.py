"""What exporters lack that are not configured any more: kept until they are again, or until it is too old.

Nothing that came after they went concerns them, so in the end they hold nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from otel_bridge.clock import Clock
from otel_bridge.delivery.cursor import OPEN, Retention, Stretch, stretches
from otel_bridge.journal import Entry, Journal, Lost
from otel_bridge.journal.changes import at_once
from otel_bridge.journal.exporters import DAMAGED, NEVER, Outcomes, Registered
from otel_bridge.journal.parts import Apart
from otel_bridge.journal.state import State
from otel_bridge.telemetry import Outcome

READ_BYTES = 64 << 10  # at once: as long as nothing has expired, all but the first is read in vain


class Absent:
    """Passes over what is too old, or damaged, in the place of lanes that are not there.

    changing: as of a Delivery; held for a piece at a time, as there may be very much, and never while the state can not
        be written.
    assembled: the pipelines that are.
    """

    def __init__(
        self,
        journal: Journal,
        state: State,
        retention: Retention,
        clock: Clock,
        *,
        thread: ThreadPoolExecutor,
        changing: asyncio.Lock,
        assembled: Collection[str],
    ) -> None:
        self._journal = journal
        self._state = state
        self._retention = retention
        self._clock = clock
        self._thread = thread
        self._changing = changing
        self._assembled = assembled

    async def expire(self, pipeline: str, exporter: str) -> None:
        """Move the positions of an exporter, as long as it is not configured.

        Raises:
            UnwrittenError: not now.
        """
        for tenant in await self._behind(pipeline, exporter):
            for stretch in stretches(self._state.exporters, pipeline, exporter, tenant):
                while await self._expire_next(pipeline, exporter, tenant, stretch):
                    pass

    async def expire_open(self, pipeline: str) -> None:
        """Move the start of a pipeline, as long as it is not assembled: nobody makes parts of what is still in none.

        Raises:
            UnwrittenError: not now.
        """
        low_seq, _ = self._state.parts.assembly[pipeline]
        accounted = Counter[int]()
        if low_seq < self._end_seq(pipeline):
            with at_once():
                accounted = await self._state.parts.accounted(pipeline)
        while await self._expire_open_next(pipeline, accounted):
            pass

    async def _behind(self, pipeline: str, exporter: str) -> list[str]:
        """The tenants of which an exporter may lack something."""
        known = self._state.exporters.registered[pipeline, exporter]
        if known.settled:
            with at_once():
                return list(await self._state.parts.heads(pipeline))
        return [
            tenant
            for tenant, head_seq in self._journal.tenants(pipeline, known.end_seq).items()
            if self._state.exporters.floor(pipeline, exporter, tenant) < head_seq
        ]

    async def _expire_next(self, pipeline: str, exporter: str, tenant: str, stretch: Stretch) -> bool:
        """Pass over what comes next of a stretch and is too old; whether there may be more."""
        async with self._changing:
            known = self._state.exporters.registered[pipeline, exporter]
            if stretch.is_done or known.end_seq == NEVER:
                return False
            reading = self._parts if known.settled else self._entries
            found = await reading(pipeline, tenant, known, stretch.position)
            within = [(number, lost) for number, lost in found if number <= stretch.high]
            outcomes: Outcomes = Counter()
            passed = stretch.position
            for number, lost in within:
                if lost is None:
                    break
                outcomes.update(lost)
                passed = number
            if not within and stretch.high != OPEN:
                passed = stretch.high  # what was postponed last is damaged, and whose it was is not known
            if passed == stretch.position:
                return False
            stretch.confirm(passed, outcomes)
            return True

    async def _entries(
        self, pipeline: str, tenant: str, known: Registered, position: int
    ) -> list[tuple[int, Outcomes | None]]:
        """Entries that follow a position, and what becomes of the items of each; None while they are kept."""
        found: list[tuple[int, Outcomes | None]] = []
        for entry in await self._scan(position + 1, pipeline, tenant):
            outcomes: Outcomes | None = Counter()
            if known.concerns(entry.seq):
                _, signal, items = entry.counted
                fate = self._fate(entry)
                outcomes = Counter({(signal, *fate): items}) if fate else None
            found.append((entry.seq, outcomes))
        return found

    async def _parts(
        self, pipeline: str, tenant: str, known: Registered, position: int
    ) -> list[tuple[int, Outcomes | None]]:
        """The same of settled parts."""
        with at_once():
            parts = await self._state.parts.after(pipeline, tenant, position)
        found: list[tuple[int, Outcomes | None]] = []
        for part in parts:
            items = known.items(part.shares)
            is_kept = items and not self._is_expired(part.shares[-1].seq, part.received_ns)
            expired: Outcomes = Counter({(of, Outcome.EXPIRED, "max_age"): count for of, count in items.items()})
            found.append((part.id, None if is_kept else expired))
        return found

    async def _expire_open_next(self, pipeline: str, accounted: Counter[int]) -> bool:
        """Pass over what comes next of what lies in no part; whether there may be more."""
        async with self._changing:
            if pipeline in self._assembled:
                return False
            next_seq = self._journal.next_seq
            low_seq, scanned_seq = self._state.parts.assembly[pipeline]
            entries = await self._scan(low_seq, pipeline) if low_seq < self._end_seq(pipeline) else ()
            if not entries:
                self._state.parts.advance(pipeline, next_seq, max(scanned_seq, next_seq - 1))
                return False
            exporters = self._state.exporters.settled(pipeline)
            apart, passed_seq = Apart(exporters), low_seq
            for entry in entries:
                tenant, signal, items = entry.counted
                left = items - accounted[entry.seq]
                if left and any(known.concerns(entry.seq) for known in exporters.values()):
                    if (fate := self._fate(entry)) is None:
                        break
                    apart.add(entry.seq, tenant, signal, fate[0], {fate[1]: left})
                passed_seq = entry.seq + 1
            if passed_seq == low_seq:
                return False
            self._state.parts.advance(pipeline, passed_seq, max(scanned_seq, passed_seq - 1), apart)
            return True

    def _end_seq(self, pipeline: str) -> int:
        """From where on nothing concerns its exporters of settled parts."""
        return max((known.end_seq for known in self._state.exporters.settled(pipeline).values()), default=0)

    def _fate(self, entry: Entry | Lost) -> tuple[Outcome, str] | None:
        """What becomes of an entry's items, and why; None while they are kept."""
        if isinstance(entry, Lost):
            return Outcome.DEAD_LETTERED, DAMAGED
        return (Outcome.EXPIRED, "max_age") if self._is_expired(entry.seq, entry.received_ns) else None

    def _is_expired(self, seq: int, received_ns: int) -> bool:
        return self._retention.expires_ns(seq, received_ns) <= self._clock.steady_ns()

    async def _scan(self, start_seq: int, pipeline: str, tenant: str | None = None) -> Sequence[Entry | Lost]:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._journal.scan, start_seq, pipeline, tenant, READ_BYTES
        )
