"""Alibaba's conventions for generative AI (LoongSuite, ARMS), which Dify speaks too: `gen_ai.span.kind`, delays in ns.

Read off Dify 1.12 (api/extensions/otel) and LoongSuite's documentation; recorded payloads of its LangChain.
https://github.com/alibaba/loongsuite-python-agent
"""

from typing import Any

from otel_bridge.model import Json, ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import after, from_json, identifier, value

KIND = "gen_ai.span.kind"
TYPES = {
    "LLM": ObservationType.GENERATION,
    "EMBEDDING": ObservationType.EMBEDDING,
    "TOOL": ObservationType.TOOL,
    "AGENT": ObservationType.AGENT,
    "CHAIN": ObservationType.CHAIN,
    "WORKFLOW": ObservationType.CHAIN,
    "ENTRY": ObservationType.CHAIN,
    "STEP": ObservationType.CHAIN,
    "TASK": ObservationType.SPAN,
    "RETRIEVER": ObservationType.RETRIEVER,
    "RERANKER": ObservationType.RETRIEVER,
}
MESSAGES = {"input.value": "gen_ai.input.messages", "output.value": "gen_ai.output.messages"}
DELAYS_NS = ("gen_ai.response.time_to_first_token", "gen_ai.user.time_to_first_token")
LONGEST_S = 1e4  # of a delay in seconds; fewer nanoseconds than that are none


def read(span: SpanView) -> Reading | None:
    """Read the kind of a span and what the general conventions have no word for."""
    attrs = span.attrs
    kind = attrs.get(KIND)
    if not isinstance(kind, str):
        return None
    reading = Reading(type=TYPES.get(kind.upper()), user_id=identifier(attrs, "gen_ai.user.id"))
    if reading.type is ObservationType.RETRIEVER:
        reading.input = value(attrs, "retrieval.query", "reranker.query")
        reading.output = _documents(value(attrs, "retrieval.document", "reranker.output_document"))
    for key, spoken in MESSAGES.items():
        if key in attrs and from_json(attrs.get(spoken)):
            reading.metadata[key] = value(attrs, key)  # the messages say it better
    reading.completion_start_ns = _first_token(span, attrs)
    return reading


def _documents(raw: Json) -> Json:
    """`[{document: {content, ...}}]` without the wrapper."""
    if not isinstance(raw, list):
        return raw
    return [item["document"] if isinstance(item, dict) and item.keys() == {"document"} else item for item in raw]


def _first_token(span: SpanView, attrs: dict[str, Any]) -> int | None:
    for key in DELAYS_NS:
        said = attrs.get(key)
        if isinstance(said, int | float) and said > LONGEST_S and (at := after(span, said, 1)) is not None:
            del attrs[key]
            return at
    return None


DIALECT = Dialect(
    name="loongsuite",
    marks=(KIND,),
    rank=25,
    read=read,
    checked="loongsuite-instrumentation-langchain 0.9.0; Dify 1.12, from its source",
)
