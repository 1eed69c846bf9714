"""MLflow tracing: `mlflow.*`, where every value is JSON once more.

https://mlflow.org/docs/latest/genai/tracing/opentelemetry/
Its autologging of providers and frameworks was run, where `checked` names them.
"""

import re
from typing import Any

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate import provider, table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.span import ERROR_CODE, SpanView
from otel_bridge.translate.values import finite, from_json, identifier, named, nested, text, value, whole, within

TYPES = {
    "LLM": ObservationType.GENERATION,
    "CHAT_MODEL": ObservationType.GENERATION,
    "EMBEDDING": ObservationType.EMBEDDING,
    "CHAIN": ObservationType.CHAIN,
    "WORKFLOW": ObservationType.CHAIN,
    "TASK": ObservationType.CHAIN,
    "AGENT": ObservationType.AGENT,
    "TOOL": ObservationType.TOOL,
    "RETRIEVER": ObservationType.RETRIEVER,
    "RERANKER": ObservationType.RETRIEVER,
    "GUARDRAIL": ObservationType.GUARDRAIL,
    "EVALUATOR": ObservationType.EVALUATOR,
}
CHUNK = "mlflow.chunk.item."
COUNTED = frozenset(
    {
        *("input_tokens", "output_tokens", "total_tokens"),
        *("cache_read_input_tokens", "cache_creation_input_tokens"),
    }
)
ASKED = ("prompt_tokens", "input_tokens", "prompt_token_count")  # OpenAI, Anthropic, Gemini
WRITTEN_1H = "cache_creation_input_tokens_above_1hr"
PREPARES = re.compile(r"\b_prepare_")  # LlamaIndex calls an LLM span what only puts a request together
DEBUG, WARNING, ERROR = 10, 30, 40


def read(span: SpanView) -> Reading:
    """Read a span of MLflow's own; everything in it is decoded, also what is left for the metadata."""
    attrs = span.attrs
    for key, raw in attrs.items():
        attrs[key] = from_json(raw)
    kind = attrs.get("mlflow.spanType", attrs.get("gen_ai.operation.name"))  # the one or, if asked to, the other
    reading = Reading(type=TYPES.get(kind) if isinstance(kind, str) else None)
    if reading.type is ObservationType.GENERATION and PREPARES.search(span.name):
        reading.type = ObservationType.CHAIN
    reading.model = text(attrs, "mlflow.llm.model")
    reading.session_id = identifier(attrs, "mlflow.trace.session")
    reading.user_id = identifier(attrs, "mlflow.trace.user")
    answer = attrs.get("mlflow.spanOutputs")
    reading.usage = _usage(attrs, answer)
    reading.cost = _cost(attrs)
    match reading.type:
        case ObservationType.GENERATION:
            _call(attrs, reading)
        case ObservationType.EMBEDDING:
            _embedding(attrs, reading)
        case _:
            reading.input, reading.output = value(attrs, "mlflow.spanInputs"), value(attrs, "mlflow.spanOutputs")
    if reading.type is ObservationType.TOOL:
        reading.name = named(span, attrs.get("name"))  # LlamaIndex's tools: the span has the name of the class
    _metadata(attrs, reading)
    if not span.parent_id:
        reading.trace_metadata = nested(attrs, "mlflow.traceTag.")
    _prompt(attrs, reading)
    _level(span, reading)
    chunks = [event.time_ns for event in span.events if event.name.startswith(CHUNK)]
    reading.completion_start_ns = within(span, min(chunks)) if chunks else None
    return reading


def _usage(attrs: dict[str, Any], answer: Json) -> Usage | None:
    """MLflow counts cached tokens inside the input, of whatever provider; thoughts only the response tells.

    Of some providers, and in older releases of all, it doesn't count the cached ones; then the response tells of them
    as well, and counts as its provider does. Of embeddings and OpenAI's completions it counts nothing, but the response
    does.
    """
    said, raw = attrs.get("mlflow.chat.tokenUsage"), _counted(attrs, answer)
    if not isinstance(said, dict):
        if raw and attrs.get("mlflow.spanType") == "EMBEDDING":
            return Usage.inclusive(whole(raw.get("prompt_tokens")), None)
        return provider.usage(raw)[0] if raw and attrs.get("mlflow.spanType") == "LLM" else None
    counted = whole(said.get("input_tokens"))
    told = provider.parts(raw) if raw else {}
    read, written = whole(said.get("cache_read_input_tokens")), whole(said.get("cache_creation_input_tokens"))
    beside = False
    if read is None and written is None and (usage := provider.usage(_of_langchain(answer))[0]) is not None:
        return usage  # MLflow adds up what each of several answers says of all
    asked = next((raw[key] for key in ASKED if key in raw), None)
    if read is None and written is None and whole(asked) == counted:
        read, written = told.get("cache_read"), told.get("cache_write")
        beside = provider.beside(raw)
    usage = (Usage.exclusive if beside else Usage.inclusive)(
        counted,
        whole(said.get("output_tokens")),
        cache_read=read,
        cache_write=written,
        reasoning=told.get("reasoning"),
        total=None if beside else whole(said.get("total_tokens")),
    )
    if usage is not None:
        del attrs["mlflow.chat.tokenUsage"]
        rest = {key: item for key, item in said.items() if key not in COUNTED and item}
        if provider.split_1h(usage, whole(rest.get(WRITTEN_1H))):
            del rest[WRITTEN_1H]
        if rest:
            attrs["mlflow.chat.tokenUsage"] = rest
    return usage


def _of_langchain(answer: Json) -> Json:
    """The provider's counts as LangChain keeps them."""
    about = answer.get("llm_output") if isinstance(answer, dict) else None
    return (about.get("token_usage") or about.get("usage")) if isinstance(about, dict) else None


def _counted(attrs: dict[str, Any], answer: Json) -> dict[str, Any]:
    """The provider's own counts: in its response, or where LlamaIndex's has them."""
    found = (answer.get("usage") or answer.get("usage_metadata")) if isinstance(answer, dict) else None
    found = attrs.get("usage") if found is None else found
    return found if isinstance(found, dict) else {}


def _cost(attrs: dict[str, Any]) -> dict[str, float] | None:
    said = attrs.get("mlflow.llm.cost")
    if not isinstance(said, dict):
        return None
    found = {bucket: finite(said.get(f"{bucket}_cost")) for bucket in ("input", "output", "total")}
    cost = {bucket: dollars for bucket, dollars in found.items() if dollars is not None and dollars >= 0}
    if not any(cost.values()):
        return None
    del attrs["mlflow.llm.cost"]
    cost.setdefault("total", sum(cost.values()))
    return cost


def _call(attrs: dict[str, Any], reading: Reading) -> None:
    """Request and response of a provider, as they were; the request's parameters come as attributes once more."""
    asked, tools, rest = provider.request(value(attrs, "mlflow.spanInputs"))
    _answer(value(attrs, "mlflow.spanOutputs"), reading)
    known = attrs.pop("mlflow.chat.tools", None)
    if tools is not None and known is not None and known != tools:
        reading.metadata["mlflow.chat.tools"] = known
    tools = known if tools is None else tools
    reading.input = with_tools(asked, tools)
    for key, item in (*rest.items(), ("tools", tools)):
        if key in attrs and attrs[key] in (item, str(item), str(item).lower()):
            del attrs[key]
    if attrs.get("instructions") not in (None, "") and isinstance(asked, list):
        first = asked[0] if asked else None
        if isinstance(first, dict) and first.get("content") == attrs["instructions"]:
            del attrs["instructions"]
    model = rest.pop("model", rest.pop("modelId", None))
    if reading.model is None and model is None and isinstance(invoked := attrs.get("invocation_params"), dict):
        model = invoked.get("model") or invoked.get("model_name")  # LangChain's, in releases that name no model
    if reading.model is None and isinstance(model, str) and model:
        reading.model = model
    elif model is not None and model != reading.model:
        reading.metadata["requested_model"] = model
    if attrs.get("model") in (reading.model, model):
        attrs.pop("model", None)
    if not rest and isinstance(invoked := attrs.get("invocation_params"), dict):
        del attrs["invocation_params"]
        said = {"model": reading.model, "model_name": reading.model, "tools": tools and invoked.get("tools")}
        rest = {key: item for key, item in invoked.items() if item is not None and item != said.get(key)}
    if isinstance(user := rest.get("user"), str) and user and reading.user_id is None:
        reading.user_id = user  # whom OpenAI's request names as its user
    reading.model_parameters = rest or None


def _answer(raw: Json, reading: Reading) -> None:
    reading.output, about = provider.response(raw)
    if isinstance(raw, list):  # DSPy's: a text for each choice
        reading.output = messages(raw, "assistant")
    answered = raw.get("raw", raw) if isinstance(raw, dict) else None  # LlamaIndex keeps the provider's
    if isinstance(answered, dict) and isinstance(answered.get("id"), str):
        reading.response_id = answered["id"]
    if about:
        reading.metadata["response"] = about


def _embedding(attrs: dict[str, Any], reading: Reading) -> None:
    asked, answer = value(attrs, "mlflow.spanInputs"), value(attrs, "mlflow.spanOutputs")
    if isinstance(asked, dict) and "input" in asked:
        rest = dict(asked)
        asked = rest.pop("input")
        model = rest.pop("model", None)
        if reading.model is None and isinstance(model, str) and model:
            reading.model = model
        elif model is not None and model != reading.model:
            rest["model"] = model
        reading.model_parameters = rest or None
        if attrs.get("model") in (reading.model, model):
            attrs.pop("model", None)
    reading.input, reading.output = asked, answer


def _metadata(attrs: dict[str, Any], reading: Reading) -> None:
    """What the user of LangChain gave along."""
    said = attrs.get("metadata")
    if isinstance(said, dict):
        del attrs["metadata"]
        reading.metadata |= said
        reading.session_id = reading.session_id or table.session(dict(said))
        reading.user_id = reading.user_id or table.user(dict(said))


def _prompt(attrs: dict[str, Any], reading: Reading) -> None:
    """The prompt that was loaded, if it was one."""
    linked = attrs.get("mlflow.linkedPrompts")
    first = linked[0] if isinstance(linked, list) and len(linked) == 1 else None
    if isinstance(first, dict) and first.keys() == {"name", "version"} and isinstance(first["name"], str):
        version = whole(first["version"])
        if first["name"] and version is not None:
            reading.prompt_name, reading.prompt_version = first["name"], version
            del attrs["mlflow.linkedPrompts"]


def _level(span: SpanView, reading: Reading) -> None:
    """How important MLflow finds the span; whether it failed its status says."""
    importance = whole(span.attrs.get("mlflow.spanLogLevel"))
    if importance is None or span.status_code == ERROR_CODE:
        return
    if importance <= DEBUG:
        reading.noise = True if span.parent_id else None
    elif WARNING <= importance < ERROR and not any(event.name == "exception" for event in span.events):
        reading.level = Level.WARNING


DIALECT = Dialect(
    name="mlflow",
    scopes=("mlflow*",),
    marks=("mlflow.*",),
    rank=10,
    read=read,
    checked="mlflow 3.2.0, 3.6.0 and 3.17.2 "
    "(OpenAI, Anthropic, Gemini, Groq, Mistral, Bedrock, LangChain, LlamaIndex, DSPy)",
)
