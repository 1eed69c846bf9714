"""Sending again what the journal still holds: the ids, times and names are the same, so twice is once.

A replay has a place of its own and never moves that of its exporter. It is written down, and goes on after a restart.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otel_bridge.batch import Batch, Signal
from otel_bridge.delivery.cursor import FOREVER_NS, PARTS_AT_ONCE, Lease, Stretch, fill
from otel_bridge.delivery.lane import Lane
from otel_bridge.delivery.parts import Parts
from otel_bridge.delivery.surroundings import Surroundings
from otel_bridge.errors import UsageError
from otel_bridge.journal import Entry, Journal
from otel_bridge.journal.exporters import Outcomes
from otel_bridge.journal.parts import Part
from otel_bridge.journal.state import Replay, State
from otel_bridge.mistakes import hint
from otel_bridge.model import Translation
from otel_bridge.moments import iso
from otel_bridge.sides import side_of
from otel_bridge.tasks import first
from otel_bridge.telemetry import Counters, logger
from otel_bridge.trace import Decision

if TYPE_CHECKING:
    from otel_bridge.delivery.operator import Destination


class _Left(Stretch):
    """A stretch of a replay. What is postponed is remembered as long as the bridge runs: after that it goes again, with
    all that came behind it."""

    def __init__(self, again: "_Again", position: int, high: int) -> None:
        self._again = again
        self._position = position
        self.high = high

    @property
    def position(self) -> int:
        return self._position

    def confirm(self, position: int, outcomes: Outcomes) -> None:
        self._position = position
        self._again.sent(outcomes)

    def postpone(self, high: int) -> Stretch:
        left_out = _Left(self._again, self._position, high)
        self._position = high
        self._again.postponed.append(left_out)
        return left_out


class _Again:
    """What a replay's lane leases from; the part that both kinds share."""

    def __init__(self, state: State, replay: Replay, counters: Counters) -> None:
        self.postponed: list[_Left] = []
        self._front = _Left(self, replay.position, replay.end_position)
        self._state = state
        self._id = replay.id
        self._window = range(replay.since_ns, replay.until_ns)
        self._owner = (replay.pipeline, replay.exporter)
        self._counters = counters

    @property
    def is_done(self) -> bool:
        """Whether all of it has been sent."""
        return all(stretch.is_done for stretch in (*self.postponed, self._front))

    def stretches(self, _tenant: str) -> list[Stretch]:
        return [*(stretch for stretch in self.postponed if not stretch.is_done), self._front]

    def sent(self, outcomes: Outcomes) -> None:
        """One of its stretches has come further."""
        position = min(stretch.position for stretch in self.stretches(""))
        self._state.replay_to(self._id, position, outcomes)
        for (_, outcome, _), items in outcomes.items():
            self._counters.add("replayed", items, exporter=self._owner[1], outcome=outcome)


class _EntriesAgain(_Again):
    """Batches as they came."""

    def __init__(
        self, state: State, replay: Replay, counters: Counters, journal: Journal, thread: ThreadPoolExecutor
    ) -> None:
        super().__init__(state, replay, counters)
        self._journal = journal
        self._thread = thread

    async def lease(self, tenant: str, position: int, high: int, max_bytes: int, max_items: int) -> Lease | None:
        entries = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._journal.scan, position + 1, self._owner[0], tenant, max_bytes, max_items
        )
        entries = [entry for entry in entries if entry.seq <= high]
        if not entries:
            return None
        lease = Lease(entries[-1].seq, None, expires_ns=FOREVER_NS, more=True)
        taken: dict[Signal, list[Batch]] = {}
        for entry in entries:
            if isinstance(entry, Entry) and self._is_wanted(entry):
                lease.items[entry.batch.signal] += entry.batch.item_count
                taken.setdefault(entry.batch.signal, []).append(entry.batch)
        lease.pieces.extend(Batch.merge(batches) for batches in taken.values())
        return lease

    def _is_wanted(self, entry: Entry) -> bool:
        return (
            entry.received_ns in self._window
            and self._state.exporters.registered[self._owner].concerns(entry.seq)
            and self._state.exporters.is_done(*self._owner, entry.batch.tenant, entry.seq)
        )


class _PartsAgain(_Again):
    """Settled parts of traces, made anew; those that the journal has let go of in part are left out."""

    def __init__(self, state: State, replay: Replay, counters: Counters, journal: Journal, parts: Parts) -> None:
        super().__init__(state, replay, counters)
        self._journal = journal
        self._parts = parts

    async def lease(self, tenant: str, position: int, high: int, max_bytes: int, max_items: int) -> Lease | None:
        found = await self._state.parts.after(self._owner[0], tenant, position, PARTS_AT_ONCE)
        parts = [part for part in found if part.id <= high]
        if not parts:
            return None
        lease = Lease(parts[0].id, None, expires_ns=FOREVER_NS, more=True)
        translations = await fill(lease, parts, self._take, max_bytes, max_items)
        if translations:
            lease.pieces.append(replace(Translation.merge(translations), again=True))
        return lease

    async def _take(self, lease: Lease, part: Part) -> Translation | None:
        items = self._state.exporters.registered[self._owner].items(part.shares)
        if not items or not self._is_wanted(part):
            return None
        made = await self._parts.make(part)
        if made.decision != Decision.KEPT or made.translation is None or made.lost:
            return None
        lease.items += items
        lease.losses.update(made.losses(items))
        return made.sent(tell_omitted=False)

    def _is_wanted(self, part: Part) -> bool:
        held_seq, _ = self._journal.held()
        return (
            part.received_ns in self._window
            and part.shares[0].seq >= held_seq
            and self._state.exporters.is_done(*self._owner, part.tenant, part.id)
        )


class Replays:
    """The replays of a delivery."""

    def __init__(
        self,
        journal: Journal,
        state: State,
        around: Surroundings,
        destinations: "Mapping[tuple[str, str], Destination]",
        parts: Mapping[str, Parts],
        *,
        thread: ThreadPoolExecutor,
        start: Callable[[Replay], None],
        tenants: Collection[str],
    ) -> None:
        self._journal = journal
        self._state = state
        self._around = around
        self._apart = replace(around, counters=Counters(), dead_letters=around.dead_letters.unaccounted())
        self._destinations = destinations
        self._parts = parts
        self._thread = thread
        self._start = start
        self._tenants = tenants
        self._lanes: dict[int, Lane] = {}

    async def begin(self, exporter: str, since_ns: int, until_ns: int | None, tenant: str | None) -> dict[str, Any]:
        """Begin a replay for each pipeline and tenant of an exporter; returns what was begun, and from when on the
        journal still has what came for it.

        Raises:
            UsageError: the tenant is not configured, nor is there anything left of it.
        """
        heads = {
            (pipeline, name): await self._heads(pipeline, name)
            for pipeline, name in list(self._destinations)
            if side_of(name) == exporter
        }
        known = sorted({*self._tenants, *(of for found in heads.values() for of in found)})
        if tenant is not None and tenant not in known:
            raise UsageError(f"there is no tenant {tenant[:50]!r}" + hint(tenant, known))
        until_ns = self._around.clock.steady_ns() if until_ns is None else until_ns
        begun: list[Replay] = []
        held: list[int] = []
        for (pipeline, name), found in heads.items():
            registered = self._state.exporters.registered[pipeline, name]
            if (oldest_ns := await self._oldest(pipeline)) is not None:
                held.append(oldest_ns)
            for of in sorted(found):
                if tenant not in (None, of) or not self._state.exporters.position(pipeline, name, of):
                    continue
                start = 0 if registered.settled else registered.start_seq - 1
                begun.append(
                    self._state.begin_replay(pipeline, name, of, since_ns=since_ns, until_ns=until_ns, position=start)
                )
        await self._state.flush(durable=True)
        for one in begun:
            self._start(one)
        return {
            "exporter": exporter,
            "since": iso(since_ns),
            "until": iso(until_ns),
            "heldSince": iso(min(held)) if held else None,
            "replays": [one.id for one in begun],
        }

    async def run(self, begun: Replay) -> None:
        """Send all of it, as long as that takes; after an error it can be called again."""
        destination = self._destinations[begun.pipeline, begun.exporter]
        replay, counters = self._state.replays[begun.id], self._around.counters
        again: _EntriesAgain | _PartsAgain
        if self._state.exporters.registered[begun.pipeline, begun.exporter].settled:
            again = _PartsAgain(self._state, replay, counters, self._journal, self._parts[begun.pipeline])
        else:
            again = _EntriesAgain(self._state, replay, counters, self._journal, self._thread)
        owner = (begun.pipeline, begun.exporter, begun.tenant)
        gate = destination.gates.of(begun.tenant)
        lane = Lane(*owner, again, destination.send, self._apart, gate, destination.max_batch_age_s)
        self._lanes[begun.id] = lane
        try:
            await first(self._around.stopping.wait(), lane.run())  # it goes on at the next start
        finally:
            del self._lanes[begun.id]
        if again.is_done:
            self._state.end_replay(begun.id)
            logger(begun.exporter).info("a replay is done", tenant=begun.tenant)

    def status(self) -> dict[str, Any]:
        """What is left, and what became of what was sent again, since the beginning: plain JSON."""
        counted: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for (account, outcome, _), items in self._state.replayed.items():
            counted[tuple(account)][outcome.value] += items
        return {
            "replays": [
                {
                    "id": one.id,
                    "pipeline": one.pipeline,
                    "exporter": one.exporter,
                    "tenant": one.tenant,
                    "since": iso(one.since_ns),
                    "until": iso(one.until_ns),
                    "position": one.position,
                    "end": one.end_position,
                    "why": self._why(one),
                }
                for one in self._state.replays.values()
            ],
            "replayed": [
                dict(zip(("pipeline", "exporter", "tenant", "signal"), owner, strict=True)) | dict(outcomes)
                for owner, outcomes in sorted(counted.items())
            ],
        }

    def _why(self, one: Replay) -> str | None:
        """Why it does not go on; None where it does."""
        destination = self._destinations.get((one.pipeline, one.exporter))
        if destination is not None and not destination.gates.is_open(one.tenant):
            return "paused"
        return self._lanes[one.id].standing.trouble if one.id in self._lanes else None

    async def _heads(self, pipeline: str, exporter: str) -> Mapping[str, int]:
        """The tenants of which there is something for an exporter."""
        if self._state.exporters.registered[pipeline, exporter].settled:
            return await self._state.parts.heads(pipeline)
        return self._journal.tenants(pipeline)

    async def _oldest(self, pipeline: str) -> int | None:
        """When the oldest entry was received that the journal still has of a pipeline."""
        entries = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._journal.scan, 0, pipeline, None, 1
        )
        return next((entry.received_ns for entry in entries if isinstance(entry, Entry)), None)
