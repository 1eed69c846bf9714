"""Claude Code, also within the Claude Agent SDK: spans `claude_code.*` if its beta traces are on, log records always.

With traces the records of a request stand at its turn's span, and are handed to the request's own; without, no record
names a trace, and what spans would tell is read out of the records: a turn is a trace, told apart by `prompt.id`.
https://code.claude.com/docs/en/monitoring-usage
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import with_tools
from otel_bridge.translate.provider import request, response
from otel_bridge.translate.records import (
    absorb,
    began_ns,
    derived_key,
    in_order,
    made_of,
    nearest,
    root_of,
    take,
    take_logs,
)
from otel_bridge.translate.span import ERROR_CODE, LogView, SpanView
from otel_bridge.translate.subagents import Step, nest
from otel_bridge.translate.values import MS, as_text, count, finite, from_json, text, value, whole

SCOPE = "com.anthropic.claude_code"
SLACK_NS = 5_000 * MS  # a request's record comes when the span has just ended, on another clock's milliseconds
MAX_NEAR = 32  # how many spans before and after a record are compared: more requests never end at once

SENT = "api_request_body"
ENDS = ("api_request", "api_error", "api_refusal")
ANSWERS = ("assistant_response", "api_response_body", "api_retries_exhausted")
REQUEST = (SENT, *ENDS, *ANSWERS)
TOOL = ("tool_decision", "tool_result")
PROMPT = ("user_prompt",)
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens")
COMMON = ("session.id", "user.id", "user.email", "user.account_uuid", "organization.id", "terminal.type", "prompt.id")

TURN = "claude_code.interaction"
SESSION = "claude_code.session"
REQUEST_SPAN = "claude_code.llm_request"
AGENT_TOOLS = ("Agent", "Task")
SUBAGENT = "agent:"  # how a subagent's requests name their source
UNNAMED = ("custom", "third-party", "")  # for kinds of subagents that are not told

REDACTED = "<REDACTED>"
HIDDEN = "mcp_tool"  # how records name every tool of an MCP server
CUT = "\n\n[TRUNCATED"
ANSWER = "claude_code.answer"  # what a turn ended with, put there by `_join` and `_spans`


@dataclass(slots=True)
class Request:
    """The records of one request to the model: bodies sent, one for each attempt; its end; what was answered."""

    end: LogView | None
    sent: list[LogView]
    answers: list[LogView] = field(default_factory=list)

    def records(self) -> list[LogView]:
        return [*self.sent, *([] if self.end is None else [self.end]), *self.answers]


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
    asked, tools, rest = request(_opened(log.attrs.pop("body", None)))
    reading.input = with_tools(asked, tools)
    if rest.get("model") in (log.attrs.get("model"), span.attrs.get("model")):
        rest.pop("model", None)
    if (user := rest.pop("metadata", None)) is not None:
        reading.metadata["request.metadata"] = user
    reading.model_parameters = rest or None


def _answered(log: LogView, reading: Reading) -> None:
    reading.output, rest = response(_opened(log.attrs.pop("body", None)))
    if rest:
        reading.metadata["response"] = rest


def _opened(raw: Json) -> Json:
    """A body, which is cut off above 60 KB: then what comes before the cut."""
    if not isinstance(raw, str):
        return raw
    found = raw if raw.startswith("{") and not raw.endswith("}") else from_json(raw)
    if not isinstance(found, str) or not raw.startswith("{"):
        return found
    from pydantic_core import from_json as from_partial  # loaded where bodies are logged

    try:
        opened: Json = from_partial(raw.rpartition(CUT)[0] or raw, allow_partial="trailing-strings")
        orjson.dumps(opened)
    except (ValueError, TypeError):  # what cannot be written again, as numbers of more than 64 bits, stays as it was
        return raw
    return opened


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


# Records and the requests that they are about.


def _requests(logs: Iterable[LogView]) -> list[Request]:
    """The requests that records tell of, in the order in which they ended; those without an end come last."""
    bodies: list[LogView] = []
    sources: dict[str, _Source] = {}
    found: list[Request] = []
    for log in logs:
        if log.name not in REQUEST:
            continue
        source = sources.setdefault(str((log.attrs.get("model"), log.attrs.get("query_source"))), _Source())
        if log.name == SENT:
            bodies.append(log)
            source.waiting.append(log)
        elif log.name in ENDS:
            source.last = source.ended[_id(log)] = len(found)
            found.append(Request(log, _attempts(log, source.waiting)))
        elif (place := _answering(log, source)) is not None:
            found[place].answers.append(log)
    told_of = {id(body) for told in found for body in told.sent}
    return [*found, *(Request(None, [body]) for body in bodies if id(body) not in told_of)]


@dataclass(slots=True)
class _Source:
    """What is known of one model asked from one place: bodies without an end, and which requests ended last."""

    waiting: list[LogView] = field(default_factory=list)
    ended: dict[str | None, int] = field(default_factory=dict)
    last: int | None = None


def _attempts(end: LogView, waiting: list[LogView]) -> list[LogView]:
    """Take the bodies sent for a request which ended: the one nearest to its start, and the attempts before."""
    last = nearest(waiting, began_ns(end), lambda log: log.time_ns)
    if last is None:
        return []
    tries = slice(max(0, last + 1 - (whole(end.attrs.get("attempt")) or 1)), last + 1)
    sent = waiting[tries]
    del waiting[tries]
    return sent


def _answering(log: LogView, source: _Source) -> int | None:
    """Which request was answered: the last that says the same id or none."""
    named = _id(log)
    if named is None:
        return source.last
    return max((source.ended[key] for key in (named, None) if key in source.ended), default=None)


def _id(said: SpanView | LogView) -> str | None:
    named = said.attrs.get("request_id")
    return str(named) if named else None


def _join(spans: dict[str, SpanView], logs: list[LogView]) -> None:
    """Records of requests and tools stand at the turn's span: hand them to those of the request and the tool."""
    mine = [span for span in spans.values() if span.scope_name.startswith(SCOPE)]
    tools = {called: span for span in mine if _kind(span) == "tool" and isinstance(called := _tool_id(span), str)}
    for log in logs:
        if log.name in TOOL and isinstance(called := _tool_id(log), str) and called in tools:
            log.span_id = tools[called].id
    free = _Free([span for span in mine if _kind(span) == "llm_request"])
    for told in _requests(in_order(logs)):
        home = told.records()[0].span_id
        if home in spans and _kind(spans[home]) == "interaction" and (answer := _answer(told)):
            spans[home].attrs[ANSWER] = answer
        span = free.take(told)
        if span is not None:
            for log in told.records():
                log.span_id = span.id


def _tool_id(said: SpanView | LogView) -> Json:
    return said.attrs.get("tool_use_id")


class _Free:
    """The spans of requests that no records were handed to yet, in order of their beginnings and of their ends."""

    def __init__(self, spans: list[SpanView]) -> None:
        self._begun = sorted(spans, key=_begun)
        self._ended = sorted(spans, key=_ended)
        self._named: dict[str, list[SpanView]] = {}
        self._taken: set[str] = set()
        for span in reversed(self._begun):
            if named := _id(span):
                self._named.setdefault(named, []).append(span)

    def take(self, told: Request) -> SpanView | None:
        """The span of a request: by its id, else by what it counted and when."""
        span = self._open(told.sent[-1]) if told.end is None else self._by_id(told.end) or self._closed(told.end)
        if span is not None:
            self._taken.add(span.id)
            del self._begun[bisect_left(self._begun, _begun(span), key=_begun)]
            del self._ended[bisect_left(self._ended, _ended(span), key=_ended)]
        return span

    def _by_id(self, end: LogView) -> SpanView | None:
        spans = self._named.get(_id(end) or "", [])
        while spans and spans[-1].id in self._taken:
            spans.pop()
        return spans[-1] if spans else None

    def _closed(self, end: LogView) -> SpanView | None:
        at = bisect_left(self._ended, (end.time_ns, ""), key=_ended)
        near = [
            span
            for span in self._ended[max(0, at - MAX_NEAR) : at + MAX_NEAR]
            if abs(span.end_ns - end.time_ns) <= SLACK_NS and _same(end, span)
        ]
        return min(near, key=lambda span: abs(span.end_ns - end.time_ns), default=None)

    def _open(self, sent: LogView) -> SpanView | None:
        at = bisect_left(self._begun, (sent.time_ns, ""), key=_begun)
        near = [
            span
            for span in self._begun[max(0, at - MAX_NEAR) : at + MAX_NEAR]
            if span.start_ns - SLACK_NS <= sent.time_ns <= span.end_ns and _same(sent, span)
        ]
        return min(near, key=lambda span: abs(span.start_ns - sent.time_ns), default=None)


def _begun(span: SpanView) -> tuple[int, str]:
    return span.start_ns, span.id


def _ended(span: SpanView) -> tuple[int, str]:
    return span.end_ns, span.id


def _same(log: LogView, span: SpanView) -> bool:
    """Neither says anything else than the other of model, tokens and id."""
    return all(
        key not in log.attrs or key not in span.attrs or str(log.attrs[key]) == str(span.attrs[key])
        for key in ("model", "request_id", *TOKENS)
    )


def _answer(told: Request) -> str | None:
    """The text that a request of the main thread was answered with."""
    source = told.records()[0].attrs.get("query_source")
    if isinstance(source, str) and source != "sdk" and not source.startswith("repl_main_thread"):
        return None
    for log in told.answers:
        said = as_text(log.attrs.get("response"))
        if said not in (None, REDACTED):
            return said
    for log in told.answers:
        spoken, _ = response(_opened(log.attrs.get("body")))
        for part in spoken if isinstance(spoken, list) else []:
            if isinstance(part, dict) and isinstance(content := part.get("content"), str):
                return content
    return None


# Records alone.


def _key(log: LogView) -> str | None:
    """A turn by its session and prompt; what belongs to no prompt by its session alone."""
    session, prompt = log.attrs.get("session.id"), log.attrs.get("prompt.id")
    if not session and not prompt:
        return None
    return derived_key("claude_code", str(session or ""), str(prompt or ""))


def _spans(logs: list[LogView]) -> list[SpanView]:
    """A turn, its requests and tools; what else happened stays with the turn."""
    turns: dict[str, list[LogView]] = {}
    for log in in_order(logs):
        turns.setdefault(_key(log) or "", []).append(log)
    logs[:] = turns.pop("", [])
    return [span for key, records in turns.items() for span in _turn_of(key, records)]


def _turn_of(key: str, logs: list[LogView]) -> list[SpanView]:
    first = logs[0]
    prompted = "prompt.id" in first.attrs or any(log.name in PROMPT for log in logs)  # 1.0 gives prompts no id
    root = root_of(first, TURN if prompted else SESSION, key)
    root.attrs = {name: first.attrs[name] for name in COMMON if name in first.attrs}
    requests = [told for told in _requests(logs) if told.end is not None]
    made = [_request_of(told, root) for told in requests]
    made += _tools_of(logs, root)
    if any(told.end is not None and _asker(told.end) is not None for told in requests):
        nest(map(_step, made), root)
    used = {id(log) for span in made for log in span.logs}
    root.logs = [log for log in logs if id(log) not in used]
    root.start_ns = min([log.time_ns for log in logs] + [span.start_ns for span in made])
    root.end_ns = max(log.time_ns for log in logs)
    for told in requests:
        if answer := _answer(told):
            root.attrs[ANSWER] = answer
    if requests:
        root.extra = _totals(requests, root)
        last = made[len(requests) - 1]
        root.status_code, root.status_message = last.status_code, last.status_message
    return [root, *made]


def _request_of(told: Request, root: SpanView) -> SpanView:
    end = told.end or told.sent[-1]
    span = made_of(end, REQUEST_SPAN, root.id)
    span.logs = told.records()
    span.start_ns = min([span.start_ns, *(log.time_ns for log in told.sent)])
    if end.name != "api_request":
        span.status_code, span.status_message = ERROR_CODE, str(end.attrs.get("error") or end.name)
    return span


def _tools_of(logs: list[LogView], root: SpanView) -> list[SpanView]:
    """A span for each tool that ran or was refused."""
    calls: dict[str, list[LogView]] = {}
    for place, log in enumerate(logs):
        if log.name in TOOL:
            calls.setdefault(str(log.attrs.get("tool_use_id") or f"{log.attrs.get('tool_name')} {place}"), []).append(
                log
            )
    made = []
    for records in calls.values():
        ended = records[-1]
        refused = ended.attrs.get("decision") == "reject"
        if ended.name != "tool_result" and not refused:
            continue  # it runs still
        span = made_of(ended, "claude_code.tool", root.id)
        span.logs = records
        made.append(span)
    return made


def _asker(log: LogView) -> str | None:
    """The kind of subagent that asked; None is the main thread, "" one whose kind is not told."""
    source = log.attrs.get("query_source")
    if not isinstance(source, str) or not source.startswith(SUBAGENT):
        return None
    named = log.attrs.get("agent.name", source.rpartition(":")[2])
    return named if isinstance(named, str) and named not in UNNAMED else ""


def _step(span: SpanView) -> Step:
    """What was asked or called, and by or for which kind of subagent."""
    if span.name == REQUEST_SPAN:
        ended = next(log for log in span.logs if log.name in ENDS)
        return Step(span, span.start_ns, asks=True, kind=_asker(ended))
    called = min([span.start_ns, *(log.time_ns for log in span.logs)])
    if not any(log.attrs.get("tool_name") in AGENT_TOOLS for log in span.logs):
        return Step(span, called, asks=False, kind=None)
    given = [from_json(log.attrs.get(key)) for log in span.logs for key in ("tool_parameters", "tool_input")]
    named = next((one["subagent_type"] for one in given if isinstance(one, dict) and "subagent_type" in one), None)
    return Step(span, called, asks=False, kind=named if isinstance(named, str) and named not in UNNAMED else "")


def _totals(requests: list[Request], root: SpanView) -> dict[str, Any]:
    """What the SDK's result message says of a run."""
    ends = [told.end for told in requests if told.end is not None]
    took = [found for end in ends if (found := finite(end.attrs.get("duration_ms"))) is not None]
    costs = [found for end in ends if (found := finite(end.attrs.get("cost_usd"))) is not None]
    said = {
        "num_turns": sum(end.name == "api_request" for end in ends),
        "duration_ms": (root.end_ns - root.start_ns) // MS,
        "duration_api_ms": sum(took) if took else None,
        "total_cost_usd": sum(costs) if costs else None,
    }
    return {name: found for name, found in said.items() if found is not None}


DIALECT = Dialect(
    name="claude_code",
    scopes=(SCOPE, f"{SCOPE}.*"),
    read=read,
    join=_join,
    spans=_spans,
    key=_key,
    checked="Claude Code 1.0.60, 2.1.197, and 2.1.329 in claude-agent-sdk 0.2.186, with and without traces and content",
)
