"""What exporters lack that are not configured any more: kept until they are again, or until it is too old.

Nothing that came after they went concerns them, so in the end they hold nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from otel_bridge.clock import Clock
from otel_bridge.delivery.cursor import OPEN, Retention, stretches
from otel_bridge.journal import Entry, Journal, Lost
from otel_bridge.journal.exporters import DAMAGED, Outcomes, Registered
from otel_bridge.journal.parts import Apart
from otel_bridge.journal.state import State
from otel_bridge.telemetry import Outcome

READ_BYTES = 64 << 10  # at once: as long as nothing has expired, all but the first is read in vain


class Absent:
    """Passes over what is too old, or damaged, in the place of lanes that are not there."""

    def __init__(
        self, journal: Journal, state: State, retention: Retention, clock: Clock, thread: ThreadPoolExecutor
    ) -> None:
        self._journal = journal
        self._state = state
        self._retention = retention
        self._clock = clock
        self._thread = thread

    async def expire(self, pipeline: str, exporter: str, known: Registered) -> None:
        """Move the positions of an exporter that is not configured."""
        if known.settled:
            for tenant in await self._state.parts.heads(pipeline):
                await self._expire_parts(pipeline, exporter, known, tenant)
            return
        for tenant, head_seq in self._journal.tenants(pipeline, known.end_seq).items():
            if self._state.exporters.floor(pipeline, exporter, tenant) < head_seq:
                await self._expire_entries(pipeline, exporter, known, tenant)

    async def expire_open(self, pipeline: str) -> None:
        """Move the start of a pipeline that is not assembled: nobody makes parts of what is still in none."""
        exporters = self._state.exporters.settled(pipeline)
        end_seq = max((known.end_seq for known in exporters.values()), default=0)
        low_seq, scanned_seq = self._state.parts.assembly[pipeline]
        next_seq = self._journal.next_seq
        accounted = await self._state.parts.accounted(pipeline) if low_seq < end_seq else Counter[int]()
        while low_seq < end_seq:
            apart, passed_seq = Apart(exporters), low_seq
            entries = await self._scan(low_seq, pipeline)
            for entry in entries:
                tenant, signal, items = entry.counted
                left = items - accounted[entry.seq]
                if left and any(known.concerns(entry.seq) for known in exporters.values()):
                    if (fate := self._fate(entry)) is None:
                        break
                    apart.add(entry.seq, tenant, signal, fate[0], {fate[1]: left})
                passed_seq = entry.seq + 1
            if not entries:
                break
            if passed_seq == low_seq:
                return
            low_seq, scanned_seq = passed_seq, max(scanned_seq, passed_seq - 1)
            self._state.parts.advance(pipeline, low_seq, scanned_seq, apart)
        self._state.parts.advance(pipeline, next_seq, max(scanned_seq, next_seq - 1))

    async def _expire_entries(self, pipeline: str, exporter: str, known: Registered, tenant: str) -> None:
        for stretch in stretches(self._state.exporters, pipeline, exporter, tenant):
            while not stretch.is_done:
                outcomes: Outcomes = Counter()
                passed = stretch.position
                found = await self._scan(stretch.position + 1, pipeline, tenant)
                within = [entry for entry in found if entry.seq <= stretch.high]
                for entry in within:
                    if known.concerns(entry.seq):
                        if (fate := self._fate(entry)) is None:
                            break
                        _, signal, items = entry.counted
                        outcomes[signal, *fate] += items
                    passed = entry.seq
                if not within and stretch.high != OPEN:
                    passed = stretch.high  # what was postponed last is damaged, and whose it was is not known
                if passed == stretch.position:
                    break
                stretch.confirm(passed, outcomes)

    async def _expire_parts(self, pipeline: str, exporter: str, known: Registered, tenant: str) -> None:
        for stretch in stretches(self._state.exporters, pipeline, exporter, tenant):
            while not stretch.is_done:
                outcomes: Outcomes = Counter()
                passed = stretch.position
                parts = await self._state.parts.after(pipeline, tenant, stretch.position)
                within = [part for part in parts if part.id <= stretch.high]
                for part in within:
                    items = known.items(part.shares)
                    if items and not self._is_expired(part.shares[-1].seq, part.received_ns):
                        break
                    for signal, expired in items.items():
                        outcomes[signal, Outcome.EXPIRED, "max_age"] += expired
                    passed = part.id
                if not within and stretch.high != OPEN:
                    passed = stretch.high
                if passed == stretch.position:
                    break
                stretch.confirm(passed, outcomes)

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
