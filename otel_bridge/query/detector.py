"""What a detector is: a question to the store whose answer is a list of findings, each with its evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import orjson

from otel_bridge.query.answer import Answer
from otel_bridge.query.answer import name as brief
from otel_bridge.store.reader import Reader

MAX_FINDINGS = 100
"""Of one detector."""

MAX_IDS = 100
"""Of traces, and of observations, that one finding names."""

MAX_SPAN_BYTES = 1 << 20
"""A span, or log record, that is larger is not looked into."""

SAID_CHARACTERS = 1000
NAME_CHARACTERS = 80


class Severity(StrEnum):
    """error: something is lost or has stopped. warning: something is wrong. info: something could be better."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


SEVERITIES = tuple(Severity)


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing that somebody should know, and what they can do about it.

    says: a sentence; remedy: another. Both hold what traces say, and are to be escaped where they are shown.
    traces, observations: ids, those that tell most first. numbers: what it was judged by; durations in milliseconds.
    """

    kind: str
    severity: Severity
    says: str
    remedy: str
    tenant: str
    traces: Sequence[str]
    observations: Sequence[str] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    def answer(self) -> Answer:
        """As JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "says": brief(self.says, SAID_CHARACTERS),
            "remedy": brief(self.remedy, SAID_CHARACTERS),
            "tenant": self.tenant,
            "traceIds": [*self.traces[:MAX_IDS]],
            "observationIds": [*self.observations[:MAX_IDS]],
            "numbers": dict(self.numbers),
        }


@dataclass(slots=True, frozen=True)
class Window:
    """What is looked at.

    since_ns, now_ns: from when, and what time it is, in ns since 1970.
    tenant: whose; None is everybody's.
    traces: (trace id, tenant) of those that came first since then, the newest first, as many as can be looked at.
    is_cut: whether there are more.
    """

    since_ns: int
    now_ns: int
    tenant: str | None
    traces: Sequence[tuple[str, str]]
    is_cut: bool = False

    @property
    def named(self) -> dict[str, int | str | None]:
        """Values for SQL: `:since`, `:now`, `:tenant`, and `:traces`, a JSON list of pairs."""
        traces = orjson.dumps(self.traces).decode()
        return {"since": self.since_ns, "now": self.now_ns, "tenant": self.tenant, "traces": traces}


Find: TypeAlias = Callable[[Reader, Window], Sequence[Finding]]


@dataclass(slots=True, frozen=True)
class Detector:
    """finds: what, in a few words. find: all that it finds, those first that matter most; raises what readers raise.

    is_advice: what it finds is no fault, so it is asked only where it is named.
    """

    name: str
    finds: str
    find: Find
    is_advice: bool = False


def called(text: str | None, nameless: str = "a span without a name") -> str:
    """A name within a sentence."""
    return brief(text, NAME_CHARACTERS) or nameless
