"""What a dialect is, what it says of a span, and the readers that dialects share.

Readers pop what they understand and leave everything else where it is. None of them raises for what a span contains.
"""

import ast
import hashlib
import math
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate.span import Event, LogView, SpanView

MAX_INDEX = 10_000
MAX_SEGMENTS = 32
MAX_JSON_DEPTH = 100
NS = 1_000_000_000
MS = 1_000_000
LONGEST_MS = 1e9  # more than anything takes
SPAN_ID_BYTES = 8
T = TypeVar("T")
MAX_PRINTED = 10_000
JSON_OPENERS = frozenset('{["')
BLANKS = frozenset(" \t\n\r")


@dataclass(slots=True)
class Judgement:
    """What an evaluator or a person says of an observation: a number, yes or no, or a label.

    observation_id: whom it judges, if not the span that says it.
    """

    name: str
    value: bool | float | str
    comment: str | None = None
    observation_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """What one dialect says of one span; None is "nothing said". Of several dialects the first that speaks is heard.

    name: instead of the span's own name.
    input, output: plain JSON or text; messages as lists of {role, content, tool_calls ...}, see `messages`.
    cost: US dollars by bucket, with `total`.
    response_id: the provider's id of the response. Two nested spans with one id are one call.
    call: any key that two spans of this trace share if and only if they report one call of a model or a tool, nested
        or not.
    tool: the tool that was called, where a TOOL further up of that name may have told of the same call.
    tells_call: input and output are those of the one call below, where that does not say them itself.
    elsewhere: the call is told by a span of another trace; this one, and the call below it, are no second one.
    aggregate: the usage is a sum over the spans below, also where the type is GENERATION.
    noise: of no interest to who looks at agents; it is shown at level DEBUG.
    judgements: evaluation results in the dialect's own words; those in the conventions' are found without it.
    by_hand: which of the others were set by hand, as `langfuse.*`; `choose` fills it in.
    """

    type: ObservationType | None = None
    name: str | None = None
    input: Json = None
    output: Json = None
    model: str | None = None
    model_parameters: dict[str, Any] | None = None
    usage: Usage | None = None
    cost: dict[str, float] | None = None
    completion_start_ns: int | None = None
    level: Level | None = None
    status_message: str | None = None
    prompt_name: str | None = None
    prompt_version: int | None = None
    session_id: str | None = None
    user_id: str | None = None
    trace_name: str | None = None
    tags: list[str] | None = None
    environment: str | None = None
    release: str | None = None
    version: str | None = None
    public: bool | None = None
    trace_input: Json = None
    trace_output: Json = None
    response_id: str | None = None
    call: str | None = None
    tool: str | None = None
    tells_call: bool | None = None
    elsewhere: bool | None = None
    aggregate: bool | None = None
    noise: bool | None = None
    judgements: list[Judgement] | None = None
    by_hand: frozenset[str] = frozenset()
    metadata: dict[str, Any] = field(default_factory=dict)
    trace_metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True, eq=False)
class Dialect:
    """How one family of instrumentations speaks. A file in `dialects/` holds one as DIALECT; that registers it.

    read: takes what it understands out of a span's view; total, never raises for what a span contains. None if there
        is nothing in it that it understands.
    scopes: instrumentation scopes it speaks for: names, or `prefix*`. Among all that fit the longest is heard.
    marks: tell-tale keys of attributes, or names of events and log records: names, or `prefix*`.
    rank: among dialects found by their marks the lower one speaks first; conventions that others build on have
        higher ones, so that a framework's own words come before the general ones it sends along.
    join: sets right, before log records are handed to spans, which span each is about (its `span_id`), and may move
        what one span says of another; gets the spans of this part by id and the dialect's own records in order of time.
    spans: reads the spans that log records stand for where the records belong to no span; takes those it used out of
        the list, which holds the records of one trace in order of time. A span without a parent stands for the trace:
        its id must be the same in every part, and only the first part has it.
    key: the assembly key for a log record without a trace id (see `derived_key`), or None if it can't tell.
    checked: documentation and versions that it was checked against.
    """

    name: str
    read: Callable[[SpanView], Reading | None]
    scopes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    rank: int = 0
    join: Callable[[dict[str, SpanView], list[LogView]], None] | None = None
    spans: Callable[[list[LogView]], list[SpanView]] | None = None
    key: Callable[[LogView], str | None] | None = None
    checked: str = ""

    @property
    def about(self) -> str:
        """The docstring of its module: a line, then what is to be known of it, and where its documentation is."""
        return (sys.modules[self.read.__module__].__doc__ or "").strip()

    @property
    def summary(self) -> str:
        """The first line of that."""
        return self.about.partition("\n")[0]


def text(attrs: dict[str, Any], *keys: str) -> str | None:
    """Pop the first that is a string with something in it."""
    for key in keys:
        if key in attrs:
            found = attrs[key]
            if found and isinstance(found, str):
                del attrs[key]
                if len(keys) > 1:
                    _drop_equal(attrs, keys, found)
                return found
    return None


def identifier(attrs: dict[str, Any], *keys: str) -> str | None:
    """Pop the first that names somebody or something: text, or a whole number as text."""
    for key in keys:
        if key not in attrs:
            continue
        said = attrs[key]
        if (isinstance(said, str) and said) or (isinstance(said, int) and not isinstance(said, bool)):
            del attrs[key]
            if len(keys) > 1:
                _drop_equal(attrs, keys, said)
            return str(said)
    return None


def value(attrs: dict[str, Any], *keys: str) -> Json:
    """Pop the first that says anything, with JSON in strings parsed."""
    for key in keys:
        if key in attrs and attrs[key] not in (None, ""):
            raw = attrs.pop(key)
            if len(keys) > 1:
                _drop_equal(attrs, keys, raw)
            return from_json(raw)
    return None


def count(attrs: dict[str, Any], *keys: str) -> int | None:
    """Pop the first that is a non-negative whole number, also if it came as a float or as digits."""
    for key in keys:
        if key in attrs and (found := whole(attrs[key])) is not None:
            raw = attrs.pop(key)
            if len(keys) > 1:
                _drop_equal(attrs, keys, raw)
            return found
    return None


def number(attrs: dict[str, Any], *keys: str) -> float | None:
    """Pop the first that is a finite number, also if it came as text."""
    for key in keys:
        if key in attrs and (found := finite(attrs[key])) is not None:
            raw = attrs.pop(key)
            if len(keys) > 1:
                _drop_equal(attrs, keys, raw)
            return found
    return None


def _drop_equal(attrs: dict[str, Any], keys: tuple[str, ...], raw: Any) -> None:
    """Other spellings that say the same need not be shown; those that say something else stay."""
    if attrs.keys().isdisjoint(keys):  # nearly always
        return
    for key in keys:
        if key in attrs and attrs[key] == raw:
            del attrs[key]


def whole(raw: Any) -> int | None:
    """A non-negative whole number, or None."""
    if type(raw) is int:
        return raw if 0 <= raw < 1 << 63 else None
    if isinstance(raw, str):
        return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 19 else None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw < 1 << 63:
        return None
    return int(raw) if raw == int(raw) else None


def finite(raw: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        found = float(raw)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def as_text(raw: Any) -> str | None:
    """A text with something in it, or None."""
    return raw if isinstance(raw, str) and raw else None


def named(span: SpanView, raw: Any) -> str | None:
    """A name for an observation where the span's own does not hold it, or None."""
    return raw if isinstance(raw, str) and raw and raw not in span.name else None


def from_json(raw: Json) -> Json:
    """What a string holds if it is JSON (an object, an array, a quoted string), else the value as it is."""
    if not isinstance(raw, str):
        return raw
    first = raw[:1]
    if first not in JSON_OPENERS and (first not in BLANKS or raw.lstrip()[:1] not in JSON_OPENERS):
        return raw
    try:
        found: Json = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw
    if isinstance(found, str):
        return from_json(found) if found[:1] in ("{", "[") else found
    if len(raw) > MAX_JSON_DEPTH < raw.count("[") + raw.count("{") and _too_deep(found):
        return raw  # what cannot be written again stays the text it was
    return found


def from_printed(raw: Json) -> Json:
    """The same, also of an object or array as Python prints it."""
    found = from_json(raw)
    if not isinstance(found, str) or found[:1] not in ("{", "[") or len(found) > MAX_PRINTED:
        return found
    try:
        read: Json = orjson.loads(orjson.dumps(ast.literal_eval(found)))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return found
    return read


def _too_deep(found: Json) -> bool:
    level = [found]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def speaks_of(names: Iterable[str], word: str) -> bool:
    """Whether a word stands in any of the names; joined, which is quicker than to look at each."""
    return word in "\n".join(names)


def nested(attrs: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Pop all keys that begin with a prefix (which ends with its dot), and give them without it."""
    if not speaks_of(attrs, prefix):  # nine of ten times
        return {}
    start = len(prefix)
    return {key[start:]: attrs.pop(key) for key in list(attrs) if key.startswith(prefix) and len(key) > start}


def unflatten(attrs: dict[str, Any], prefix: str) -> list[Any] | None:
    """Pop `prefix` + `0.role`, `0.tool_calls.1.name` ... and give the list they spell, or None.

    Keys where no number follows the prefix are left alone. Numbers make lists, closed up where some are missing. An
    index above MAX_INDEX, or a key that contradicts another, stays where it is. Segments that mean something to
    JavaScript get a `_` before them.
    """
    if not speaks_of(attrs, prefix):
        return None
    root: dict[str, Any] = {}
    start = len(prefix)
    for key in [key for key in attrs if key.startswith(prefix) and _is_number(key[start:].partition(".")[0])]:
        segments = key[start:].split(".")
        if len(segments) <= MAX_SEGMENTS and _fit(segments) and _put(root, segments, attrs[key]):
            del attrs[key]
    closed = _closed(root)
    return closed if root and isinstance(closed, list) else None


HOSTILE = frozenset({"__proto__", "constructor", "prototype"})


def _is_number(segment: str) -> bool:
    return segment.isdigit() and segment.isascii()


def _fit(segments: list[str]) -> bool:
    """None of them is an index that is too large; short ones are not."""
    return not [one for one in segments if len(one) > 4 and _is_number(one) and (len(one) > 5 or int(one) > MAX_INDEX)]


def _put(root: dict[str, Any], segments: list[str], leaf: Any) -> bool:
    """Put a leaf in its place, unless something else is there: branches are marked by being `_Branch`."""
    if not HOSTILE.isdisjoint(segments):
        segments = [f"_{segment}" if segment in HOSTILE else segment for segment in segments]
    *above, name = segments
    at = root
    for segment in above:
        below = at.get(segment, at)
        if below is at:
            below = at[segment] = _Branch()
        elif type(below) is not _Branch:
            return False
        at = below
    if name in at:
        return False
    at[name] = leaf
    return True


class _Branch(dict[str, Any]):
    """An object that `unflatten` made, as opposed to one that an attribute held."""


def _closed(branch: dict[str, Any]) -> Json:
    inner = {key: _closed(item) if isinstance(item, _Branch) else item for key, item in branch.items()}
    if all(map(_is_number, inner)):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def strings(raw: Json) -> list[str] | None:
    """A list of texts, from a list, JSON or text with commas; None if it is empty or holds what is no text."""
    raw = from_json(raw)
    if isinstance(raw, str):
        raw = [part.strip() for part in raw.split(",")]
    if not isinstance(raw, list) or any(isinstance(item, dict | list) for item in raw):
        return None
    return [str(item) for item in raw if item not in (None, "")] or None


ISO = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\d*(Z|[+-]\d\d:?\d\d)?")


def moment(raw: Json) -> int | None:
    """Nanoseconds since 1970 from ISO 8601 text (UTC where it names no zone), or None."""
    found = ISO.fullmatch(raw.strip().strip('"')) if isinstance(raw, str) else None
    if found is None:
        return None
    zone = found[3] or "Z"
    try:
        whole_s = datetime.fromisoformat(found[1] + ("+00:00" if zone == "Z" else zone)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return int(whole_s) * NS + int((found[2] or "").ljust(9, "0"))


def within(span: SpanView, at_ns: int | None) -> int | None:
    """A moment if it lies within the span, else None."""
    return at_ns if at_ns is not None and span.start_ns <= at_ns <= span.end_ns else None


def after(span: SpanView, delay: float | None, unit_ns: int) -> int | None:
    """The moment that came so much later than a span began, if it lies within the span; nothing is no delay."""
    took_ns = (delay or 0) * unit_ns
    return span.start_ns + round(took_ns) if 0 < took_ns <= span.end_ns - span.start_ns else None


def derived_key(*parts: str) -> str:
    """An assembly key for records without a trace id: 32 hex digits that the same parts always give."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def take(span: SpanView, names: Container[str]) -> list[Event | LogView]:
    """Take the events and log records of these names out of a span, in order; `leave` puts back what is left."""
    if not span.events and not span.logs:
        return []
    taken: list[Event | LogView] = []
    if events := [event for event in span.events if event.name in names]:
        taken += events
        span.events = [event for event in span.events if event.name not in names]
    if logs := [log for log in span.logs if log.name in names]:
        taken += logs
        span.logs = [log for log in span.logs if log.name not in names]
    return taken


def take_logs(span: SpanView, names: Container[str]) -> list[LogView]:
    """The same of log records alone."""
    taken = [log for log in span.logs if log.name in names]
    if taken:
        span.logs = [log for log in span.logs if log.name not in names]
    return taken


def leave(span: SpanView, taken: Iterable[Event | LogView]) -> None:
    """Put back what was taken and still says something: attributes that nobody popped, a body that is not None."""
    for said in taken:
        if isinstance(said, Event):
            if said.attrs:
                span.events.append(said)
        elif said.attrs or said.body not in (None, ""):
            span.logs.append(said)


def absorb(span: SpanView, records: Iterable[LogView]) -> None:
    """Attributes of log records as if the span had said them; what they say otherwise stays with the span as records.

    When they came and which number they had is not kept where nothing else is left.
    """
    records = list(records)
    for log in records:
        for key, item in list(log.attrs.items()):
            if key in WHEN or span.attrs.setdefault(key, item) == item:
                del log.attrs[key]
    leave(span, records)


WHEN = frozenset({"event.timestamp", "event.sequence"})


def in_order(logs: Iterable[LogView]) -> list[LogView]:
    """By time and number, and where these are the same by what they say: the same however they came."""

    def place(log: LogView) -> tuple[int, int, str]:
        return log.time_ns, whole(log.attrs.get("event.sequence")) or 0, log.name

    ordered = sorted(logs, key=place)
    if len({place(log) for log in ordered}) < len(ordered):
        ordered.sort(key=lambda log: (*place(log), _content(log)))
    return ordered


def _content(log: LogView) -> str:
    return str(sorted(log.attrs.items(), key=str))


def began_ns(log: LogView) -> int:
    """When what a record reports began: it comes at the end, and says `duration_ms`."""
    took = finite(log.attrs.get("duration_ms"))
    return max(0, log.time_ns - round(took * MS)) if took and 0 < took < LONGEST_MS else log.time_ns


def nearest(told: Sequence[T], at_ns: int, when: Callable[[T], int]) -> int | None:
    """The place of what is nearest to a moment, of equals the first; `told` is in order of the time `when` gives."""
    after = bisect_left(told, at_ns, key=when)
    if after and (after == len(told) or at_ns - when(told[after - 1]) <= when(told[after]) - at_ns):
        return bisect_left(told, when(told[after - 1]), key=when)
    return after if told else None


def made_of(log: LogView, name: str, parent_id: str, own_id: str = "") -> SpanView:
    """A span that a record stands for; its id, if none is given, is that of all that the record says."""
    said = derived_key(parent_id, name, log.name, str(log.time_ns), _content(log))
    return SpanView(
        id=own_id or said[: SPAN_ID_BYTES * 2],
        trace_id=log.trace_id,
        parent_id=parent_id,
        name=name,
        start_ns=began_ns(log),
        end_ns=log.time_ns,
        attrs={},
        scope_name=log.scope_name,
        scope_version=log.scope_version,
        resource=log.resource,
    )


def root_of(log: LogView, name: str, key: str) -> SpanView:
    """The span that stands for a whole trace of records, in every part under one id; `key` is the trace's own."""
    return made_of(log, name, "", derived_key(key, "root")[: SPAN_ID_BYTES * 2])
