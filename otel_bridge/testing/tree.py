"""What a trace should look like, compared with what it looks like: a difference that can be read."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otel_bridge.model import Observation
from otel_bridge.telemetry import printable

MOST_ASSIGNED = 6  # siblings whose every order is tried; of more, the nearest is taken one by one
ANOTHER, MISSING = 1000.0, 2.5  # of one name belong together; of two, if not much else differs as well
MARK_WIDTH = 2
FIELDS = ("type", "model", "level", "status", "usage", "cost", "input", "output", "metadata", "session", "user", "tags")


@dataclass(slots=True, frozen=True)
class Expected:
    """A part of a trace as it should be; made by `expect`."""

    name: Any
    said: Mapping[str, Any]
    children: tuple["Expected", ...] | None


def expect(
    name: "str | re.Pattern[str]",
    *children: Expected,
    alone: bool = False,
    type: str | None = None,  # noqa: A002 - Langfuse's word
    model: Any = None,
    level: str | None = None,
    status: Any = None,
    usage: Mapping[str, Any] | None = None,
    cost: Mapping[str, Any] | None = None,
    input: Any = None,  # noqa: A002 - Langfuse's word
    output: Any = None,
    metadata: Mapping[str, Any] | None = None,
    session: Any = None,
    user: Any = None,
    tags: Sequence[str] | None = None,
) -> Expected:
    """An observation and what stands below it, in Langfuse's words; what is not named is not looked at.

    Of mappings the keys that are named count, of texts all or what a pattern (`re.compile`) finds; `...` stands for
    anything that is there. Children are looked at where some are named, or where it is `alone`, which says that there
    are none; those that did not run at the same time must come in this order.
    """
    said = {
        "type": type.upper() if type else None,
        "model": model,
        "level": level.upper() if level else None,
        "status": status,
        "usage": usage,
        "cost": cost,
        "input": input,
        "output": output,
        "metadata": metadata,
        "session": session,
        "user": user,
        "tags": list(tags) if tags is not None else None,
    }
    wanted = {key: value for key, value in said.items() if value is not None}
    return Expected(name, wanted, children if children or alone else None)


@dataclass(slots=True)
class Seen:
    """An observation with those below it, in the order in which they began."""

    observation: Observation
    children: list["Seen"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As Langfuse shows it."""
        return self.observation.name

    def said(self, key: str) -> Any:
        """What it says of one of the things that `expect` names."""
        match key:
            case "status":
                return self.observation.status_message
            case "session":
                return self.observation.trace.session_id
            case "user":
                return self.observation.trace.user_id
            case "tags":
                return self.observation.trace.tags
            case "type" | "level":
                return str(getattr(self.observation, key))
            case _:
                return getattr(self.observation, key)

    def __str__(self) -> str:
        return "\n".join(line for line in _drawn(self, 0, ""))


def grown(observations: Iterable[Observation]) -> list[Seen]:
    """Trees of observations; the tops are those whose parents are not here."""
    seen = {one.id: Seen(one) for one in sorted(observations, key=lambda one: (one.start_ns, -one.end_ns))}
    tops: list[Seen] = []
    for one in seen.values():
        parent = seen.get(one.observation.parent_id or "")
        (parent.children if parent is not None else tops).append(one)
    return tops


def differences(expected: Expected, tops: Sequence[Seen]) -> tuple[int, str]:
    """How many there are, and the tree with them: `-` is expected and not there, `+` the other way round."""
    compared = _Comparison().siblings([expected], tops, 0)
    return compared.count, "\n".join(compared.lines)


@dataclass(slots=True)
class _Compared:
    count: int = 0
    lines: list[str] = field(default_factory=list)

    def add(self, other: "_Compared") -> None:
        self.count += other.count
        self.lines += other.lines


class _Comparison:
    """Of two trees; each pair is compared once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], _Compared] = {}

    def node(self, expected: Expected, seen: Seen, depth: int) -> _Compared:
        if (known := self._known.get((id(expected), id(seen), depth))) is not None:
            return known
        found = self._known[id(expected), id(seen), depth] = _Compared()
        if _fits(expected.name, seen.name):
            found.lines.append(_line(" ", depth, seen.name))
        else:
            found.count += 1
            found.lines += [_line("-", depth, _shown_name(expected.name)), _line("+", depth, seen.name)]
        for key, wanted in expected.said.items():
            found.add(_value(key, wanted, seen.said(key), depth + 1))
        if expected.children is not None:
            found.add(self.siblings(expected.children, seen.children, depth + 1))
        return found

    def siblings(self, expected: Sequence[Expected], seen: Sequence[Seen], depth: int) -> _Compared:
        """Those that ran at the same time in whatever order; all others in the order in which they are expected."""
        best = self._assigned(expected, seen, depth)
        found = _Compared()
        pairs = [(wanted, here) for wanted, here in zip(expected, best, strict=True) if here is not None]
        late = {
            id(here): before.name
            for at, (_, here) in enumerate(pairs)
            for _, before in pairs[at + 1 :]
            if before.observation.end_ns <= here.observation.start_ns
        }
        for wanted, here in zip(expected, best, strict=True):
            if here is None:
                found.count += 1
                found.lines += _wanted(wanted, depth)
                continue
            found.add(self.node(wanted, here, depth))
            if (before := late.get(id(here))) is not None:
                found.count += 1
                found.lines.append(_line("+", depth + 1, f"(it ran after {before})"))
        used = {id(here) for here in best}
        for here in seen:
            if id(here) not in used:
                found.count += 1
                found.lines += _drawn(here, depth, "+")
        return found

    def _assigned(self, expected: Sequence[Expected], seen: Sequence[Seen], depth: int) -> list[Seen | None]:
        """For each that is expected the one that is nearest to it, so that all together differ least."""
        costs = [[self.node(wanted, here, depth).count for here in seen] for wanted in expected]
        alike = [[_fits(wanted.name, here.name) for here in seen] for wanted in expected]
        if max(len(expected), len(seen)) > MOST_ASSIGNED:
            return _one_by_one(costs, alike, seen)
        best: tuple[float, list[Seen | None]] = (float("inf"), [])

        def go_on(at: int, chosen: list[int | None], cost: float) -> None:
            nonlocal best
            if cost >= best[0]:
                return
            if at == len(expected):
                best = (cost, [None if index is None else seen[index] for index in chosen])
                return
            for index in range(len(seen)):
                if index in chosen:
                    continue
                others = [other for other in chosen if other is not None]
                turned = sum(seen[index].observation.end_ns <= seen[other].observation.start_ns for other in others)
                more = costs[at][index] + turned + (0 if alike[at][index] else ANOTHER)
                go_on(at + 1, [*chosen, index], cost + more)
            go_on(at + 1, [*chosen, None], cost + ANOTHER + MISSING)

        go_on(0, [], 0)
        return best[1]


def _value(key: str, wanted: Any, is_there: Any, depth: int) -> _Compared:
    if isinstance(wanted, Mapping) and isinstance(is_there, Mapping):
        found = _Compared()
        for inner, value in wanted.items():
            found.add(_value(f"{key}.{inner}", value, is_there.get(inner), depth))
        return found
    if _fits(wanted, is_there):
        return _Compared()
    return _Compared(
        1, [_line("-", depth, f"{key}: {_shown(wanted)}"), _line("+", depth, f"{key}: {_shown(is_there)}")]
    )


def _fits(wanted: Any, is_there: Any) -> bool:
    if wanted is ...:
        return is_there is not None
    if isinstance(wanted, re.Pattern):
        return isinstance(is_there, str) and wanted.search(is_there) is not None
    if isinstance(wanted, Mapping):
        return isinstance(is_there, Mapping) and all(_fits(value, is_there.get(key)) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        same = isinstance(is_there, Sequence) and not isinstance(is_there, str) and len(wanted) == len(is_there)
        return same and all(map(_fits, wanted, is_there))
    return bool(wanted == is_there)


def _one_by_one(costs: list[list[int]], alike: list[list[bool]], seen: Sequence[Seen]) -> list[Seen | None]:
    ways = sorted(
        (not alike[at][index], costs[at][index], at, index) for at in range(len(costs)) for index in range(len(seen))
    )
    taken: dict[int, int] = {}
    for is_other, _, at, index in ways:
        if at not in taken and index not in taken.values() and not is_other:
            taken[at] = index
    return [seen[taken[at]] if at in taken else None for at in range(len(costs))]


def _wanted(expected: Expected, depth: int) -> Iterator[str]:
    yield _line("-", depth, " · ".join([_shown_name(expected.name), *_words(expected.said)]))
    for child in expected.children or ():
        yield from _wanted(child, depth + 1)


def _drawn(seen: Seen, depth: int, mark: str) -> Iterator[str]:
    said = {key: value for key in FIELDS[:5] if (value := seen.said(key)) and value != "DEFAULT"}
    yield _line(mark, depth, " · ".join([seen.name, *_words(said)]))
    for child in seen.children:
        yield from _drawn(child, depth + 1, mark)


def _words(said: Mapping[str, Any]) -> list[str]:
    return [str(value) if key == "type" else f"{key} {_shown(value)}" for key, value in said.items()]


def _shown(value: Any) -> str:
    if value is ...:
        return "anything"
    if isinstance(value, re.Pattern):
        return f"/{value.pattern}/"
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}… ({len(shown)} characters)"


def _shown_name(name: Any) -> str:
    return name if isinstance(name, str) else _shown(name)


def _line(mark: str, depth: int, text: str) -> str:
    return f"{mark:<{MARK_WIDTH}}{'  ' * depth}{printable(text)}".rstrip()
