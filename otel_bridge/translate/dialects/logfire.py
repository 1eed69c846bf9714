"""Logfire: `logfire.*` on its own spans and on those of others, its OpenAI and Anthropic integrations, Pydantic Evals.

https://logfire.pydantic.dev/docs/reference/
Feedback is read off the package's source.
"""

import re
from typing import Any

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate import provider, table
from otel_bridge.translate.dialect import Dialect, Judgement, Reading
from otel_bridge.translate.messages import events, messages, with_tools
from otel_bridge.translate.records import derived_key
from otel_bridge.translate.span import ERROR_CODE, SpanView
from otel_bridge.translate.values import as_text, count, from_json, strings, text, value, whole

OWN_SCOPE = "logfire"
NAMED = re.compile(r"\{([A-Za-z_]\w*)")
LLM_SCOPES = ("logfire.openai", "logfire.anthropic")
AGENTS_SCOPE = "logfire.openai_agents"
EVALS_SCOPE = "pydantic-evals"
WHO = dict.fromkeys((*table.SESSION, *table.USER))
STREAMED = "streaming response from "
SCRUBBED = "[Scrubbed due to "
DEBUG, WARNING, ERROR = 9, 13, 17

OPERATIONS = {
    "chat": ObservationType.GENERATION,
    "text_completion": ObservationType.GENERATION,
    "image_generation": ObservationType.GENERATION,
}
CALL_SPANS = {
    "Chat Completion with": ObservationType.GENERATION,
    "Completion with": ObservationType.GENERATION,
    "Message with": ObservationType.GENERATION,
    "Responses API with": ObservationType.GENERATION,
    "Image Generation with": ObservationType.GENERATION,
    "streaming response from": ObservationType.GENERATION,
    "Embedding Creation with": ObservationType.EMBEDDING,
}
"""Version 1 of the integrations says by its template alone what is done."""
AGENT_SPANS = {
    "Agent run:": ObservationType.AGENT,
    "Function:": ObservationType.TOOL,
    "Chat completion with": ObservationType.GENERATION,
    "Responses API": ObservationType.GENERATION,
    "Speech → Text": ObservationType.GENERATION,
    "Text → Speech": ObservationType.GENERATION,
    "Guardrail": ObservationType.GUARDRAIL,
    "OpenAI Agents trace": ObservationType.CHAIN,
    "Task:": ObservationType.CHAIN,
    "Turn": ObservationType.CHAIN,
}
EVAL_SPANS = {
    "evaluate ": ObservationType.CHAIN,
    "case:": ObservationType.CHAIN,
    "execute ": ObservationType.CHAIN,
    "evaluator:": ObservationType.EVALUATOR,
    "report_evaluator:": ObservationType.EVALUATOR,
}
JUDGED = ("assertions", "scores", "labels")


def read(span: SpanView) -> Reading:
    """Read what Logfire adds to any span, and its own integrations' spans."""
    attrs = span.attrs
    _decode(attrs)
    reading = Reading()
    _common(span, reading)
    if span.scope_name.startswith(LLM_SCOPES) and span.scope_name != AGENTS_SCOPE:
        _call(span, reading)
    elif span.scope_name == AGENTS_SCOPE:
        _agents(span, reading)
    elif span.scope_name == EVALS_SCOPE:
        _evals(span, reading)
    elif span.scope_name == OWN_SCOPE and attrs.get("logfire.span_type") == "span":
        reading.input = _arguments(attrs)
    if reading.output is None:
        reading.output = value(attrs, "return")
    if attrs.get("logfire.span_type") == "pending_span":
        reading.type, reading.noise, reading.call = ObservationType.SPAN, True, None
    return reading


def _decode(attrs: dict[str, Any]) -> None:
    """Open the attributes that Logfire wrote as JSON; which they are it says itself."""
    schema = from_json(attrs.get("logfire.json_schema"))
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for key, kind in properties.items() if isinstance(properties, dict) else ():
        if isinstance(kind, dict) and kind.get("type") in ("object", "array") and isinstance(attrs.get(key), str):
            if attrs[key] == "null":  # a call that failed has no output
                del attrs[key]
            else:
                attrs[key] = from_json(attrs[key])


def _common(span: SpanView, reading: Reading) -> None:
    attrs = span.attrs
    said = attrs.get("logfire.msg")
    if "{" in span.name and isinstance(said, str) and said:
        reading.name = text(attrs, "logfire.msg")
    for key in () if attrs.keys().isdisjoint(WHO.keys()) else WHO:
        if isinstance(attrs.get(key), str) and attrs[key].startswith(SCRUBBED):
            reading.metadata[key] = attrs.pop(key)
    tags = strings(attrs.get("logfire.tags"))
    if tags and "LLM" not in tags:  # what the integrations say of themselves is no tag of the user's
        reading.tags = tags
        del attrs["logfire.tags"]
    kind = attrs.get("logfire.span_type")
    if kind in ("log", "annotation") and "gen_ai.operation.name" not in attrs:
        reading.type = ObservationType.EVENT
        if kind == "annotation":
            reading.judgements = _feedback(span)
    _level(span, reading, said)


def _arguments(attrs: dict[str, Any]) -> dict[str, Any] | None:
    """What a program gave its span to be named after, as `@instrument` does with a function's arguments."""
    named = NAMED.findall(str(attrs.get("logfire.msg_template", "")))
    given = {key: attrs.pop(key) for key in named if key in attrs and key not in WHO}
    return given or None


def _level(span: SpanView, reading: Reading, said: Json) -> None:
    """How severe Logfire finds it; what was raised others tell."""
    severity = whole(span.attrs.get("logfire.level_num"))
    if severity is None or [event for event in span.events if event.name == "exception"]:
        return
    failure = span.attrs.get("error")
    reason = failure.get("message") if isinstance(failure, dict) else None
    message = next((item for item in (span.status_message, reason, said) if isinstance(item, str) and item), None)
    if severity >= ERROR:
        reading.level = Level.ERROR
        if message != said or "error.type" not in span.attrs:  # the name of the span is no reason where there is one
            reading.status_message = message
    elif span.status_code == ERROR_CODE:
        return
    elif severity >= WARNING:
        reading.level, reading.status_message = Level.WARNING, message
    elif severity < DEBUG:
        reading.noise = True


def _feedback(span: SpanView) -> list[Judgement] | None:
    """What somebody thought of the span above."""
    name, comment = (as_text(span.attrs.get(f"logfire.feedback.{key}")) for key in ("name", "comment"))
    thought = None if name is None else span.attrs.get(name)
    if name is None or not isinstance(thought, bool | int | float | str):
        return None
    return [Judgement(name, thought, comment, span.parent_id or None)]


def _call(span: SpanView, reading: Reading) -> None:
    """A call of a provider; one that was streamed comes as two spans, the second of which says what was answered."""
    attrs = span.attrs
    operation = attrs.get("gen_ai.operation.name")
    if isinstance(operation, str):
        reading.type = OPERATIONS.get(operation, reading.type)
    else:
        template = str(attrs.get("logfire.msg_template"))
        reading.type = next((kind for start, kind in CALL_SPANS.items() if template.startswith(start)), reading.type)
    reading.usage = _usage(attrs)
    reading.call = _streamed(span, reading)
    if reading.call and not span.parent_id and not span.name.startswith(STREAMED):
        reading.elsewhere = True  # without a span around them the other half, which says all, begins its own trace
    asked, tools, rest = provider.request(from_json(attrs.get("request_data")))
    if rest and asked is not None:
        del attrs["request_data"]
        known = value(attrs, "gen_ai.tool.definitions")
        reading.input = with_tools(messages(asked) if isinstance(asked, list) else asked, tools or known)
        reading.metadata["request_data"] = rest
        if "gen_ai.request.model" not in attrs and isinstance(rest.get("model"), str):
            reading.model = rest["model"] or None
    _spoken(attrs, reading)
    _answer(attrs, reading)


def _usage(attrs: dict[str, Any]) -> Usage | None:
    """The counts are the conventions', what was cached stands in the provider's own, or in the Agents SDK's.

    Version 1 has the provider's in its answer, sometimes alone.
    """
    raw = from_json(attrs.get("gen_ai.usage.raw"))
    if raw is not None:
        attrs["gen_ai.usage.raw"] = raw
    elif isinstance(answer := from_json(attrs.get("response_data")), dict) and isinstance(answer.get("usage"), dict):
        raw = answer["usage"]
        if attrs.keys().isdisjoint(table.SAID_OF_TOKENS):
            return provider.usage(raw)[0]
    else:
        raw = attrs.get("usage")
    if not isinstance(raw, dict):
        return table.usage(attrs, beside=False)
    counted_in, counted_out = count(attrs, *table.INPUT_TOKENS), count(attrs, *table.OUTPUT_TOKENS)
    beside = provider.beside(raw) and whole(raw.get("input_tokens")) == counted_in
    return (Usage.exclusive if beside else Usage.inclusive)(counted_in, counted_out, **provider.parts(raw))


def _streamed(span: SpanView, reading: Reading) -> str | None:
    """What both halves of a streamed call say, and no other span: a call that got no answer has no other half."""
    attrs = span.attrs
    operation, asked = attrs.get("gen_ai.operation.name"), from_json(attrs.get("request_data"))
    first = isinstance(asked, dict) and asked.get("stream") is True  # of version 1, which says no operation
    if operation not in ("chat", "text_completion") and not (operation is None and first):
        return None
    second = span.name.startswith(STREAMED)  # also of a stream that broke off
    if span.status_code == ERROR_CODE and not second:
        return None
    answered = "gen_ai.response.id" in attrs or "gen_ai.output.messages" in attrs or "response_data" in attrs
    if not second and (answered or reading.usage is not None):
        return None
    said = [
        from_json(attrs.get(key)) for key in ("request_data", "gen_ai.input.messages", "gen_ai.system_instructions")
    ]
    return derived_key("logfire", span.parent_id, *map(str, said))


def _spoken(attrs: dict[str, Any], reading: Reading) -> None:
    """Version 1 of the Responses API: questions and answers in one list of events, the answers last."""
    raw = from_json(attrs.get("events"))
    asked, answered, names = events(raw)
    if not asked and not answered:
        return
    attrs["events"] = names
    first = len(asked)
    while first and isinstance(last := asked[first - 1], dict) and last.get("role") == "assistant":
        first -= 1
    if reading.input is None:
        reading.input = asked[:first] or None
        reading.output = [*asked[first:], *answered] or None
    else:
        reading.metadata["events"] = raw


def _answer(attrs: dict[str, Any], reading: Reading) -> None:
    """Version 1: `response_data`, with a message, a text, images, or what was streamed put together."""
    raw = from_json(attrs.get("response_data"))
    if not isinstance(raw, dict):
        return
    rest = dict(raw)
    spoken: Json = None
    if isinstance(raw.get("message"), dict):
        spoken = messages(rest.pop("message"), "assistant")
    else:
        for key in ("text", "combined_chunk_content"):
            if isinstance(raw.get(key), str):
                spoken = [{"role": "assistant", "content": rest.pop(key)}]
                break
    if spoken is None and raw.get("images") is not None:
        spoken = rest.pop("images")
    if spoken is not None and reading.output is None:
        reading.output = spoken
        del attrs["response_data"]
        if rest:
            reading.metadata["response_data"] = rest


def _agents(span: SpanView, reading: Reading) -> None:
    """The OpenAI Agents SDK, told through Logfire."""
    attrs = span.attrs
    template = attrs.get("logfire.msg_template")
    template = template if isinstance(template, str) else span.name
    reading.type = next((kind for start, kind in AGENT_SPANS.items() if template.startswith(start)), None)
    _group(attrs, reading)
    if reading.type is ObservationType.GENERATION:
        reading.usage = _usage(attrs)
        answer = from_json(attrs.get("response"))
        if isinstance(answer, dict):
            attrs["response"] = answer
            reading.response_id = answer["id"] if isinstance(answer.get("id"), str) else None
        request = from_json(attrs.get("request_data"))
        if isinstance(request, dict) and isinstance(request.get("messages"), list):
            attrs["request_data"] = {key: item for key, item in request.items() if key != "messages"}
            attrs["events"] = [
                {"event.name": f"gen_ai.{item.get('role', 'user')}.message", **item} if isinstance(item, dict) else item
                for item in request["messages"]
            ]
        _spoken(attrs, reading)
    elif reading.type is ObservationType.TOOL:
        name = attrs.get("name")
        if isinstance(name, str) and name:
            reading.metadata["logfire.msg"], reading.name = reading.name, name


def _group(attrs: dict[str, Any], reading: Reading) -> None:
    """The group of a trace, which is its session, and the user's metadata, which may say who."""
    if not str(attrs.get("group_id")).startswith(SCRUBBED):
        reading.session_id = text(attrs, "group_id")
    said = from_json(attrs.get("metadata"))
    if isinstance(said, dict):
        reading.session_id = reading.session_id or table.session(dict(said))
        reading.user_id = table.user(dict(said))


def _evals(span: SpanView, reading: Reading) -> None:
    """A run over a data set: one span for each case, which says what its evaluators found."""
    attrs = span.attrs
    reading.type = next((kind for start, kind in EVAL_SPANS.items() if span.name.startswith(start)), reading.type)
    if "inputs" in attrs:
        reading.input, reading.output = value(attrs, "inputs"), value(attrs, "output")
    judged: list[Judgement] = []
    for kind in JUDGED:
        found = from_json(attrs.get(kind))
        for name, said in found.items() if isinstance(found, dict) else ():
            if name and isinstance(said, dict) and isinstance(said.get("value"), bool | int | float | str):
                reason = said.get("reason")
                about = {key: item for key, item in said.items() if key not in ("name", "value", "reason") and item}
                judged.append(
                    Judgement(name, said["value"], reason if isinstance(reason, str) else None, metadata=about)
                )
    rate = attrs.get("assertion_pass_rate")
    if isinstance(rate, int | float) and not isinstance(rate, bool):
        judged.append(Judgement("assertion_pass_rate", rate))
    reading.judgements = judged or None


DIALECT = Dialect(
    name="logfire",
    scopes=("logfire*", "pydantic-evals*"),
    marks=("logfire.*",),
    rank=8,
    read=read,
    checked="logfire 3.14.0, 4.0.0, 4.10.0, 5.2.0 and 6.0.0b8 (OpenAI, Anthropic, OpenAI Agents), "
    "pydantic-evals 2.62.0",
)
