"""Which calls and tools are reported twice: of two spans that report one, the poorer becomes a SPAN.

It gives the richer what that lacks, and says in its metadata whose call it tells (`same_call_as`).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from otel_bridge.model import CALLS, Level, Observation, ObservationType
from otel_bridge.trace import is_one_call
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.node import ACTORS, Node
from otel_bridge.translate.usage import uncount

MAX_TOLD = 16  # how many spans are compared that may tell of one call: who sends it a thousand times gains nothing
INHERITED = ("model", "model_parameters", "completion_start_ns", "input", "output", "cost", "status_message")


# Tools


def one_for_each_tool(order: Sequence[Node]) -> None:
    """A call of a tool told again, from inside as by a protocol's client and server or under one key, is a SPAN."""
    actors: dict[str, Node] = {}
    for node in order:
        seen, told = node.observation, node.reading.tool
        above = actors.get(node.parent.span.id) if node.parent else None
        if above and told and seen.type is ObservationType.TOOL and not node.fixed:
            outer = above.observation
            if outer.type is ObservationType.TOOL and told in outer.name:
                seen.type = ObservationType.SPAN
                seen.metadata["same_call_as"] = outer.id
                outer.input = seen.input if outer.input is None else outer.input
                outer.output = seen.output if outer.output is None else outer.output
        if seen.type in ACTORS:
            actors[node.span.id] = node
        elif above:
            actors[node.span.id] = above
    _settle_keyed([node for node in order if node.reading.call and node.observation.type is ObservationType.TOOL])


def _settle_keyed(tools: Sequence[Node]) -> None:
    """One key, one tool, one within the time of the other, two spans' names; a key alone may come with each request."""
    alone: dict[tuple[str | None, str], list[Node]] = {}
    for node in sorted(tools, key=lambda tool: (tool.span.start_ns, -tool.span.end_ns)):
        others = alone.setdefault((node.reading.call, node.observation.name), [])
        for place in range(len(others))[: -1 - MAX_TOLD : -1]:
            other = others[place]
            if other.span.name != node.span.name and node.span.end_ns <= other.span.end_ns:
                del others[place]
                _keep_richer(other, node)
                break
        else:
            others.append(node)


# Calls


def one_for_each_call(order: Sequence[Node]) -> None:
    near: dict[str, _Near] = {}
    for node in reversed(order):
        found = [near.pop(child.span.id) for child in node.children if child.span.id in near] if node.children else []
        below = found[0] if len(found) == 1 else _joined(found) if found else None
        if node.observation.type in CALLS and (below or node.reading.elsewhere):
            _settle_around(node, below or _Near([]))
        if node.observation.type in CALLS:
            near[node.span.id] = _Near([node])
        elif below and node.observation.type not in ACTORS:
            near[node.span.id] = below
            if node.reading.tells_call and len(below.calls) == 1:
                _hand_down(node.observation, below.calls[0].observation)
    _settle_siblings(order)
    _settle_beside(order)
    _leave_called(order)


@dataclass(slots=True)
class _Near:
    """The nearest calls at or below a node that no tool or agent stands before, in the order of the tree.

    looks: how many spans around them have looked at each of them, to see which it tells of.
    """

    calls: list[Node] | deque[Node]
    looks: int = 0


def _joined(found: list[_Near]) -> _Near:
    """Those of several branches, taken into the largest of them: deep trees cost no copy at each level."""
    place = max(range(len(found)), key=lambda place: len(found[place].calls))
    largest = found[place].calls
    calls = largest if isinstance(largest, deque) else deque(largest)
    for before in reversed(found[:place]):
        calls.extendleft(reversed(before.calls))
    for after in found[place + 1 :]:
        calls.extend(after.calls)
    return _Near(calls, max(near.looks for near in found))


def _settle_around(node: Node, below: _Near) -> None:
    """Whether what looks like a call is one, by the calls below it; many are not looked at for each that is nested."""
    if below.looks >= MAX_TOLD and len(below.calls) > MAX_TOLD:
        return
    below.looks += 1
    if node.reading.elsewhere:
        _settle_elsewhere(node, below.calls)
        below.calls = [call for call in below.calls if call.observation.type in CALLS]
    if node.observation.type in CALLS:
        _settle_wrapper(node, [call for call in below.calls if call.observation.type is node.observation.type])


def _hand_down(around: Observation, call: Observation) -> None:
    call.input = around.input if call.input is None else call.input
    call.output = around.output if call.output is None else call.output


def _settle_wrapper(outer: Node, calls: list[Node]) -> None:
    """A call that holds calls is one of them, told from outside; or their sum; or, rarely, another call."""
    if not calls:
        return
    if outer.reading.aggregate or _sums(outer, calls):
        if not outer.fixed:
            outer.observation.type = ObservationType.SPAN
        return
    inner = _same(outer, calls)
    if inner is None:
        return
    if any(call is not inner and call.observation.usage for call in calls):
        _keep(inner, outer)  # others count beside it
    else:
        _keep_richer(outer, inner)


def _settle_elsewhere(outer: Node, calls: Iterable[Node]) -> None:
    """Neither what began a call that another trace tells nor what tells it from inside is one here."""
    for node in [outer, *(call for call in calls if call.observation.type is outer.observation.type)]:
        if not node.fixed:
            node.observation.type = ObservationType.SPAN
            uncount(node.observation)


def _sums(outer: Node, calls: list[Node]) -> bool:
    mine = outer.observation.usage
    theirs = [call.observation.usage for call in calls if call.observation.usage]
    return len(theirs) > 1 and mine is not None and mine.get("total") == sum(usage.get("total", 0) for usage in theirs)


def _same(outer: Node, calls: list[Node]) -> Node | None:
    mine = outer.observation.usage
    told = [(call, _one_call(outer, call)) for call in calls]
    for call, same in told:
        if same:
            return call
    open_calls = [call for call, same in told if same is None]
    if mine:
        for call in open_calls:
            if call.observation.usage == mine:
                return call
    if len(open_calls) == 1 or (open_calls and not mine):
        return open_calls[-1]  # after retries, the last is the one that was answered
    return None


def _one_call(one: Node, other: Node) -> bool | None:
    """Whether two report one call, as far as their keys tell."""
    if one.reading.call and other.reading.call:
        return one.reading.call == other.reading.call
    if one.reading.response_id and other.reading.response_id:
        return one.reading.response_id == other.reading.response_id
    return None


def _call_key(node: Node) -> str | None:
    return node.reading.call or node.reading.response_id


def _settle_siblings(order: Sequence[Node]) -> None:
    """Two that do not nest: a key that the dialect gave, or one response id at one time."""
    seen: dict[str, list[Node]] = {}
    calls = [(node, key) for node in order if node.observation.type in CALLS and (key := _call_key(node))]
    for node, key in sorted(calls, key=lambda call: (call[0].span.start_ns, -call[0].span.end_ns)):
        halves = bool(node.reading.call)  # so there are two of them, and one response may be told by any number
        for other in seen.get(key, [])[-MAX_TOLD:]:
            if other.observation.type is node.observation.type and (halves or _is_response_again(other, node)):
                _keep_richer(other, node)
                if node.observation.type in CALLS and not halves:
                    seen[key].append(node)
                break
        else:
            seen.setdefault(key, []).append(node)


def _is_response_again(other: Node, node: Node) -> bool:
    """By another instrumentation, or by one to two exporters, in other words to each, as LiteLLM's callbacks do."""
    if other.span.scope_name != node.span.scope_name:
        return is_one_call(_told(other), _told(node))
    words, again = set(other.observation.metadata), set(node.observation.metadata)
    same_words = other.span.name == node.span.name and (words <= again or again <= words)  # one has something besides
    return not same_words and node.span.end_ns <= other.span.end_ns and is_alike(other.observation, node.observation)


def _told(node: Node) -> tuple[str, int, int]:
    return node.span.scope_name, node.span.start_ns, node.span.end_ns


def _settle_beside(order: Sequence[Node]) -> None:
    """The same where one side names no response: below one parent or under one name, at one time, with one count.

    Under one name, as two that trace one framework give it, their parents may be two as well. If both failed below one
    parent they have no count.
    """
    calls = [
        node
        for node in order
        if node.observation.type in CALLS
        and node.span.parent_id
        and (node.observation.usage or node.observation.level is Level.ERROR)
    ]
    if len({node.span.scope_name for node in calls}) < 2:
        return
    seen: dict[tuple[str, ObservationType, int], list[Node]] = {}
    for node in sorted(calls, key=lambda call: (call.span.start_ns, -call.span.end_ns)):
        places = _places(node)
        near = [other for place in places for other in seen.get(place, [])[: -1 - MAX_TOLD : -1]]
        alike = [other for other in near if _is_beside(other, node)]
        other = next((other for other in alike if _together(other, node)), next(iter(alike), None))
        if other is None:
            for place in places:
                seen.setdefault(place, []).append(node)
            continue
        for place in _places(other):
            seen[place].remove(other)
        _keep_richer(other, node)


def _places(node: Node) -> list[tuple[str, ObservationType, int]]:
    """Where calls are that may be this one: of one parent or name, with one count, the cache or input in it or not."""
    seen, counted = node.observation, node.observation.usage or {}
    if not (total := counted.get("total", 0)):
        return [(node.span.parent_id, seen.type, 0)] if seen.level is Level.ERROR else []
    counts = dict.fromkeys((total, total - _of_cache(counted), _side(counted, "output") or total))
    return [(near, seen.type, count) for near in (node.span.parent_id, node.span.name) for count in counts]


def _of_cache(counted: Mapping[str, int]) -> int:
    return sum(count for bucket, count in counted.items() if bucket.startswith("input_cache"))


def _is_beside(other: Node, node: Node) -> bool:
    return (
        other.span.scope_name != node.span.scope_name
        and is_one_call(_told(other), _told(node))
        and _one_call(other, node) is None
        and is_alike(other.observation, node.observation, lost=True)
    )


def is_alike(one: Observation | Reading, other: Observation | Reading, *, lost: bool = False) -> bool:
    """Whether input and output count the same, and the model is one, with its date or provider or without.

    One that says nothing of a cache may count what was read of it or leave it out, as providers do.
    lost: one that counts no input may have lost it, as LangChain does of Anthropic's streams.
    """
    here, there = one.usage or {}, other.usage or {}
    taken_in, found = _side(here, "input"), _side(there, "input")
    if _side(here, "output") != _side(there, "output"):
        return False
    cached, of_other = _of_cache(here), _of_cache(there)
    if (
        taken_in != found
        and not (lost and not (taken_in and found) and _side(here, "output"))
        and not (not of_other and taken_in - cached == found)
        and not (not cached and found - of_other == taken_in)
    ):
        return False
    return not one.model or not other.model or one.model in other.model or other.model in one.model


def _side(counted: Mapping[str, int], side: str) -> int:
    return sum(count for bucket, count in counted.items() if bucket.startswith(side))


def _leave_called(order: Sequence[Node]) -> None:
    """What a response took is counted at the call; an agent or step beside it that names the response repeats it."""
    called = {
        node.reading.response_id
        for node in order
        if node.reading.response_id and node.observation.type in CALLS and node.observation.usage
    }
    for node in order if called else ():
        seen = node.observation
        if seen.type not in CALLS and not node.fixed and node.reading.response_id in called:
            uncount(seen)


def _together(one: Node, other: Node) -> bool:
    return one.span.scope_name != other.span.scope_name and other.span.end_ns <= one.span.end_ns


def _richness(node: Node) -> tuple[int, ...]:
    seen = node.observation
    return (
        node.fixed,
        (seen.output is not None) + (seen.input is not None),
        seen.model is not None,
        len(seen.usage or ()),
        seen.completion_start_ns is not None,
    )


def _keep_richer(one: Node, other: Node) -> None:
    """The poorer of two that report one call becomes a SPAN; what only it knows goes to the richer."""
    _keep(*(one, other) if _richness(one) >= _richness(other) else (other, one))


def _keep(rich: Node, poor: Node) -> None:
    if poor.fixed:
        return
    kept, left = rich.observation, poor.observation
    for name in INHERITED:
        if getattr(kept, name) is None:
            setattr(kept, name, getattr(left, name))
    first = kept.completion_start_ns
    if first is not None and not kept.start_ns <= first <= kept.end_ns:
        kept.completion_start_ns = None
    if left.level is Level.ERROR and not kept.output:
        kept.level = Level.ERROR
    if kept.usage is None or (left.usage and _counts_more(left.usage, kept.usage)):
        kept.usage = left.usage
    left.type = ObservationType.SPAN
    left.metadata["same_call_as"] = kept.id
    rich.reading.call = rich.reading.call or poor.reading.call  # a third may name the one or the other
    rich.reading.response_id = rich.reading.response_id or poor.reading.response_id
    uncount(left)


def _counts_more(left: Mapping[str, int], kept: Mapping[str, int]) -> bool:
    """What was cached; or what was asked, where the other lost it, as LangChain does of Anthropic's streams."""
    cached, more = _of_cache(kept), _of_cache(left)
    return more > cached or (more == cached and not kept.get("input") and bool(left.get("input")))


def leave_known(order: Sequence[Node], calls: Sequence[str]) -> None:
    """A call that another span told of before, here or in another trace, is no second one here."""
    known = set(calls)
    for node in order:
        if known and node.reading.response_id in known and node.observation.type in CALLS:
            if not node.fixed:
                node.observation.type = ObservationType.SPAN
            uncount(node.observation)
