"""LlamaIndex's own tracing (llama-index-observability-otel): all that its calls say stands in span events.

A `...StartEvent` says what was asked, a `...EndEvent` what was answered, with the provider's answer flattened in it.
Read off recorded payloads of llama-index-core 0.14.25.
https://developers.llamaindex.ai/python/framework/module_guides/observability/
"""

import re
from typing import Any, NamedTuple

from otel_bridge.model import CALLS, Json, ObservationType
from otel_bridge.translate import provider
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages
from otel_bridge.translate.records import leave, take
from otel_bridge.translate.span import Event, SpanView
from otel_bridge.translate.values import as_text, from_json, from_printed, nested, text, unflatten, value


class Told(NamedTuple):
    """What a pair of events tells of, and where it says what was asked and answered."""

    type: ObservationType
    asked: tuple[str, ...]
    answered: tuple[str, ...]


TOLD = {
    "LLMChat": Told(ObservationType.GENERATION, ("messages",), ()),
    "LLMCompletion": Told(ObservationType.GENERATION, ("prompt",), ("response.text",)),
    "LLMPredict": Told(ObservationType.CHAIN, ("template.kwargs.query_str",), ("output",)),
    "LLMStructuredPredict": Told(ObservationType.CHAIN, ("template.kwargs.query_str",), ("output",)),
    "Embedding": Told(ObservationType.EMBEDDING, ("chunks",), ("embeddings",)),
    "Retrieval": Told(ObservationType.RETRIEVER, ("str_or_query_bundle.query_str", "str_or_query_bundle"), ("nodes",)),
    "ReRank": Told(ObservationType.RETRIEVER, ("query.query_str", "query"), ("nodes",)),
    "Query": Told(ObservationType.CHAIN, ("query.query_str", "query"), ("response.response",)),
    "Synthesize": Told(ObservationType.CHAIN, ("query.query_str", "query"), ("response.response",)),
    "GetResponse": Told(ObservationType.CHAIN, ("query_str",), ()),
}
START, END = "StartEvent", "EndEvent"
OUTPUTS = ("step.output", "workflow.output")
SUMMARY = "llamaindex.step.input_summary"
AGENT_RUN = re.compile(r"\w*(Agent|AgentWorkflow)\.run")
TOOL_STEP = re.compile(r"\w+\.call_tool|\w*Tool\.a?call")  # an agent's step, and the tool's own method within it
TOOL_CALL = re.compile(r"ToolCall\(tool_name='([^'\\]{1,200})', tool_kwargs=(\{.{0,1000}\}), tool_id='")
EVENTS = frozenset({*(f"{name}{ending}" for name in TOLD for ending in (START, END)), *OUTPUTS})


def read(span: SpanView) -> Reading:
    """Read the events of a span; of several pairs the first says what the span is."""
    reading = Reading()
    taken = take(span, EVENTS)
    for event in taken:
        if isinstance(event, Event):
            _hear(event, reading)
    leave(span, taken)
    if reading.type is None:
        _step(span, reading)
    if reading.input is None:
        reading.input = value(span.attrs, SUMMARY)
    return reading


def _step(span: SpanView, reading: Reading) -> None:
    """What the name of a span tells: the run of an agent, or of a tool, whose arguments are in a summary."""
    if AGENT_RUN.fullmatch(span.name):
        reading.type = ObservationType.AGENT
    elif TOOL_STEP.fullmatch(span.name):
        reading.type = ObservationType.TOOL
        if called := TOOL_CALL.match(str(span.attrs.get(SUMMARY))):
            reading.name = reading.tool = called[1]
            given = from_printed(called[2])
            if isinstance(given, dict):  # else cut off, or of no plain values: the summary shows it
                reading.input = given


def _hear(event: Event, reading: Reading) -> None:
    attrs = event.attrs
    if event.name in OUTPUTS:
        if reading.output is None:
            reading.output = value(attrs, "output")
        return
    told = TOLD[event.name.removesuffix(START).removesuffix(END)]
    reading.type = reading.type or told.type
    before = {key: attrs[key] for key in told.asked if key in attrs}
    asked = _spoken(value(attrs, *told.asked))
    if reading.input is None:
        reading.input = asked
    elif asked != reading.input:
        attrs |= before  # another pair's
    reading.model = reading.model or text(attrs, "model_dict.model_name")
    if told.type is not reading.type or event.name.endswith(START):
        return
    answered = value(attrs, *told.answered)
    if told.type in CALLS:
        _answer(attrs, reading)
        said = _object(attrs, "response.message.")
        answered = _spoken([said]) if said else answered
    reading.output = answered if answered is not None else reading.output


def _answer(attrs: dict[str, Any], reading: Reading) -> None:
    """The provider's own answer: who gave it, and what it counted."""
    raw = _object(attrs, "response.raw.")
    if not raw:
        return
    reading.response_id = as_text(raw.get("id"))
    reading.model = text(raw, "model") or reading.model
    reading.usage, rest = provider.usage(raw.pop("usage", None))
    reading.metadata["response"] = raw | ({"usage": rest} if rest else {})


def _object(attrs: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Pop what begins with a prefix, as the object that it spells; a key that contradicts another stays."""
    flat = {f"0.{key}": item for key, item in nested(attrs, prefix).items()}
    spelled = unflatten(flat, "")
    attrs.update((f"{prefix}{key[2:]}", item) for key, item in flat.items())
    return spelled[0] if spelled and isinstance(spelled[0], dict) else {}


def _spoken(raw: Json) -> Json:
    """Messages of LlamaIndex, whose content is blocks, as JSON in a string where they were flattened."""
    if not isinstance(raw, list):
        return raw
    return messages(
        [
            {key: from_json(more) if key == "blocks" else more for key, more in item.items() if more not in (None, {})}
            if isinstance(item, dict)
            else item
            for item in raw
        ]
    )


DIALECT = Dialect(
    name="llama_index",
    scopes=("llamaindex.opentelemetry.tracer",),
    read=read,
    checked="llama-index-core 0.14.25 with llama-index-observability-otel",
)
