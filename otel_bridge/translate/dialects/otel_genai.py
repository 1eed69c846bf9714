"""OpenTelemetry's conventions for generative AI, all versions: attributes, span events and log records `gen_ai.*`.

https://github.com/open-telemetry/semantic-conventions-genai
"""

from typing import Any

from otel_bridge.model import CALLS, Json, Level, ObservationType
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import instructed, message, messages, system, with_tools
from otel_bridge.translate.provider import request, response
from otel_bridge.translate.records import leave, take
from otel_bridge.translate.span import ERROR_CODE, LogView, SpanView
from otel_bridge.translate.values import as_text, from_json, named, nested, strings, text, value

TYPES = {
    "chat": ObservationType.GENERATION,
    "text_completion": ObservationType.GENERATION,
    "completion": ObservationType.GENERATION,
    "generate_content": ObservationType.GENERATION,
    "generate": ObservationType.GENERATION,
    "responses": ObservationType.GENERATION,
    "messages": ObservationType.GENERATION,
    "llm_call": ObservationType.GENERATION,
    "embeddings": ObservationType.EMBEDDING,
    "embedding": ObservationType.EMBEDDING,
    "execute_tool": ObservationType.TOOL,
    "tool_call": ObservationType.TOOL,
    "invoke_agent": ObservationType.AGENT,
    "create_agent": ObservationType.AGENT,
    "invoke_workflow": ObservationType.CHAIN,
    "plan": ObservationType.CHAIN,
    "agent_step": ObservationType.CHAIN,
    "execute_task": ObservationType.CHAIN,
    "retrieval": ObservationType.RETRIEVER,
    "search_memory": ObservationType.RETRIEVER,
    "rerank": ObservationType.RETRIEVER,
    "evaluate": ObservationType.EVALUATOR,
    "guardrail": ObservationType.GUARDRAIL,
}

AGENT, TOOL, RETRIEVER = ObservationType.AGENT, ObservationType.TOOL, ObservationType.RETRIEVER
DETAILS = ("gen_ai.client.inference.operation.details",)
SPEAKERS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"
MESSAGES = (*SPEAKERS, CHOICE)
FRAME = frozenset({"role", "tool_call_id", "finish_reason"})
PROVIDERS = frozenset({"gen_ai.system", "gen_ai.provider.name"})
BEDROCK = "aws.bedrock"
CONTENT = ("gen_ai.content.prompt", "gen_ai.content.completion")

SPOKEN = frozenset(
    {
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
        "gen_ai.prompt",
        "gen_ai.prompt_json",
        "gen_ai.completion",
        "gen_ai.completion_json",
    }
)
EVENT_CONTENT = "gen_ai.event.content"  # a message's body among the attributes of its event, as Azure's SDKs have it
TEXT_OR_CHAT = ("gen_ai.prompt", "gen_ai.completion")
PROMPT = ("gen_ai.prompt", "gen_ai.prompt_json")
COMPLETION = ("gen_ai.completion", "gen_ai.completion_json")
OLDEST = (*PROMPT, *COMPLETION)


def read(span: SpanView) -> Reading:
    """Read a span of any version of the conventions, with content wherever it came."""
    attrs = span.attrs
    reading = Reading()
    if span.events or span.logs:
        _join_details(span)
    kind = reading.type = _type(attrs)
    reading.response_id = as_text(attrs.get("gen_ai.response.id"))
    reading.model = _model(attrs, reading)
    if kind is None or kind is AGENT or kind in CALLS:
        reading.model_parameters = _parameters(attrs, reading) or None
    reading.usage = table.usage(
        attrs,
        beside=table.counts_beside(span),
        model=reading.model,
    )
    reading.cost = table.cost(attrs, table.COST_TOTAL, table.COST_INPUT, table.COST_OUTPUT)
    if kind is TOOL:
        _tool(span, reading)
    elif kind is RETRIEVER:
        reading.input = value(attrs, "gen_ai.retrieval.query.text", "gen_ai.retrieval.query")
        reading.output = value(attrs, "gen_ai.retrieval.documents")
    _content(span, reading)
    _finish(span, reading)
    return reading


def _join_details(span: SpanView) -> None:
    """Content and numbers that came in an event of the call: as if the span had said them itself."""
    taken = take(span, DETAILS)
    for said in taken:
        if isinstance(said, LogView) and isinstance(said.body, dict):
            said.attrs = said.body | said.attrs
            said.body = None
        for key, item in list(said.attrs.items()):
            if key not in span.attrs:
                span.attrs[key] = said.attrs.pop(key)
            elif from_json(span.attrs[key]) == from_json(item):
                del said.attrs[key]
    leave(span, taken)


def _type(attrs: dict[str, Any]) -> ObservationType | None:
    operation = attrs.get("gen_ai.operation.name")
    if isinstance(operation, str) and operation:
        return ObservationType.EMBEDDING if _embeds(attrs, operation) else TYPES.get(operation.lower())
    if "gen_ai.tool.name" in attrs or "gen_ai.tool.call.id" in attrs:
        return TOOL
    if "gen_ai.request.model" in attrs or "gen_ai.response.model" in attrs:
        return ObservationType.GENERATION
    return ObservationType.GENERATION if "gen_ai.usage.output_tokens" in attrs else None


def _embeds(attrs: dict[str, Any], operation: str) -> bool:
    """botocore's calls every model that Bedrock invokes a completion's; which ones embed their names say."""
    bedrock = operation == "text_completion" and BEDROCK in (attrs.get(key) for key in PROVIDERS)
    return bedrock and "embed" in str(attrs.get("gen_ai.request.model"))


def _model(attrs: dict[str, Any], reading: Reading) -> str | None:
    """What answered, else what was asked; the one that is not used stays."""
    for key in table.MODELS:
        named = attrs.get(key)
        unnamed = named == table.AZURE_NO_MODEL and attrs.get("gen_ai.system") == table.AZURE_INFERENCE
        if unnamed or named in table.NO_MODELS:
            reading.metadata[key] = attrs.pop(key)
    answered = text(attrs, "gen_ai.response.model")
    if answered is None:
        return text(attrs, "gen_ai.request.model")
    if attrs.get("gen_ai.request.model") == answered:
        del attrs["gen_ai.request.model"]
    elif "gen_ai.request.model" in attrs:
        reading.metadata["requested_model"] = attrs.pop("gen_ai.request.model")
    return answered


def _parameters(attrs: dict[str, Any], reading: Reading) -> dict[str, Any]:
    """All that is said of the request, without what some say there of other things."""
    found = nested(attrs, "gen_ai.request.")
    if "id" in found:
        reading.metadata["gen_ai.request.id"] = found.pop("id")
    if "instructions" in found and "gen_ai.system_instructions" not in attrs:
        attrs["gen_ai.system_instructions"] = found.pop("instructions")
    return found


def _tool(span: SpanView, reading: Reading) -> None:
    attrs = span.attrs
    reading.input = value(attrs, "gen_ai.tool.call.arguments", "gen_ai.tool.arguments", "gen_ai.tool.input")
    reading.output = value(
        attrs, "gen_ai.tool.call.result", "gen_ai.tool.result", "gen_ai.tool.output", "gen_ai.tool.message"
    )
    reading.name = named(span, attrs.get("gen_ai.tool.name"))


def _content(span: SpanView, reading: Reading) -> None:
    """Messages from attributes, else from events, else in the oldest spellings."""
    attrs = span.attrs
    told = span.events or span.logs
    if not told and attrs.keys().isdisjoint(SPOKEN):
        return
    spoken, answered = value(attrs, "gen_ai.input.messages"), value(attrs, "gen_ai.output.messages")
    heard, chosen = _spoken(span) if told else (None, None)
    prompt, tools, completion = None, None, None
    if told or not attrs.keys().isdisjoint(OLDEST):
        prompt, tools, completion = _oldest(span, reading)
    asked = _first(reading, "input", messages(spoken), heard, prompt)
    reading.output = _first(reading, "output", messages(answered, "assistant"), chosen, completion)
    instructions = value(attrs, "gen_ai.system_instructions")
    if isinstance(asked, dict) or (isinstance(asked, list) and asked and _is_system(asked[0])):
        if (said := system(instructions)) and not (isinstance(asked, list) and asked[: len(said)] == said):
            reading.metadata["gen_ai.system_instructions"] = said
    else:
        asked = instructed(asked, instructions)
    offered = None if reading.type is TOOL else value(attrs, "gen_ai.tool.definitions") or tools
    reading.input = with_tools(asked, offered)


def _first(reading: Reading, field: str, *found: Json) -> Json:
    """What the reading has, else the first that was found; what others say otherwise goes to the metadata."""
    said = [item for item in (getattr(reading, field), *found) if item is not None and item != []]
    if len(said) > 1 and (others := [item for item in said[1:] if item != said[0]]):
        reading.metadata[f"gen_ai.{field}"] = others[0] if len(others) == 1 else others
    return said[0] if said else None


def _is_system(spoken: Json) -> bool:
    return isinstance(spoken, dict) and spoken.get("role") in ("system", "developer")


def _spoken(span: SpanView) -> tuple[list[Json], list[Json]]:
    """Messages that came one by one, as span events or log records; those without content stay what they are."""
    asked: list[Json] = []
    reply: list[Json] = []
    for event in take(span, MESSAGES):
        attrs, body = event.attrs, event.body if isinstance(event, LogView) else None
        said = {
            key: from_json(item)
            for key, item in attrs.items()
            if key not in PROVIDERS or span.attrs.setdefault(key, item) != item
        }
        for whole in (said.pop(EVENT_CONTENT, None), body):
            if isinstance(whole, dict):
                _merge(said, whole)
            elif whole not in (None, ""):
                _merge(said, {"content": whole})
        if event.name == CHOICE:
            inner = said.pop("message", None)
            _merge(said, inner if isinstance(inner, dict) else {} if inner is None else {"content": inner})
            if said.get("index") == 0:
                del said["index"]
            spoken, into = message(said, "assistant"), reply
        else:
            if event.name == "gen_ai.tool.message" and "id" in said:
                said["tool_call_id"] = said.pop("id")
            spoken, into = message(said, SPEAKERS[event.name]), asked
        if any(_has_content(item) for item in spoken):
            into += spoken
        else:
            leave(span, [event])
    return asked, reply


def _merge(said: dict[str, Any], more: dict[str, Any]) -> None:
    """The inner word counts; an outer one that differs is kept beside it."""
    for key, item in more.items():
        if key in said and said[key] != item:
            outer = f"event.{key}"
            while outer in said:
                outer = f"event.{outer}"
            said[outer] = said[key]
        said[key] = item


def _has_content(spoken: Json) -> bool:
    return not isinstance(spoken, dict) or any(
        item not in (None, "", []) for key, item in spoken.items() if key not in FRAME
    )


def _oldest(span: SpanView, reading: Reading) -> tuple[Json, Json, Json]:
    """Version 1.26 and 1.27: whole prompts and completions, as attributes or as span events; what tools they offer.

    Gateways put the request and the response there as they passed them on.
    """
    taken = take(span, CONTENT)
    for event in taken:
        for key in TEXT_OR_CHAT:
            if key in event.attrs and key not in span.attrs:
                span.attrs[key] = event.attrs.pop(key)
    leave(span, taken)
    prompt, completion = value(span.attrs, *PROMPT), value(span.attrs, *COMPLETION)
    tools: Json = None
    if isinstance(prompt, dict) and isinstance(prompt.get("messages"), list):
        prompt, tools, sent = request(prompt)
        if sent:
            reading.metadata["request"] = sent
    if isinstance(completion, dict):
        completion, got = response(completion)
        if got:
            reading.metadata["response"] = got
    return (
        messages(prompt) if _chat(prompt) else prompt,
        tools,
        messages(completion, "assistant") if _chat(completion) else completion,
    )


def _chat(raw: Json) -> bool:
    """Messages, as opposed to any other JSON that somebody calls a prompt."""
    return isinstance(raw, list) and all(isinstance(item, dict) and ("role" in item or "parts" in item) for item in raw)


def _finish(span: SpanView, reading: Reading) -> None:
    """Of an answer that ended in an error: an agent's may be the error, a model's is what came before it."""
    attrs, reasons = span.attrs, None
    if "gen_ai.response.finish_reasons" in attrs and (reasons := strings(attrs["gen_ai.response.finish_reasons"])):
        attrs["gen_ai.response.finish_reasons"] = reasons
    last = reading.output[-1] if isinstance(reading.output, list) and reading.output else None
    ended = last.get("finish_reason") if isinstance(last, dict) else None
    if ended == "error" or (reasons and "error" in reasons):
        reading.level = Level.ERROR
        if span.status_code != ERROR_CODE and "error.type" not in attrs:  # else that says why
            said = last.get("content") if isinstance(last, dict) and reading.type not in CALLS else None
            reading.status_message = said if isinstance(said, str) and said else "the model finished with an error"


DIALECT = Dialect(
    name="otel_genai",
    marks=("gen_ai.*",),
    rank=50,
    read=read,
    checked="semantic conventions 1.26 to 1.44, semantic-conventions-genai of November 2026",
)
