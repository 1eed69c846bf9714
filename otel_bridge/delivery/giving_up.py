"""What waits for an exporter is given up because somebody said so: the account of it is durable, and nothing is sent.

As what a tenant left behind that is not configured any more, for whom there are no keys and will be none.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from otel_bridge.assemble import AssembleConfig, Conclusion, assembling
from otel_bridge.batch import Signal
from otel_bridge.delivery.surroundings import Surroundings
from otel_bridge.errors import ConsumeError, RetryableError, UsageError
from otel_bridge.journal import Journal
from otel_bridge.journal.changes import at_once
from otel_bridge.journal.exporters import Account, Outcomes, Registered
from otel_bridge.journal.parts import Part
from otel_bridge.journal.state import State
from otel_bridge.mistakes import hint
from otel_bridge.sides import side_of
from otel_bridge.tasks import first
from otel_bridge.telemetry import Outcome, logger
from otel_bridge.trace import Known

if TYPE_CHECKING:
    from otel_bridge.delivery.operator import Destination

REASON = "given_up"
READ_BYTES = 1 << 20


class GivingUp:
    """Passes over what waits, for exporters that are configured and for those that are not any more.

    waiting: as `Delivery.waiting`.
    changing: as of a Delivery; held for a piece at a time, as there may be very much, and never while the state can not
        be written.
    tenants: those that are configured; assembled: the pipelines that are.
    """

    def __init__(
        self,
        journal: Journal,
        state: State,
        around: Surroundings,
        destinations: "Mapping[tuple[str, str], Destination]",
        *,
        thread: ThreadPoolExecutor,
        changing: asyncio.Lock,
        waiting: Callable[[], Mapping[Account, int]],
        tenants: Collection[str],
        assembled: Collection[str],
    ) -> None:
        self._journal = journal
        self._state = state
        self._around = around
        self._destinations = destinations
        self._thread = thread
        self._changing = changing
        self._waiting = waiting
        self._tenants = tenants
        self._assembled = assembled

    async def give_up(self, exporter: str, tenant: str | None) -> dict[str, Any]:
        """Count as evicted what waits for an exporter, of a tenant or of all, but for traces that may still settle.

        What is in the air at this moment may arrive all the same.

        Raises:
            UsageError: there is no such exporter, nor was there ever one, or no such tenant.
            RetryableError: some of it may be done; the state can not be written now, or delivery is ending.
            ConsumeError: it is done, and can not be written down now.
        """
        self._known(exporter, tenant)
        given_up: Counter[tuple[str, str, str]] = Counter()
        for pipeline, name in sorted(self._state.exporters.registered):
            if side_of(name) == exporter:
                await self._pass_over_all(pipeline, name, tenant, given_up)
                if self._has_open(pipeline, name, tenant):
                    await self._settle(pipeline)
                    await self._pass_over_all(pipeline, name, tenant, given_up)
        rows = [
            {"pipeline": pipeline, "exporter": name, "tenant": of, "items": items}
            for (pipeline, name, of), items in sorted(given_up.items())
        ]
        if not await self._state.flush(durable=True):
            raise ConsumeError("done, but it can not be written down now: a restart may forget it")
        return {"exporter": exporter, "givenUp": rows, "waiting": self._left(exporter, tenant)}

    def _known(self, exporter: str, tenant: str | None) -> None:
        names = sorted({side_of(name) for _, name in self._state.exporters.registered})
        if exporter not in names:
            raise UsageError(f"there is no exporter {exporter[:50]!r}" + hint(exporter, names))
        known = sorted({*self._tenants, *(account.tenant for account in self._waiting())})
        if tenant is not None and tenant not in known:
            raise UsageError(f"there is no tenant {tenant[:50]!r}" + hint(tenant, known))

    def _left(self, exporter: str, tenant: str | None) -> int:
        return sum(
            items
            for account, items in self._waiting().items()
            if side_of(account.exporter) == exporter and tenant in (None, account.tenant)
        )

    def _has_open(self, pipeline: str, exporter: str, tenant: str | None) -> bool:
        """Whether what an exporter lacks lies in traces that nobody settles any more."""
        if pipeline in self._assembled or pipeline not in self._state.parts.assembly:
            return False
        owner = (pipeline, exporter)
        left = ((account.tenant, items) for account, items in self._waiting().items() if account[:2] == owner)
        return any(items > 0 and tenant in (None, of) for of, items in left)

    async def _settle(self, pipeline: str) -> None:
        """Make parts of the open traces of a pipeline that is gone, as each exporter has its own account of a part."""
        async with self._changing:
            self._go_on()
            if pipeline in self._assembled:
                return
            config, counters, clock = AssembleConfig(), self._around.counters, self._around.clock
            async with assembling(
                pipeline, self._journal, self._state, config, counters=counters, clock=clock
            ) as assembler:
                with at_once():  # and an end of the bridge does not wait for it: what is not done is as after a kill
                    await first(assembler.finish(_as_it_is), self._around.stopping.wait())
            self._go_on()

    def _go_on(self) -> None:
        if self._around.stopping.is_set():
            raise RetryableError("delivery is ending: ask again in a moment", retry_after_s=1)

    async def _pass_over_all(
        self, pipeline: str, exporter: str, tenant: str | None, given_up: Counter[tuple[str, str, str]]
    ) -> None:
        for of, head in sorted((await self._heads(pipeline, exporter)).items()):
            if tenant in (None, of) and (items := await self._pass_over(pipeline, exporter, of, head)):
                given_up[pipeline, exporter, of] += items

    async def _heads(self, pipeline: str, exporter: str) -> Mapping[str, int]:
        """The tenants of which something is here, with the newest of each."""
        known = self._state.exporters.registered[pipeline, exporter]
        if known.settled:
            with at_once():
                return await self._state.parts.heads(pipeline)
        return self._journal.tenants(pipeline, known.end_seq)

    async def _pass_over(self, pipeline: str, exporter: str, tenant: str, head: int) -> int:
        """Up to and with `head`; returns how many items that were, which is told."""
        items, position = 0, self._state.exporters.floor(pipeline, exporter, tenant)
        try:
            while position < head:
                position, more = await self._pass_over_next(pipeline, exporter, tenant, position, head)
                items += more
        finally:
            if items:
                told = {"pipeline": pipeline, "exporter": exporter, "tenant": tenant, "items": items}
                logger(side_of(exporter)).warning("what waited is given up, as somebody said so", **told)
        return items

    async def _pass_over_next(
        self, pipeline: str, exporter: str, tenant: str, position: int, head: int
    ) -> tuple[int, int]:
        """What follows a position, as much as is read at once; returns how far that was, and how many items."""
        async with self._changing:
            self._go_on()
            known = self._state.exporters.registered[pipeline, exporter]
            reading = self._parts if known.settled else self._entries
            found = await reading(pipeline, tenant, known, position)
            within = [(number, items) for number, items in found if number <= head]
            position = within[-1][0] if within else head
            # Without a pause from here on: its lane sees all of it or nothing.
            outcomes: Outcomes = Counter()
            for number, items in within:
                if not self._state.exporters.is_done(pipeline, exporter, tenant, number):
                    for signal, count in items.items():
                        outcomes[signal, Outcome.EVICTED, REASON] += count
            self._state.exporters.pass_over(pipeline, exporter, tenant, position, outcomes)
            evicted = outcomes.total()
            self._around.counters.add(Outcome.EVICTED, evicted, pipeline=pipeline, exporter=exporter, reason=REASON)
            destination = self._destinations.get((pipeline, exporter))
            if destination is not None and tenant in destination.lanes:
                destination.lanes[tenant].revoke()
            return position, evicted

    async def _entries(
        self, pipeline: str, tenant: str, known: Registered, position: int
    ) -> list[tuple[int, Counter[Signal]]]:
        """Entries that follow a position, with the items of them that concern the exporter."""
        entries = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._journal.scan, position + 1, pipeline, tenant, READ_BYTES
        )
        counted = ((entry.seq, entry.counted) for entry in entries)
        return [(seq, Counter({of: items} if known.concerns(seq) else {})) for seq, (_, of, items) in counted]

    async def _parts(
        self, pipeline: str, tenant: str, known: Registered, position: int
    ) -> list[tuple[int, Counter[Signal]]]:
        """The same of settled parts."""
        with at_once():
            parts = await self._state.parts.after(pipeline, tenant, position)
        return [(part.id, known.items(part.shares)) for part in parts]


async def _as_it_is(part: Part) -> Conclusion:
    """Who takes it after all, as its pipeline is back, has it made then."""
    return Conclusion(part, part.known or Known())
