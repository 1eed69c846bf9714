"""All exporters of a bridge, their lanes, and the journal's trimming behind them."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

from otel_bridge.assemble import AssembleConfig, Assembler, Gather, assembling
from otel_bridge.batch import DEFAULT_TENANT, Signal
from otel_bridge.clock import Clock
from otel_bridge.component import Consume, Probe, Settle
from otel_bridge.delivery.absent import Absent
from otel_bridge.delivery.cursor import Cursor, EntryCursor, PartCursor, Retention
from otel_bridge.delivery.dead_letter import DeadLetters
from otel_bridge.delivery.eviction import Eviction
from otel_bridge.delivery.giving_up import GivingUp
from otel_bridge.delivery.lane import Lane
from otel_bridge.delivery.operator import Destination, Operator
from otel_bridge.delivery.parts import Parts, Process, Translate
from otel_bridge.delivery.replay import Replays
from otel_bridge.delivery.retry import Pace, Supervision
from otel_bridge.delivery.surroundings import DeliverConfig, Surroundings
from otel_bridge.errors import ConsumeError, UnwrittenError
from otel_bridge.journal import Journal
from otel_bridge.journal.changes import at_once
from otel_bridge.journal.exporters import NEVER, Account
from otel_bridge.journal.state import Replay, State
from otel_bridge.sides import side_of
from otel_bridge.tasks import first, owned_tasks
from otel_bridge.telemetry import Counters, logger

TIDY_EVERY_S = 5.0
READING_THREADS = 2


class Delivery:
    """Delivers a journal; made by `delivering`.

    Pipelines that have exporters of settled traces are added by `assemble`, then exporters by `batches` and `settled`,
    all before receivers open: an exporter that was never here before begins with what is appended next. Where the state
    knows of no exporter at all, as it was lost, all begin with what the journal still has.

    operator: does what people ask for while it runs.
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
        tenants: Collection[str],
    ) -> None:
        self._journal = journal
        self._state = state
        self._around = around
        self._retention = retention
        self._tasks = tasks
        self._stack = stack
        self._thread = thread
        self._destinations: dict[tuple[str, str], Destination] = {}
        self._assemblers: dict[str, Assembler] = {}
        self._parts: dict[str, Parts] = {}
        self._delivering: set[asyncio.Task[None]] = set()
        self._assembling: dict[str, asyncio.Task[None]] = {}
        self._trimmed_seq = 0
        self._told: set[tuple[str, str]] = set()
        # Of what is configured, or of places that nobody else moves. Who appends may wait for it: nobody who holds it
        # waits until the state can be written.
        self._changing = asyncio.Lock()
        self._absent = Absent(
            *(journal, state, retention, around.clock),
            thread=thread,
            changing=self._changing,
            assembled=self._assemblers.keys(),
        )
        self._begin_seq, self._begin_accepted = self._begin()
        self._replays = Replays(
            *(journal, state, around, self._destinations, self._parts),
            thread=thread,
            start=self._start_replay,
            tenants=tenants,
        )
        giving_up = GivingUp(
            *(journal, state, around, self._destinations),
            thread=thread,
            changing=self._changing,
            waiting=self.waiting,
            tenants=tenants,
            assembled=self._assemblers.keys(),
        )
        self.operator = Operator(
            *(state, around, self._destinations, self._parts, self._replays, giving_up), tenants=tenants
        )
        self._eviction = Eviction(journal, state, self._destinations, around.counters, thread)

    def _begin(self) -> tuple[int, Mapping[tuple[str, str, Signal], int]]:
        """Where exporters begin that were never here before, and what had been accepted until there."""
        next_seq, accepted = self._journal.accepted()
        held_seq, held = self._journal.held()
        if self._state.exporters.registered or held_seq == next_seq:
            return next_seq, accepted
        logger("delivery").warning(
            "the journal is not empty and nothing is known of it: all that is in it will be delivered, some maybe again"
        )
        return held_seq, {owner: items - held.get(owner, 0) for owner, items in accepted.items()}

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
        if gather is None:
            from otel_bridge.translate import gather as by_trace

            gather = by_trace
        assembler = await self._stack.enter_async_context(
            assembling(pipeline, self._journal, self._state, config, counters=counters, clock=clock, gather=gather)
        )
        if translate is None:
            from otel_bridge.translate import translate as as_built_in

            translate = as_built_in
        parts = Parts(assembler, translate, process, gather, counters=counters, thread=self._thread)
        async with self._changing:
            if pipeline not in self._state.parts.assembly:
                self._state.parts.advance(pipeline, self._begin_seq, self._begin_seq - 1)
            self._assemblers[pipeline] = assembler
            self._parts[pipeline] = parts
            self._start_assembly(pipeline)

    async def batches(
        self,
        pipeline: str,
        exporter: str,
        consume: Consume,
        *,
        max_batch_age_s: float = math.inf,
        probes: Mapping[str, Probe] | None = None,
    ) -> None:
        """Begin to deliver a pipeline's batches as they come.

        max_batch_age_s: as a `Component` has it; probes: by tenant, as a `Host` has it.
        """
        cursor = EntryCursor(
            self._journal,
            self._state,
            pipeline,
            exporter,
            retention=self._retention,
            clock=self._around.clock,
            thread=self._thread,
        )
        await self._add(
            pipeline, exporter, cursor, consume, settled=False, max_batch_age_s=max_batch_age_s, probes=probes
        )

    async def settled(
        self,
        pipeline: str,
        exporter: str,
        settle: Settle,
        *,
        tell_omitted: bool = False,
        max_batch_age_s: float = math.inf,
        probes: Mapping[str, Probe] | None = None,
    ) -> None:
        """Begin to deliver a pipeline's settled traces; `assemble` was called for it before.

        An exporter that takes both has this side under an id of its own, `<id>.settled`, and is told of what is left
        out (`tell_omitted`), as it has had that as it came.
        """
        cursor = PartCursor(
            self._parts[pipeline],
            self._state,
            pipeline,
            exporter,
            retention=self._retention,
            clock=self._around.clock,
            tell_omitted=tell_omitted,
        )
        await self._add(
            *(pipeline, exporter, cursor, settle),
            settled=True,
            tell_omitted=tell_omitted,
            max_batch_age_s=max_batch_age_s,
            probes=probes,
        )

    async def drain(
        self, timeout_s: float, *, settle: bool = False, leave: bool = False, hurry: asyncio.Event | None = None
    ) -> None:
        """Deliver what is ready and can be delivered at once, confirm it, and end all lanes and assembly.

        What is open, refused or too slow stays in the journal. Exporters and processors are not called any more when
        this returns.

        settle: traces that are open settle first, as who sent them has ended.
        leave: only what is being sent is waited for; what has not been begun stays in the journal.
        hurry: when this is set, nothing is waited for any longer.
        """
        until_s = self._around.clock.monotonic() + timeout_s
        if settle:
            await self._around.clock.within(timeout_s, self._settle())
        self._around.leaving = leave
        self._around.stopping.set()
        left_s = max(0.0, until_s - self._around.clock.monotonic())
        ended = self._ended()
        await self._around.clock.within(left_s, ended if hurry is None else first(hurry.wait(), ended))
        async with self._changing:
            ending = (*self._delivering, *self._assembling.values())
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)  # what they raise reaches their owner, the task group
        await self._state.flush(durable=True)

    async def _ended(self) -> None:
        """Return when all lanes have, and no letter is being handed out."""
        if self._delivering:
            await asyncio.wait(self._delivering)
        await self.operator.end()

    async def tidy(self) -> None:
        """Let go of what nobody needs any more: confirmed parts, traces remembered long enough, the journal's start.

        Exporters of earlier runs that have not been added keep what they lack until it is too old.
        """
        with suppress(UnwrittenError):  # which the state has told of: it is done when it can be
            await self._expire_absent()
        floor_seq = self._journal.next_seq if self._state.exporters.registered else 0
        for pipeline in list(self._state.parts.assembly):
            held_seq, _ = self._journal.held()
            await self._state.parts.prune(pipeline, held_seq)
            floor_seq = min(floor_seq, await self._state.parts.needed_seq(pipeline))
            forgotten = await self._state.memory.forget(pipeline, self._around.clock.steady_ns())
            self._around.counters.add("traces_forgotten", forgotten, pipeline=pipeline)
        for (pipeline, exporter), known in self._state.exporters.registered.items():
            if known.settled:
                continue
            for tenant, head_seq in self._journal.tenants(pipeline, known.end_seq).items():
                done_seq = self._state.exporters.floor(pipeline, exporter, tenant)
                if done_seq < head_seq:
                    floor_seq = min(floor_seq, done_seq + 1)
        # What is trimmed must be confirmed on disk, or a loss of power would leave it unaccounted for.
        if floor_seq > self._trimmed_seq and await self._state.flush(durable=True):
            self._trimmed_seq = floor_seq
            self._journal.trim(floor_seq)

    async def make_room(self, size: int) -> None:
        """Let the oldest entries go where the journal has no room for `size` bytes more, delivered or not.

        What was begun is done to its end, also where who asked goes away: assembly stands still meanwhile. Nothing goes
        once `drain` was called.
        """
        await asyncio.wait([self._tasks.create_task(self._make_room(size))])

    async def _make_room(self, size: int) -> None:
        if not await self._state.flush():
            return  # what goes could not be written down: new data is refused, and does not wait until it can
        async with self._changing:
            end_seq = None if self._around.stopping.is_set() else self._journal.oldest(size)
            if end_seq is None:
                return  # somebody else's eviction made room meanwhile, or all that is left is being written
            stopped = [
                pipeline
                for pipeline, (low_seq, _) in self._state.parts.assembly.items()
                if low_seq < end_seq and pipeline in self._assembling
            ]
            ending = [self._assembling[pipeline] for pipeline in stopped]
            for assembly in ending:
                assembly.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            await self._around.supervision.once("make_room", partial(self._evict, end_seq))
            for pipeline in stopped:
                self._start_assembly(pipeline)

    async def _evict(self, end_seq: int) -> None:
        try:
            with at_once():
                is_accounted = await self._eviction.account(end_seq)
        except UnwrittenError:
            return  # since a moment ago: new data is refused
        if is_accounted:
            self._trimmed_seq = max(self._trimmed_seq, end_seq)
            self._journal.trim(end_seq)
        for parts in self._parts.values():
            parts.forget()

    def waiting(self) -> dict[Account, int]:
        """Accepted items that have no outcome yet, by exporter, tenant and signal."""
        _, accepted = self._journal.accepted()
        waiting = self._state.exporters.accounts(accepted)
        for (account, _, _), items in self._state.exporters.ledger.items():
            waiting[account] = waiting.get(account, 0) - items
        return waiting

    def left(self) -> dict[str, Counter[Signal]]:
        """Of these, what is still to be delivered to each exporter that is configured.

        What both sides of one still have to take is the same items, but for what one of them has already.
        """
        most: Counter[tuple[str, str, str, Signal]] = Counter()
        for account, items in self.waiting().items():
            if account[:2] in self._destinations:
                most |= Counter({(account.pipeline, side_of(account.exporter), account.tenant, account.signal): items})
        left: dict[str, Counter[Signal]] = {}
        for (_, exporter, _, signal), items in most.items():
            left.setdefault(exporter, Counter())[signal] += items
        return left

    @property
    def well(self) -> bool:
        """Whether it does its work, whatever destinations say: false when its tasks fail again and again, and where
        assembly has ended that nobody has ended or is about to begin again."""
        at_work = self._around.stopping.is_set() or self._changing.locked()
        ended = any(assembly.done() for assembly in self._assembling.values())
        return self._around.supervision.well and (at_work or not ended)

    @property
    def parked(self) -> int:
        """How many exporters have a tenant for whom nothing can be delivered until somebody acts."""
        return sum(
            any(lane.standing.parked is not None for lane in destination.lanes.values())
            for destination in self._destinations.values()
        )

    def status(self) -> dict[str, Any]:
        """Assembly by pipeline; by exporter and tenant whether it takes what has settled, waiting items, parked reason
        and retries; plain JSON."""
        exporters: dict[str, Any] = {}
        for account, items in self.waiting().items():
            known = self._state.exporters.registered[account.pipeline, account.exporter]
            is_absent = known.end_seq < NEVER
            if is_absent and not items:
                continue
            tenants = exporters.setdefault(f"{account.pipeline}/{account.exporter}", {})
            of_tenant = tenants.setdefault(account.tenant, _nothing(settled=known.settled))
            of_tenant["waiting"] += items
            of_tenant["parked"] = "not_configured" if is_absent else None
        for (pipeline, exporter), destination in self._destinations.items():
            for tenant, lane in destination.lanes.items():
                tenants = exporters.setdefault(f"{pipeline}/{exporter}", {})
                known = self._state.exporters.registered[pipeline, exporter]
                tenants.setdefault(tenant, _nothing(settled=known.settled)).update(lane.status())
            for tenant, of_tenant in exporters.get(f"{pipeline}/{exporter}", {}).items():
                if not destination.gates.is_open(tenant):
                    of_tenant["parked"] = "paused"
        return {
            "assembly": {pipeline: assembler.status() for pipeline, assembler in self._assemblers.items()},
            "exporters": exporters,
            **self.operator.paused(),
            "dead_letters": self._around.dead_letters.waiting(),
            **self.operator.replays(),
        }

    def destinations(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """What destinations have told of themselves, by exporter and tenant."""
        told: dict[str, dict[str, Mapping[str, Any]]] = {}
        for (_, exporter), destination in self._destinations.items():
            for tenant, lane in destination.lanes.items():
                if lane.standing.destination is not None:
                    told.setdefault(side_of(exporter), {})[tenant] = lane.standing.destination
        return told

    async def _settle(self) -> None:
        async with self._changing:
            for pipeline, parts in self._parts.items():
                self._assembling[pipeline].cancel()
                await asyncio.wait([self._assembling[pipeline]])
                await self._assemblers[pipeline].finish(parts.conclude)

    async def _add(
        self,
        pipeline: str,
        exporter: str,
        cursor: Cursor,
        send: Consume | Settle,
        *,
        settled: bool,
        tell_omitted: bool = False,
        max_batch_age_s: float,
        probes: Mapping[str, Probe] | None,
    ) -> None:
        age_s = min(max_batch_age_s, self._around.config.max_batch_age)
        destination = Destination(cursor, send, self.operator.gates(exporter), {}, age_s, tell_omitted, probes or {})
        async with self._changing:
            is_new = (pipeline, exporter) not in self._state.exporters.registered
            start_seq, accepted = (self._begin_seq, self._begin_accepted) if is_new else self._journal.accepted()
            self._state.exporters.register(
                pipeline, exporter, settled=settled, start_seq=start_seq, accepted=_of(pipeline, accepted)
            )
            self._destinations[pipeline, exporter] = destination
        await self._state.flush()
        serve = partial(self._serve, pipeline, exporter, destination)
        self._delivering.add(self._supervise(f"deliver:{exporter}", serve, self._tasks))
        if destination.gates.paused:
            logger(exporter).warning("paused since before this start: `otel-bridge resume` lets it go on")
        for tenant in sorted(destination.gates.tenants):
            logger(exporter).warning(
                "paused for a tenant since before this start: `otel-bridge resume` lets it go on", tenant=tenant
            )
        for replay in list(self._state.replays.values()):
            if (replay.pipeline, replay.exporter) == (pipeline, exporter):
                self._start_replay(replay)

    def _start_replay(self, replay: Replay) -> None:
        task = self._supervise(f"replay:{replay.exporter}", partial(self._replays.run, replay), self._tasks)
        self._delivering.add(task)
        task.add_done_callback(self._delivering.discard)

    def _start_assembly(self, pipeline: str) -> None:
        run = self._parts[pipeline].run
        self._assembling[pipeline] = self._supervise(f"assemble:{pipeline}", run, self._tasks)

    async def _serve(self, pipeline: str, exporter: str, destination: Destination) -> None:
        """Start a lane for each tenant that appears, and wake it when there is more for it."""
        stopping = self._around.stopping
        destination.lanes.clear()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for tenant, head in {**dict.fromkeys(destination.probes, 0), **destination.cursor.heads()}.items():
                    if tenant not in destination.lanes:
                        lane = Lane(
                            *(pipeline, exporter, tenant, destination.cursor, destination.send),
                            *(self._around, destination.gates.of(tenant), destination.max_batch_age_s),
                            destination.probes.get(tenant),
                        )
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
            await self.tidy()

    async def _expire_absent(self) -> None:
        for (pipeline, exporter), known in list(self._state.exporters.registered.items()):
            if (pipeline, exporter) in self._destinations:
                continue
            if known.end_seq == NEVER:
                end_seq, accepted = self._journal.accepted()
                self._state.exporters.unregister(pipeline, exporter, end_seq=end_seq, accepted=_of(pipeline, accepted))
            self._tell_absent(pipeline, exporter)
            await self._absent.expire(pipeline, exporter)
        for pipeline in self._state.parts.assembly.keys() - self._assemblers.keys():
            await self._absent.expire_open(pipeline)

    def _tell_absent(self, pipeline: str, exporter: str) -> None:
        waiting = sum(
            items for account, items in self.waiting().items() if account[:2] == (pipeline, exporter) and items > 0
        )
        if not waiting or (pipeline, exporter) in self._told:
            return
        self._told.add((pipeline, exporter))
        logger("delivery").warning(
            "an exporter is not configured any more, and items wait for it: they are kept, with all that came later,"
            " until it is configured again in this pipeline or they reach journal.max_age",
            pipeline=pipeline,
            exporter=exporter,
            waiting=waiting,
        )

    def _supervise(
        self, name: str, work: Callable[[], Awaitable[None]], tasks: asyncio.TaskGroup
    ) -> asyncio.Task[None]:
        return tasks.create_task(self._around.supervision.run(name, work), name=name)


def _nothing(*, settled: bool) -> dict[str, Any]:
    """The status of a tenant of whom nothing is here, for an exporter."""
    nothing = {"waiting": 0, "parked": None, "why": None, "tries": 0, "oldest_s": 0.0, "postponed": 0}
    return {**nothing, "destination": None, "settled": settled}


def _of(pipeline: str, accepted: Mapping[tuple[str, str, Signal], int]) -> dict[tuple[str, Signal], int]:
    return {(tenant, signal): items for (of, tenant, signal), items in accepted.items() if of == pipeline}


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
    tenants: Collection[str] = (DEFAULT_TENANT,),
) -> AsyncIterator[Delivery]:
    """Deliver while this lasts. `drain` first for a good end: otherwise what was being sent is sent again later.

    max_age_s: what was accepted longer ago is given up, and counted as expired; None: never.
    tenants: those that are configured, whether or not there is anything of them.
    """
    clock, pace = clock or Clock(), pace or Pace()
    supervision = Supervision(counters, clock, pace)
    around = Surroundings(config, counters, clock, pace, dead_letters, supervision)
    retention = Retention(max_age_s, clock, journal.next_seq)
    with ThreadPoolExecutor(READING_THREADS, thread_name_prefix="deliver") as thread:
        async with AsyncExitStack() as stack, owned_tasks() as tasks:
            delivery = Delivery(
                journal, state, around, retention, tasks=tasks, stack=stack, thread=thread, tenants=tenants
            )
            with suppress(ConsumeError):  # where the disk is full: it is done before the next letter is handed out
                await delivery.operator.forget_redeemed()
            tasks.create_task(supervision.run("tidy", delivery.keep_tidy))
            yield delivery
