"""Settled parts on their way to the exporters of a pipeline: through the trace processors, then translated.

A part is made when it settles, as its later parts must know what it left. Exporters that come to it later (after an
outage, or a restart) have it made again from the journal, with the same result.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias
from weakref import WeakValueDictionary

from otel_bridge.assemble import Assembler, Conclusion, Gather, grouped
from otel_bridge.batch import Batch, Signal
from otel_bridge.journal.exporters import Outcomes
from otel_bridge.journal.parts import Part
from otel_bridge.model import Omitted, Translation
from otel_bridge.plain_json import dump
from otel_bridge.telemetry import Counters, Outcome, logger
from otel_bridge.trace import ANSWER, Answer, Decision, Known, LogEntry, Settled, SpanRecord, Trace

Process: TypeAlias = Callable[[Trace], Awaitable[Trace | None]]
"""The trace processors of a pipeline: the trace as they leave it, or None where it is dropped.

The same each time: what depends on more than the trace (time, a budget) is written to its `rulings`, and found there.
"""

Translate: TypeAlias = Callable[[Trace], Translation]

KEPT_BYTES = 1 << 20  # on the wire, of translations for exporters that keep up; as objects they take ten times as much


@dataclass(slots=True, frozen=True)
class Made:
    """What became of a part.

    translation: None where it is not kept, or could not be translated.
    lost: items that the journal has lost.
    reason: why it is not kept, in a word.
    """

    trace: Trace
    decision: Decision
    translation: Translation | None
    lost: Counter[Signal]
    reason: str = ""

    @property
    def items(self) -> Counter[Signal]:
        """What is there of it, by signal."""
        return Counter({Signal.TRACES: len(self.trace.spans), Signal.LOGS: len(self.trace.logs)})

    def losses(self, items: Counter[Signal]) -> Outcomes:
        """What becomes of so many items of it that are not sent, by signal and reason."""
        if self.decision != Decision.KEPT:
            outcome = Outcome(self.decision)
            return Counter({(signal, outcome, self.reason): lost for signal, lost in items.items()})
        if self.translation is None:
            return Counter()
        left_out = (*self.translation.rejected, *self.translation.dropped)
        signal = Signal.TRACES if self.trace.spans else Signal.LOGS
        return Counter((signal, Outcome.FILTERED, omitted.reason) for omitted in left_out)

    def sent(self, *, tell_omitted: bool) -> Translation | None:
        """What an exporter gets of it; `tell_omitted`: also that it gets nothing."""
        if self.decision != Decision.KEPT:
            whole = Omitted("", self.trace.key, self.reason, self.decision)
            return Translation(tenant=self.trace.tenant, dropped=[whole]) if tell_omitted else None
        if (made := self.translation) is None:
            return None
        content = made.observations or made.scores or made.traces
        return made if content or (tell_omitted and made.dropped) else None


class Parts:
    """The parts that an assembler records, made into translations."""

    def __init__(
        self,
        assembler: Assembler,
        translate: Translate,
        process: Process | None,
        gather: Gather,
        *,
        counters: Counters,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._assembler = assembler
        self._translate = translate
        self._process = process
        self._gather = gather
        self._counters = counters
        self._thread = thread
        self._kept: OrderedDict[int, tuple[int, Made]] = OrderedDict()
        self._kept_bytes = 0
        self._making: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    @property
    def newest(self) -> int:
        """The id of the part that was recorded last."""
        return self._assembler.newest

    @property
    def heads(self) -> Mapping[str, int]:
        """The tenants that have parts, with the newest part of each."""
        return self._assembler.heads

    async def wait(self, newest: int) -> None:
        """Return when a part was recorded after `newest`."""
        await self._assembler.wait(newest)

    async def run(self) -> None:
        """Assemble for ever."""
        await self._assembler.run(self.conclude)

    async def conclude(self, part: Part) -> Conclusion:
        """What becomes of a part that settles.

        What is decided for it, and what other traces say of its responses, is asked now and recorded with it, so that
        it is always made the same.
        """
        made = await self.make(part)
        spends, later = made.trace.spends, _later(made.trace)
        part = _with_rulings(part, made.trace)
        known = await self._known(part.known, made)
        if known is not part.known:
            part = replace(part, known=known)
            size, _ = self._kept.pop(part.id, (0, None))
            self._kept_bytes -= size
            made = await self.make(part)
        part = replace(part, decision=made.decision)
        if made.decision == Decision.SAMPLED_OUT:
            return Conclusion(part, part.known or Known(), self._left_out(made.trace))
        if later is not None:
            return Conclusion(part, later, later=Decision.KEPT)
        if made.translation is None:
            return Conclusion(part, part.known or Known())
        left = made.translation.known
        if made.trace.rulings:
            left = replace(left, rulings=part.known.rulings if part.known else {})
        return Conclusion(part, left, made.translation.answers, spends)

    async def make(self, part: Part) -> Made:
        """A part as its exporters get it; read-only, as others get the same. Who asks meanwhile waits for the same."""
        async with self._making.setdefault(part.id, asyncio.Lock()):
            if part.id in self._kept:
                self._kept.move_to_end(part.id)
                return self._kept[part.id][1]
            trace, lost = await self._assembler.trace(part)
            made = await self._make(part, trace, lost)
            size = max(part.size, made.translation.size if made.translation else 0)
            if part.known is not None:
                size += 2 * len(dump(part.known))  # what the next is to know begins with what this one does
            self._kept[part.id] = (size, made)
            self._kept_bytes += size
            while self._kept_bytes > KEPT_BYTES:
                _, (size, _) = self._kept.popitem(last=False)
                self._kept_bytes -= size
            return made

    async def keys(self, batch: Batch) -> list[str]:
        """Which traces a batch has something of."""
        loop = asyncio.get_running_loop()
        return sorted(await loop.run_in_executor(self._thread, grouped, batch, self._gather))

    async def made_of(self, batches: Sequence[Batch]) -> list[Made]:
        """What becomes now of batches that could not be translated before, for each trace."""
        found: dict[str, tuple[list[SpanRecord], list[LogEntry]]] = {}
        for batch in batches:
            groups = await asyncio.get_running_loop().run_in_executor(self._thread, grouped, batch, self._gather)
            for key, group in groups.items():
                spans, logs = found.setdefault(key, ([], []))
                spans.extend(group.spans)
                logs.extend(group.logs)
        tenant = batches[0].tenant
        rulings = await self._assembler.rulings(tenant, list(found))
        return [
            await self._made_of(
                Trace(key, spans, logs, tenant, Settled.HELD, rulings=dict(rulings.get(key, {}))),
            )
            for key, (spans, logs) in found.items()
        ]

    def forget(self) -> None:
        """Make parts anew from what the journal still has."""
        self._kept.clear()
        self._kept_bytes = 0

    async def _known(self, known: Known | None, made: Made) -> Known | None:
        """What a part must know, with what other traces and earlier parts say of the responses that it tells of or
        names; as it was where they say nothing."""
        if made.translation is None:
            return known
        told, asked = made.translation.answers, made.translation.asked
        calls, answers = await self._assembler.elsewhere(made.trace.tenant, told, asked)
        if not calls and not answers:
            return known
        known = known or Known()
        return replace(known, calls=[*known.calls, *calls], answers=answers)

    async def _made_of(self, trace: Trace) -> Made:
        made = await self._make(None, trace, Counter())
        if (known := await self._known(None, made)) is not None:
            made = await self._make(None, replace(trace, known=known), Counter())
        return made

    async def _make(self, part: Part | None, trace: Trace, lost: Counter[Signal]) -> Made:
        if part is not None and part.decision != Decision.KEPT:
            return Made(trace, part.decision, None, lost, _reason(trace, part.decision))
        if _judges_left_out(trace):
            return Made(trace, Decision.SAMPLED_OUT, None, lost, _reason(trace, Decision.SAMPLED_OUT))
        try:
            kept = trace if self._process is None else await self._process(trace)
            if kept is None:
                said = [ruling.decision for ruling in trace.rulings.values() if ruling.decision != Decision.KEPT]
                decision = said[-1] if said else Decision.FILTERED
                return Made(trace, decision, None, lost, _reason(trace, decision))
            translation = kept.translation
            if translation is None:
                loop = asyncio.get_running_loop()
                translation = await loop.run_in_executor(self._thread, self._translate, kept)
        except Exception:  # noqa: BLE001 - a bug costs this part, which is set aside, and not the flow
            self._counters.add("translation_failures")
            logger("delivery").exception("a trace can not be translated", key=trace.key, tenant=trace.tenant)
            return Made(trace, Decision.KEPT, None, lost)
        for ruling in trace.rulings.values():
            for attributes in translation.traces:
                attributes.metadata.update(ruling.metadata)  # all observations share it
        return Made(trace, Decision.KEPT, translation, lost)

    def _left_out(self, trace: Trace) -> dict[str, Answer]:
        """What tells of responses in a trace that was sampled out: what judges them then follows it."""
        from otel_bridge.translate.gather import judgements_in, left_out

        if judged := judgements_in(trace):
            self._counters.add("scores_sampled_out", judged, pipeline=self._assembler.pipeline)
            if trace.part or trace.key.startswith(ANSWER):
                logger("delivery").info("a score came for a trace that was sampled out", trace=trace.key)
        return left_out(trace)


def _reason(trace: Trace, decision: Decision) -> str:
    """Why a trace is not kept, by the last who said so."""
    if _judges_left_out(trace):
        return "trace_sampled_out"
    said = [ruling.reason for ruling in trace.rulings.values() if ruling.decision == decision and ruling.reason]
    return said[-1] if said else "trace_processor"


def _later(trace: Trace) -> Known | None:
    """What later parts must know, if they are to be decided for themselves."""
    for ruling in trace.rulings.values():
        if ruling.later is not None:
            return replace(ruling.later, rulings={by: of for by, of in trace.rulings.items() if of.later is None})
    return None


def _with_rulings(part: Part, trace: Trace) -> Part:
    """What was decided is written down with the part."""
    known = part.known or Known()
    rulings = {processor: replace(ruling, later=None) for processor, ruling in trace.rulings.items()}
    return part if rulings == known.rulings else replace(part, known=replace(known, rulings=rulings))


def _judges_left_out(trace: Trace) -> bool:
    """Whether it judges a response of a trace that was sampled out."""
    if not trace.key.startswith(ANSWER) or trace.known is None:
        return False
    answer = trace.known.answers.get(trace.key.removeprefix(ANSWER))
    return answer is not None and not answer.observation_id
