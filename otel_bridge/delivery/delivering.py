"""All exporters of a bridge, their lanes, and the journal's trimming behind them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from otel_bridge.assemble import AssembleConfig, Assembler, Gather, assembling
from otel_bridge.clock import Clock
from otel_bridge.component import Consume, Settle
from otel_bridge.delivery.cursor import Cursor, EntryCursor, PartCursor, Retention
from otel_bridge.delivery.dead_letter import DeadLetters
from otel_bridge.delivery.lane import DeliverConfig, Lane, Surroundings
from otel_bridge.delivery.parts import Parts, Process, Translate
from otel_bridge.delivery.piece import Piece
from otel_bridge.delivery.retry import Pace, supervised
from otel_bridge.errors import ParkedError
from otel_bridge.journal import Journal
from otel_bridge.journal.state import Account, State
from otel_bridge.tasks import first, owned_tasks
from otel_bridge.telemetry import Counters, logger

TIDY_EVERY_S = 5.0
READING_THREADS = 2


@dataclass(slots=True)
class _Destination:
    """An exporter of a pipeline, and its lane for each tenant."""

    cursor: Cursor
    send: Consume | Settle
    lanes: dict[str, Lane] = field(default_factory=dict)


class Delivery:
    """Delivers a journal; made by `delivering`.

    Pipelines that have exporters of settled traces are added by `assemble`, then exporters by `batches` and `settled`,
    all before receivers open: an exporter that was never here before begins with what is appended next.
    """

    def __init__(
        self,
        journal: Journal,
        state: State,
        around: Surroundings,
        retention: Retention,
        *,
        tasks: asyncio.TaskGroup,
        stack: AsyncExitStack,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._journal = journal
        self._state = state
        self._around = around
        self._retention = retention
        self._tasks = tasks
        self._stack = stack
        self._thread = thread
        self._destinations: dict[tuple[str, str], _Destination] = {}
        self._assemblers: dict[str, Assembler] = {}
        self._parts: dict[str, Parts] = {}
        self._delivering: set[asyncio.Task[None]] = set()
        self._assembling: set[asyncio.Task[None]] = set()
        self._trimmed_seq = 0

    async def assemble(
        self,
        pipeline: str,
        config: AssembleConfig,
        *,
        process: Process | None = None,
        gather: Gather | None = None,
        translate: Translate | None = None,
    ) -> None:
        """Begin to make settled parts of a pipeline's entries."""
        counters, clock = self._around.counters, self._around.clock
        assembler = await self._stack.enter_async_context(
            assembling(pipeline, self._journal, self._state, config, counters=counters, clock=clock, gather=gather)
        )
        if translate is None:
            from otel_bridge.translate import translate as as_built_in

            translate = as_built_in
        parts = Parts(assembler, translate, process, counters=counters, thread=self._thread)
        self._assemblers[pipeline] = assembler
        self._parts[pipeline] = parts
        self._assembling.add(self._supervise(f"assemble:{pipeline}", parts.run, self._tasks))

    async def batches(self, pipeline: str, exporter: str, consume: Consume) -> None:
        """Begin to deliver a pipeline's batches as they come."""
        cursor = EntryCursor(
            self._journal,
            self._state,
            pipeline,
            exporter,
            retention=self._retention,
            clock=self._around.clock,
            thread=self._thread,
        )
        await self._add(pipeline, exporter, _Destination(cursor, consume), settled=False)

    async def settled(self, pipeline: str, exporter: str, settle: Settle) -> None:
        """Begin to deliver a pipeline's settled traces; `assemble` was called for it before.

        An exporter that takes both has this side under an id of its own, `<id>.settled`.
        """
        cursor = PartCursor(
            self._parts[pipeline],
            self._state,
            pipeline,
            exporter,
            retention=self._retention,
            clock=self._around.clock,
        )
        await self._add(pipeline, exporter, _Destination(cursor, settle), settled=True)

    async def drain(self, timeout_s: float) -> None:
        """Deliver what is ready and can be delivered at once, confirm it, and end all lanes and assembly.

        Called when receivers have closed. What is open, refused or too slow stays in the journal. Exporters and
        processors are not called any more when this returns.
        """
        self._around.stopping.set()
        if self._delivering:
            await self._around.clock.within(timeout_s, asyncio.wait(self._delivering))
        ending = (*self._delivering, *self._assembling)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)  # what they raise reaches their owner, the task group
        await self._state.flush(durable=True)

    async def tidy(self) -> None:
        """Let go of what nobody needs any more: confirmed parts, traces remembered long enough, the journal's start."""
        floor_seq = self._journal.next_seq
        for pipeline in list(self._state.assembly):
            floor_seq = min(floor_seq, await self._state.prune(pipeline))
            forgotten = await self._state.forget(pipeline, self._around.clock.steady_ns())
            self._around.counters.add("traces_forgotten", forgotten, pipeline=pipeline)
        for (pipeline, exporter), known in self._state.registered.items():
            if known.settled:
                if pipeline not in self._state.assembly:
                    floor_seq = min(floor_seq, known.start_seq)
                continue
            for tenant, head_seq in self._journal.tenants(pipeline).items():
                position = self._state.position(pipeline, exporter, tenant)
                if position < head_seq:
                    floor_seq = min(floor_seq, position + 1)
        # What is trimmed must be confirmed on disk, or a loss of power would leave it unaccounted for.
        if floor_seq > self._trimmed_seq and await self._state.flush(durable=True):
            self._trimmed_seq = floor_seq
            self._journal.trim(floor_seq)

    def waiting(self) -> dict[Account, int]:
        """Accepted items that have no outcome yet, by exporter, tenant and signal."""
        waiting: dict[Account, int] = {}
        for (pipeline, tenant, signal), items in self._journal.accepted().items():
            for of, exporter in self._state.registered:
                if of == pipeline:
                    account = Account(pipeline, exporter, tenant, signal)
                    waiting[account] = items - self._state.base[account]
        for (account, _, _), items in self._state.ledger.items():
            waiting[account] = waiting.get(account, 0) - items
        return waiting

    def status(self) -> dict[str, Any]:
        """Assembly by pipeline; waiting items, parked reason and retries by exporter and tenant; plain JSON."""
        exporters: dict[str, Any] = {}
        for account, items in self.waiting().items():
            tenants = exporters.setdefault(f"{account.pipeline}/{account.exporter}", {})
            of_tenant = tenants.setdefault(account.tenant, {"waiting": 0, "parked": None, "tries": 0, "oldest_s": 0.0})
            of_tenant["waiting"] += items
        for (pipeline, exporter), destination in self._destinations.items():
            for tenant, lane in destination.lanes.items():
                exporters.get(f"{pipeline}/{exporter}", {}).get(tenant, {}).update(lane.status())
        return {
            "assembly": {pipeline: assembler.status() for pipeline, assembler in self._assemblers.items()},
            "exporters": exporters,
        }

    async def _add(self, pipeline: str, exporter: str, destination: _Destination, *, settled: bool) -> None:
        accepted = {
            (tenant, signal): items
            for (of, tenant, signal), items in self._journal.accepted().items()
            if of == pipeline
        }
        next_seq = self._journal.next_seq
        self._state.register(pipeline, exporter, settled=settled, start_seq=next_seq, accepted=accepted)
        await self._state.flush()
        self._destinations[pipeline, exporter] = destination
        serve = partial(self._serve, pipeline, exporter, destination)
        self._delivering.add(self._supervise(f"deliver:{exporter}", serve, self._tasks))

    async def _serve(self, pipeline: str, exporter: str, destination: _Destination) -> None:
        """Start a lane for each tenant that appears, and wake it when there is more for it."""
        stopping = self._around.stopping
        destination.lanes.clear()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for tenant, head in destination.cursor.heads().items():
                    if tenant not in destination.lanes:
                        lane = Lane(pipeline, exporter, tenant, destination.cursor, destination.send, self._around)
                        destination.lanes[tenant] = lane
                        self._supervise(f"deliver:{exporter}", lane.run, tasks)
                    if head > destination.lanes[tenant].position:
                        destination.lanes[tenant].ready.set()
                if stopping.is_set():
                    break
                await first(stopping.wait(), destination.cursor.wait())
            for lane in destination.lanes.values():
                lane.ready.set()

    async def keep_tidy(self) -> None:
        """Tidy now and then, for ever."""
        while True:
            await self._around.clock.sleep(TIDY_EVERY_S)
            await self._keep_unconfigured()
            await self.tidy()

    async def _keep_unconfigured(self) -> None:
        """Hold what exporters still lack that are not configured any more, as if they were parked."""
        for (pipeline, exporter), known in list(self._state.registered.items()):
            if (pipeline, exporter) in self._destinations or (known.settled and pipeline not in self._parts):
                continue
            logger("delivery").warning(
                "an exporter is not configured any more; what it did not deliver is kept until it is, or too old",
                pipeline=pipeline,
                exporter=exporter,
            )
            add = self.settled if known.settled else self.batches
            await add(pipeline, exporter, _refuse)

    def _supervise(
        self, name: str, work: Callable[[], Awaitable[None]], tasks: asyncio.TaskGroup
    ) -> asyncio.Task[None]:
        around = self._around
        return tasks.create_task(
            supervised(name, work, counters=around.counters, clock=around.clock, pace=around.pace), name=name
        )


async def _refuse(_piece: Piece) -> None:
    raise ParkedError("it is not configured", "not_configured")


@asynccontextmanager
async def delivering(
    journal: Journal,
    state: State,
    dead_letters: DeadLetters,
    config: DeliverConfig,
    *,
    counters: Counters,
    clock: Clock | None = None,
    pace: Pace | None = None,
    max_age_s: float | None = None,
) -> AsyncIterator[Delivery]:
    """Deliver while this lasts. `drain` first for a good end: otherwise what was being sent is sent again later.

    max_age_s: what was accepted longer ago is given up, and counted as expired; None: never.
    """
    clock = clock or Clock()
    around = Surroundings(config, counters, clock, pace or Pace(), dead_letters)
    retention = Retention(max_age_s, clock, journal.next_seq)
    with ThreadPoolExecutor(READING_THREADS, thread_name_prefix="deliver") as thread:
        async with AsyncExitStack() as stack, owned_tasks() as tasks:
            delivery = Delivery(journal, state, around, retention, tasks=tasks, stack=stack, thread=thread)
            tasks.create_task(delivery.keep_tidy())
            yield delivery
