"""The requests that Claude Code's log records tell of, and which span is each."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from otel_bridge.model import Json
from otel_bridge.translate.provider import response
from otel_bridge.translate.records import began_ns, nearest
from otel_bridge.translate.span import LogView, SpanView
from otel_bridge.translate.values import MS, as_text, from_json, whole

SLACK_NS = 5_000 * MS  # a request's record comes when the span has just ended, on another clock's milliseconds
MAX_NEAR = 32  # how many spans before and after a record are compared: more requests never end at once
SENT = "api_request_body"
ENDS = ("api_request", "api_error", "api_refusal")
ANSWERS = ("assistant_response", "api_response_body", "api_retries_exhausted")
REQUEST = (SENT, *ENDS, *ANSWERS)
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens")
REDACTED = "<REDACTED>"
CUT = "\n\n[TRUNCATED"


@dataclass(slots=True)
class Request:
    """The records of one request to the model: bodies sent, one for each attempt; its end; what was answered."""

    end: LogView | None
    sent: list[LogView]
    answers: list[LogView] = field(default_factory=list)

    def records(self) -> list[LogView]:
        return [*self.sent, *([] if self.end is None else [self.end]), *self.answers]


def opened(raw: Json) -> Json:
    """A body, which is cut off above 60 KB: then what comes before the cut."""
    if not isinstance(raw, str):
        return raw
    found = raw if raw.startswith("{") and not raw.endswith("}") else from_json(raw)
    if not isinstance(found, str) or not raw.startswith("{"):
        return found
    from pydantic_core import from_json as from_partial  # loaded where bodies are logged

    try:
        kept: Json = from_partial(raw.rpartition(CUT)[0] or raw, allow_partial="trailing-strings")
        orjson.dumps(kept)
    except (ValueError, TypeError):  # what cannot be written again, as numbers of more than 64 bits, stays as it was
        return raw
    return kept


def requests_of(logs: Iterable[LogView]) -> list[Request]:
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


class FreeSpans:
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


def answer_of(told: Request) -> str | None:
    """The text that a request of the main thread was answered with."""
    source = told.records()[0].attrs.get("query_source")
    if isinstance(source, str) and source != "sdk" and not source.startswith("repl_main_thread"):
        return None
    for log in told.answers:
        said = as_text(log.attrs.get("response"))
        if said not in (None, REDACTED):
            return said
    for log in told.answers:
        spoken, _ = response(opened(log.attrs.get("body")))
        for part in spoken if isinstance(spoken, list) else []:
            if isinstance(part, dict) and isinstance(content := part.get("content"), str):
                return content
    return None
