"""Which dialects speak for a span, and one reading out of what they say.

What was set by hand as `langfuse.*` is heard first, then the dialect of the span's instrumentation scope, then those
whose marks the span carries, by rank: so a framework's words come before the conventions it sends along, which still
fill what it leaves open. What one says after another has said something else is kept in the metadata.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from functools import lru_cache

from otel_bridge.translate import dialects as folder
from otel_bridge.translate import explicit
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView

MAX_REMEMBERED = 20_000  # keys and scopes come from outside
MAX_LENGTH = 200  # of one that is remembered
MAX_SHAPES = 2_000
MAX_NAMES = 500  # in one that is remembered; those of log records may be empty
MAX_SHAPE = 8_192  # characters of all names in one that is remembered
MERGED = tuple(field for field in Reading.__slots__ if field not in ("by_hand", "metadata", "trace_metadata"))
UNSHOWN = frozenset(
    {
        "type",
        "level",
        "name",
        "completion_start_ns",
        "response_id",
        "call",
        "tool",
        "tells_call",
        "aggregate",
        "elsewhere",
        "noise",
        "judgements",
    }
)


@lru_cache(1)
def dialects() -> Sequence[Dialect]:
    """All dialects: every file in `dialects/` that holds one, and the explicit attributes; by rank, then name."""
    found = [
        importlib.import_module(f"{folder.__name__}.{module.name}").DIALECT
        for module in pkgutil.iter_modules(folder.__path__)
        if not module.name.startswith("_")
    ]
    return (explicit.DIALECT, *sorted(found, key=lambda dialect: (dialect.rank, dialect.name)))


def fits(pattern: str, name: str) -> bool:
    """Does a scope or mark, `name` or `prefix*`, fit?"""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def by_scope(scope: str) -> Dialect | None:
    """The dialect that names this scope most precisely."""
    return _by_scope(scope) if len(scope) <= MAX_LENGTH else _by_scope.__wrapped__(scope)


@lru_cache(MAX_REMEMBERED)
def _by_scope(scope: str) -> Dialect | None:
    found = [(len(pattern), dialect) for dialect in dialects() for pattern in dialect.scopes if fits(pattern, scope)]
    return max(found, key=lambda pair: pair[0])[1] if found else None


class _Marks(dict[str, frozenset[int]]):
    """The dialects, as places in `dialects()`, of which an attribute key or an event's name tells."""

    def __missing__(self, key: str) -> frozenset[int]:
        found = frozenset(
            place
            for place, dialect in enumerate(dialects())
            if any(mark != "*" and fits(mark, key) for mark in dialect.marks)
        )
        if len(key) <= MAX_LENGTH:
            if len(self) >= MAX_REMEMBERED:
                self.clear()
            self[key] = found
        return found


MARKS = _Marks()


@lru_cache(1)
def always() -> frozenset[int]:
    """The dialects that read every span."""
    return frozenset(place for place, dialect in enumerate(dialects()) if "*" in dialect.marks)


@lru_cache(MAX_REMEMBERED)
def _in_order(marked: frozenset[int], own: Dialect | None) -> Sequence[Dialect]:
    """The speakers: what is explicit, the scope's own, the others by rank."""
    others = [dialects()[place] for place in sorted(marked)]
    if own is None:
        return others
    first = [dialect for dialect in (explicit.DIALECT,) if dialect in others and dialect is not own]
    return [*first, own, *(dialect for dialect in others if dialect is not own and dialect not in first)]


class _Shapes(dict[tuple[str, ...], Sequence[Dialect]]):
    """The speakers by the shape of a span: its scope, then its names. An instrumentation has few shapes."""

    def __missing__(self, shape: tuple[str, ...]) -> Sequence[Dialect]:
        scope, *names = shape
        found = _in_order(always().union(*map(MARKS.__getitem__, names)), by_scope(scope))
        if len(shape) <= MAX_NAMES and sum(map(len, shape)) <= MAX_SHAPE:
            if len(self) >= MAX_SHAPES:
                self.clear()
            self[shape] = found
        return found


SHAPES = _Shapes()


def speakers(span: SpanView) -> Sequence[Dialect]:
    """The dialects that read this span, in the order in which they are heard."""
    if not span.events and not span.logs:
        return SHAPES[(span.scope_name, *span.attrs)]
    names = [span.scope_name, *span.attrs, *[event.name for event in span.events]]
    for log in span.logs:
        names += [log.name, *log.attrs]
    return SHAPES[tuple(names)]


def read(span: SpanView) -> Reading:
    """One reading of a span; `type` and all else that was set by hand stands whatever the dialects say."""
    heard: Reading | None = None
    for dialect in speakers(span):
        said = dialect.read(span)
        if said is None:
            continue
        if heard is None:
            heard = said
            if dialect is explicit.DIALECT:
                heard.by_hand = frozenset(_said(said))
        else:
            _hear(heard, said, dialect.name)
    return heard or Reading()


def _said(reading: Reading) -> list[str]:
    """The fields of which it says something."""
    return [field for field in MERGED if getattr(reading, field) is not None]


def _hear(heard: Reading, said: Reading, name: str) -> None:
    for field in MERGED:
        more = getattr(said, field)
        if more is None:
            continue
        known = getattr(heard, field)
        if known is None:
            setattr(heard, field, more)
        elif field not in UNSHOWN and more != known:
            heard.metadata[f"{name}.{field}"] = more
    for key, more in said.metadata.items():
        if heard.metadata.setdefault(key, more) != more:
            heard.metadata[f"{name}.{key}"] = more
    for key, more in said.trace_metadata.items():
        if heard.trace_metadata.setdefault(key, more) != more:
            heard.trace_metadata[f"{name}.{key}"] = more
