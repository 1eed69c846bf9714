"""What a dialect is, and what it says of a span."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate.span import LogView, SpanView


@dataclass(slots=True)
class Judgement:
    """What an evaluator or a person says of an observation: a number, yes or no, or a label.

    observation_id: whom it judges, if not the span that says it.
    """

    name: str
    value: bool | float | str
    comment: str | None = None
    observation_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """What one dialect says of one span; None is "nothing said". Of several dialects the first that speaks is heard.

    name: instead of the span's own name.
    input, output: plain JSON or text; messages as lists of {role, content, tool_calls ...}, see `messages`.
    cost: US dollars by bucket, with `total`.
    response_id: the provider's id of the response. Two nested spans with one id are one call.
    call: any key that two spans of this trace share if and only if they report one call of a model or a tool, nested
        or not.
    tool: the tool that was called, where a TOOL further up of that name may have told of the same call.
    tells_call: input and output are those of the one call below, where that does not say them itself.
    elsewhere: the call is told by a span of another trace; this one, and the call below it, are no second one.
    aggregate: the usage is a sum over the spans below, also where the type is GENERATION.
    noise: of no interest to who looks at agents; it is shown at level DEBUG.
    judgements: evaluation results in the dialect's own words; those in the conventions' are found without it.
    by_hand: which of the others were set by hand, as `langfuse.*`; `choose` fills it in.
    """

    type: ObservationType | None = None
    name: str | None = None
    input: Json = None
    output: Json = None
    model: str | None = None
    model_parameters: dict[str, Any] | None = None
    usage: Usage | None = None
    cost: dict[str, float] | None = None
    completion_start_ns: int | None = None
    level: Level | None = None
    status_message: str | None = None
    prompt_name: str | None = None
    prompt_version: int | None = None
    session_id: str | None = None
    user_id: str | None = None
    trace_name: str | None = None
    tags: list[str] | None = None
    environment: str | None = None
    release: str | None = None
    version: str | None = None
    public: bool | None = None
    trace_input: Json = None
    trace_output: Json = None
    response_id: str | None = None
    call: str | None = None
    tool: str | None = None
    tells_call: bool | None = None
    elsewhere: bool | None = None
    aggregate: bool | None = None
    noise: bool | None = None
    judgements: list[Judgement] | None = None
    by_hand: frozenset[str] = frozenset()
    metadata: dict[str, Any] = field(default_factory=dict)
    trace_metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True, eq=False)
class Dialect:
    """How one family of instrumentations speaks. A file in `dialects/` holds one as DIALECT; that registers it.

    read: takes what it understands out of a span's view; total, never raises for what a span contains. None if there
        is nothing in it that it understands.
    scopes: instrumentation scopes it speaks for: names, or `prefix*`. Among all that fit the longest is heard.
    marks: tell-tale keys of attributes, or names of events and log records: names, or `prefix*`.
    rank: among dialects found by their marks the lower one speaks first; conventions that others build on have
        higher ones, so that a framework's own words come before the general ones it sends along.
    join: sets right, before log records are handed to spans, which span each is about (its `span_id`), and may move
        what one span says of another; gets the spans of this part by id and the dialect's own records in order of time.
    spans: reads the spans that log records stand for where the records belong to no span; takes those it used out of
        the list, which holds the records of one trace in order of time. A span without a parent stands for the trace:
        its id must be the same in every part, and only the first part has it.
    key: the assembly key for a log record without a trace id (see `derived_key`), or None if it can't tell.
    checked: documentation and versions that it was checked against.
    """

    name: str
    read: Callable[[SpanView], Reading | None]
    scopes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    rank: int = 0
    join: Callable[[dict[str, SpanView], list[LogView]], None] | None = None
    spans: Callable[[list[LogView]], list[SpanView]] | None = None
    key: Callable[[LogView], str | None] | None = None
    checked: str = ""

    @property
    def about(self) -> str:
        """The docstring of its module: a line, then what is to be known of it, and where its documentation is."""
        return (sys.modules[self.read.__module__].__doc__ or "").strip()

    @property
    def summary(self) -> str:
        """The first line of that."""
        return self.about.partition("\n")[0]
