"""What assembly yields: the spans and log records of one trace that have settled, and what is known of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import DEFAULT_TENANT


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


@dataclass(slots=True, frozen=True)
class SpanRecord:
    """A span with the resource and scope that it came under."""

    span: Span
    scope: InstrumentationScope
    resource: Resource


@dataclass(slots=True, frozen=True)
class LogEntry:
    """A log record with the resource and scope that it came under."""

    record: LogRecord
    scope: InstrumentationScope
    resource: Resource


@dataclass(slots=True)
class Known:
    """What earlier parts of a trace leave behind for later ones; small, and plain JSON when written down.

    attributes: the trace attributes that were sent (name, session, user, tags ...), for later parts to repeat.
    unsure: those of them that a surer word of a later part displaces, and how unsure they are (`translate.propagate`).
    spans: the spans that were sent, whose usage and cost count, and what stands above them (`translate.sent`).
    calls: the providers' ids of responses whose usage has been counted, in earlier parts or in another trace.
    root_id: the observation that was sent as the root or in its place, or None while there is none.
    from_logs: roots that were made out of log records, for later parts not to make them again.
    """

    attributes: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    from_logs: list[str] = field(default_factory=list)
    root_id: str | None = None
    spans: str = ""
    unsure: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Trace:
    """One part of a trace: all that settled together.

    key: the trace id as 32 lower-case hex digits, or the id that a dialect derived for records without one.
    part: 0 for the first, then 1, 2 ... for what came late.
    known: what the parts before this one left; None for the first.
    """

    key: str
    spans: Sequence[SpanRecord] = ()
    logs: Sequence[LogEntry] = ()
    tenant: str = DEFAULT_TENANT
    settled: Settled = Settled.WHOLE
    part: int = 0
    known: Known | None = None
