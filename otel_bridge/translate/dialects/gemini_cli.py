"""Gemini CLI: log records `gemini_cli.*`, and spans `llm_call`, `tool_call`, `schedule_tool_calls`. Also Qwen Code.

Each span is a trace of its own, counts tokens only if asked for details, and never those that were cached or thought;
the record of a response names no trace and always counts all. So where records come a request is what its record says,
in the trace of its turn, and its span is only a span.
Qwen Code, which came out of it, says `qwen-code.*`. An old one has no spans, and without an address for log records it
sends each as a span of its own, in a trace for the session. A new one has spans after the conventions, which do not say
what was asked and answered unless it is asked for; its records do, and name their spans.
https://github.com/google-gemini/gemini-cli/blob/main/docs/cli/telemetry.md
https://github.com/QwenLM/qwen-code/blob/main/docs/developers/development/telemetry.md
"""

from typing import Any

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import instructed, messages, with_tools
from otel_bridge.translate.records import absorb, derived_key, in_order, made_of, nearest, root_of, take_logs
from otel_bridge.translate.shown import Shown
from otel_bridge.translate.span import ERROR_CODE, LogView, SpanView
from otel_bridge.translate.values import MS, as_text, count, from_json, nested, text, value, whole

PREFIXES = ("gemini_cli.", "qwen-code.")


def _by_each(name: str) -> tuple[str, ...]:
    """What an event or span of this name is called by each of the programs."""
    return tuple(f"{prefix}{name}" for prefix in PREFIXES)


PROMPT = _by_each("user_prompt")
SENT = _by_each("api_request")
ANSWERED = _by_each("api_response")
FAILED = _by_each("api_error")
RAN = _by_each("tool_call")
OWN_REQUEST = _by_each("llm_request")  # spans whose records name them
OWN_TURN = _by_each("interaction")
OWN_TOOL = _by_each("tool")
STEP = _by_each("tool.execution")
DETAILS = "gen_ai.client.inference.operation.details"
ENDED = (*ANSWERED, *FAILED)
REQUEST = (*SENT, *ENDED, DETAILS)
TOLD = (*PROMPT, *ENDED, *RAN)
NEAR_NS = 1_000 * MS  # the details of a request come with its records

TURN = _by_each("turn")
SESSION = _by_each("session")
QUESTION, ANSWER = "gemini_cli.question", "gemini_cli.answer"
ASKED = "input_token_count"
AGAIN = {
    "gen_ai.usage.input_tokens": ASKED,
    "gen_ai.usage.output_tokens": "output_token_count",
    "gen_ai.usage.cache_read.input_tokens": "cached_content_token_count",
}
COMMON = ("session.id", "prompt_id", "user.email", "installation.id", "interactive", "auth_type")


def read(span: SpanView) -> Reading:
    """Read a span, whether it was sent or made out of records."""
    operation = span.attrs.get("gen_ai.operation.name", span.attrs.get("event.name"))
    reader = (READERS.get(operation) if isinstance(operation, str) else None) or READERS.get(span.name)
    reading = reader(span) if reader else Reading(noise=True if span.name in SESSION else None)
    reading.user_id = text(span.attrs, "user.email")
    return reading


def _turn(span: SpanView) -> Reading:
    absorb(span, take_logs(span, PROMPT))
    return Reading(type=ObservationType.AGENT, input=text(span.attrs, "prompt"), output=text(span.attrs, ANSWER))


def _request(span: SpanView) -> Reading:
    records = take_logs(span, REQUEST)
    names = {log.name for log in records}
    for log in records:
        log.attrs = {key: item for key, item in log.attrs.items() if item is not None}
        if isinstance(log.body, str):
            log.body = None  # the record's name and numbers in a sentence
    absorb(span, records)
    attrs = span.attrs
    reading = Reading(type=ObservationType.GENERATION, model=text(attrs, "model", "gen_ai.request.model"))
    reading.model_parameters = nested(attrs, "gen_ai.request.") or None
    for key, again in AGAIN.items():
        if key in attrs and attrs.get(again) == attrs[key]:
            del attrs[key]
    if ASKED in attrs or span.name not in OWN_REQUEST:  # only the total tells whether what was thought is in the rest
        reading.usage = _usage(attrs)
    if not names.isdisjoint(SENT) and names.isdisjoint(ENDED) and span.name not in OWN_REQUEST:
        reading.type = ObservationType.SPAN  # its response's record, which names no trace, tells of it
        counts = nested(attrs, "gen_ai.usage.")
        reading.metadata = {"uncounted_usage": counts} if counts else {}
    _content(attrs, reading)
    reading.response_id = reading.response_id or as_text(attrs.get("response_id"))
    return reading


def _usage(attrs: dict[str, Any]) -> Usage | None:
    """Thoughts and what tools put into the prompt are beside the rest."""
    asked, answered = count(attrs, ASKED), count(attrs, "output_token_count")
    thought, total = count(attrs, "thoughts_token_count"), count(attrs, "total_token_count")
    by_tools = whole(attrs.get("tool_token_count")) or 0
    if asked is not None and total == asked + by_tools + (answered or 0) + (thought or 0):
        asked += by_tools
        attrs.pop("tool_token_count", None)
    return Usage.inclusive(
        asked, answered, cache_read=count(attrs, "cached_content_token_count"), reasoning=thought, total=total
    )


def _content(attrs: dict[str, Any], reading: Reading) -> None:
    instructions, tools = value(attrs, "gen_ai.system_instructions"), value(attrs, "gen_ai.tool.definitions")
    asked = value(attrs, "gen_ai.input.messages")
    sent = value(attrs, "request_text")
    said = value(attrs, "gen_ai.output.messages")
    chunks = value(attrs, "response_text")
    spoken = messages(sent if asked is None else asked)
    reading.input = with_tools(instructed(spoken, instructions), tools)
    if asked is not None and sent is not None and (rest := Shown(reading).rest(sent)) is not None:
        reading.metadata["request_text"] = rest
    answered: Json = {"role": "assistant", "content": chunks} if isinstance(chunks, str) else chunks
    if isinstance(chunks, list):
        answered, about = _candidates(chunks)
        reading.metadata |= about
        reading.response_id = as_text(about.get("response", {}).get("responseId"))
    first, again = (answered, said) if isinstance(chunks, list) or said is None else (said, answered)
    if first is not None:
        reading.output = _one(messages(first, "assistant"))
    if again is not None and _words(_one(messages(again, "assistant"))) != _words(reading.output):
        reading.metadata["gen_ai.output.messages" if again is said else "response_text"] = again


def _words(spoken: Json) -> list[Json]:
    """What is said and called, without by whom and why it ended there."""
    return [
        {key: item for key, item in one.items() if key not in WHO_AND_WHY} if isinstance(one, dict) else one
        for one in (spoken if isinstance(spoken, list) else [spoken])
    ]


def _candidates(chunks: list[Json]) -> tuple[Json, dict[str, Any]]:
    """The contents of a streamed answer, and what is said besides: of each candidate all, of the counts the last."""
    contents: list[Json] = []
    last: dict[str, Any] = {}
    of_candidates: dict[str, list[Json]] = {}
    for chunk in chunks:
        if not isinstance(chunk, dict):
            contents.append(chunk)
            continue
        for candidate in chunk["candidates"] if isinstance(chunk.get("candidates"), list) else []:
            inner = candidate.get("content") if isinstance(candidate, dict) else None
            contents.append(candidate if inner is None else inner)
            for key, item in candidate.items() if inner is not None else ():
                if key in ("content", "index") or not item:
                    continue
                told = of_candidates.setdefault(key, [])
                if not told or told[-1] != item:
                    told.append(item)
        last |= {key: item for key, item in chunk.items() if key != "candidates"}
    last |= {key: told[0] if len(told) == 1 else told for key, told in of_candidates.items()}
    return contents, {"response": last} if last else {}


def _one(spoken: Json) -> Json:
    """Pieces of a stream as the one message they are."""
    if not isinstance(spoken, list) or len(spoken) < 2:
        return spoken
    if any(not isinstance(piece, dict) or piece.keys() - PIECE for piece in spoken):
        return spoken
    contents = [piece["content"] for piece in spoken if piece.get("content") is not None]
    if not all(isinstance(content, str) for content in contents):
        return spoken
    calls = [call for piece in spoken for call in piece.get("tool_calls", [])]
    thoughts = [piece["reasoning_content"] for piece in spoken if piece.get("reasoning_content")]
    ended = [piece["finish_reason"] for piece in spoken if piece.get("finish_reason")]
    joined: dict[str, Any] = {"role": "assistant"}
    if contents or not calls:
        joined["content"] = "".join(contents)
    if thoughts:
        joined["reasoning_content"] = "".join(map(str, thoughts))
    if calls:
        joined["tool_calls"] = calls
    if ended:
        joined["finish_reason"] = ended[-1]
    return [joined]


WHO_AND_WHY = ("role", "finish_reason")
PIECE = frozenset({"role", "content", "tool_calls", "reasoning_content", "finish_reason"})


def _tool(span: SpanView) -> Reading:
    records = take_logs(span, RAN)
    for log in records:
        log.attrs = {key: item for key, item in log.attrs.items() if item is not None}
        log.body = None
    absorb(span, records)
    attrs = span.attrs
    reading = Reading(
        type=ObservationType.TOOL, name=as_text(attrs.get("gen_ai.tool.name", attrs.get("function_name")))
    )
    if span.name in RAN:
        reading.tool = reading.name  # a record that was sent as a span, maybe below that of the tool
    called, gave = value(attrs, "gen_ai.input.messages"), value(attrs, "gen_ai.output.messages")
    given = value(attrs, "function_args")
    if isinstance(called, dict) and "args" in called:
        given = called.pop("args") if given in (None, called["args"]) else given
        reading.metadata["request"] = called
    else:
        given = called if given is None else given
    reading.input = given
    if isinstance(gave, dict):
        reading.metadata["result"] = gave
        reading.output = _returned(gave)
    else:
        reading.output = gave
    if attrs.get("success") is False or (isinstance(gave, dict) and gave.get("status") == "error"):
        reading.level = Level.ERROR
        reading.status_message = text(attrs, "error", "error_type") or "the tool failed"
    return reading


def _returned(gave: dict[str, Any]) -> Json:
    """What the model was given of a tool's result."""
    answer = gave.get("response")
    parts = answer.get("responseParts") if isinstance(answer, dict) else None
    for part in parts if isinstance(parts, list) else []:
        inner = part.get("functionResponse") if isinstance(part, dict) else None
        back = inner.get("response") if isinstance(inner, dict) else None
        if isinstance(back, dict) and back:
            return back["output"] if back.keys() == {"output"} else back
    return answer


def _schedule(span: SpanView) -> Reading:
    return Reading(
        type=ObservationType.CHAIN,
        input=value(span.attrs, "gen_ai.input.messages"),
        output=value(span.attrs, "gen_ai.output.messages"),
    )


def _interaction(span: SpanView) -> Reading:
    asked = span.attrs.pop(QUESTION, None)
    return Reading(type=ObservationType.AGENT, input=asked, output=text(span.attrs, ANSWER))


def _step(span: SpanView) -> Reading:
    return Reading(type=ObservationType.SPAN, name=span.name)


def _prompted(span: SpanView) -> Reading:
    return Reading(input=text(span.attrs, "prompt"))


READERS = {
    "llm_call": _request,
    "tool_call": _tool,
    "schedule_tool_calls": _schedule,
    **dict.fromkeys(OWN_REQUEST, _request),
    **dict.fromkeys(OWN_TURN, _interaction),
    **dict.fromkeys(OWN_TOOL, _tool),
    **dict.fromkeys(STEP, _step),
    **dict.fromkeys(TURN, _turn),
    **dict.fromkeys(ENDED, _request),
    **dict.fromkeys(RAN, _tool),
    **dict.fromkeys(PROMPT, _prompted),
}


def _join(spans: dict[str, SpanView], logs: list[LogView]) -> None:
    """The record of a tool's run stands at the span that schedules all tools of an answer.

    And a span of a turn that does not say what was asked and answered, is told by the records of its requests.
    """
    free: dict[tuple[str, str], list[SpanView]] = {}
    for span in reversed(spans.values()):
        if span.name == "tool_call":
            free.setdefault((span.parent_id, str(span.attrs.get("gen_ai.tool.name"))), []).append(span)
    for log in logs:
        mine = free.get((log.span_id, str(log.attrs.get("function_name"))))
        if log.name in RAN and mine:
            log.span_id = mine.pop().id
        request = spans.get(log.span_id)
        turn = spans.get(request.parent_id) if request is not None and request.name in OWN_REQUEST else None
        if turn is None or turn.name not in OWN_TURN:
            continue
        if log.name in SENT and QUESTION not in turn.attrs and "gen_ai.input.messages" not in turn.attrs:
            turn.attrs[QUESTION] = _asked(log)
        elif log.name in ANSWERED and "gen_ai.output.messages" not in turn.attrs and (said := _text(log)):
            turn.attrs[ANSWER] = said


def _asked(log: LogView) -> Json:
    """What the last message of a request ends with; before it stands what the program tells the model."""
    spoken = messages(from_json(log.attrs.get("request_text")))
    last = spoken[-1] if isinstance(spoken, list) and spoken else None
    content = last.get("content") if isinstance(last, dict) else None
    part = content[-1] if isinstance(content, list) and content else content
    return part.get("text") if isinstance(part, dict) else part


# Records alone.


def _key(log: LogView) -> str | None:
    """A turn by its session and prompt; what belongs to no prompt, or if the session has but one, by its session."""
    session, prompt = log.attrs.get("session.id") or log.resource.get("session.id"), log.attrs.get("prompt_id")
    if not session:
        return None
    return derived_key("gemini_cli", str(session), str(prompt) if prompt and prompt != session else "")


def _spans(logs: list[LogView]) -> list[SpanView]:
    """A turn, its requests and tools; what else happened stays with the turn."""
    turns: dict[str, list[LogView]] = {}
    for log in in_order(logs):
        turns.setdefault(_key(log) or "", []).append(log)
    logs[:] = turns.pop("", [])
    return [span for key, records in turns.items() for span in _turn_of(key, records)]


def _turn_of(key: str, logs: list[LogView]) -> list[SpanView]:
    told = any(log.name in TOLD for log in logs)
    prefix = next((prefix for log in logs for prefix in PREFIXES if log.name.startswith(prefix)), PREFIXES[0])
    root = root_of(logs[0], f"{prefix}{'turn' if told else 'session'}", key)
    root.attrs = {name: log.attrs[name] for name in COMMON for log in logs if log.attrs.get(name) is not None}
    made: list[SpanView] = []
    requests: list[SpanView] = []
    for log in logs:
        if log.name in ENDED:
            span = _made(log, root, "llm_call")
            requests.append(span)
        elif log.name in RAN:
            span = _made(log, root, "tool_call")
        else:
            continue
        span.logs.append(log)
        made.append(span)
    places = _Places(requests)
    for log in logs:
        if log.name not in ENDED and log.name not in RAN:
            (places.take(log) or root).logs.append(log)
    root.start_ns = min([log.time_ns for log in logs] + [span.start_ns for span in made])
    root.end_ns = max(log.time_ns for log in logs)
    if requests:
        last = requests[-1]
        root.status_code, root.status_message = last.status_code, last.status_message
        root.extra = {
            "num_turns": sum(span.status_code != ERROR_CODE for span in requests),
            "duration_ms": (root.end_ns - root.start_ns) // MS,
            "duration_api_ms": sum(span.end_ns - span.start_ns for span in requests) // MS,
        }
    return [root, *made]


def _made(log: LogView, root: SpanView, name: str) -> SpanView:
    span = made_of(log, name, root.id)
    span.attrs = {attr: log.attrs[attr] for attr in COMMON if log.attrs.get(attr) is not None}
    if log.name in FAILED:
        span.status_code = ERROR_CODE
        span.status_message = str(log.attrs.get("error.message") or log.attrs.get("error") or "the request failed")
    elif log.name in ANSWERED and _of_the_main_thread(log) and (said_last := _text(log)):
        root.attrs[ANSWER] = said_last
    return span


def _of_the_main_thread(log: LogView) -> bool:
    return log.attrs.get("role") in (None, "main") and not log.attrs.get("subagent_name")


def _text(log: LogView) -> str | None:
    chunks = from_json(log.attrs.get("response_text"))
    if isinstance(chunks, str):
        return chunks or None
    spoken = _one(messages(_candidates(chunks)[0], "assistant")) if isinstance(chunks, list) else None
    found = spoken[-1].get("content") if isinstance(spoken, list) and spoken and isinstance(spoken[-1], dict) else None
    return as_text(found)


class _Places:
    """Requests that miss a record of a kind (what was sent, details at its start and its end), in order of time."""

    def __init__(self, requests: list[SpanView]) -> None:
        self._of: dict[str, list[SpanView]] = {}
        self._missing: dict[tuple[str, bool, str], list[SpanView]] = {}
        for span in requests:
            self._of.setdefault(str(span.logs[0].attrs.get("model")), []).append(span)

    def take(self, log: LogView) -> SpanView | None:
        """The request of this model that began or ended then, and has no such record yet."""
        if log.name not in SENT and log.name != DETAILS:
            return None
        when = _end_ns if (ended := log.name == DETAILS and "gen_ai.output.messages" in log.attrs) else _start_ns
        kind = log.name, ended, str(log.attrs.get("model", log.attrs.get("gen_ai.request.model")))
        if kind not in self._missing:
            self._missing[kind] = sorted(self._of.get(kind[2], []), key=when)
        missing = self._missing[kind]
        place = nearest(missing, log.time_ns, when)
        if place is None or abs(when(missing[place]) - log.time_ns) >= NEAR_NS:
            return None
        return missing.pop(place)


def _start_ns(span: SpanView) -> int:
    return span.start_ns


def _end_ns(span: SpanView) -> int:
    return span.end_ns


DIALECT = Dialect(
    name="gemini_cli",
    scopes=("gemini-cli", "qwen-code"),
    read=read,
    join=_join,
    spans=_spans,
    key=_key,
    checked="Gemini CLI 0.61.0, with and without detailed traces; Qwen Code 0.15.10 and 0.24.4",
)
