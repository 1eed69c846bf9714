"""Conditions on whole traces, in CEL: what the trace is called and costs, and what any of its spans says.

environment == "staging" && !error
attributes["http.route"] == "/health" || "refund" in names || 500 in values["http.response.status_code"]
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otel_bridge.condition import Condition, Read
from otel_bridge.model import Level, TraceAttributes, Translation
from otel_bridge.trace import Trace
from otel_bridge.translate.span import ERROR_CODE, plain


class TraceFacts:
    """What is known of a trace as it would be sent."""

    def __init__(self, trace: Trace, translation: Translation) -> None:
        self.trace = trace
        self.translation = translation
        self.said = translation.traces[0] if translation.traces else TraceAttributes(trace.key)

    @property
    def error(self) -> bool:
        """Whether an observation is an error, or a span that is not shown."""
        return any(seen.level is Level.ERROR for seen in self.translation.observations) or any(
            record.span.status.code == ERROR_CODE for record in self.trace.spans
        )

    @property
    def scored(self) -> bool:
        """Whether somebody has judged it."""
        return bool(self.translation.scores)

    @property
    def duration_s(self) -> float:
        """From the beginning of its first span to the end of its last."""
        spans = [record.span for record in self.trace.spans]
        begun = min((span.start_time_unix_nano for span in spans), default=0)
        return max(0, max((span.end_time_unix_nano for span in spans), default=0) - begun) / 1e9

    @property
    def tokens(self) -> int:
        """Of all calls, each counted once."""
        return sum(seen.usage.get("total", 0) for seen in self.translation.observations if seen.usage)

    @property
    def cost(self) -> float:
        """In US dollars, of all calls."""
        return sum(seen.cost.get("total", 0.0) for seen in self.translation.observations if seen.cost)

    @property
    def attributes(self) -> list[KeyValue]:
        """Those of all spans, the latest first: where several say one, the last of these counts, which began first."""
        spans = [record.span for record in self.trace.spans]
        spans.sort(key=lambda span: (span.start_time_unix_nano, span.span_id), reverse=True)
        return [pair for span in spans for pair in span.attributes]

    def values(self) -> dict[str, list[Any]]:
        """All that any span says, by the attribute's key."""
        found: dict[str, list[Any]] = {}
        for pair in reversed(self.attributes):
            found.setdefault(pair.key, []).append(plain(pair.value))
        return found

    def names(self) -> list[str]:
        """What its spans are called."""
        return sorted({record.span.name for record in self.trace.spans})


TRACE: Mapping[str, Read] = {
    "name": lambda facts: facts.said.name or "",
    "user": lambda facts: facts.said.user_id or "",
    "session": lambda facts: facts.said.session_id or "",
    "tags": lambda facts: facts.said.tags,
    "environment": lambda facts: facts.said.environment or "",
    "release": lambda facts: facts.said.release or "",
    "error": lambda facts: facts.error,
    "scored": lambda facts: facts.scored,
    "duration_s": lambda facts: facts.duration_s,
    "tokens": lambda facts: facts.tokens,
    "cost": lambda facts: facts.cost,
    "observations": lambda facts: len(facts.translation.observations),
    "attributes": lambda facts: facts.attributes,
    "values": TraceFacts.values,
    "names": TraceFacts.names,
}
"""What a condition on traces may ask for, and how it is found."""


class TraceCondition(Condition):
    """A condition on a trace."""

    readers = TRACE
    __slots__ = ()

    def of(self, facts: TraceFacts) -> bool:
        """Whether it holds for a trace."""
        return self.holds(self.values(facts, facts.trace.tenant))
