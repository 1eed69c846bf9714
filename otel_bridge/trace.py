"""What assembly yields: the spans and log records of one trace that have settled, and what is known of the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import DEFAULT_TENANT

ANSWER = "answer:"  # and a provider's response id: the assembly key of judgements that name nothing else
SESSION = "session:"  # and its id: the key of judgements of a whole session
JUDGEMENTS = ("gen_ai.evaluation.result", "score")  # names of events that are scores
MAX_RESPONSE_ID = 200  # characters; what is longer is no id
WITHOUT_LLM = "without_llm"  # why spans are noise in a trace of which nothing is shown
BY_DIALECT = "dialects"  # why a span is noise if its dialect thinks so


class Settled(StrEnum):
    """Why a trace was thought complete; it decides whether a parent that is not there may still come."""

    ROOT = "root"  # its root is here, and nothing more came for a while
    REMOTE = "remote"  # its topmost span has a remote parent, which may never come here
    IDLE = "idle"  # its top is unknown, and nothing more came for long
    HELD = "held"  # held as long as may be: more may come
    FLUSHED = "flushed"  # let go early, for memory: more may come
    WHOLE = "whole"  # a closed input, read to its end: nothing more can come

    @property
    def complete(self) -> bool:
        """Nothing more is awaited, so a parent that is not here never was."""
        return self in (Settled.ROOT, Settled.IDLE, Settled.WHOLE)


class Decision(StrEnum):
    """What becomes of a trace; the values are those of `telemetry.Outcome`."""

    KEPT = "kept"
    FILTERED = "filtered"
    SAMPLED_OUT = "sampled_out"


class SpanRecord(NamedTuple):
    """A span with the resource and scope that it came under."""

    span: Span
    scope: InstrumentationScope
    resource: Resource


class LogEntry(NamedTuple):
    """A log record with the resource and scope that it came under."""

    record: LogRecord
    scope: InstrumentationScope
    resource: Resource


@dataclass(slots=True, frozen=True)
class Answer:
    """The observation that tells of a provider's response, for who knows no more than the response's id.

    scope, start_ns, end_ns: the instrumentation that told of it, and when it says that the call was.
    observation_id: "" where the trace was sampled out, and so there is none.
    environment: the trace's.
    counted: its usage counts.
    """

    trace_id: str
    observation_id: str
    scope: str
    start_ns: int
    end_ns: int
    environment: str | None
    counted: bool

    @property
    def told(self) -> tuple[str, int, int]:
        """By whom and when, for `is_one_call`."""
        return self.scope, self.start_ns, self.end_ns


def is_one_call(one: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    """Whether two spans with one response id, each (scope, start, end), tell of one call: some servers use ids again.

    Either two instrumentations tell of it, one within the time of the other, or most of it, as where a stream is left
    before its end; or one does at one time, to two exporters, as LiteLLM's callbacks do.
    """
    (scope, start_ns, end_ns), (other_scope, other_start_ns, other_end_ns) = one, other
    if scope == other_scope:
        return (start_ns, end_ns) == (other_start_ns, other_end_ns)
    shared_ns = min(end_ns, other_end_ns) - max(start_ns, other_start_ns)
    return shared_ns >= 0 and 4 * shared_ns >= 3 * min(end_ns - start_ns, other_end_ns - other_start_ns)


@dataclass(slots=True)
class Ruling:
    """What a trace processor has decided for a trace: written down with the part, and heard for every later one.

    reason: in a word, for the ledger.
    metadata: for the trace's metadata, if it is kept.
    later: where a trace is not kept and later parts are to be decided for themselves, what they must know.
    """

    decision: Decision
    reason: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    later: "Known | None" = None


@dataclass(slots=True)
class Known:
    """What a part of a trace must know that is not in it; small, and plain JSON when written down.

    Most of it is what earlier parts leave behind for later ones.

    attributes: the trace attributes that were sent (name, session, user, tags ...), for later parts to repeat.
    unsure: those of them that a surer word of a later part displaces, and how unsure they are (`translate.propagate`).
    spans: the spans that were sent, whose usage and cost count, and what stands above them (`translate.sent`).
    calls: the providers' ids of responses whose usage has been counted, in earlier parts or in another trace; the
        newest.
    root_id: the observation that was sent as the root or in its place, or None while there is none.
    from_logs: roots that were made out of log records, for later parts not to make them again.
    answers: by response id, what tells of the responses that this part only names.
    rulings: by the processor's id, what has been decided for the trace.
    """

    attributes: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    from_logs: list[str] = field(default_factory=list)
    root_id: str | None = None
    spans: str = ""
    unsure: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    rulings: dict[str, Ruling] = field(default_factory=dict)

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> "Known":
        """What was written down."""
        answers = {response_id: Answer(**said) for response_id, said in written.get("answers", {}).items()}
        rulings = {
            processor: Ruling(Decision(said["decision"]), said["reason"], said["metadata"])
            for processor, said in written.get("rulings", {}).items()
        }
        return cls(**{**written, "answers": answers, "rulings": rulings})


@dataclass(slots=True)
class Trace:
    """One part of a trace: all that settled together.

    key: the trace id as 32 lower-case hex digits, or the id that a dialect derived for records without one.
    part: 0 for the first, then 1, 2 ... for what came late.
    known: what the parts before this one left; None for the first.
    attributes: what trace processors say of the trace as a whole, by the names of `TraceAttributes`; it overrules what
        its spans say.
    noise: by the ids of spans as hex digits, why they are not to be shown (`translate.hide`).
    rulings: by the processor's id, what is decided for it; processors follow what they find of their own, as a part may
        be made again, and write what they decide. All copies of a trace share it, and `spends`.
    spent: by budget, what its tenant had spent before; spends: what this part does.
    translation: what it becomes, where somebody has asked for that already. A copy that is changed has none.
    """

    key: str
    spans: Sequence[SpanRecord] = ()
    logs: Sequence[LogEntry] = ()
    tenant: str = DEFAULT_TENANT
    settled: Settled = Settled.WHOLE
    part: int = 0
    known: Known | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    noise: Mapping[str, str] = field(default_factory=dict)
    rulings: dict[str, Ruling] = field(default_factory=dict)
    spent: Mapping[str, int] = field(default_factory=dict)
    spends: dict[str, int] = field(default_factory=dict)
    translation: Any = field(default=None, init=False, repr=False, compare=False)
