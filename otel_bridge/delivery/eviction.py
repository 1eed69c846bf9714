"""The oldest entries go to make room for new ones, where that was chosen; what is lost by it is counted first.

The account is durable before anything is deleted, so that a crash between the two loses no count.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from otel_bridge.batch import Signal
from otel_bridge.delivery.operator import Destination
from otel_bridge.journal import Journal
from otel_bridge.journal.exporters import Outcomes
from otel_bridge.journal.parts import Apart, Part
from otel_bridge.journal.state import State
from otel_bridge.telemetry import Counters, Outcome, logger

REASON = "drop_oldest"
READ_BYTES = 1 << 20
TELL_EVERY_S = 10.0  # the counters and the ledger tell of each

_Counted: TypeAlias = tuple[int, str, Signal, int]
"""An entry's number, tenant, signal and items."""


class Eviction:
    """Accounts for all that lies below an entry and is not delivered, for every exporter, present or absent."""

    def __init__(
        self,
        journal: Journal,
        state: State,
        destinations: Mapping[tuple[str, str], Destination],
        counters: Counters,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._journal = journal
        self._state = state
        self._destinations = destinations
        self._counters = counters
        self._thread = thread
        self._silent_until_s = 0.0

    async def account(self, end_seq: int) -> bool:
        """Count as evicted what is not delivered of the entries below; whether that is durable.

        No assembly runs meanwhile that needs one of them.
        """
        pipelines = {pipeline for pipeline, _ in self._state.exporters.registered}
        found = {
            pipeline: (
                await self._entries(pipeline, end_seq),
                await self._state.parts.below_entry(pipeline, end_seq),
                await self._accounted(pipeline, end_seq),
            )
            for pipeline in pipelines
        }
        evicted: Counter[tuple[str, str]] = Counter()
        # Without a pause from here on: lanes and assembly see all of it or nothing.
        for pipeline, (entries, parts, accounted) in found.items():
            for (of, exporter), known in self._state.exporters.registered.items():
                if of != pipeline:
                    continue
                evicted[of, exporter] += (
                    self._cut_parts(pipeline, exporter, parts, end_seq)
                    if known.settled
                    else self._pass_over(pipeline, exporter, entries)
                )
            evicted.update(self._close_traces(pipeline, entries, accounted, end_seq))
            for part in parts:
                self._state.parts.cut(part, end_seq)
        for owner, items in (+evicted).items():
            self._counters.add(Outcome.EVICTED, items, pipeline=owner[0], exporter=owner[1], reason=REASON)
            if owner in self._destinations:
                for lane in self._destinations[owner].lanes.values():
                    lane.revoke()
        if (total := +evicted) and time.monotonic() >= self._silent_until_s:
            self._silent_until_s = time.monotonic() + TELL_EVERY_S
            logger("journal").warning(
                "the journal is full: its oldest entries go, and what was not delivered of them is evicted",
                items={f"{pipeline}/{exporter}": items for (pipeline, exporter), items in total.items()},
            )
        return await self._state.flush(durable=True)

    async def _entries(self, pipeline: str, end_seq: int) -> list[_Counted]:
        """Each entry below."""
        found: list[_Counted] = []
        start_seq = 0
        while True:
            entries = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._journal.scan, start_seq, pipeline, None, READ_BYTES
            )
            found += ((entry.seq, *entry.counted) for entry in entries if entry.seq < end_seq)
            if not entries or entries[-1].seq >= end_seq - 1:
                return found
            start_seq = entries[-1].seq + 1

    async def _accounted(self, pipeline: str, end_seq: int) -> Counter[int]:
        low_seq, _ = self._state.parts.assembly.get(pipeline, (end_seq, 0))
        return await self._state.parts.accounted(pipeline) if low_seq < end_seq else Counter()

    def _pass_over(self, pipeline: str, exporter: str, entries: list[_Counted]) -> int:
        known = self._state.exporters.registered[pipeline, exporter]
        lost: defaultdict[str, Outcomes] = defaultdict(Counter)
        last: dict[str, int] = {}
        for seq, tenant, signal, items in entries:
            last[tenant] = seq
            if known.concerns(seq) and not self._state.exporters.is_done(pipeline, exporter, tenant, seq):
                lost[tenant][signal, Outcome.EVICTED, REASON] += items
        for tenant, seq in last.items():
            self._state.exporters.pass_over(pipeline, exporter, tenant, seq, lost[tenant])
        return sum(outcomes.total() for outcomes in lost.values())

    def _cut_parts(self, pipeline: str, exporter: str, parts: list[Part], end_seq: int) -> int:
        """The positions stay, as a part may have something left."""
        exporters = self._state.exporters
        known = exporters.registered[pipeline, exporter]
        lost: defaultdict[str, Outcomes] = defaultdict(Counter)
        for part in parts:
            if not exporters.is_done(pipeline, exporter, part.tenant, part.id):
                for signal, items in known.items(share for share in part.shares if share.seq < end_seq).items():
                    lost[part.tenant][signal, Outcome.EVICTED, REASON] += items
        for tenant, outcomes in lost.items():
            exporters.confirm(pipeline, exporter, tenant, exporters.position(pipeline, exporter, tenant), outcomes)
        return sum(outcomes.total() for outcomes in lost.values())

    def _close_traces(
        self, pipeline: str, entries: list[_Counted], accounted: Counter[int], end_seq: int
    ) -> Counter[tuple[str, str]]:
        """What lies in traces that have not settled, or was not looked at yet."""
        evicted: Counter[tuple[str, str]] = Counter()
        low_seq, scanned_seq = self._state.parts.assembly.get(pipeline, (end_seq, 0))
        if low_seq >= end_seq:
            return evicted
        apart = Apart(self._state.exporters.settled(pipeline))
        for seq, tenant, signal, items in entries:
            if seq >= low_seq and items > accounted[seq]:
                apart.add(seq, tenant, signal, Outcome.EVICTED, {REASON: items - accounted[seq]})
        for (exporter, _), outcomes in apart.outcomes.items():
            evicted[pipeline, exporter] += outcomes.total()
        self._state.parts.advance(pipeline, end_seq, max(scanned_seq, end_seq - 1), apart)
        return evicted
