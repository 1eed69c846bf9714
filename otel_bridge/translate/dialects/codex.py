"""Codex CLI: log records `codex.*`, and a thousand spans of its own workings of which a few are an agent's.

Records name the conversation, not the turn, so a conversation is a trace with its turns in it. With traces on, most
records name the trace of a span and only those of the response's stream, and of the time to its first token, do not:
what they count is on the spans.
https://developers.openai.com/codex/config-advanced
"""

from collections import Counter

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.records import absorb, began_ns, derived_key, in_order, made_of, root_of, take_logs
from otel_bridge.translate.span import ERROR_CODE, LogView, SpanView
from otel_bridge.translate.values import MS, as_text, count, finite, text, value, whole, within

TURN = "session_task.turn"
SAMPLING = "try_run_sampling_request"
STREAMING = "handle_responses"
CONVERSATION = "codex.conversation"
STREAM = "codex.stream"
SHOWN = (CONVERSATION, "codex.exec", "turn/start")

PROMPT = "codex.user_prompt"
COST = "codex.turn_cost"
BEGUN = "codex.turn_ttft"
REQUESTS = ("codex.api_request", "codex.websocket_request")
STREAMED = ("codex.sse_event", "codex.websocket_event")
TOOL = ("codex.tool_decision", "codex.tool_result")
TRACED = ("codex.conversation_starts", PROMPT, *REQUESTS, *TOOL)  # where traces are on, these name one
COUNTED = "input_token_count"
TURN_USAGE = "codex.turn.token_usage."
REDACTED = "[REDACTED]"
COMMON = ("conversation.id", "app.version", "originator", "terminal.type", "user.account_id", "user.email")

SPANS_COUNT = (0, 128)  # the first version whose spans say how many tokens were used


def read(span: SpanView) -> Reading:
    """Read a span, whether it was sent or made out of records."""
    if _is_tool(span):
        reading = _tool(span)
    elif span.name in READERS:
        reading = READERS[span.name](span)
    else:
        said = span.name in SHOWN or [key for key in span.attrs if key.startswith("gen_ai.")]
        reading = Reading(noise=None if said else True)
    reading.session_id = text(span.attrs, "conversation.id")
    reading.user_id = text(span.attrs, "user.email", "user.account_id")
    reading.environment = as_text(span.resource.get("env"))
    return reading


def _turn(span: SpanView) -> Reading:
    absorb(span, take_logs(span, (PROMPT, COST)))
    attrs = span.attrs
    asked = None if attrs.get("prompt") == REDACTED else text(attrs, "prompt")
    total = count(attrs, f"{TURN_USAGE}total_tokens")
    return Reading(
        type=ObservationType.AGENT,
        input=asked,
        trace_input=asked,
        usage=Usage.inclusive(
            count(attrs, f"{TURN_USAGE}input_tokens"),
            count(attrs, f"{TURN_USAGE}output_tokens"),
            cache_read=count(attrs, f"{TURN_USAGE}cached_input_tokens"),
            cache_write=count(attrs, f"{TURN_USAGE}cache_write_input_tokens"),
            reasoning=count(attrs, f"{TURN_USAGE}reasoning_output_tokens"),
            total=total,
        ),
        cost=table.cost(attrs, ("usage.estimated_usd",), (), ()),
    )


def _request(span: SpanView) -> Reading:
    """A request, counted by its span (moved there by `_join`) or by the record of its end."""
    attrs = span.attrs
    first = [event.time_ns for event in span.events if BEGUN in (event.name, event.attrs.get("event.name"))]
    return Reading(
        type=ObservationType.GENERATION,
        model=text(attrs, "model", "slug"),
        usage=Usage.inclusive(
            count(attrs, "gen_ai.usage.input_tokens", COUNTED),
            count(attrs, "gen_ai.usage.output_tokens", "output_token_count"),
            cache_read=count(attrs, "gen_ai.usage.cache_read.input_tokens", "cached_token_count"),
            cache_write=count(attrs, "gen_ai.usage.cache_write.input_tokens", "cache_write_token_count"),
            reasoning=count(attrs, "codex.usage.reasoning_output_tokens", "reasoning_token_count"),
            total=count(attrs, "codex.usage.total_tokens"),
        ),
        completion_start_ns=within(span, min(first)) if first else None,
    )


def _is_tool(span: SpanView) -> bool:
    return "call_id" in span.attrs and span.attrs.get("tool_name") == span.name


def _tool(span: SpanView) -> Reading:
    absorb(span, take_logs(span, TOOL))
    attrs = span.attrs
    reading = Reading(type=ObservationType.TOOL, input=value(attrs, "arguments"), output=value(attrs, "output"))
    if attrs.get("success") in (False, "false"):
        reading.level, reading.status_message = Level.ERROR, "the tool failed"
    elif attrs.get("decision") in REFUSED and "success" not in attrs:
        reading.level, reading.status_message = Level.WARNING, f"{attrs['decision']} by {attrs.get('source')}"
    return reading


REFUSED = ("denied", "abort", "timed_out")
READERS = {TURN: _turn, SAMPLING: _request}


def _name(log: LogView) -> None:
    """The event's name is an attribute; the record's own is where in the source it was written."""
    if log.name.startswith("event ") and isinstance(said := log.attrs.get("event.name"), str):
        log.attrs["code.location"] = log.name.removeprefix("event ")
        log.name = said
        del log.attrs["event.name"]


def _join(spans: dict[str, SpanView], logs: list[LogView]) -> None:
    """Hand the prompt to the turn, the tool's result to the tool, and the count of a response to its request."""
    tools = {called: span for span in spans.values() if _is_tool(span) and isinstance(called := _called(span), str)}
    turns: dict[str, SpanView | None] = {}
    requests: dict[str, SpanView | None] = {}
    for log in logs:
        _name(log)
        if log.name in TOOL and isinstance(called := _called(log), str) and called in tools:
            log.span_id = tools[called].id
        elif log.name in (PROMPT, COST) and (turn := _above(spans, log.span_id, TURN, turns)):
            log.span_id = turn.id
    for span in spans.values():
        if span.name != STREAMING or "gen_ai.usage.input_tokens" not in span.attrs:
            continue
        request = _above(spans, span.parent_id, SAMPLING, requests)
        if request is not None and "gen_ai.usage.input_tokens" not in request.attrs:
            for key in [key for key in span.attrs if key.startswith(("gen_ai.usage.", "codex.usage."))]:
                request.attrs[key] = span.attrs.pop(key)


def _called(said: SpanView | LogView) -> Json:
    return said.attrs.get("call_id")


def _above(spans: dict[str, SpanView], span_id: str, name: str, known: dict[str, SpanView | None]) -> SpanView | None:
    """The nearest span of a name, from this one upwards; `known` is what was found before, and gets what was passed."""
    passed = []
    while span_id in spans and span_id not in known:
        known[span_id] = spans[span_id] if spans[span_id].name == name else None  # None: a circle leads nowhere
        if known[span_id] is None:
            passed.append(span_id)
            span_id = spans[span_id].parent_id
    found = known.get(span_id)
    known.update(dict.fromkeys(passed, found))
    return found


# Records alone.


def _key(log: LogView) -> str | None:
    conversation = as_text(log.attrs.get("conversation.id"))
    return None if conversation is None else derived_key("codex", conversation)


def _spans(logs: list[LogView]) -> list[SpanView]:
    """A conversation, its turns, requests and tools; what else happened stays with the conversation."""
    conversations: dict[str, list[LogView]] = {}
    for log in logs:
        conversations.setdefault(_key(log) or "", []).append(log)
    logs[:] = conversations.pop("", [])
    return [span for key, records in conversations.items() for span in _Conversation(key, records).spans()]


class _Conversation:
    """The records of one conversation, read from the first to the last."""

    def __init__(self, key: str, logs: list[LogView]) -> None:
        self._key = key
        self._logs = sorted(in_order(logs), key=lambda log: (log.time_ns, COUNTED in log.attrs))  # what counts ends it
        self._made: list[SpanView] = []
        self._turn: SpanView | None = None
        self._opened: LogView | None = None
        self._streamed: Counter[str] = Counter()
        self._first_ns = 0
        self._tools: dict[str, list[LogView]] = {}

    def spans(self) -> list[SpanView]:
        logs = self._logs
        alone = any(log.name in TRACED for log in logs) or _version(logs[0]) < SPANS_COUNT
        self._root = root_of(logs[0], CONVERSATION if alone else STREAM, self._key)
        self._root.attrs = {name: logs[0].attrs[name] for name in COMMON if name in logs[0].attrs}
        for log in logs:
            if alone:
                self._take(log)
            elif log.name not in STREAMED or COUNTED in log.attrs:
                self._root.logs.append(log)
            else:
                self._streamed[str(log.attrs.get("event.kind"))] += 1
        self._close()
        return [self._root, *self._made]

    def _take(self, log: LogView) -> None:
        if log.name == PROMPT:
            self._turn = self._add(log, TURN, self._root)
            self._turn.attrs = {name: log.attrs[name] for name in COMMON if name in log.attrs}
            self._turn.logs.append(log)
        elif log.name in REQUESTS and not _failed(log):
            self._leave_open()
            self._opened = log
        elif log.name in REQUESTS or (log.name in STREAMED and (COUNTED in log.attrs or _failed(log))):
            self._answered(log)
        elif log.name in STREAMED:
            kind = str(log.attrs.get("event.kind"))
            self._streamed[kind] += 1
            if kind != "response.completed":  # it comes twice, once with the count
                self._first_ns = self._first_ns or log.time_ns
        elif log.name in TOOL:
            self._ran(log)
        else:
            (self._turn if self._turn and log.name == COST else self._root).logs.append(log)

    def _add(self, log: LogView, name: str, above: SpanView) -> SpanView:
        span = made_of(log, name, above.id)
        self._made.append(span)
        return span

    def _answered(self, log: LogView) -> None:
        """A response ended, or a request failed."""
        span = self._add(log, SAMPLING, self._turn or self._root)
        began = [] if self._opened is None else [began_ns(self._opened)]
        span.start_ns = min([span.start_ns, *began, *([self._first_ns] if self._first_ns else [])])
        span.attrs = {key: item for key, item in log.attrs.items() if key != "event.timestamp"}
        span.logs = [self._opened] if self._opened else []
        if self._streamed:
            span.extra = {"stream_events": dict(self._streamed)}
        if _failed(log):
            span.status_code = ERROR_CODE
            span.status_message = text(span.attrs, "error.message") or f"status {_status(log):g}"
        self._opened, self._first_ns = None, 0
        self._streamed.clear()

    def _ran(self, log: LogView) -> None:
        """A tool ended, or was refused."""
        records = self._tools.setdefault(str(_called(log)), [])
        records.append(log)
        if log.name == "codex.tool_result" or log.attrs.get("decision") in REFUSED:
            span = self._add(log, str(log.attrs.get("tool_name") or "tool"), self._turn or self._root)
            span.attrs = {"tool_name": span.name, "call_id": str(_called(log))}
            span.logs = records
            del self._tools[str(_called(log))]

    def _leave_open(self) -> None:
        if self._opened is not None:
            self._root.logs.append(self._opened)
            self._opened = None

    def _close(self) -> None:
        """What has no end yet stays with the conversation; turns end with what is in them."""
        self._leave_open()
        self._root.logs += [log for records in self._tools.values() for log in records]
        if self._streamed:
            self._root.extra = {"stream_events": dict(self._streamed)}
        parts: dict[str, list[SpanView]] = {}
        for span in self._made:
            parts.setdefault(span.parent_id, []).append(span)
        for turn in (span for span in self._made if span.name == TURN):
            inside = parts.get(turn.id, [])
            requests = [span for span in inside if span.name == SAMPLING]
            turn.end_ns = max(span.end_ns for span in (turn, *inside))
            turn.extra = {
                "num_turns": sum(span.status_code != ERROR_CODE for span in requests),
                "duration_ms": (turn.end_ns - turn.start_ns) // MS,
                "duration_api_ms": sum(span.end_ns - span.start_ns for span in requests) // MS,
            }
            if requests:
                turn.status_code, turn.status_message = requests[-1].status_code, requests[-1].status_message
        self._root.start_ns = min(span.start_ns for span in (self._root, *self._made))
        self._root.end_ns = max(log.time_ns for log in self._logs)


def _failed(log: LogView) -> bool:
    return (
        bool(log.attrs.get("error.message")) or log.attrs.get("event.kind") == "response.failed" or _status(log) >= 400
    )


def _status(log: LogView) -> float:
    return finite(log.attrs.get("http.response.status_code")) or 0


def _version(log: LogView) -> tuple[int, ...]:
    """The first two numbers of the version; what can't be told is taken for new."""
    numbers = [whole(part) for part in str(log.attrs.get("app.version")).split(".")[:2]]
    return tuple(number for number in numbers if number is not None) if None not in numbers else SPANS_COUNT


DIALECT = Dialect(
    name="codex",
    scopes=("codex*",),
    read=read,
    join=_join,
    spans=_spans,
    key=_key,
    checked="Codex CLI 0.169.0 and 0.171.0 with and without traces; names of records in 0.110 to 0.138",
)
