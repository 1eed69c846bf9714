"""Spring AI (Java): the conventions by way of Micrometer, whose values are texts, and content in log records.

Read off recorded payloads of spring-ai 1.1.2 and 2.0.1; content in records off the source of 1.1.
https://docs.spring.io/spring-ai/reference/observability/index.html
"""

from typing import Any

from otel_bridge.model import Json, ObservationType
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.records import leave
from otel_bridge.translate.span import LogView, SpanView
from otel_bridge.translate.values import from_json, identifier, named, value

SCOPE = "org.springframework.boot"  # of Micrometer's bridge, whatever it observed
KIND = "spring.ai.kind"
TYPES = {
    "chat_client": ObservationType.CHAIN,
    "advisor": ObservationType.CHAIN,
    "tool_call": ObservationType.TOOL,
}
STORE = "vector_store"
CACHE_BESIDE = ("anthropic", "bedrock_converse")  # whose input counts are handed on, without what was cached
TOOL = "spring.ai.tool.definition.name"
ASKED = ("Chat Model Prompt Content:\n", "Chat Client Prompt Content:\n")
ANSWERED = ("Chat Model Completion:\n", "Chat Client Completion:\n")
FOUND = ("Vector Store Query Response:\n",)
CONTENT = (*ASKED, *ANSWERED, *FOUND)


def read(span: SpanView) -> Reading | None:
    """Read the framework's own spans, and the content that it logged within a span."""
    attrs = span.attrs
    kind = attrs.get(KIND)
    reading = Reading(type=TYPES.get(kind) if isinstance(kind, str) else None)
    if kind == STORE:
        asks = attrs.get("db.operation.name") == "query"
        reading.type = ObservationType.RETRIEVER if asks else ObservationType.SPAN
        reading.input = value(attrs, "db.vector.query.content")
        reading.output = value(attrs, "db.vector.query.response.documents")
    elif kind is not None:
        reading.input = value(attrs, "spring.ai.tool.call.arguments", "spring.ai.chat.client.input")
        reading.output = value(attrs, "spring.ai.tool.call.result", "spring.ai.chat.client.output")
        reading.session_id = identifier(attrs, "spring.ai.chat.client.conversation.id")
        reading.name = named(span, attrs.get(TOOL))
    if attrs.get("gen_ai.system") in CACHE_BESIDE:
        reading.usage = table.usage(attrs, beside=True)
    if span.logs:
        _logged(span, reading)
    return reading


def _logged(span: SpanView, reading: Reading) -> None:
    told = [log for log in span.logs if isinstance(log.body, str) and log.body.startswith(CONTENT)]
    if not told:
        return
    ids = {id(log) for log in told}
    span.logs = [log for log in span.logs if id(log) not in ids]
    for log in told:
        _hear(log, reading)
    leave(span, told)


def _hear(log: LogView, reading: Reading) -> None:
    """Take what a record says out of it, if there is none of its kind yet."""
    heading, _, printed = str(log.body).partition("\n")
    texts = _texts(printed)
    if not texts:
        return
    said: Json = texts[0] if len(texts) == 1 else list(texts)
    if f"{heading}\n" in ASKED and reading.input is None:
        reading.input = said
    elif f"{heading}\n" in ANSWERED and reading.output is None:
        reading.output = [{"role": "assistant", "content": text} for text in texts]
    elif f"{heading}\n" in FOUND and reading.output is None:
        reading.output = list(texts)
    else:
        return
    log.body = None


def _texts(printed: str) -> list[str]:
    """`["one", "two"]`, where the texts may hold quotation marks that are not escaped."""
    inner = printed.strip()
    if not inner.startswith('["') or not inner.endswith('"]'):
        return []
    parsed: Any = from_json(inner)
    if isinstance(parsed, list) and all(isinstance(text, str) for text in parsed):
        return parsed
    return inner[2:-2].split('", "')


DIALECT = Dialect(
    name="spring_ai",
    scopes=(SCOPE,),
    marks=("spring.ai.*",),
    rank=20,
    read=read,
    checked="spring-ai 1.1.2 and 2.0.1 (OpenAI, Anthropic)",
)
