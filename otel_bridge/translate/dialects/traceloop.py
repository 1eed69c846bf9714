"""OpenLLMetry (Traceloop): `traceloop.*`, `llm.request.*`, and `gen_ai.prompt.N.*` of releases before 0.50.

https://github.com/traceloop/openllmetry
"""

from otel_bridge.model import Json, ObservationType
from otel_bridge.translate import provider, table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.records import leave, take
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import from_json, named, nested, text, unflatten, value, within

KINDS = {
    "workflow": ObservationType.CHAIN,
    "task": ObservationType.CHAIN,
    "agent": ObservationType.AGENT,
    "tool": ObservationType.TOOL,
}
REQUESTS = {
    "chat": ObservationType.GENERATION,
    "completion": ObservationType.GENERATION,
    "embedding": ObservationType.EMBEDDING,
    "rerank": ObservationType.RETRIEVER,
}
CHUNKS = frozenset({"gen_ai.content.completion.chunk", "llm.content.completion.chunk"})
BEDROCK = "opentelemetry.instrumentation.bedrock"
COMPLETIONS = ("text_completion", "completion")
STORE_SCOPES = tuple(
    f"opentelemetry.instrumentation.{store}"
    for store in ("chromadb", "lancedb", "marqo", "milvus", "pinecone", "qdrant", "weaviate")
)
STORES = ("chroma", "lancedb", "marqo", "milvus", "pinecone", "qdrant", "weaviate")
SEARCHES = ("query", "search", "hybrid_search", "discover", "recommend", "fetch_objects")
FOUND = "db.query.result"
PROPERTIES = "traceloop.association.properties."
UNKNOWN = "unknown"  # a model that the instrumentation does not find where it looks; LangChain's metadata names it


def read(span: SpanView) -> Reading:
    """Read what OpenLLMetry adds to the conventions; what it has in common with them is left to theirs."""
    attrs = span.attrs
    reading = Reading(type=_type(span))
    properties = nested(attrs, PROPERTIES)
    reading.session_id, reading.user_id = table.session(properties), table.user(properties)
    if attrs.get("gen_ai.request.model") == UNKNOWN and (model := text(properties, "ls_model_name")):
        reading.model = model
        for key in table.MODELS:
            if attrs.get(key) == UNKNOWN:
                del attrs[key]
    reading.metadata = properties
    asked, answered = unflatten(attrs, "gen_ai.prompt."), unflatten(attrs, "gen_ai.completion.")
    tools = unflatten(attrs, "llm.request.functions.")
    if tools is not None:
        tools = [_opened(tool) for tool in tools]
    if asked is not None or tools is not None:
        reading.input = with_tools(messages(_parsed(asked)) if asked is not None else None, tools)
    else:
        reading.input = value(attrs, "traceloop.entity.input", "gen_ai.task.input", "gen_ai.tool.call.arguments")
    if answered is not None:
        reading.output = messages(_parsed(answered), "assistant")
    else:
        reading.output = value(attrs, "traceloop.entity.output", "gen_ai.task.output", "gen_ai.tool.call.result")
    if reading.type is ObservationType.AGENT and isinstance(reading.output, dict):
        _turn(reading.output, reading)
    if reading.type is ObservationType.RETRIEVER and reading.output is None:
        reading.output = _documents(span)
    if reading.type is ObservationType.TOOL:
        reading.name = named(span, attrs.get("traceloop.entity.name", attrs.get("gen_ai.tool.name")))
    _chunks(span, reading)
    return reading


def _turn(said: dict[str, Json], reading: Reading) -> None:
    """A streamed turn of the OpenAI Agents SDK, told whole as an agent's output where no span tells of the call."""
    answer, asked = said.get("model_response"), said.get("original_input")
    counted = answer.get("usage") if isinstance(answer, dict) else None
    if asked is None or not isinstance(counted, dict):
        return
    if counted.get("total_tokens"):  # it says 0 of what was not counted
        reading.usage, _ = provider.usage({key: from_json(item) for key, item in counted.items()})
    if reading.input is not None:
        reading.metadata["traceloop.entity.input"] = reading.input
    reading.input = messages(asked) if isinstance(asked, list) else asked


def _type(span: SpanView) -> ObservationType | None:
    attrs = span.attrs
    kind = attrs.get("traceloop.span.kind")
    if kind == "task" and attrs.get("gen_ai.operation.name") not in (None, "", "execute_task"):
        return None  # a task that says what it does
    found = KINDS.get(kind.lower()) if isinstance(kind, str) else None
    if _searches(span):
        return ObservationType.RETRIEVER
    if _embeds(span):
        return ObservationType.EMBEDDING
    request = attrs.get("llm.request.type")
    return found or (REQUESTS.get(request.lower()) if isinstance(request, str) else None)


def _searches(span: SpanView) -> bool:
    """A vector store was asked for what is near, as opposed to told to keep something.

    Of Qdrant and Pinecone only the span's name says which.
    """
    store = span.attrs.get("db.system")
    operation = span.attrs.get("db.operation", span.name.rpartition(".")[2]) if store else None
    if not isinstance(store, str) or not isinstance(operation, str) or store.lower() not in STORES:
        return False
    return operation.lower().startswith(SEARCHES)


def _embeds(span: SpanView) -> bool:
    """Every model that Bedrock runs and that is no chat is called a completion; which ones embed their names say."""
    model = span.attrs.get("gen_ai.request.model")
    operation = span.attrs.get("gen_ai.operation.name", span.attrs.get("llm.request.type"))
    return span.scope_name == BEDROCK and operation in COMPLETIONS and isinstance(model, str) and "embed" in model


def _documents(span: SpanView) -> Json:
    """What was found: one event each."""
    found = take(span, (FOUND,))
    documents = [
        {key.removeprefix(f"{FOUND}."): from_json(event.attrs.pop(key)) for key in list(event.attrs)} for event in found
    ]
    leave(span, found)
    return documents or None


def _parsed(spoken: Json) -> Json:
    """Content of several parts is JSON in a string; Bedrock's texts say who speaks in place of that it is content."""
    if not isinstance(spoken, list):
        return spoken
    return [
        {**item, "content": from_json(item["content"])}
        if isinstance(item, dict) and str(item.get("content", ""))[:2] in ("[{", "[ ")
        else {"role": "user", "content": item["user"]}
        if isinstance(item, dict) and item.keys() == {"user"}
        else item
        for item in spoken
    ]


def _opened(tool: Json) -> Json:
    return {key: from_json(item) for key, item in tool.items()} if isinstance(tool, dict) else tool


def _chunks(span: SpanView, reading: Reading) -> None:
    """One empty event for each chunk of a stream: the first is the first token, their number is all the rest say."""
    chunks = [event for event in span.events if event.name in CHUNKS]
    if not chunks:
        return
    span.events = [event for event in span.events if event.name not in CHUNKS or event.attrs]
    reading.metadata["stream_chunks"] = len(chunks)
    reading.completion_start_ns = within(span, min(event.time_ns for event in chunks))


DIALECT = Dialect(
    name="traceloop",
    scopes=STORE_SCOPES,
    marks=("traceloop.*", "gen_ai.prompt.0.*", "gen_ai.completion.0.*", "llm.request.type", FOUND, *sorted(CHUNKS)),
    rank=40,
    read=read,
    checked="traceloop-sdk 0.33.12 to 0.62.4, instrumentations 0.30.0 to 0.52.6 (Python), 0.27.0 (JavaScript)",
)
