"""VoltAgent: spans named by `span.type`, and agents and workflows by `entity.type` alone.

An agent's run has one span for the loop of its calls, which counts the last of them and says no answer; the sum and the
answer are the agent's. So where an agent has one such span that span is told them.
Read off recorded payloads of @voltagent/core 2.10.0, and its source.
https://voltagent.dev/observability-docs/concepts/
"""

from typing import Any

from otel_bridge.model import ObservationType, Usage
from otel_bridge.translate.dialect import Dialect, Judgement, Reading
from otel_bridge.translate.messages import messages
from otel_bridge.translate.span import LogView, SpanView
from otel_bridge.translate.values import as_text, count, finite, text, value

CALL = "llm"
TYPES = {
    CALL: ObservationType.GENERATION,
    "tool": ObservationType.TOOL,
    "retriever": ObservationType.RETRIEVER,
    "guardrail": ObservationType.GUARDRAIL,
    "scorer": ObservationType.EVALUATOR,
}
RUNS = {"agent": ObservationType.AGENT, "workflow": ObservationType.CHAIN}
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
PARAMETERS = ("temperature", "max_output_tokens", "top_p", "stream")


def read(span: SpanView) -> Reading:
    """Read a span; `input` and `output` are left to the plain names."""
    attrs = span.attrs
    kind = attrs.get("span.type")
    if kind is None:
        return Reading(type=RUNS.get(str(attrs.get("entity.type"))), usage=_usage(attrs, "usage."))
    reading = Reading(type=TYPES.get(str(kind), ObservationType.SPAN))
    if kind == CALL:
        reading.model = text(attrs, "llm.model")
        reading.usage = _usage(attrs, "llm.usage.")
        reading.input = messages(value(attrs, "llm.messages"))
        if (answer := value(attrs, "output")) is not None:
            reading.output = messages({"role": "assistant", "content": answer})
        said = {name: attrs.pop(f"llm.{name}") for name in PARAMETERS if f"llm.{name}" in attrs}
        reading.model_parameters = said or None
        cost = finite(attrs.get("usage.cost"))
        reading.cost = {"total": cost} if cost is not None and cost > 0 else None
    elif kind == "tool":
        reading.name = as_text(attrs.get("tool.name"))
        reading.call = as_text(attrs.get("tool.call.id"))
    elif kind == "scorer":
        name, score = as_text(attrs.get("eval.scorer.name")), finite(attrs.get("eval.scorer.score"))
        if name and score is not None:
            judged = as_text(attrs.get("eval.source.span_id"))
            reading.judgements = [Judgement(name, score, observation_id=judged)]
    return reading


def _usage(attrs: dict[str, Any], prefix: str) -> Usage | None:
    asked, answered, total, cached, thought = (count(attrs, f"{prefix}{name}") for name in COUNTS)
    return Usage.inclusive(asked, answered, cache_read=cached, reasoning=thought, total=total)


def _join(spans: dict[str, SpanView], _logs: list[LogView]) -> None:
    calls: dict[str, list[SpanView]] = {}
    for span in spans.values():
        if span.attrs.get("span.type") == CALL:
            calls.setdefault(span.parent_id, []).append(span)
    for parent, below in calls.items():
        agent = spans.get(parent)
        told = [call for call in below if "llm.usage.prompt_tokens" in call.attrs]
        if agent is None or len(told) != 1 or agent.attrs.get("entity.type") != "agent" or "span.type" in agent.attrs:
            continue
        call = told[0]
        for name in COUNTS if "usage.prompt_tokens" in agent.attrs else ():
            if (summed := agent.attrs.pop(f"usage.{name}", None)) is not None:
                call.attrs[f"llm.usage.{name}"] = summed
        if "output" in agent.attrs:
            call.attrs.setdefault("output", agent.attrs["output"])


DIALECT = Dialect(
    name="voltagent",
    scopes=("@voltagent/core",),
    read=read,
    join=_join,
    checked="@voltagent/core 2.10.0",
)
