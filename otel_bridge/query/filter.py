"""The filter language: `status:error duration:>10s name:chat* -model:gpt* "free text"`, compiled to SQL.

Lucene's syntax. Terms side by side must all hold; OR, NOT, `-`, parentheses and [a TO b] work as expected. What was
typed only ever becomes a parameter of the SQL, never a part of it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from time import time_ns as clock_ns
from typing import Any, TypeAlias

import orjson

from otel_bridge.errors import UsageError
from otel_bridge.query.heartbeats import is_awaited
from otel_bridge.query.quantities import after_ns, duration_ns, number, time_ns

MAX_LENGTH = 1000
MAX_DEPTH = 30

TEXTS = {
    "id": "t.trace_id",
    "trace": "t.trace_id",
    "name": "t.name",
    "session": "t.session_id",
    "user": "t.user_id",
    "environment": "t.environment",
    "env": "t.environment",
    "release": "t.release",
    "version": "t.version",
    "tenant": "t.tenant",
}
OBSERVED = {"model": "model", "type": "type", "level": "level", "observation": "name"}
OF_SPANS = "spans s WHERE s.trace_id = t.trace_id AND s.tenant = t.tenant"
OF_READINGS = "readings s WHERE s.trace_id = t.trace_id AND s.tenant = t.tenant"
# Until a trace has settled, what came is counted. (S608: it is all our own SQL.)
OBSERVATION_COUNT = f"(CASE WHEN t.settled THEN t.observation_count ELSE (SELECT count(*) FROM {OF_SPANS}) END)"  # noqa: S608
ERROR_COUNT = f"(CASE WHEN t.settled THEN t.error_count ELSE (SELECT count(*) FROM {OF_SPANS} AND s.status = 2) END)"  # noqa: S608
NUMBERS = {
    "tokens": "t.total_tokens",
    "cost": "t.total_cost",
    "errors": ERROR_COUNT,
    "observations": OBSERVATION_COUNT,
}
LEFT_OUT = "SELECT 1 FROM omitted x WHERE x.trace_id = t.trace_id AND x.id = '' AND x.tenant = t.tenant"
OF_OPEN = f"{OF_SPANS} AND s.status = -1"
PARTIAL = f"(t.settled = 1 AND (t.lacks_parent = 1 OR EXISTS (SELECT 1 FROM {OF_OPEN})))"  # noqa: S608
STATUS = {
    "error": "t.error_count > 0",
    "ok": "(t.error_count = 0 AND t.settled = 1)",
    "open": f"(t.settled = 0 AND NOT EXISTS ({LEFT_OUT}))",
    "sampled_out": f"(t.settled = 0 AND EXISTS ({LEFT_OUT} AND x.decision = 'sampled_out'))",
    "filtered": f"(t.settled = 0 AND EXISTS ({LEFT_OUT} AND x.decision = 'filtered'))",
    "partial": PARTIAL,
}
BY_HEARTBEATS = ("running", "lost")
"""What is told of a span that has not ended, or no more, whether its trace has settled in part or not."""
OF_OBSERVATIONS = "observations o WHERE o.trace_id = t.trace_id AND o.tenant = t.tenant AND"
OF_RESOURCES = "observed_resources r WHERE r.trace_id = t.trace_id AND r.tenant = t.tenant AND"
OF_SCORES = "scores s WHERE s.trace_id = t.trace_id AND s.tenant = t.tenant AND"
FIELDS = (
    *TEXTS,
    *OBSERVED,
    *NUMBERS,
    "duration",
    "start",
    "age",
    "status",
    "tag",
    "score",
    "metadata.KEY",
    "resource.KEY",
)
OPEN = ("metadata.", "resource.")
"""What may be followed by any key."""

QUOTED_OR_OFFSET = re.compile(
    r'"(?:\\.|[^"\\])*"|(?<=[:\[{>=<\s])(\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d(?::?\d\d)?)(?=[\s\]})]|$)'
)
"""A time with an offset has a sign that stands for something else in Lucene's syntax, where it is not quoted."""

Convert: TypeAlias = Callable[[str], float]


@dataclass(slots=True, frozen=True)
class Condition:
    """An SQL expression over the table `traces AS t`, and the values of its `?` parameters in order."""

    sql: str
    values: tuple[Any, ...] = ()


ALL = Condition("1")


def compile_filter(text: str, now_ns: int | None = None) -> Condition:
    """The condition that a filter stands for; an empty filter holds for all traces.

    now_ns: what `age` counts from; the wall clock unless given.

    Raises:
        UsageError: it can not be read, or names a field that there is not.
    """
    if not text.strip():
        return ALL
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the filter has {len(text)} characters, {MAX_LENGTH} at most")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError("the filter is not UTF-8")
    from luqum.exceptions import ParseError
    from luqum.thread import parse

    try:
        tree = parse(QUOTED_OR_OFFSET.sub(lambda found: f'"{found[1]}"' if found[1] else found[0], text))
    except ParseError as error:
        raise UsageError(
            f'the filter can not be read: {error}. Write it as: status:error duration:>10s name:chat* "free text"'
        ) from error
    return _Compiler(clock_ns() if now_ns is None else now_ns).condition(tree)


class _Compiler:
    """Walks the parsed filter; knows what time it is."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns

    def condition(self, node: Any, field: str | None = None, depth: int = 0) -> Condition:
        from luqum import tree

        if depth > MAX_DEPTH:
            raise UsageError(f"the filter is nested more than {MAX_DEPTH} levels deep")
        match node:
            case tree.OrOperation():
                return self._joined(" OR ", node, field, depth)
            case tree.AndOperation() | tree.UnknownOperation():
                return self._joined(" AND ", node, field, depth)
            case tree.Not() | tree.Prohibit():
                inner = self.condition(node.a, field, depth + 1)
                return Condition(f"NOT coalesce({inner.sql}, 0)", inner.values)
            case tree.Group() | tree.FieldGroup():
                return self.condition(node.expr, field, depth + 1)
            case tree.Plus():
                return self.condition(node.a, field, depth + 1)
            case tree.SearchField() if field is None:
                return self.condition(node.expr, node.name.replace("\\", ""), depth + 1)
            case tree.Word() | tree.Phrase() | tree.From() | tree.To() | tree.Range():
                return self._term(field, node)
        raise UsageError(
            f"the filter can not use {str(node).strip()!r}: fuzzy, boosted and regular expressions are not known, and "
            'what has a : or / in it is written "in quotes"'
        )

    def _joined(self, word: str, node: Any, field: str | None, depth: int) -> Condition:
        parts = [self.condition(child, field, depth + 1) for child in node.children]
        return Condition(
            "(" + word.join(part.sql for part in parts) + ")", tuple(value for part in parts for value in part.values)
        )

    def _term(self, field: str | None, node: Any) -> Condition:
        if field is None:
            return _contains(_literal("text", node))
        if field in NUMBERS:
            return _compared(NUMBERS[field], field, node, number)
        if field == "duration":
            return _compared("(t.end_ns - t.start_ns)", field, node, duration_ns)
        if field == "start":
            return _started(node)
        if field == "age":
            return _compared(f"({self._now_ns} - t.start_ns)", field, node, duration_ns)
        if field == "status":
            return self._status(_literal(field, node))
        if field in TEXTS:
            return _like(TEXTS[field], field, node)
        if field in OBSERVED:
            column = OBSERVED[field]
            came = OF_SPANS if field == "observation" else OF_READINGS
            return _observed(_like(f"o.{column}", field, node), _like(f"s.{column}", field, node), came)
        if field == "score":
            return _exists(OF_SCORES, _like("s.name", field, node))
        if field == "tag":
            return _exists("json_each(t.tags) x WHERE", _like("x.value", field, node))
        if field.startswith(OPEN):
            return _described(field, _like("x.value", field, node))
        raise _unknown(field)

    def _status(self, text: str) -> Condition:
        if text in STATUS:
            return Condition(STATUS[text])
        told = _exists(OF_OPEN, Condition(f"AND {is_awaited(self._now_ns)}"))
        if text == "running":
            return told
        if text == "lost":
            return Condition(f"({_exists(OF_OPEN, Condition('')).sql} AND NOT {told.sql})")
        raise UsageError(f"no status {text!r}, there are {', '.join((*STATUS, *BY_HEARTBEATS))}")


def _exists(source: str, inner: Condition) -> Condition:
    return Condition(f"EXISTS (SELECT 1 FROM {source} {inner.sql})", inner.values)  # noqa: S608 - both are our own SQL


def _has(column: str, key: str, said: Condition) -> Condition:
    """Whether an object in JSON says so of a key; column: with the path to the object in it, where it is not all."""
    return _exists(f"json_each({column}) x WHERE x.key = ? AND", Condition(said.sql, (key, *said.values)))


def _described(field: str, said: Condition) -> Condition:
    """`metadata.KEY`: of the trace, or of one of its observations, which is read where it has the key written at all;
    `resource.KEY`: of one of its resources."""
    where, _, key = field.partition(".")
    if where == "resource":
        return _exists(OF_RESOURCES, _has("r.resource", key, said))
    whole = _has("t.metadata", key, said)
    part = _has("o.detail, '$.metadata'", key, said)
    written = f"%{_pattern(orjson.dumps(key).decode(), wild=False)}%"
    one = _exists(OF_OBSERVATIONS, Condition(f"o.detail LIKE ? ESCAPE '\\' AND {part.sql}", (written, *part.values)))
    return Condition(f"({whole.sql} OR {one.sql})", (*whole.values, *one.values))


def _observed(became: Condition, came: Condition, source: str) -> Condition:
    """Of one of its observations; of a trace that has not settled, of one of its spans."""
    observation, span = _exists(OF_OBSERVATIONS, became), _exists(f"{source} AND", came)
    return Condition(f"({observation.sql} OR (t.settled = 0 AND {span.sql}))", (*observation.values, *span.values))


def _unknown(field: str) -> UsageError:
    if field.isdecimal():
        return UsageError(
            f"no field {field!r}: a time is written as 2026-11-28T{field}:…, and a + in an address as %2B"
        )
    close = get_close_matches(field, FIELDS, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(FIELDS)}"
    return UsageError(f"no field {field!r} to filter by, {hint}")


def _literal(field: str, node: Any) -> str:
    from luqum import tree

    match node:
        case tree.Phrase():
            return str(node.value)[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        case tree.Word():
            return str(node.value)
    raise UsageError(f"{field} has no order: it can not be compared or in a range")


def _pattern(text: str, *, wild: bool) -> str:
    """A pattern for LIKE ... ESCAPE '\\'; `*` and `?` are wild unless escaped or quoted."""
    pattern, escaped = [], False
    for character in text:
        if wild and not escaped and character == "\\":
            escaped = True
            continue
        if wild and not escaped and character in "*?":
            pattern.append("%" if character == "*" else "_")
        else:
            pattern.append("\\" + character if character in "%_\\" else character)
        escaped = False
    return "".join(pattern)


def _like(column: str, field: str, node: Any) -> Condition:
    from luqum import tree

    text = _literal(field, node)
    return Condition(f"{column} LIKE ? ESCAPE '\\'", (_pattern(text, wild=isinstance(node, tree.Word)),))


def _contains(text: str) -> Condition:
    """Free text: in the trace's name, or in the name, the content or the resource of one of its observations; of what
    has not settled only names are known."""
    named = f"%{_pattern(text, wild=False)}%"
    written = f"%{_pattern(orjson.dumps(text).decode()[1:-1], wild=False)}%"  # content is stored as JSON
    inside = Condition("(o.name LIKE ? ESCAPE '\\' OR o.detail LIKE ? ESCAPE '\\')", (named, written))
    observed = _observed(inside, Condition("s.name LIKE ? ESCAPE '\\'", (named,)), OF_SPANS)
    under = _exists(OF_RESOURCES, Condition("r.resource LIKE ? ESCAPE '\\'", (written,)))
    return Condition(
        f"(coalesce(t.name LIKE ? ESCAPE '\\', 0) OR {observed.sql} OR {under.sql})",
        (named, *observed.values, *under.values),
    )


def _compared(column: str, field: str, node: Any, convert: Convert) -> Condition:
    from luqum import tree

    match node:
        case tree.From():
            return Condition(f"{column} >{'=' * node.include} ?", (convert(_literal(field, node.a)),))
        case tree.To():
            return Condition(f"{column} <{'=' * node.include} ?", (convert(_literal(field, node.a)),))
        case tree.Range():
            ends = ((">", node.low, node.include_low), ("<", node.high, node.include_high))
            parts = [
                (f"{column} {sign}{'=' * include} ?", convert(_literal(field, end)))
                for sign, end, include in ends
                if str(end).strip() != "*"
            ]
            return Condition(" AND ".join(sql for sql, _ in parts) or "1", tuple(value for _, value in parts))
    value = convert(_literal(field, node))
    if convert is duration_ns:
        raise UsageError(
            f"nothing takes {field}:{node.value} to the nanosecond: write > or < before it, or [9s TO 11s]"
        )
    return Condition(f"{column} = ?", (value,))


def _started(node: Any) -> Condition:
    """A day is all of it, as is a minute: what is after it begins at its end, and what it is the end of ends there."""
    from luqum import tree

    match node:
        case tree.From():
            ends = [_since(node.a, of_it=node.include)]
        case tree.To():
            ends = [_until(node.a, of_it=node.include)]
        case tree.Range():
            ends = [_since(node.low, of_it=node.include_low), _until(node.high, of_it=node.include_high)]
        case _:
            ends = [_since(node, of_it=True), _until(node, of_it=True)]
    return Condition(" AND ".join(end.sql for end in ends), tuple(value for end in ends for value in end.values))


def _since(node: Any, *, of_it: bool) -> Condition:
    if str(node).strip() == "*":
        return ALL
    text = _literal("start", node)
    return Condition("t.start_ns >= ?", (time_ns(text) if of_it else after_ns(text),))


def _until(node: Any, *, of_it: bool) -> Condition:
    if str(node).strip() == "*":
        return ALL
    text = _literal("start", node)
    return Condition("t.start_ns < ?", (after_ns(text) if of_it else time_ns(text),))
