"""Spans and log records → parts of traces that have settled, once for each pipeline.

Of an open trace only ids, positions in the journal and sizes are kept; its bodies are read back when it settles. What
settles is recorded in the state. After a restart everything is read again that lies in no recorded part, and the
clocks of open traces begin anew: time in which the bridge did not run is not quiet time.
"""

import asyncio
import heapq
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, ParamSpec, TypeAlias, TypeVar

from otel_bridge.batch import Batch, Signal
from otel_bridge.clock import Clock
from otel_bridge.config import Bytes, Config, Seconds
from otel_bridge.errors import MalformedError
from otel_bridge.journal import Entry, Journal, Lost
from otel_bridge.journal.exporters import DAMAGED
from otel_bridge.journal.memory import Remembered, cut
from otel_bridge.journal.parts import Apart, Part, Share
from otel_bridge.journal.state import State
from otel_bridge.telemetry import Counters, Outcome
from otel_bridge.trace import (
    ANSWER,
    JUDGEMENTS,
    SESSION,
    Answer,
    Decision,
    Known,
    LogEntry,
    Ruling,
    Settled,
    SpanRecord,
    Trace,
    is_one_call,
)

Gather: TypeAlias = Callable[[Batch], Mapping[str, tuple[Sequence[SpanRecord], Sequence[LogEntry]]]]
"""A batch by assembly key; what belongs to no trace has the key ""."""


class Conclusion(NamedTuple):
    """What a part became, to be remembered.

    part: with what is decided for it, and all that it knows.
    known: what the parts after it must know.
    answers: by response id, what in it tells of responses that nothing told of before.
    spends: by budget, what it spends of what its tenant may.
    later: what is decided for the parts after it; None: the same.
    """

    part: Part
    known: Known
    answers: Mapping[str, Answer] = {}
    spends: Mapping[str, int] = {}
    later: Decision | None = None


Conclude: TypeAlias = Callable[[Part], Awaitable[Conclusion]]
"""What becomes of a part that settles."""

P = ParamSpec("P")
T = TypeVar("T")

CHUNK_BYTES = 1 << 20
KEPT_BYTES = 4 << 20  # on the wire, of entries that stay parsed; as objects they take several times as much
TRACE_BYTES, SHARE_BYTES, ID_BYTES = 900, 90, 130  # of an open trace in memory: 870, 89 and 127 where 200,000 came
MOST_DUE = 1000
OPEN_SPAN = "otel_bridge.span."  # event names of the records that tell of spans which have not ended
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200  # span flags


class AssembleConfig(Config):
    """When a trace counts as complete; see `docs/architecture.md`."""

    grace: Seconds = 6  # quiet time after the root came; above the SDKs' batch delay of 5 s
    remote_grace: Seconds = 30  # where the topmost span has a parent in another service
    idle: Seconds = 120  # where the top is unknown
    max_hold: Seconds = 900  # in any case; and as long does a judgement wait for the response that it names
    max_held_bytes: Bytes = 1 << 30  # of open traces, on the wire and in memory; above this the oldest go early
    remember: Seconds = 3600  # how long a late span finds its trace's attributes, of which 16 KiB are remembered


@dataclass(slots=True)
class Group:
    """What one entry holds of one trace."""

    spans: Sequence[SpanRecord]
    logs: Sequence[LogEntry]
    open_spans: int  # records that only say that a span is still open

    @property
    def items(self) -> int:
        return len(self.spans) + len(self.logs)


Groups: TypeAlias = Mapping[str, Group]


def grouped(batch: Batch, gather: Gather) -> Groups:
    """What a batch holds of each trace; nothing for metrics.

    Raises:
        MalformedError: it can not be parsed.
    """
    if batch.signal == Signal.METRICS:
        return {}
    groups = {}
    for key, (spans, logs) in gather(batch).items():
        closed = [entry for entry in logs if not entry.record.event_name.startswith(OPEN_SPAN)]
        groups[key] = Group(spans, closed, len(logs) - len(closed))
    return groups


def traceless(batch: Batch, groups: Groups) -> Counter[str]:
    """How many items of a batch belong to no trace, by reason."""
    reasons: Counter[str] = Counter()
    rest = batch.item_count
    for key, group in groups.items():
        reasons["open_span"] += group.open_spans
        rest -= group.open_spans + (group.items if key else 0)
    reasons["metrics" if batch.signal == Signal.METRICS else "no_trace"] = rest
    return reasons


@dataclass(slots=True)
class _Open:
    """A trace that has not settled."""

    tenant: str
    key: str
    first_seq: int
    opened_s: float
    last_s: float = 0.0
    shares: list[Share] = field(default_factory=list)
    size: int = 0
    received_ns: int = 0
    has_root: bool = False
    span_ids: set[bytes] = field(default_factory=set)  # this and `missing`: while there is no root
    missing: dict[bytes, bool] = field(default_factory=dict)  # parents that have not come → said to be remote
    earlier: Remembered | None = None
    answered: bool = False  # it judges a response, and what tells of that is known
    is_judging: bool = True  # there is nothing in it but judgements
    queued_s: float = math.inf  # when it is looked at next

    @property
    def held_bytes(self) -> int:
        """What it takes of `max_held_bytes`."""
        ids = len(self.span_ids) + len(self.missing)
        earlier = self.earlier.size if self.earlier else 0
        return TRACE_BYTES + self.size + SHARE_BYTES * len(self.shares) + ID_BYTES * ids + earlier

    def take(self, entry: Entry, group: Group, now_s: float) -> None:
        """Add what an entry holds of it."""
        self.last_s = now_s
        if self.is_judging:
            judges = all(log.record.event_name in JUDGEMENTS for log in group.logs)
            self.is_judging = judges and not (group.spans or group.open_spans)
        if not group.items:
            return
        self.size += len(entry.batch.wire) * group.items // entry.batch.item_count
        self.shares.append(Share(entry.seq, entry.batch.signal, group.items))
        self.received_ns = max(self.received_ns, entry.received_ns)
        if not self.has_root:
            self._look_for_top(group.spans)

    def _look_for_top(self, spans: Sequence[SpanRecord]) -> None:
        for record in spans:
            span = record.span
            if not span.parent_span_id:
                self.has_root = True
                self.span_ids, self.missing = set(), {}  # nobody asks any more, and there may be many
                return
            self.span_ids.add(span.span_id)
            self.missing.pop(span.span_id, None)
            if span.parent_span_id not in self.span_ids:
                remote = span.flags & HAS_IS_REMOTE and span.flags & IS_REMOTE
                self.missing[span.parent_span_id] = bool(remote) and self.missing.get(span.parent_span_id, True)

    @property
    def is_placed(self) -> bool:
        """Whether it holds judgements alone, and what they judge is here: a response, a trace, or a session, which
        nothing tells of."""
        return self.answered or (self.is_judging and (self.earlier is not None or self.key.startswith(SESSION)))

    def due(self, config: AssembleConfig) -> tuple[float, Settled]:
        """When it settles if nothing more comes, and why then."""
        if self.has_root or self.is_placed or (self.earlier and _has_top(self.earlier)):
            quiet_s, why = config.grace, Settled.ROOT
        elif self.key.startswith(ANSWER):
            quiet_s, why = config.max_hold, Settled.HELD  # nobody knows when the trace settles that tells of it
        elif self.missing and all(self.missing.values()):
            quiet_s, why = config.remote_grace, Settled.REMOTE
        else:
            quiet_s, why = config.idle, Settled.IDLE
        held_until_s = self.opened_s + config.max_hold
        if held_until_s < self.last_s + quiet_s:
            return held_until_s, Settled.HELD
        return self.last_s + quiet_s, why


class _Bodies:
    """Entries, parsed and by assembly key; the latest are kept. Used on one thread."""

    def __init__(self, journal: Journal, gather: Gather, counters: Counters) -> None:
        self._journal = journal
        self._gather = gather
        self._counters = counters
        self._kept: OrderedDict[int, tuple[int, Groups]] = OrderedDict()
        self._kept_bytes = 0

    def read(self, seq: int) -> Groups:
        """An entry by its number; empty where the journal has lost it."""
        if seq in self._kept:
            self._kept.move_to_end(seq)
            return self._kept[seq][1]
        entry = self._journal.read(seq)
        return {} if entry is None else self.of(entry)

    def of(self, entry: Entry) -> Groups:
        """An entry's groups; empty for metrics, and for what can not be parsed (counted)."""
        if entry.seq in self._kept:
            return self._kept[entry.seq][1]
        try:
            groups = grouped(entry.batch, self._gather)
        except MalformedError:
            self._counters.add("malformed_entries")
            groups = {}
        size = len(entry.batch.wire)
        self._kept[entry.seq] = (size, groups)
        self._kept_bytes += size
        while self._kept_bytes > KEPT_BYTES:
            _, (size, _) = self._kept.popitem(last=False)
            self._kept_bytes -= size
        return groups


class Assembler:
    """The open traces of a pipeline; made by `assembling`.

    newest: the id of the part that was recorded last.
    heads: the tenants that have parts, with the newest part of each.
    """

    def __init__(
        self,
        pipeline: str,
        journal: Journal,
        state: State,
        config: AssembleConfig,
        counters: Counters,
        clock: Clock,
        gather: Gather,
        thread: ThreadPoolExecutor,
    ) -> None:
        self.pipeline = pipeline
        self.newest = 0
        self.heads: dict[str, int] = {}
        self._journal = journal
        self._state = state
        self._config = config
        self._counters = counters
        self._clock = clock
        self._bodies = _Bodies(journal, gather, counters)
        self._thread = thread
        self._news = asyncio.Condition()
        self._begin()

    def _begin(self) -> None:
        # In the order of their first entries. In a dict the first is found by passing all that have gone before it.
        self._open: OrderedDict[tuple[str, str], _Open] = OrderedDict()
        self._judging: dict[tuple[str, str], _Open] = {}  # those of them that hold nothing but judgements
        self._held_bytes = 0
        self._queue: list[tuple[float, str, str]] = []
        self._recorded: dict[tuple[str, str], set[int]] = defaultdict(set)  # entries of parts from before the start
        self._accounted: Counter[int] = Counter()  # items of entries from before the start, by entry
        self._accounted_until = 0
        self._next_seq = 0
        self._open_items = 0
        self._is_settling = False

    async def run(self, conclude: Conclude) -> None:
        """Assemble for ever; begins with what the state and the journal hold, so it can be run again after an error."""
        await self.recover()
        while True:
            delay_s = await self.step(conclude)
            arrival = self._journal.wait(self._next_seq)
            if delay_s is None:
                await arrival
            else:
                await self._clock.within(delay_s, arrival)

    async def finish(self, conclude: Conclude) -> None:
        """Take in all that is durable and settle all of it, as nobody sends more; `run` is over."""
        await self.recover()
        await self.step(conclude)
        # Judgements last: whatever they may be about has settled then.
        for trace in sorted(self._open.values(), key=lambda open_: open_.key.startswith(ANSWER)):
            _, why = trace.due(self._config)
            await self._settle(trace, why if why in (Settled.ROOT, Settled.REMOTE) else Settled.FLUSHED, conclude)

    async def recover(self) -> None:
        """Begin where the state says; what lies in recorded parts will be skipped."""
        self._begin()
        starts = [known.start_seq for known in self._state.exporters.settled(self.pipeline).values()]
        start_seq = min(starts, default=self._journal.next_seq)
        low_seq, scanned_seq = self._state.parts.assembly.get(self.pipeline, (start_seq, start_seq - 1))
        self._next_seq = low_seq
        self._state.parts.advance(self.pipeline, low_seq, scanned_seq)
        for part in await self._state.parts.from_entry(self.pipeline, low_seq):
            self._recorded[part.tenant, part.key].update(share.seq for share in part.shares)
        self._accounted = await self._state.parts.accounted(self.pipeline)
        self._accounted_until = scanned_seq
        await self._publish(await self._state.parts.heads(self.pipeline))

    async def step(self, conclude: Conclude) -> float | None:
        """Take in all that is durable, then settle what is due; returns seconds until the next is, None if none is."""
        end_seq = self._journal.next_seq
        while self._next_seq < end_seq:
            entries = await self._run(self._read_chunk)
            apart = await self._take(entries)
            self._next_seq = entries[-1][0].seq + 1 if entries else end_seq
            self._advance(apart)
            while self._held_bytes > self._config.max_held_bytes:
                self._counters.add("flushed_early", pipeline=self.pipeline)
                await self._settle(next(iter(self._open.values())), Settled.FLUSHED, conclude)
        while self._queue and self._queue[0][0] <= self._clock.monotonic():
            queued_s, tenant, key = heapq.heappop(self._queue)
            trace = self._open.get((tenant, key))
            if trace is None or trace.queued_s != queued_s:
                continue
            due_s, why = trace.due(self._config)
            if due_s <= self._clock.monotonic():
                await self._settle(trace, why, conclude)
            else:
                trace.queued_s = math.inf
                self._enqueue(trace)
        return max(0.0, self._queue[0][0] - self._clock.monotonic()) if self._queue else None

    async def wait(self, newest: int) -> None:
        """Return when a part was recorded after `newest`."""
        async with self._news:
            await self._news.wait_for(lambda: self.newest > newest)

    async def trace(self, part: Part) -> tuple[Trace, Counter[Signal]]:
        """A recorded part with its bodies, and how many of its items the journal has lost."""
        return await self._run(self._trace, part)

    async def elsewhere(
        self, tenant: str, answers: Mapping[str, Answer], asked: Sequence[str]
    ) -> tuple[list[str], dict[str, Answer]]:
        """What the other traces of a tenant, and earlier parts, say of responses: of those that a part tells of, which
        are counted elsewhere; and what tells of those that it asked about."""
        there = {told: found for told in answers if (found := self._state.memory.lately(self.pipeline, tenant, told))}
        unknown = () if self._state.memory.lately_are_all else answers.keys() - there
        wanted = {(tenant, response_id) for response_id in (*asked, *unknown)}
        rows = await self._state.memory.answers(self.pipeline, wanted) if wanted else {}
        there |= {response_id: answer for (_, response_id), answer in rows.items()}
        counted = [told for told, here in answers.items() if told in there and _is_counted(here, there[told])]
        return counted, {named: there[named] for named in asked if (tenant, named) in rows}

    async def rulings(self, tenant: str, keys: Sequence[str]) -> dict[str, Mapping[str, Ruling]]:
        """What has been decided for traces whose parts have settled, by key and processor."""
        found = await self._state.memory.remembered(self.pipeline, [(tenant, key) for key in keys])
        return {key: remembered.known.rulings for (_, key), remembered in found.items()}

    def status(self) -> dict[str, int]:
        """How many traces are open, with how many items, and what they take of `max_held_bytes`; how many scores wait
        for what they judge; and what it is behind with: entries not read yet, traces that should have settled (at most
        MOST_DUE are counted). It takes no longer where very many are open."""
        judging = [trace for trace in self._judging.values() if not trace.is_placed]
        scores = sum(share.items for trace in judging for share in trace.shares)
        return {
            "open_traces": len(self._open),
            "open_items": self._open_items,
            "held_bytes": self._held_bytes,
            "waiting_scores": scores,
            "unread_entries": self._journal.next_seq - self._next_seq,
            "due_traces": self._is_settling + self._due(),
        }

    def _due(self) -> int:
        now_s = self._clock.monotonic()
        due, places = 0, [0]
        while places and due < MOST_DUE:
            place = places.pop()
            if place < len(self._queue) and self._queue[place][0] <= now_s:
                due += 1
                places += (2 * place + 1, 2 * place + 2)  # of a heap nothing comes before what is above it
        return due

    # Arrivals.

    def _read_chunk(self) -> list[tuple[Entry | Lost, Groups]]:
        entries = self._journal.scan(self._next_seq, self.pipeline, max_bytes=CHUNK_BYTES)
        return [(entry, {} if isinstance(entry, Lost) else self._bodies.of(entry)) for entry in entries]

    async def _take(self, entries: Sequence[tuple[Entry | Lost, Groups]]) -> Apart:
        """Add entries to their traces; returns what belongs to none, or is lost."""
        apart = Apart(self._state.exporters.settled(self.pipeline))
        touched: dict[tuple[str, str], _Open] = {}
        opened: list[_Open] = []
        now_s = self._clock.monotonic()
        for entry, groups in entries:
            if isinstance(entry, Lost):
                lost = entry.items - self._accounted[entry.seq]  # the rest lies in recorded parts, or was filtered
                apart.add(entry.seq, entry.tenant, entry.signal, Outcome.DEAD_LETTERED, {DAMAGED: lost})
                continue
            if entry.seq > self._state.parts.assembly[self.pipeline][1]:
                reasons = traceless(entry.batch, groups)
                apart.add(entry.seq, entry.batch.tenant, entry.batch.signal, Outcome.FILTERED, reasons)
            for key, group in groups.items():
                owner = (entry.batch.tenant, key)
                if not key or entry.seq in self._recorded.get(owner, ()):
                    continue
                if owner not in self._open:
                    if not group.items:
                        continue
                    self._open[owner] = _Open(*owner, entry.seq, now_s)
                    self._held_bytes += TRACE_BYTES
                    opened.append(self._open[owner])
                trace = touched[owner] = self._open[owner]
                before = trace.held_bytes
                trace.take(entry, group, now_s)
                if trace.is_judging:
                    self._judging[owner] = trace
                else:
                    self._judging.pop(owner, None)
                self._held_bytes += trace.held_bytes - before
                self._open_items += group.items
        if entries and entries[-1][0].seq >= self._accounted_until:
            self._recorded.clear()
            self._accounted.clear()
        if opened:
            await self._find_earlier(opened)
        for trace in touched.values():
            self._enqueue(trace)
        return apart

    async def _find_earlier(self, opened: Sequence[_Open]) -> None:
        """What is remembered of traces that were just opened, and whether what they judge is known."""
        keys = [(trace.tenant, trace.key) for trace in opened]
        earlier = await self._state.memory.remembered(self.pipeline, keys)
        for trace in opened:
            if (found := earlier.get((trace.tenant, trace.key))) is not None:
                trace.earlier = found
                self._held_bytes += found.size
        await self._find_answered([trace for trace in opened if trace.key.startswith(ANSWER)])

    async def _find_answered(self, judging: Sequence[_Open]) -> None:
        if not judging:
            return
        named = {(trace.tenant, trace.key.removeprefix(ANSWER)): trace for trace in judging}
        for found in await self._state.memory.answers(self.pipeline, named):
            named[found].answered = True

    def _enqueue(self, trace: _Open) -> None:
        """Look at it when it is due; one that is queued already is looked at then, and queued again if it was early."""
        due_s, _ = trace.due(self._config)
        if due_s < trace.queued_s:
            trace.queued_s = due_s
            heapq.heappush(self._queue, (due_s, trace.tenant, trace.key))

    # Settling.

    async def _settle(self, trace: _Open, why: Settled, conclude: Conclude) -> None:
        earlier = trace.earlier
        part = Part(
            id=self._state.parts.next_id(),
            pipeline=self.pipeline,
            tenant=trace.tenant,
            key=trace.key,
            number=earlier.parts if earlier else 0,
            shares=trace.shares,
            size=trace.size,
            received_ns=trace.received_ns,
            settled=why,
            decision=earlier.decision if earlier else Decision.KEPT,
            known=earlier.known if earlier else None,
        )
        self._is_settling = True
        try:
            part, known, answers, spends, later = await conclude(part)
        finally:
            self._is_settling = False
        del self._open[trace.tenant, trace.key]
        self._judging.pop((trace.tenant, trace.key), None)
        self._held_bytes -= trace.held_bytes
        self._open_items -= sum(share.items for share in trace.shares)
        known, left_out = cut(known)
        if left_out:
            self._counters.add("attributes_not_remembered", left_out, pipeline=self.pipeline)
        expires_ns = self._clock.steady_ns() + int(self._config.remember * 1e9)
        remembered = Remembered(part.number + 1, later or part.decision, known)
        self._state.record(part, remembered, expires_ns, answers, spends)
        for response_id in answers:
            if waiting := self._open.get((part.tenant, f"{ANSWER}{response_id}")):
                waiting.answered = True
                self._enqueue(waiting)
        self._advance()
        await self._publish({part.tenant: part.id})

    def _advance(self, apart: Apart | None = None) -> None:
        oldest = next(iter(self._open.values()), None)
        low_seq = self._next_seq if oldest is None else oldest.first_seq
        _, scanned_seq = self._state.parts.assembly[self.pipeline]
        self._state.parts.advance(self.pipeline, low_seq, max(scanned_seq, self._next_seq - 1), apart)

    async def _publish(self, heads: Mapping[str, int]) -> None:
        async with self._news:
            self.heads.update(heads)
            self.newest = max(self.heads.values(), default=0)
            self._news.notify_all()

    def _trace(self, part: Part) -> tuple[Trace, Counter[Signal]]:
        spans: list[SpanRecord] = []
        logs: list[LogEntry] = []
        lost: Counter[Signal] = Counter()
        for share in part.shares:
            group = self._bodies.read(share.seq).get(part.key)
            if group is None:
                lost[share.signal] += share.items
            else:
                spans.extend(group.spans)
                logs.extend(group.logs)
        whole = Trace(part.key, spans, logs, part.tenant, part.settled, part.number, part.known)
        whole.spent = self._state.memory.spent(self.pipeline, part.tenant)
        if part.known is not None:
            whole.rulings = dict(part.known.rulings)
        return whole, lost

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **kwargs))


def _has_top(earlier: Remembered) -> bool:
    """Whether nobody waits for the root of a trace any more, as it was sent, or as nothing of it is."""
    return earlier.known.root_id is not None or earlier.decision != Decision.KEPT


def _is_counted(here: Answer, there: Answer) -> bool:
    return there.counted and there.trace_id != here.trace_id and is_one_call(here.told, there.told)


@asynccontextmanager
async def assembling(
    pipeline: str,
    journal: Journal,
    state: State,
    config: AssembleConfig,
    *,
    counters: Counters,
    clock: Clock,
    gather: Gather | None = None,
) -> AsyncIterator[Assembler]:
    """An assembler with its thread; it works while `run` runs.

    Open traces are not settled when it ends: they stay in the journal.
    """
    if gather is None:
        from otel_bridge import translate

        gather = translate.gather
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"assemble-{pipeline}") as thread:
        yield Assembler(pipeline, journal, state, config, counters, clock, gather, thread)
