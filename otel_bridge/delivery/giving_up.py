"""What waits for an exporter is given up because somebody said so: the account of it is durable, and nothing is sent.

As what a tenant left behind that is not configured any more, for whom there are no keys and will be none.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from otel_bridge.batch import Signal
from otel_bridge.errors import ConsumeError, UsageError
from otel_bridge.journal import Journal
from otel_bridge.journal.exporters import Account, Outcomes, Registered
from otel_bridge.journal.state import State
from otel_bridge.mistakes import hint
from otel_bridge.sides import side_of
from otel_bridge.telemetry import Counters, Outcome, logger

if TYPE_CHECKING:
    from otel_bridge.delivery.operator import Destination

REASON = "given_up"
READ_BYTES = 1 << 20


class GivingUp:
    """Passes over what waits, for exporters that are configured and for those that are not any more.

    waiting: as `Delivery.waiting`; changing: held by whoever moves places that are nobody's lane.
    tenants: those that are configured.
    """

    def __init__(
        self,
        journal: Journal,
        state: State,
        destinations: "Mapping[tuple[str, str], Destination]",
        counters: Counters,
        *,
        thread: ThreadPoolExecutor,
        changing: asyncio.Lock,
        waiting: Callable[[], Mapping[Account, int]],
        tenants: Collection[str],
    ) -> None:
        self._journal = journal
        self._state = state
        self._destinations = destinations
        self._counters = counters
        self._thread = thread
        self._changing = changing
        self._waiting = waiting
        self._tenants = tenants

    async def give_up(self, exporter: str, tenant: str | None) -> dict[str, Any]:
        """Count as evicted what waits for an exporter, of a tenant or of all, but for traces that are still open.

        What is in the air at this moment may arrive all the same.

        Raises:
            UsageError: there is no such exporter, nor was there ever one, or no such tenant.
            ConsumeError: it is done, and can not be written down now.
        """
        self._known(exporter, tenant)
        given_up: Counter[tuple[str, str, str]] = Counter()
        async with self._changing:
            for (pipeline, name), known in list(self._state.exporters.registered.items()):
                if side_of(name) == exporter:
                    for of, head in (await self._heads(pipeline, known)).items():
                        if tenant in (None, of):
                            given_up[pipeline, name, of] += await self._pass_over(pipeline, name, of, known, head)
        if not await self._state.flush(durable=True):
            raise ConsumeError("done, but it can not be written down now: a restart may forget it")
        rows = [
            {"pipeline": pipeline, "exporter": name, "tenant": of, "items": items}
            for (pipeline, name, of), items in sorted((+given_up).items())
        ]
        for row in rows:
            logger(exporter).warning("what waited is given up, as somebody said so", **row)
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

    async def _heads(self, pipeline: str, known: Registered) -> Mapping[str, int]:
        """The tenants of which something is here, with the newest of each."""
        if known.settled:
            return await self._state.parts.heads(pipeline)
        return self._journal.tenants(pipeline, known.end_seq)

    async def _pass_over(self, pipeline: str, exporter: str, tenant: str, known: Registered, head: int) -> int:
        """Up to and with `head`, a piece at a time, as a backlog may be larger than the memory."""
        total, position = 0, self._state.exporters.floor(pipeline, exporter, tenant)
        reading = self._parts if known.settled else self._entries
        while position < head:
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
            self._counters.add(Outcome.EVICTED, outcomes.total(), pipeline=pipeline, exporter=exporter, reason=REASON)
            total += outcomes.total()
            destination = self._destinations.get((pipeline, exporter))
            if destination is not None and tenant in destination.lanes:
                destination.lanes[tenant].revoke()
        return total

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
        parts = await self._state.parts.after(pipeline, tenant, position)
        return [(part.id, known.items(part.shares)) for part in parts]
