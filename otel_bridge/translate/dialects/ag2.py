"""AG2 from 1.0 on: the conventions, and beside each call a record of what it spent, `record_usage …`.

That record alone tells of what has no span: a sub-agent without telemetry, history that is made shorter, live sessions.
Where a span tells of it, it is no second call; else it stands for the calls that it counts.
Read off recorded payloads of ag2 1.2.1, and its source.
https://docs.ag2.ai/latest/docs/user-guide/tracing/
"""

from otel_bridge.model import ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import LogView, SpanView

KIND, RECORD, CALL, AGENT = "ag2.span.type", "usage", "llm", "agent"
TOLD = "ag2.usage.told"
SUM = "subtask"
COUNTS = "gen_ai.usage."
THOUGHT, REASONING = f"{COUNTS}thinking_tokens", f"{COUNTS}reasoning.output_tokens"


def read(span: SpanView) -> Reading | None:
    """Leave all to the conventions but records of what was spent."""
    attrs = span.attrs
    if THOUGHT in attrs and REASONING not in attrs:
        attrs[REASONING] = attrs.pop(THOUGHT)
    if attrs.get(KIND) != RECORD:
        return None
    if attrs.get(TOLD) is True:
        del attrs[TOLD]
        counts = {key.removeprefix(COUNTS): attrs.pop(key) for key in list(attrs) if key.startswith(COUNTS)}
        return Reading(type=ObservationType.SPAN, metadata={"uncounted_usage": counts})
    return Reading(type=ObservationType.GENERATION)


def _join(spans: dict[str, SpanView], _logs: list[LogView]) -> None:
    """A record is told by a span of the same turn that counts the same, that of a sub-agent by the agent's own span."""
    told: dict[tuple[str, ...], int] = {}
    agents = set()
    for span in spans.values():
        if span.attrs.get(KIND) == CALL:
            told[_spent(span)] = told.get(_spent(span), 0) + 1
        elif span.attrs.get(KIND) == AGENT:
            agents.add(str(span.attrs.get("gen_ai.agent.name")))
    for span in spans.values():
        if span.attrs.get(KIND) != RECORD:
            continue
        if span.attrs.get("ag2.usage.kind") == SUM:
            if str(span.attrs.get("ag2.usage.label")) in agents:
                span.attrs[TOLD] = True
        elif told.get(_spent(span)):
            told[_spent(span)] -= 1
            span.attrs[TOLD] = True


def _spent(span: SpanView) -> tuple[str, ...]:
    return (span.parent_id, *(str(span.attrs.get(f"{COUNTS}{side}_tokens")) for side in ("input", "output")))


DIALECT = Dialect(
    name="ag2",
    scopes=("opentelemetry.instrumentation.ag2",),
    read=read,
    join=_join,
    checked="ag2 1.2.1",
)
