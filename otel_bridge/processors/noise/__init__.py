"""Show the work of models, tools and agents, and leave out the frameworks around it, without orphaning anybody."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from pydantic import field_validator

from otel_bridge.component import Host, Pass, trace_processor
from otel_bridge.condition import SpanCondition
from otel_bridge.config import Config
from otel_bridge.mistakes import hint
from otel_bridge.model import ObservationType, Translation
from otel_bridge.processors.noise.presets import PRESETS, Preset
from otel_bridge.trace import ANSWER, BY_DIALECT, SESSION, WITHOUT_LLM, Decision, Ruling, Settled, SpanRecord, Trace
from otel_bridge.translate.sent import unpack

NAMES = (*PRESETS, BY_DIALECT)
MANY = 200  # spans, from which on looking at them would keep others waiting
TELLS = frozenset(ObservationType) - {ObservationType.SPAN, ObservationType.EVENT}
"""The types that a dialect only gives to what an agent does."""


class NoiseConfig(Config):
    """What is noise. Calls of models, agents, tools and whatever counts tokens never are.

    presets: by name, spans that are left out; `dialects` are those that the dialect of an instrumentation calls noise.
    drop: conditions on spans that are left out besides.
    keep: conditions on spans that stay all the same, as `status == "error"`.
    without_llm: what becomes of a trace in which no dialect finds anything of an agent.
    """

    presets: tuple[str, ...] = ("http_server", "http_client", "database")
    drop: tuple[SpanCondition, ...] = ()
    keep: tuple[SpanCondition, ...] = ()
    without_llm: Literal["keep", "drop"] = "keep"

    @field_validator("presets")
    @classmethod
    def _known(cls, presets: tuple[str, ...]) -> tuple[str, ...]:
        for name in presets:
            if name not in NAMES:
                raise ValueError(f"no preset {name!r}{hint(name, NAMES)}")
        return presets


@trace_processor(NoiseConfig)
async def noise(config: NoiseConfig, consume: Pass, host: Host) -> AsyncIterator[Pass]:
    """Leave out the spans of web frameworks, HTTP clients and databases; what stands below them moves up."""
    noticed = _Noticed(config)

    async def mark(trace: Trace) -> None:
        if trace.key.startswith((ANSWER, SESSION)):
            await consume(trace)  # judgements of responses and sessions
            return
        found = noticed.of(trace) if len(trace.spans) < MANY else await asyncio.to_thread(noticed.of, trace)
        marked = replace(trace, noise={**trace.noise, **found}) if found else trace
        if config.without_llm == "drop" and _is_all(trace) and not await _tells_llm(marked, host):
            everything = replace(trace, noise={record.span.span_id.hex(): WITHOUT_LLM for record in trace.spans})
            later = (await host.translate(everything)).known
            trace.rulings[host.id] = Ruling(Decision.FILTERED, WITHOUT_LLM, later=later)
            host.counters.add("traces_without_llm", processor=host.id)
            return
        await consume(marked)

    yield mark


def _is_all(trace: Trace) -> bool:
    """Whether nothing more is awaited here; of what was let go early, an agent may be in what is still to come."""
    return trace.settled.complete or trace.settled is Settled.REMOTE  # that awaits a parent, which may never come


async def _tells_llm(trace: Trace, host: Host) -> bool:
    """Whether a dialect finds something of an agent in this part, or something of the trace was sent before."""
    if trace.known is not None and any(not sent.hidden for sent in unpack(trace.known.spans).values()):
        return True
    translation: Translation = await host.translate(trace)
    return bool(translation.scores) or any(seen.type in TELLS or seen.usage for seen in translation.observations)


class _Noticed:
    """Which spans are noise, as far as a span alone tells."""

    def __init__(self, config: NoiseConfig) -> None:
        self._drop, self._keep = config.drop, config.keep
        self._by_dialect = BY_DIALECT in config.presets
        presets = [(name, PRESETS[name]) for name in config.presets if name in PRESETS]

        @lru_cache(1000)
        def of_scope(scope: str) -> Sequence[tuple[str, Preset]]:
            return [(name, preset) for name, preset in presets if preset.is_from(scope)]

        self._of_scope = of_scope

    def of(self, trace: Trace) -> dict[str, str]:
        """By the ids of spans, why each is noise."""
        found: dict[str, str] = {}
        for record in trace.spans:
            reason = self._reason(record, trace.tenant)
            if reason is not None and not any(condition.of(record, trace.tenant) for condition in self._keep):
                found[record.span.span_id.hex()] = reason
        return found

    def _reason(self, record: SpanRecord, tenant: str) -> str | None:
        for name, preset in self._of_scope(record.scope.name):
            if preset.shape(record.span):
                return name
        for place, condition in enumerate(self._drop):
            if condition.of(record, tenant):
                return f"drop[{place}]"
        return BY_DIALECT if self._by_dialect else None
