"""Langfuse's words as plain classes: observation, score, usage, trace attributes, and a translation that holds them.

Exporters take translations, merged and split as delivery needs: every observation carries its trace's attributes,
so any part of a translation can be sent by itself.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from otel_bridge.batch import DEFAULT_TENANT
from otel_bridge.trace import Answer, Decision, Known

MAX_COUNT = 2**63 - 1  # of tokens; destinations can not count further
NOT_IN_ENVIRONMENT = re.compile(r"[^a-z0-9_-]+")
MAX_ENVIRONMENT = 40

EXPERIMENT = "langfuse.experiment."
"""A run of an experiment, its item and data set: Langfuse links observations to them by these attributes alone."""

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None


class ObservationType(StrEnum):
    """Langfuse's observation types, upper case as its public API has them (OTLP attributes have them in lower case)."""

    SPAN = "SPAN"
    EVENT = "EVENT"
    GENERATION = "GENERATION"
    AGENT = "AGENT"
    TOOL = "TOOL"
    CHAIN = "CHAIN"
    RETRIEVER = "RETRIEVER"
    EMBEDDING = "EMBEDDING"
    EVALUATOR = "EVALUATOR"
    GUARDRAIL = "GUARDRAIL"


CALLS = (ObservationType.GENERATION, ObservationType.EMBEDDING)
"""Calls of a model: what counts tokens and has a price."""


class Level(StrEnum):
    """Langfuse's levels."""

    DEBUG = "DEBUG"
    DEFAULT = "DEFAULT"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Usage(dict[str, int]):
    """Usage details by bucket: non-negative integers that exclude each other, and their sum as `total`."""

    __slots__ = ()

    @classmethod
    def inclusive(
        cls,
        input: int | None,  # noqa: A002 - Langfuse's word for the bucket
        output: int | None,
        *,
        cache_read: int | None = None,
        cache_write: int | None = None,
        reasoning: int | None = None,
        input_audio: int | None = None,
        output_audio: int | None = None,
        total: int | None = None,
    ) -> "Usage | None":
        """Read counts where cached and audio tokens are inside `input`, reasoning and audio inside `output`.

        Where a `total` only fits the other way, or the parts exceed the whole, they are read as beside it; where the
        total leaves no room for that, the parts are cut to the whole: the sum is never more than was said.
        None if neither side was counted.
        """
        return cls._of(
            input, output, cache_read, cache_write, reasoning, input_audio, output_audio, total, beside=False
        )

    @classmethod
    def exclusive(
        cls,
        input: int | None,  # noqa: A002 - Langfuse's word for the bucket
        output: int | None,
        *,
        cache_read: int | None = None,
        cache_write: int | None = None,
        reasoning: int | None = None,
        input_audio: int | None = None,
        output_audio: int | None = None,
        total: int | None = None,
    ) -> "Usage | None":
        """The same where cached tokens are beside `input`, as Anthropic and Bedrock count them, whatever the total.

        A total that is the sum of both sides leaves them out.
        """
        return cls._of(input, output, cache_read, cache_write, reasoning, input_audio, output_audio, total, beside=True)

    @classmethod
    def _of(
        cls,
        input: int | None,  # noqa: A002 - Langfuse's word for the bucket
        output: int | None,
        cache_read: int | None,
        cache_write: int | None,
        reasoning: int | None,
        input_audio: int | None,
        output_audio: int | None,
        total: int | None,
        *,
        beside: bool,
    ) -> "Usage | None":
        if input is None and output is None:
            return None
        cached = (cache_read or 0) + (cache_write or 0)
        thought = reasoning or 0
        if not (cached or thought or input_audio or output_audio):
            usage = cls()
            if input is not None:
                usage["input"] = input
            if output is not None:
                usage["output"] = output
            usage["total"] = (input or 0) + (output or 0)
            return usage
        counted_in, counted_out = input or 0, output or 0
        room = math.inf if total is None else total - counted_in - counted_out
        aside, apart = beside, False  # cached tokens beside the input, thoughts beside the output
        if input is not None and output is not None:
            ways = [(way, with_thoughts) for way in (beside, not beside) for with_thoughts in (False, True)]
            fits = (way for way in ways if cached * way[0] + thought * way[1] == room)
            aside, apart = next(fits, (beside, False))
        room -= cached * aside + thought * apart
        if not (aside or beside):
            if counted_in < cached <= room:
                room -= cached
            else:
                cache_read = min(cache_read or 0, counted_in)
                cache_write = min(cache_write or 0, counted_in - cache_read)
                counted_in -= cache_read + cache_write
        if not apart and not counted_out < thought <= room:
            reasoning = min(thought, counted_out)
            counted_out -= reasoning
        heard = input_audio if input_audio and input_audio <= counted_in else 0
        spoken = output_audio if output_audio and output_audio <= counted_out else 0
        usage = cls()
        if input is not None:
            usage["input"] = counted_in - heard
        if output is not None:
            usage["output"] = counted_out - spoken
        parts = {
            "input_cached_tokens": cache_read,
            "input_cache_creation": cache_write,
            "input_audio_tokens": heard,
            "output_reasoning_tokens": reasoning,
            "output_audio_tokens": spoken,
        }
        usage.update((name, part) for name, part in parts.items() if part)
        usage["total"] = sum(usage.values())
        return usage


def as_environment(said: str | None) -> str | None:
    """An environment that Langfuse takes: [a-z0-9_-], at most 40, not beginning with `langfuse`; None if none is left.

    It takes anything else for "default" without a word.
    """
    if not said:
        return None
    clean = NOT_IN_ENVIRONMENT.sub("-", said.lower()).strip("-")
    while clean.startswith("langfuse"):
        clean = clean.removeprefix("langfuse").lstrip("-_")
    return clean[:MAX_ENVIRONMENT] or None


def renamed(metadata: dict[str, Any], reserved: Iterable[str]) -> dict[str, Any]:
    """Metadata without reserved keys: these get as many `_` before them as it takes to be no other key."""
    names = {key: _free(key, metadata) for key in reserved if key in metadata}
    return {names.get(key, key): item for key, item in metadata.items()} if names else metadata


def _free(key: str, taken: dict[str, Any]) -> str:
    while key in taken:
        key = f"_{key}"
    return key


@dataclass(slots=True)
class TraceAttributes:
    """What Langfuse keeps of a trace as a whole; it stands on every observation of the trace.

    `session_id` and the others are None where nobody said them; `tags` are in the order first seen.
    """

    trace_id: str
    name: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    tags: list[str] = field(default_factory=list)
    environment: str | None = None
    release: str | None = None
    version: str | None = None
    public: bool | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    input: Json = None
    output: Json = None


@dataclass(slots=True)
class Observation:
    """One span as Langfuse shows it. Ids are lower-case hex; times are nanoseconds since 1970, UTC.

    usage: exclusive buckets of non-negative integers and their `total`, MAX_COUNT at most; None where nothing was said.
    cost: US dollars by bucket and their `total`, all finite.
    app_root: the topmost observation that is sent, where its parent is not.
    size: about how many bytes it is on the wire, with what is said of its trace, for cutting batches.
    """

    id: str
    trace_id: str
    parent_id: str | None
    type: ObservationType
    name: str
    start_ns: int
    end_ns: int
    trace: TraceAttributes
    completion_start_ns: int | None = None
    level: Level = Level.DEFAULT
    status_message: str | None = None
    model: str | None = None
    model_parameters: dict[str, Any] | None = None
    input: Json = None
    output: Json = None
    usage: dict[str, int] | None = None
    cost: dict[str, float] | None = None
    prompt_name: str | None = None
    prompt_version: int | None = None
    version: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    scope_name: str = ""
    scope_version: str = ""
    app_root: bool = False
    size: int = 0


@dataclass(slots=True)
class Score:
    """A judgement on an observation, a trace or a session; `id` is derived from what it scores, so twice is once.

    value: a number (NUMERIC, and 0 or 1 for BOOLEAN) or a string (CATEGORICAL, TEXT).
    """

    id: str
    name: str
    value: float | str
    data_type: str
    timestamp_ns: int
    trace_id: str | None = None
    observation_id: str | None = None
    session_id: str | None = None
    comment: str | None = None
    environment: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Omitted:
    """A span that no observation stands for, and why, in a word; without a span's id it may be a whole trace."""

    span_id: str
    trace_id: str
    reason: str
    decision: Decision = Decision.FILTERED


@dataclass(slots=True)
class Translation:
    """What one or more parts of traces became.

    known: what the next part of the trace must know; this and the following only for the translation of a single part.
    answers: by response id, what in it tells of responses that nothing told of before.
    asked: the ids of responses that are judged in it, and of which it does not know what tells of them.
    again: somebody asked for it to be sent once more: what was there may have been deleted since.
    """

    traces: list[TraceAttributes] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    rejected: list[Omitted] = field(default_factory=list)
    dropped: list[Omitted] = field(default_factory=list)
    known: Known = field(default_factory=Known)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tenant: str = DEFAULT_TENANT
    again: bool = False

    @classmethod
    def merge(cls, parts: Sequence["Translation"]) -> "Translation":
        """Join translations of one tenant, in order."""
        if len(parts) == 1:
            return parts[0]
        whole = cls(tenant=parts[0].tenant if parts else DEFAULT_TENANT)
        for part in parts:
            whole.traces += part.traces
            whole.observations += part.observations
            whole.scores += part.scores
            whole.rejected += part.rejected
            whole.dropped += part.dropped
        return whole

    @property
    def size(self) -> int:
        """About how many bytes it is on the wire."""
        return sum(observation.size for observation in self.observations) + 300 * len(self.scores)
