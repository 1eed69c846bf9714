"""A plan, running: opened back to front, so that nothing arrives before it can go on, and closed front to back.

Three layers. The ground stays as long as the process: the lock on the data dir, journal, state, dead letters. The back
half reads the journal: assembly, trace processors, delivery, exporters. The front half writes it: span processors, and
what listens. A reload opens both halves anew, as a restart would, on a ground that went on taking in what came.
"""

import asyncio
import os
import stat
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from otel_bridge import __version__
from otel_bridge.batch import DEFAULT_TENANT, Batch
from otel_bridge.component import Consume, Host, Kind, Operator, Pass, Probe, Settle, Sinks, Takes, Translated
from otel_bridge.delivery import (
    DEAD_LETTERS_FILE,
    JOURNAL_DIR,
    STATE_FILE,
    DeadLetters,
    Delivery,
    Process,
    Translate,
    delivering,
    open_dead_letters,
)
from otel_bridge.errors import ParkedError, PlanError, RetryableError
from otel_bridge.journal.disk import held, unusable
from otel_bridge.journal.segments import Segments, open_segments
from otel_bridge.journal.state import State, open_state
from otel_bridge.model import Translation
from otel_bridge.moments import iso
from otel_bridge.plan import JournalConfig, Plan, Planned
from otel_bridge.sides import settled_side
from otel_bridge.telemetry import Counters, logger
from otel_bridge.tenants import Tenants
from otel_bridge.trace import Trace
from otel_bridge.watchdog import Watchdog, watching

SEGMENT_BYTES = 64 << 20
SEGMENTS = 8  # at least, in a full journal: only whole ones can go
DRAIN_S = 2.5  # of the five seconds that a stop may take; closing the receivers takes two at most
FINISH_S = 60.0  # of a reload, for what is being sent: above what any exporter waits for an answer by default
PASS_S = 15.0  # of a reload, for what is being taken in: above what the journal waits for its disk
LISTENERS = ("receivers", "extensions")  # in the order in which they close

_entries: ContextVar[list[tuple[str, Batch]]] = ContextVar("entries")
_passed: ContextVar[list[Trace]] = ContextVar("passed")


@dataclass(slots=True, frozen=True)
class _Ground:
    """What stays open over every reload."""

    data_dir: Path
    counters: Counters
    state: State
    journal: Segments
    dead_letters: DeadLetters
    watchdog: Watchdog


class RunningBridge:
    """What `running` yields; its methods answer from any part of its life.

    endpoints: component id → name → the address that is really bound.
    tenants: those of the newest configuration.
    """

    def __init__(self, plan: Plan, ground: _Ground, *, hurry: asyncio.Event) -> None:
        self.endpoints: dict[str, dict[str, str]] = {}
        self.tenants = Tenants()
        self._plan = plan
        self._ground = ground
        self._hurry = hurry
        self._back: _Back | None = None  # None also while a reload changes it
        self._delivery: Delivery | None = None  # of the back half that was opened last
        self._front: _Front | None = None
        self._listening: dict[tuple[str, str], tuple[Planned, AsyncExitStack]] = {}
        self._started_s = time.monotonic()
        self._loaded_at = _now()
        self._rejected: dict[str, Any] | None = None

    @property
    def plan(self) -> Plan:
        """What runs."""
        return self._plan

    @property
    def operator(self) -> Operator | None:
        """Does what people ask of delivery; None for the moment in which a reload changes it."""
        return None if self._back is None else self._back.delivery.operator

    def left(self) -> dict[str, dict[str, int]]:
        """How many items are still to be delivered, by exporter and signal; also when it has ended."""
        left = {} if self._delivery is None else self._delivery.left()
        return {to: {signal.value: items for signal, items in of.items()} for to, of in left.items()}

    def status(self) -> dict[str, Any]:
        """How the bridge is: plain JSON without secrets and without content."""
        journal, watchdog, service = self._ground.journal, self._ground.watchdog, self._plan.service
        delivery = self._delivery
        assert delivery is not None  # noqa: S101 - nobody is there to ask before that
        return {
            "version": __version__,
            "pid": os.getpid(),
            "ready": journal.healthy and watchdog.well and delivery.well,
            "parked": delivery.parked,
            "event_loop": {"lag_s": round(watchdog.lag_s, 3), "longest_lag_s": round(watchdog.longest_s, 3)},
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "configuration": self._plan.origin,
            "configuration_loaded_at": self._loaded_at,
            "configuration_rejected": self._rejected,
            "data_dir": str(self._plan.data_dir),
            "endpoints": self.endpoints,
            "insecure": list(self._plan.exposed),
            "pipelines": {name: of.model_dump() for name, of in service.pipelines.items()},
            "tenants_with_own_keys": {
                key: sorted(planned.tenants) for key, planned in self._plan.exporters.items() if planned.tenants
            },
            "journal": {
                "used_bytes": journal.used_bytes,
                "max_bytes": service.journal.max_bytes,
                "durability": "unverified" if journal.doubt else service.journal.durability,
                "doubt": journal.doubt,
            },
            **delivery.status(),
            "outcomes": self._outcomes(),
            "counters": [
                {"name": name, **dict(labels), "value": value}
                for (name, labels), value in sorted(self._ground.counters.snapshot().items())
            ],
        }

    def destinations(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """What is known of where exporters send to, by exporter and tenant."""
        return {} if self._back is None else self._back.delivery.destinations()

    def _outcomes(self) -> list[dict[str, Any]]:
        """What became of all that was ever accepted, restarts included, for each exporter and tenant."""
        items: Counter[tuple[str, str, str, str, str]] = Counter()
        for (account, outcome, reason), count in self._ground.state.exporters.ledger.items():
            items[account.pipeline, account.exporter, account.tenant, outcome, reason] += count
        names = ("pipeline", "exporter", "tenant", "outcome", "reason")
        return [dict(zip(names, key, strict=True)) | {"items": count} for key, count in sorted(items.items()) if count]

    async def consume(self, batch: Batch) -> None:
        """Take a batch in as if a receiver had sent it, into every pipeline."""
        await self._take(batch, receiver=None)

    async def reload(self, plan: Plan) -> None:
        """Go over to another plan without losing or doubling a span; who sends is answered all the while.

        Where something can not be opened, the plan before is opened again. To be called by the task that entered
        `running`, which the components belong to.

        Raises:
            PlanError: the plan before goes on; says why.
        """
        if fixed := _fixed(self._plan, plan):
            self.reject(fixed, "needs_restart")
            raise PlanError(fixed)
        before, began_s = self._plan, time.monotonic()
        try:
            await self._go_over(plan)
        except Exception as error:
            self.reject([f"{plan.origin}: {error}"], "failed")
            await self._go_over(before)
            raise PlanError([f"{plan.origin}: {error}"]) from error
        self._loaded_at, self._rejected = _now(), None
        self._ground.counters.add("reloads", outcome="done")
        took_s = round(time.monotonic() - began_s, 3)
        logger("reload").info("the new configuration runs", configuration=plan.origin, took_s=took_s)

    def reject(self, mistakes: Sequence[str], outcome: str = "invalid") -> None:
        """Tell of a configuration that can not be run, in the log and in the status until there is a good one."""
        self._rejected = {"at": _now(), "mistakes": list(mistakes)}
        self._ground.counters.add("reloads", outcome=outcome)
        for mistake in mistakes:
            logger("reload").error("the configuration stays as it was", mistake=mistake)

    async def open(self) -> None:
        """Begin with the plan."""
        await self._go_over(self._plan)

    async def close(self, drain_s: Callable[[], float], *, settle: bool) -> None:
        """Close all but the ground, front to back; what is ready is delivered within `drain_s`."""
        async with AsyncExitStack() as ending:  # each is closed, whatever becomes of those before it
            ending.push_async_callback(self._close_back, drain_s, settle=settle)
            ending.push_async_callback(self._close_front, 0.0)
            ending.push_async_callback(self._close_listeners, None)

    async def _go_over(self, plan: Plan) -> None:
        """Go over to a plan from whatever runs."""
        front = await _open_front(plan, self._ground.journal, self._host)
        try:
            await self._close_back(lambda: FINISH_S, leave=True, hurry=self._hurry)
            self._back = await _open_back(plan, self._ground, self._host)
            self._delivery = self._back.delivery
            # What goes or changes ends before the tenants change: nobody passes a new door by old rules.
            await self._close_listeners(plan)
        except BaseException:
            await front.close(0.0)
            raise
        before, self._front, self._plan = self._front, front, plan
        self.tenants.replace(plan.service.tenants)
        self._limit_journal(plan.service.journal)
        if before is not None:
            await before.close(PASS_S)
        await self._open_listeners(plan)

    async def _take(self, *batches: Batch, receiver: str | None) -> None:
        if self._front is None:
            raise AssertionError("the door is opened before anybody can knock")
        await self._front.take(batches, receiver)

    # The back half.

    async def _close_back(
        self,
        drain_s: Callable[[], float],
        *,
        settle: bool = False,
        leave: bool = False,
        hurry: asyncio.Event | None = None,
    ) -> None:
        back, self._back = self._back, None
        if back is None:
            return
        async with back.stack:
            await back.delivery.drain(drain_s(), settle=settle, leave=leave, hurry=hurry)

    async def _make_room(self, size: int) -> None:
        """Nothing goes while a reload changes the back half, which takes as long as what is being sent: who sends is
        refused then, and sends again."""
        if self._back is not None:
            await self._back.delivery.make_room(size)

    def _limit_journal(self, config: JournalConfig) -> None:
        journal = self._ground.journal
        journal.limit(max_bytes=config.max_bytes, keep_bytes=config.keep, segment_bytes=_segment_bytes(config))
        journal.make_room = self._make_room if config.when_full == "drop_oldest" else None

    # What listens.

    async def _open_listeners(self, plan: Plan) -> None:
        for key, planned in reversed(_listeners(plan).items()):
            if key in self._listening:
                continue
            async with AsyncExitStack() as stack:
                host = self._host(planned.id)
                stack.callback(self.endpoints.pop, planned.id)
                self.endpoints[planned.id] = host.endpoints
                given = (partial(self._take, receiver=planned.id),) if key[0] == "receivers" else ()
                await stack.enter_async_context(_opened(planned, *given, host))
                self._listening[key] = planned, stack.pop_all()

    async def _close_listeners(self, plan: Plan | None) -> None:
        """Close what does not stay as it is; all of it where there is no plan."""
        stay = {} if plan is None else _listeners(plan)
        going = [key for key, (planned, _) in self._listening.items() if stay.get(key) != planned]
        async with AsyncExitStack() as ending:
            for key in sorted(going, key=lambda key: LISTENERS.index(key[0]), reverse=True):
                _, stack = self._listening.pop(key)
                ending.push_async_exit(stack)

    async def _close_front(self, within_s: float) -> None:
        if self._front is not None:
            await self._front.close(within_s)

    def _host(self, component: str) -> Host:
        ground = self._ground
        return Host(component, ground.data_dir, ground.counters, bridge=self, tenants=self.tenants)


@asynccontextmanager
async def running(
    plan: Plan,
    *,
    drain_s: Callable[[], float] = lambda: DRAIN_S,
    settle: bool = False,
    hurry: asyncio.Event | None = None,
) -> AsyncIterator[RunningBridge]:
    """Run a plan while this lasts. At the end receivers close first, then what is ready is delivered, within seconds.

    drain_s: the most that this delivering takes; asked at the end.
    settle: who sends ends with it, so traces that are open then settle, and are delivered too.
    hurry: set when the end is wanted: a reload that runs then does not wait for what is being sent.

    Raises:
        FilesError: the data directory cannot be used, or an address cannot be bound.
    """
    counters, journal_config = Counters(), plan.service.journal
    data_dir = _own(plan.data_dir)
    async with AsyncExitStack() as stack:
        # A second bridge must stop before it has touched anything.
        stack.enter_context(held(data_dir))
        state = await stack.enter_async_context(open_state(data_dir / STATE_FILE, counters))
        journal = await stack.enter_async_context(
            open_segments(
                data_dir / JOURNAL_DIR,
                max_bytes=journal_config.max_bytes,
                keep_bytes=journal_config.keep,
                segment_bytes=_segment_bytes(journal_config),
                durability=journal_config.durability,
                counters=counters,
                least_seq=state.least_seq,
            )
        )
        dead_letters = await stack.enter_async_context(open_dead_letters(data_dir / DEAD_LETTERS_FILE, counters))
        watchdog = await stack.enter_async_context(watching(counters))
        ground = _Ground(data_dir, counters, state, journal, dead_letters, watchdog)
        bridge = RunningBridge(plan, ground, hurry=hurry or asyncio.Event())
        stack.push_async_callback(bridge.close, drain_s, settle=settle)  # also after a start that failed
        await bridge.open()
        watchdog.up()
        yield bridge


def _fixed(before: Plan, plan: Plan) -> list[str]:
    """What differs that can not change while the bridge runs."""
    mistakes = []
    for path, was, wanted in (
        ("service::data_dir", before.data_dir, plan.data_dir),
        ("service::journal::durability", before.service.journal.durability, plan.service.journal.durability),
    ):
        if was != wanted:
            where = plan.sources.get(path) or before.sources.get(path) or plan.origin
            mistakes.append(f"{where} {path}: {wanted} needs a restart, until then it is {was}")
    return mistakes


def _listeners(plan: Plan) -> dict[tuple[str, str], Planned]:
    """Receivers that a pipeline uses, or they would say OK to what goes nowhere; and all extensions."""
    used = {key for pipeline in plan.service.pipelines.values() for key in pipeline.receivers}
    receivers = {("receivers", key): planned for key, planned in plan.receivers.items() if key in used}
    return receivers | {("extensions", key): planned for key, planned in plan.extensions.items()}


def _segment_bytes(config: JournalConfig) -> int:
    return min(SEGMENT_BYTES, config.max_bytes // SEGMENTS)


# The back half.


@dataclass(slots=True, frozen=True)
class _Back:
    """Exporters, trace processors, assembly and delivery, running."""

    delivery: Delivery
    stack: AsyncExitStack


async def _open_back(plan: Plan, ground: _Ground, host: Callable[[str], Host]) -> _Back:
    service = plan.service
    tenants = tuple(service.tenants) or (DEFAULT_TENANT,)
    async with AsyncExitStack() as stack:
        delivery = await stack.enter_async_context(
            delivering(
                *(ground.journal, ground.state, ground.dead_letters, service.deliver),
                counters=ground.counters,
                max_age_s=service.journal.max_age,
                tenants=tenants,
            )
        )
        sinks = {
            key: await _open_exporter(planned, tenants, host, stack)
            for key, planned in plan.exporters.items()
            if any(key in of.exporters for of in service.pipelines.values())
        }
        try:
            for name in service.pipelines:
                await _deliver(plan, name, sinks, delivery, host, stack)
        except BaseException:
            await delivery.drain(DRAIN_S, leave=True)  # before exporters close
            raise
        return _Back(delivery, stack.pop_all())


@dataclass(slots=True, frozen=True)
class _Open:
    """An exporter that is open: what it takes, and by tenant what asks its destination whether it would."""

    sink: Any
    probes: Mapping[str, Probe]


async def _open_exporter(
    planned: Planned, configured: Sequence[str], host: Callable[[str], Host], stack: AsyncExitStack
) -> _Open:
    """What an exporter takes, each for itself where tenants have keys of their own.

    Its own secrets are those of `default`. Whether others have, or had, keys of their own is not asked: what a tenant
    left behind never follows the last of them into a project that all share.
    """
    if planned.tenants:
        hosts = {tenant: host(f"{planned.id}@{tenant}") for tenant in planned.tenants}
        sinks = {
            tenant: await stack.enter_async_context(_opened(replace(planned, config=config), hosts[tenant]))
            for tenant, config in planned.tenants.items()
        }
    else:
        hosts = {DEFAULT_TENANT: host(planned.id)}
        sink = await stack.enter_async_context(_opened(planned, hosts[DEFAULT_TENANT]))
        if not planned.has_secrets:
            return _Open(sink, {})
        sinks = {DEFAULT_TENANT: sink}
    probes = {tenant: of.probe for tenant, of in hosts.items() if of.probe is not None and tenant in configured}
    if planned.component.takes is not Takes.BOTH:
        return _Open(_to_its_tenant(planned.id, sinks), probes)
    both = Sinks(
        batches=_to_its_tenant(planned.id, {tenant: sink.batches for tenant, sink in sinks.items()}),
        settled=_to_its_tenant(planned.id, {tenant: sink.settled for tenant, sink in sinks.items()}),
    )
    return _Open(both, probes)


def _to_its_tenant(exporter: str, sinks: Mapping[str, Consume | Settle]) -> Any:
    """Who has no keys of their own gets nobody else's."""

    async def send(piece: Any) -> None:
        sink = sinks.get(piece.tenant)
        if sink is None:
            raise ParkedError(
                f"the tenant {piece.tenant} has no keys of its own for {exporter}, and gets nobody else's: add"
                f" service::tenants::{piece.tenant}::exporters::{exporter}, with its keys, or as {{}} where those of"
                " the exporter are meant",
                "no_keys",
            )
        await sink(piece)

    return send


async def _deliver(
    plan: Plan,
    pipeline: str,
    opened: Mapping[str, _Open],
    delivery: Delivery,
    host: Callable[[str], Host],
    stack: AsyncExitStack,
) -> None:
    """Begin to deliver what a pipeline takes to its exporters; each exporter is one, in however many pipelines."""
    exporters = [plan.exporters[key] for key in plan.service.pipelines[pipeline].exporters]
    if any(planned.component.takes is not Takes.BATCHES for planned in exporters):
        from otel_bridge.translate import Prices, translate

        config = plan.service.translate
        priced = partial(translate, prices=Prices(config.prices), environment=config.environment)
        process = await _open_trace_processors(plan, pipeline, host, partial(_translated, priced), stack)
        await delivery.assemble(pipeline, plan.service.assemble, process=process, translate=priced)
    for planned in exporters:
        sink, probes = opened[planned.id].sink, opened[planned.id].probes
        age_s = planned.component.max_batch_age_s
        match planned.component.takes:
            case Takes.BATCHES:
                await delivery.batches(pipeline, planned.id, sink, max_batch_age_s=age_s, probes=probes)
            case Takes.SETTLED:
                await delivery.settled(pipeline, planned.id, sink, max_batch_age_s=age_s, probes=probes)
            case Takes.BOTH:
                await delivery.batches(pipeline, planned.id, sink.batches, max_batch_age_s=age_s, probes=probes)
                await delivery.settled(
                    pipeline, settled_side(planned.id), sink.settled, tell_omitted=True, max_batch_age_s=age_s
                )


async def _translated(translate: Translate, trace: Trace) -> Translation:
    """Once, however many processors ask."""
    if trace.translation is None:
        trace.translation = await asyncio.to_thread(translate, trace)
    found: Translation = trace.translation
    return found


async def _open_trace_processors(
    plan: Plan, pipeline: str, host: Callable[[str], Host], translated: Translated, stack: AsyncExitStack
) -> Process | None:
    planned = plan.processors_of(pipeline, Kind.TRACE_PROCESSOR)
    if not planned:
        return None

    async def arrive(trace: Trace) -> None:
        _passed.get().append(trace)

    chain: Pass = arrive
    for one in reversed(planned):
        chain = await stack.enter_async_context(_opened(one, chain, replace(host(one.id), translate=translated)))

    async def process(trace: Trace) -> Trace | None:
        passed: list[Trace] = []
        token = _passed.set(passed)
        try:
            await chain(trace)
        finally:
            _passed.reset(token)
        if passed and passed[0].tenant != trace.tenant:
            raise AssertionError("a trace processor changed whose trace it is")
        return passed[0] if passed else None

    return process


# The front half.


class _Front:
    """The span processors of all pipelines, and who is on the way through them."""

    def __init__(
        self,
        chains: Mapping[str, Consume],
        receivers: Mapping[str, Sequence[str]],
        journal: Segments,
        stack: AsyncExitStack,
    ) -> None:
        self._chains = chains
        self._receivers = receivers  # pipeline → its receivers
        self._journal = journal
        self._stack = stack
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    async def take(self, batches: Sequence[Batch], receiver: str | None) -> None:
        """Into every pipeline of a receiver, or into all, each after its own span processors, in one commit: durable
        when this returns."""
        chains = [
            chain for name, chain in self._chains.items() if receiver is None or receiver in self._receivers[name]
        ]
        if not chains:  # its receiver is about to close
            raise RetryableError("the configuration changes: send again in a moment", retry_after_s=1)
        entries: list[tuple[str, Batch]] = []
        token = _entries.set(entries)
        self._inside += 1
        self._empty.clear()
        try:
            for batch in batches:
                for chain in chains:
                    await chain(batch)
            if entries:
                await self._journal.append(entries)
        finally:
            _entries.reset(token)
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def close(self, within_s: float) -> None:
        """Close the processors, when nobody is inside any more, or after a time."""
        async with self._stack:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._empty.wait()


async def _open_front(plan: Plan, journal: Segments, host: Callable[[str], Host]) -> _Front:
    async with AsyncExitStack() as stack:
        chains = {name: await _open_chain(plan, name, host, stack) for name in plan.service.pipelines}
        receivers = {name: of.receivers for name, of in plan.service.pipelines.items()}
        return _Front(chains, receivers, journal, stack.pop_all())


async def _open_chain(plan: Plan, pipeline: str, host: Callable[[str], Host], stack: AsyncExitStack) -> Consume:
    """The span processors of a pipeline; what passes them is collected, to be appended in one commit."""

    async def arrive(batch: Batch) -> None:
        # What comes in parts stays in parts, or whoever reads it back would have to decode all of it in one go.
        _entries.get().extend((pipeline, part) for part in batch.parts)

    chain: Consume = arrive
    for planned in reversed(plan.processors_of(pipeline, Kind.SPAN_PROCESSOR)):
        chain = await stack.enter_async_context(_opened(planned, chain, host(planned.id)))
    return chain


def _opened(planned: Planned, *given: object) -> Any:
    """A component's life as an async context manager that yields what it yields."""
    opened: Callable[..., Any] = asynccontextmanager(planned.component.open)
    return opened(planned.config, *given)


def _now() -> str:
    return iso(time.time_ns())


def _own(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = data_dir.stat()
        is_for_all = found.st_mode & stat.S_ISVTX or data_dir == data_dir.parent  # as /tmp, which others use
        if found.st_uid == os.getuid() and not is_for_all:  # else it is a mounted volume, and its owner's to say
            data_dir.chmod(0o700)
    except OSError as error:
        raise unusable(data_dir, error) from error
    return data_dir
