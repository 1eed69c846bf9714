"""Claude Code, also within the Claude Agent SDK: spans `claude_code.*` if its beta traces are on, log records always.

With traces the records of a request stand at its turn's span, and are handed to the request's own; without, no record
names a trace, and what spans would tell is read out of the records: a turn is a trace, told apart by `prompt.id`.
https://code.claude.com/docs/en/monitoring-usage
"""

from typing import Any

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.dialects.claude_code.requests import (
    ENDS,
    REDACTED,
    REQUEST,
    SENT,
    FreeSpans,
    answer_of,
    opened,
    requests_of,
)
from otel_bridge.translate.dialects.claude_code.turns import ANSWER, PROMPT, SESSION, TOOL, key_of, spans_of
from otel_bridge.translate.messages import with_tools
from otel_bridge.translate.provider import request, response
from otel_bridge.translate.records import absorb, in_order, take, take_logs
from otel_bridge.translate.span import LogView, SpanView
from otel_bridge.translate.values import as_text, count, from_json, text, value

SCOPE = "com.anthropic.claude_code"
HIDDEN = "mcp_tool"  # how records name every tool of an MCP server


def read(span: SpanView) -> Reading:
    """Read a span, whether it was sent or made out of records."""
    kind = _kind(span)
    reading = READERS.get(kind, _other)(span)
    given = span.resource.get("user.id")
    reading.user_id = given if isinstance(given, str) and given else text(span.attrs, "user.email", "user.account_uuid")
    if reading.user_id is not None and "user.id" in span.attrs:  # a hash of the installation
        reading.metadata["user.id"] = span.attrs.pop("user.id")
    return reading


def _kind(span: SpanView) -> str:
    kind = span.attrs.get("span.type")
    return kind if isinstance(kind, str) else span.name.removeprefix("claude_code.")


def _other(span: SpanView) -> Reading:
    """Parts of a tool's run, hooks, compaction: steps. Their tool and operation are those of the span above."""
    said = "gen_ai.operation.name" in span.attrs or not span.name.startswith("claude_code.")
    return Reading(type=None if said else ObservationType.SPAN, noise=True if span.name == SESSION else None)


def _turn(span: SpanView) -> Reading:
    _absorb(span, take_logs(span, PROMPT))
    attrs = span.attrs
    asked = _told(attrs, "user_prompt", "prompt", "prompt_text")
    return Reading(
        type=ObservationType.AGENT,
        input=value(attrs, "new_context") if asked is None else asked,
        output=_told(attrs, ANSWER),
    )


def _request(span: SpanView) -> Reading:
    records = take_logs(span, REQUEST)
    reading = Reading(type=ObservationType.GENERATION)
    sent = [log for log in records if log.name == SENT]
    for log in sent[:-1]:  # attempts that failed; the last was answered
        if log.attrs.get("body") == sent[-1].attrs.get("body"):
            log.attrs.pop("body", None)
    if sent:
        _asked(sent[-1], span, reading)
    for log in records:
        if log.name == "api_response_body" and reading.output is None:
            _answered(log, reading)
        for key in [key for key in log.attrs if key.startswith("body")]:  # both kinds of bodies say the same of them
            log.attrs[log.name.removeprefix("api_") + key[4:]] = log.attrs.pop(key)
        if log.name in ENDS and "duration_ms" in log.attrs:
            span.attrs["duration_api_ms"] = log.attrs.pop("duration_ms")
    _absorb(span, records)
    attrs = span.attrs
    said = _told(attrs, "response", "response.model_output")
    if reading.output is None and said is not None:
        reading.output = [{"role": "assistant", "content": said}]
    if reading.input is None:
        reading.input = value(attrs, "new_context")
    reading.model = text(attrs, "model", "gen_ai.request.model")
    reading.usage = Usage.exclusive(
        count(attrs, "input_tokens"),
        count(attrs, "output_tokens"),
        cache_read=count(attrs, "cache_read_tokens"),
        cache_write=count(attrs, "cache_creation_tokens"),
    )
    reading.cost = table.cost(attrs, ("cost_usd",), (), ())
    reading.response_id = as_text(attrs.get("request_id"))
    return reading


def _asked(log: LogView, span: SpanView, reading: Reading) -> None:
    """The body of a request, as far as it was kept."""
    asked, tools, rest = request(opened(log.attrs.pop("body", None)))
    reading.input = with_tools(asked, tools)
    if rest.get("model") in (log.attrs.get("model"), span.attrs.get("model")):
        rest.pop("model", None)
    if (user := rest.pop("metadata", None)) is not None:
        reading.metadata["request.metadata"] = user
    reading.model_parameters = rest or None


def _answered(log: LogView, reading: Reading) -> None:
    reading.output, rest = response(opened(log.attrs.pop("body", None)))
    if rest:
        reading.metadata["response"] = rest


def _told(attrs: dict[str, Any], *keys: str) -> str | None:
    """Pop a text, unless it was withheld."""
    for key in keys:
        if attrs.get(key) == REDACTED:
            return None
    return text(attrs, *keys)


def _tool(span: SpanView) -> Reading:
    outcome = take_logs(span, TOOL)
    for log in outcome:
        if "duration_ms" in log.attrs:
            log.attrs["duration_tool_ms"] = log.attrs.pop("duration_ms")
    _absorb(span, outcome)
    attrs = span.attrs
    given = from_json(attrs.get("tool_parameters"))
    server = given.get("mcp_server_name") if isinstance(given, dict) else None
    inner = given.get("mcp_tool_name") if isinstance(given, dict) else None
    name = attrs.get("tool_name")
    if server and inner and name == HIDDEN:
        name = f"mcp__{server}__{inner}"  # what the model calls it
    reading = Reading(
        type=ObservationType.TOOL,
        name=as_text(name),
        input=value(attrs, "tool_input", "mcp_args", "tool_parameters", "full_command", "file_path"),
        output=_printed(span),
    )
    if attrs.get("success") in (False, "false"):
        reading.level = Level.ERROR
        reading.status_message = text(attrs, "error", "error_type") or "the tool failed"
    elif attrs.get("decision") == "reject" and "success" not in attrs:
        reading.level = Level.WARNING
        reading.status_message = f"rejected by {attrs.get('source')}"
    return reading


def _printed(span: SpanView) -> Json:
    """What a tool gave back, which is an event whose attributes are the tool's own."""
    given = [event.attrs for event in take(span, ("tool.output",))]
    for attrs in given:
        if attrs.get("bash_command") == span.attrs.get("full_command"):
            attrs.pop("bash_command", None)
    shown = [attrs["output"] if attrs.keys() == {"output"} else attrs for attrs in given]
    return (from_json(shown[0]) if len(shown) == 1 else shown) if shown else None


def _absorb(span: SpanView, records: list[LogView]) -> None:
    for log in records:
        if log.body == f"claude_code.{log.name}":
            log.body = None
    absorb(span, records)


READERS = {"interaction": _turn, "llm_request": _request, "tool": _tool}


def _join(spans: dict[str, SpanView], logs: list[LogView]) -> None:
    """Records of requests and tools stand at the turn's span: hand them to those of the request and the tool."""
    mine = [span for span in spans.values() if span.scope_name.startswith(SCOPE)]
    tools = {called: span for span in mine if _kind(span) == "tool" and isinstance(called := _tool_id(span), str)}
    for log in logs:
        if log.name in TOOL and isinstance(called := _tool_id(log), str) and called in tools:
            log.span_id = tools[called].id
    free = FreeSpans([span for span in mine if _kind(span) == "llm_request"])
    for told in requests_of(in_order(logs)):
        home = told.records()[0].span_id
        if home in spans and _kind(spans[home]) == "interaction" and (answer := answer_of(told)):
            spans[home].attrs[ANSWER] = answer
        span = free.take(told)
        if span is not None:
            for log in told.records():
                log.span_id = span.id


def _tool_id(said: SpanView | LogView) -> Json:
    return said.attrs.get("tool_use_id")


DIALECT = Dialect(
    name="claude_code",
    scopes=(SCOPE, f"{SCOPE}.*"),
    read=read,
    join=_join,
    spans=spans_of,
    key=key_of,
    checked="Claude Code 1.0.60, 2.1.197, and 2.1.329 in claude-agent-sdk 0.2.186, with and without traces and content",
)
