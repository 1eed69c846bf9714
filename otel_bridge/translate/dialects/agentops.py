"""AgentOps: OpenLLMetry's words of old with other prefixes, and `agentops.*` on what its decorators wrap.

What a model's answer calls are spans of their own below it, which run nothing: they are handed to the answer.
Read off recorded payloads of agentops 0.4.21 (OpenAI, OpenAI Agents), and its source.
https://docs.agentops.ai/v2/concepts/core-concepts
"""

from typing import Any

from otel_bridge.model import Json, ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import LogView, SpanView
from otel_bridge.translate.values import as_text, strings, value

KIND, REQUEST = "agentops.span.kind", "gen_ai.request.type"
TYPES = {
    "agent": ObservationType.AGENT,
    "tool": ObservationType.TOOL,
    "llm": ObservationType.GENERATION,
    "guardrail": ObservationType.GUARDRAIL,
    "session": ObservationType.CHAIN,
    "workflow": ObservationType.CHAIN,
    "task": ObservationType.CHAIN,
    "chain": ObservationType.CHAIN,
    "operation": ObservationType.CHAIN,
}
REQUESTS = {"embedding": ObservationType.EMBEDDING}
CALLED = "tool_call."
CALLS = "gen_ai.completion.0.tool_calls"
OF_A_CALL = {"tool.call.id": "id", "tool.call.type": "type", "tool.name": "name", "tool.parameters": "arguments"}
FUNCTIONS = "gen_ai.request.functions."


def read(span: SpanView) -> Reading | None:
    """Read what decorators wrap; of a model's call what has another prefix than in OpenLLMetry."""
    attrs = span.attrs
    for key in [key for key in attrs if key.startswith(FUNCTIONS)]:
        _rename(attrs, key, f"llm.request.functions.{key.removeprefix(FUNCTIONS)}")
    reading = Reading(type=REQUESTS.get(str(attrs.get(REQUEST))), tags=strings(attrs.get("agentops.tags")))
    if REQUEST in attrs:
        _rename(attrs, REQUEST, "llm.request.type")
    kind = attrs.get(KIND)
    if not isinstance(kind, str):
        return reading
    if span.name.startswith(CALLED):
        reading.type = ObservationType.SPAN
        return reading
    reading.type = TYPES.get(kind.lower())
    reading.input = _given(value(attrs, f"agentops.{kind}.input", "agentops.entity.input"))
    reading.output = value(attrs, f"agentops.{kind}.output", "agentops.entity.output")
    if reading.type is ObservationType.TOOL:
        reading.name = as_text(attrs.get("tool.name", attrs.get("operation.name")))
        reading.input = value(attrs, "tool.parameters") if reading.input is None else reading.input
        reading.output = value(attrs, "tool.result") if reading.output is None else reading.output
    return reading


def _rename(attrs: dict[str, Any], key: str, called: str) -> None:
    if called not in attrs:
        attrs[called] = attrs.pop(key)


def _given(raw: Json) -> Json:
    """The arguments of a function: those with names alone, if all have one."""
    if isinstance(raw, dict) and raw.keys() == {"args", "kwargs"} and not raw["args"]:
        return raw["kwargs"] or None
    return raw


def _join(spans: dict[str, SpanView], _logs: list[LogView]) -> None:
    places: dict[str, int] = {}
    for span in spans.values():
        call = spans.get(span.parent_id)
        if call is None or KIND not in span.attrs or not span.name.startswith(CALLED):
            continue
        place = places.get(call.id, 0)
        if place == 0 and any(key.startswith(CALLS) for key in call.attrs):
            continue
        places[call.id] = place + 1
        said: dict[str, Any] = {name: span.attrs[key] for key, name in OF_A_CALL.items() if key in span.attrs}
        call.attrs |= {f"{CALLS}.{place}.{name}": item for name, item in said.items()}


DIALECT = Dialect(
    name="agentops",
    scopes=("agentops", "agentops.*"),
    marks=("agentops.*", REQUEST),
    rank=35,
    read=read,
    join=_join,
    checked="agentops 0.4.21 (OpenAI, OpenAI Agents)",
)
