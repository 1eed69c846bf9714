"""A plan, running: opened back to front, so that nothing arrives before it can go on, and closed front to back."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from otel_bridge import __version__
from otel_bridge.batch import Batch
from otel_bridge.component import Consume, Host, Kind, Operator, Pass, Takes, Translated
from otel_bridge.delivery import (
    DEAD_LETTERS_FILE,
    JOURNAL_DIR,
    STATE_FILE,
    Delivery,
    Process,
    Translate,
    delivering,
    open_dead_letters,
)
from otel_bridge.journal.disk import held, unusable
from otel_bridge.journal.segments import Segments, open_segments
from otel_bridge.journal.state import open_state
from otel_bridge.model import Translation
from otel_bridge.plan import Plan, Planned
from otel_bridge.telemetry import Counters
from otel_bridge.tenants import Tenants
from otel_bridge.trace import Trace
from otel_bridge.watchdog import Watchdog, watching

SEGMENT_BYTES = 64 << 20
SEGMENTS = 8  # at least, in a full journal: only whole ones can go
DRAIN_S = 2.5  # of the five seconds that a stop may take; closing the receivers takes two at most

_entries: ContextVar[list[tuple[str, Batch]]] = ContextVar("entries")
_passed: ContextVar[list[Trace]] = ContextVar("passed")


class RunningBridge:
    """What `running` yields; its methods answer from any part of its life.

    endpoints: component id → name → the address that is really bound.
    tenants: those of the newest configuration.
    """

    def __init__(
        self, plan: Plan, counters: Counters, journal: Segments, delivery: Delivery, watchdog: Watchdog
    ) -> None:
        self.endpoints: dict[str, dict[str, str]] = {}
        self._plan = plan
        self._counters = counters
        self._journal = journal
        self._delivery = delivery
        self._watchdog = watchdog
        self._started_s = time.monotonic()
        self.tenants = Tenants(plan.service.tenants)
        self.door: Consume = _closed

    @property
    def operator(self) -> Operator:
        """Does what people ask of delivery."""
        return self._delivery.operator

    def status(self) -> dict[str, Any]:
        """How the bridge is: plain JSON without secrets and without content."""
        return {
            "version": __version__,
            "ready": self._journal.healthy and self._delivery.well and self._watchdog.well,
            "parked": self._delivery.parked,
            "event_loop": {
                "lag_s": round(self._watchdog.lag_s, 3),
                "longest_lag_s": round(self._watchdog.longest_s, 3),
            },
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "configuration": self._plan.origin,
            "data_dir": str(self._plan.data_dir),
            "endpoints": self.endpoints,
            "insecure": list(self._plan.exposed),
            "pipelines": {name: of.model_dump() for name, of in self._plan.service.pipelines.items()},
            "journal": {
                "used_bytes": self._journal.used_bytes,
                "max_bytes": self._plan.service.journal.max_bytes,
                "durability": "unverified" if self._journal.doubt else self._plan.service.journal.durability,
                "doubt": self._journal.doubt,
            },
            **self._delivery.status(),
            "counters": [
                {"name": name, **dict(labels), "value": value}
                for (name, labels), value in sorted(self._counters.snapshot().items())
            ],
        }

    async def consume(self, batch: Batch) -> None:
        """Take a batch in as if a receiver had sent it, into every pipeline."""
        await self.door(batch)


async def _closed(_batch: Batch) -> None:
    raise AssertionError("the door is opened before anybody can knock")


@asynccontextmanager
async def running(
    plan: Plan, *, drain_s: Callable[[], float] = lambda: DRAIN_S, settle: bool = False
) -> AsyncIterator[RunningBridge]:
    """Run a plan while this lasts. At the end receivers close first, then what is ready is delivered, within seconds.

    drain_s: the most that this delivering takes; asked at the end.
    settle: who sends ends with it, so traces that are open then settle, and are delivered too.

    Raises:
        FilesError: the data directory cannot be used, or an address cannot be bound.
    """
    counters = Counters()
    service = plan.service
    data_dir = _own(plan.data_dir)
    async with AsyncExitStack() as stack:
        # A second bridge must stop before it has touched anything.
        stack.enter_context(held(data_dir))
        state = await stack.enter_async_context(open_state(data_dir / STATE_FILE, counters))
        journal = await stack.enter_async_context(
            open_segments(
                data_dir / JOURNAL_DIR,
                max_bytes=service.journal.max_bytes,
                keep_bytes=service.journal.keep,
                segment_bytes=min(SEGMENT_BYTES, service.journal.max_bytes // SEGMENTS),
                durability=service.journal.durability,
                counters=counters,
                least_seq=state.least_seq,
            )
        )
        dead_letters = await stack.enter_async_context(open_dead_letters(data_dir / DEAD_LETTERS_FILE, counters))
        delivery = await stack.enter_async_context(
            delivering(
                journal, state, dead_letters, service.deliver, counters=counters, max_age_s=service.journal.max_age
            )
        )
        if service.journal.when_full == "drop_oldest":
            journal.make_room = delivery.make_room
        watchdog = await stack.enter_async_context(watching(counters))
        bridge = RunningBridge(plan, counters, journal, delivery, watchdog)
        host = partial(_host, bridge, data_dir, counters)
        sinks = {
            key: await stack.enter_async_context(_opened(planned, host(key)))
            for key, planned in plan.exporters.items()
            if any(key in of.exporters for of in service.pipelines.values())
        }

        async def drain() -> None:
            await delivery.drain(drain_s(), settle=settle)

        stack.push_async_callback(drain)  # before exporters close, also after a start that failed
        for name in service.pipelines:
            await _deliver(plan, name, sinks, delivery, host, stack)
        chains = {name: await _open_door(plan, name, host, stack) for name in service.pipelines}
        bridge.door = _door(list(chains.values()), journal)
        for planned in plan.extensions.values():
            await stack.enter_async_context(_opened(planned, host(planned.id)))
        for planned in plan.receivers.values():
            into = [chains[name] for name, of in service.pipelines.items() if planned.id in of.receivers]
            if not into:
                continue  # or it would say OK to what goes nowhere
            await stack.enter_async_context(_opened(planned, _door(into, journal), host(planned.id)))
        watchdog.up()
        yield bridge


async def _deliver(
    plan: Plan,
    pipeline: str,
    sinks: Mapping[str, Any],
    delivery: Delivery,
    host: Callable[[str], Host],
    stack: AsyncExitStack,
) -> None:
    """Begin to deliver what a pipeline takes to its exporters; each exporter is one, in however many pipelines."""
    exporters = [plan.exporters[key] for key in plan.service.pipelines[pipeline].exporters]
    if any(planned.component.takes is not Takes.BATCHES for planned in exporters):
        from otel_bridge.translate import Prices, translate

        priced = partial(translate, prices=Prices(plan.service.translate.prices))
        process = await _open_trace_processors(plan, pipeline, host, partial(_translated, priced), stack)
        await delivery.assemble(pipeline, plan.service.assemble, process=process, translate=priced)
    for planned in exporters:
        sink = sinks[planned.id]
        match planned.component.takes:
            case Takes.BATCHES:
                await delivery.batches(pipeline, planned.id, sink)
            case Takes.SETTLED:
                await delivery.settled(pipeline, planned.id, sink)
            case Takes.BOTH:
                await delivery.batches(pipeline, planned.id, sink.batches)
                await delivery.settled(pipeline, f"{planned.id}.settled", sink.settled, tell_omitted=True)


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
        return passed[0] if passed else None

    return process


async def _open_door(plan: Plan, pipeline: str, host: Callable[[str], Host], stack: AsyncExitStack) -> Consume:
    """The span processors of a pipeline; what passes them is collected, to be appended in one commit."""

    async def arrive(batch: Batch) -> None:
        # What comes in parts stays in parts, or whoever reads it back would have to decode all of it in one go.
        _entries.get().extend((pipeline, part) for part in batch.parts)

    chain: Consume = arrive
    for planned in reversed(plan.processors_of(pipeline, Kind.SPAN_PROCESSOR)):
        chain = await stack.enter_async_context(_opened(planned, chain, host(planned.id)))
    return chain


def _door(chains: Sequence[Consume], journal: Segments) -> Consume:
    async def consume(batch: Batch) -> None:
        """Into every pipeline, each after its own span processors, in one commit: durable when this returns."""
        entries: list[tuple[str, Batch]] = []
        token = _entries.set(entries)
        try:
            for chain in chains:
                await chain(batch)
        finally:
            _entries.reset(token)
        if entries:
            await journal.append(entries)

    return consume


def _opened(planned: Planned, *given: object) -> Any:
    """A component's life as an async context manager that yields what it yields."""
    opened: Callable[..., Any] = asynccontextmanager(planned.component.open)
    return opened(planned.config, *given)


def _host(bridge: RunningBridge, data_dir: Path, counters: Counters, component: str) -> Host:
    endpoints = bridge.endpoints.setdefault(component, {})
    return Host(component, data_dir, counters, bridge=bridge, tenants=bridge.tenants, endpoints=endpoints)


def _own(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data_dir.stat().st_uid == os.getuid():  # else it is a mounted volume, and its owner's to say
            data_dir.chmod(0o700)
    except OSError as error:
        raise unusable(data_dir, error) from error
    return data_dir
