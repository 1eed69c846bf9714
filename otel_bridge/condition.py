"""Conditions and other expressions, as people write them in the configuration: one language everywhere, Google's CEL.

    attributes["http.route"] == "/health" && duration_s < 1
    resource["service.name"].startsWith("batch-") || name.matches("^(GET|HEAD) ")

What is not there makes a condition false, not wrong: an attribute that a span lacks, or one of another type than it is
compared with. So a condition that drops something keeps what it does not understand. What could never hold, as it asks
for what no span has, is refused when it is read. Patterns are RE2's: they take linear time, and are compiled once.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import cel
import re2
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from otel_bridge.mistakes import hint
from otel_bridge.trace import LogEntry, SpanRecord
from otel_bridge.translate.span import attributes, plain

MAX_LENGTH = 4096  # characters
MAX_DEPTH = 32  # of brackets; the parser recurses, and threads may have a small stack
MAX_STEPS = 512  # signs that make one more level of what is evaluated, which recurses too
SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")

Read: TypeAlias = Callable[[Any], Any]
Functions: TypeAlias = Mapping[str, Callable[[Any], bool]]
Keys: TypeAlias = Mapping[str, frozenset[str] | None]
R = TypeVar("R")

SPAN: Mapping[str, Read] = {
    "name": lambda record: record.span.name,
    "kind": lambda record: SPAN_KINDS[record.span.kind] if 0 <= record.span.kind < len(SPAN_KINDS) else "unspecified",
    "status": lambda record: STATUSES[record.span.status.code] if 0 <= record.span.status.code < 3 else "unset",
    "duration_s": lambda record: (record.span.end_time_unix_nano - record.span.start_time_unix_nano) / 1e9,
    "attributes": lambda record: record.span.attributes,
    "resource": lambda record: record.resource.attributes,
    "scope": lambda record: record.scope.name,
}
"""What a condition on spans may ask for, and how it is found."""

LOG: Mapping[str, Read] = {
    "event_name": lambda entry: entry.record.event_name,
    "severity": lambda entry: entry.record.severity_number,
    "body": lambda entry: plain(entry.record.body),
    "attributes": lambda entry: entry.record.attributes,
    "resource": lambda entry: entry.resource.attributes,
    "scope": lambda entry: entry.scope.name,
}
"""The same for log records."""

EITHER: Mapping[str, Read] = {
    "name": lambda one: one.span.name if isinstance(one, SpanRecord) else one.record.event_name,
    "attributes": lambda one: (one.span if isinstance(one, SpanRecord) else one.record).attributes,
    "resource": lambda one: one.resource.attributes,
    "scope": lambda one: one.scope.name,
}
"""What both have."""

RESOURCE: Mapping[str, Read] = {"resource": lambda resource: resource.attributes}
SCOPE: Mapping[str, Read] = {
    "resource": lambda pair: pair[0].attributes,
    "scope": lambda pair: pair[1].name,
}

OF_SCOPE = frozenset(("resource", "scope", "tenant"))
"""What is the same for all that comes from one instrumentation scope."""

MAPS = ("attributes", "resource")
TEXTS = ("name", "kind", "status", "scope", "tenant", "event_name")
WORDS = {"kind": SPAN_KINDS, "status": STATUSES}
MACROS = ("all", "exists", "exists_one", "map", "filter")
METHODS = ("contains", "startsWith", "endsWith", "matches")
DATES = (
    "FullYear",
    "Month",
    "Date",
    "DayOfMonth",
    "DayOfWeek",
    "DayOfYear",
    "Hours",
    "Minutes",
    "Seconds",
    "Milliseconds",
)
FUNCTIONS = ("size", "int", "uint", "double", "string", "bytes", "timestamp", "duration", *METHODS)
KNOWN_FUNCTIONS = frozenset((*FUNCTIONS, *(f"get{part}" for part in DATES)))
FAILURES = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)
OTTL = {"and": "&&", "or": "||", "not": "!"}  # the Collector's language, and the same in this one

TOKEN = re.compile(
    r"""(?:\s|//[^\n]*)*
    ([bB]?[rR][bB]?(?:"[^"\n]*"|'[^'\n]*') | [bB]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | [A-Za-z_]\w* | [=!<>]= | && | \|\| | .)""",
    re.VERBOSE | re.DOTALL,
)
INTERSECTION = re.compile(r"\[[^\]]*&&")  # which some syntaxes have
PLAIN_TEXT = re.compile(r"""(["'])([^"'\\]*)\1""")
PATTERN_FAILED = re.compile(r"Python function 'matches_[0-9a-f]{16}' failed: ")
# Or CEL tells of what is no text, for each span. The level is that of the program in which the engine may run.
logging.getLogger("cel").addFilter(lambda record: not PATTERN_FAILED.match(record.getMessage()))
STEPS = frozenset((*"+-*/%.[<>?", "==", "!=", "<=", ">=", "in"))
AROUND = ("",) * 5
BEFORE_A_KEY = ("", "(", "[", ",", "&&", "||", "?", ":")  # so that what stands before `in` is the key, and all of it


class Expression:
    """An expression that was understood; as a field of a Config it is written as text.

    asks: the variables that it asks for.
    functions: what it calls that CEL does not have: a function for each of its patterns.
    keys: of those that are maps, which keys it may ask for; None: any.
    """

    readers: ClassVar[Mapping[str, Read]] = {}
    """What it may ask for besides `tenant`, and how that is found; each subclass has its own."""

    __slots__ = ("_program", "asks", "functions", "keys", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError: it can not be understood, or asks for what there is not."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"a condition may have {MAX_LENGTH} characters")
        tokens = _tokens(text)
        try:
            program = cel.compile(text)
        except ValueError as error:
            raise ValueError(f"this is no CEL expression: {_first_line(error)}{_meant(tokens)}") from error
        self.text = text
        known = (*self.readers, "tenant")
        self.asks = frozenset(program.variables()) - _bound(tokens).difference(known)
        for name in sorted(self.asks.difference(known)):
            raise ValueError(f"'{name}' is not known here" + hint(name, known))
        for name in program.functions():
            if name[0].isalpha() and name not in KNOWN_FUNCTIONS:
                meant = f", write {OTTL[name]}" if name in OTTL else hint(name, FUNCTIONS)
                raise ValueError(f"there is no function '{name}'{meant}")
        _check(tokens)
        with_patterns, self.functions = _with_patterns(text, tokens)
        self._program = cel.compile(with_patterns) if self.functions else program
        self.keys: Keys = {name: _keys(name, tokens) for name in MAPS if name in self.asks}

    def values(self, record: Any, tenant: str) -> dict[str, Any]:
        """What it asks for, of one thing."""
        return _values(self.asks, self.keys, self.readers, record, tenant)

    def value(self, values: "Mapping[str, Any] | cel.Context") -> Any:
        """What it is for these values, among which is all that it `asks` for; None where it makes no sense of them."""
        if self.functions and not isinstance(values, cel.Context):
            values = cel.Context(dict(values), dict(self.functions))
        try:
            return self._program.execute(values)  # type: ignore[arg-type]  # it only reads
        except FAILURES:
            return None

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(lambda one: one.text)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "maxLength": MAX_LENGTH}

    @classmethod
    def _read(cls, value: Any) -> "Expression":
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("must be text, a condition")  # noqa: TRY004 - pydantic takes it for a mistake
        return cls(value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"


class Condition(Expression):
    """An expression that is true or not."""

    __slots__ = ()

    def holds(self, values: "Mapping[str, Any] | cel.Context") -> bool:
        """Whether it is true of these values, among which is all that it `asks` for."""
        return self.value(values) is True


class SpanCondition(Condition):
    """A condition on a span."""

    readers = SPAN
    __slots__ = ()

    def of(self, record: SpanRecord, tenant: str) -> bool:
        """Whether it holds for a span."""
        return self.holds(self.values(record, tenant))


class LogCondition(Condition):
    """A condition on a log record."""

    readers = LOG
    __slots__ = ()

    def of(self, entry: LogEntry, tenant: str) -> bool:
        """Whether it holds for a log record."""
        return self.holds(self.values(entry, tenant))


class ResourceCondition(Condition):
    """A condition on a resource."""

    readers = RESOURCE
    __slots__ = ()


class ScopeCondition(Condition):
    """A condition on an instrumentation scope and its resource, which are given as a pair."""

    readers = SCOPE
    __slots__ = ()


class Source(Expression):
    """Where something is to be found: an expression on a span or a log record that need not be true or false."""

    readers = EITHER
    __slots__ = ()

    def of(self, one: SpanRecord | LogEntry, tenant: str) -> Any:
        """What it finds there; None where there is nothing."""
        return self.value(self.values(one, tenant))


class Rules(Generic[R]):
    """Named conditions on things of one kind, whose values are looked up once for all of them."""

    def __init__(self, conditions: Mapping[str, Condition]) -> None:
        self._conditions = tuple(conditions.items())
        self._asks = frozenset[str]().union(*(one.asks for one in conditions.values()))
        self._keys = {name: _union(one.keys[name] for one in conditions.values() if name in one.keys) for name in MAPS}
        self._readers = self._conditions[0][1].readers if self._conditions else {}
        self._functions = {name: of for one in conditions.values() for name, of in one.functions.items()}

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def first(self, record: R, tenant: str) -> str | None:
        """The name of the first that holds."""
        values: Any = _values(self._asks, self._keys, self._readers, record, tenant)
        if len(self._conditions) > 1:
            values = cel.Context(values, self._functions)  # so that they are made CEL's own once
        return next((name for name, condition in self._conditions if condition.holds(values)), None)


def _values(asks: Iterable[str], keys: Keys, readers: Mapping[str, Read], record: Any, tenant: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in asks:
        if name == "tenant":
            found[name] = tenant
        elif name in MAPS:
            found[name] = _chosen(readers[name](record), keys[name])
        else:
            found[name] = readers[name](record)
    return found


def _chosen(pairs: Iterable[KeyValue], keys: frozenset[str] | None) -> dict[str, Any]:
    """Those attributes alone that are asked for: to make thirty of them CEL's own takes longer than all the rest."""
    if keys is None:
        return attributes(pairs)
    return {key: plain(pair.value) for pair in pairs if (key := pair.key) in keys}


def _union(keys: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    every: frozenset[str] = frozenset()
    for some in keys:
        if some is None:
            return None
        every |= some
    return every


# What stands in a text, without meaning: CEL's own parser has found it well formed.


def _tokens(text: str) -> Sequence[str]:
    """Its tokens, with empty ones around them.

    Raises ValueError: to parse or to evaluate it could take more stack than there is, or it can not be told apart.
    """
    if '"""' in text or "'''" in text:
        raise ValueError("a text stands between two quotation marks, not six")
    tokens = TOKEN.findall(text)
    depth = deepest = 0
    for one in tokens:
        depth += (one in ("(", "[", "{")) - (one in (")", "]", "}"))
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise ValueError(f"brackets may stand in each other {MAX_DEPTH} deep")
    if sum(map(STEPS.__contains__, tokens)) > MAX_STEPS:
        raise ValueError(f"this is too long: {MAX_STEPS} comparisons, sums and look-ups are the most")
    return (*AROUND, *tokens, *AROUND)


def _places(tokens: Sequence[str]) -> range:
    return range(len(AROUND), len(tokens) - len(AROUND))


def _bound(tokens: Sequence[str]) -> frozenset[str]:
    """The names that macros give to the items of a list, as in `attributes["tags"].exists(tag, tag == "x")`."""
    return frozenset(
        tokens[at + 3]
        for at in _places(tokens)
        if tokens[at] == "." and tokens[at + 1] in MACROS and tokens[at + 2] == "(" and tokens[at + 4] == ","
    )


def _keys(name: str, tokens: Sequence[str]) -> frozenset[str] | None:
    """The keys of a map that are asked for by name; None where others may be."""
    found: set[str] = set()
    for at in _places(tokens):
        if tokens[at] != name or tokens[at - 1] == ".":
            continue
        after, then, last = tokens[at + 1 : at + 4]
        before = PLAIN_TEXT.fullmatch(tokens[at - 2]) if tokens[at - 1] == "in" else None
        if after == "[" and (key := PLAIN_TEXT.fullmatch(then)) and last == "]":
            found.add(key[2])
        elif after == "." and then.isidentifier() and last != "(":
            found.add(then)
        elif before and after not in ("[", ".", "(", "{") and tokens[at - 3] in BEFORE_A_KEY:
            found.add(before[2])
        else:
            return None
    return frozenset(found)


def _check(tokens: Sequence[str]) -> None:
    """Raises ValueError for what is well formed and can never hold."""
    for at in _places(tokens):
        name, after, then, last = tokens[at : at + 4]
        if name in METHODS and after == "(" and tokens[at - 1] != ".":
            raise ValueError(f"write it as text.{name}(…)")
        if tokens[at - 1] == ".":
            continue
        if name in TEXTS and after == "." and last != "(":
            raise ValueError(f"'{name}' is text and has no '.{then}'")
        if name in MAPS and after == "." and then == "attributes" and last == "[":
            raise ValueError(f'write it as {name}["…"], without .attributes')
        words = WORDS.get(name)
        if words and after in ("==", "!=") and (word := PLAIN_TEXT.fullmatch(then)) and word[2] not in words:
            raise ValueError(f"no {name} is '{word[2]}'" + hint(word[2], words))


def _with_patterns(text: str, tokens: Sequence[str]) -> tuple[str, Functions]:
    """The text with a function in the place of each `matches("…")`, and these functions: CEL would compile the pattern
    each time that it is asked.

    Raises ValueError: a pattern can not be read, or is not known before there is a span.
    """
    functions: dict[str, Callable[[Any], bool]] = {}
    spans = [token.span(1) for token in TOKEN.finditer(text)]
    pieces: list[str] = []
    done = 0
    for at in _places(tokens):
        if tokens[at - 1] != "." or tokens[at] != "matches" or tokens[at + 1] != "(":
            continue
        literal, closing = tokens[at + 2 : at + 4]
        if literal[-1:] not in ("'", '"') or closing != ")":
            raise ValueError('write a pattern as one text: matches("…")')
        name = f"matches_{hashlib.sha256(literal.encode()).hexdigest()[:16]}"  # one pattern has one wherever it stands
        functions[name] = _finding(literal)
        place = at - len(AROUND)
        pieces += (text[done : spans[place][0]], f"{name}()")
        done = spans[place + 3][1]
    return "".join((*pieces, text[done:])), functions


def _finding(literal: str) -> Callable[[Any], bool]:
    """Whether a text has something in it that the pattern finds which is written so.

    Raises ValueError: it can not be read.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        pattern = re2.compile(cel.evaluate(literal).encode(), options)
    except (*FAILURES, AttributeError, re2.error) as error:
        raise ValueError(f"{literal} is no pattern that can be read, in RE2's syntax") from error
    if INTERSECTION.search(literal):
        raise ValueError(f"{literal}: RE2 has no && within [ ]")

    def finds(text: Any) -> bool:
        if not isinstance(text, str):
            raise TypeError("only texts have patterns")
        return pattern.search(text.encode()) is not None

    return finds


def _meant(tokens: Sequence[str]) -> str:
    """What in it is of another language."""
    return "".join(f", write {OTTL[word]} for '{word}'" for word in OTTL if word in tokens)


def _first_line(error: ValueError) -> str:
    words = str(error).partition("ERROR: ")[2] or str(error)
    return words.partition("\n")[0].removeprefix("<input>:")
