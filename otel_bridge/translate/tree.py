"""What only the whole tree can tell: who stands below whom, which calls are reported twice, whose usage counts.

Usage and cost are counted once: where spans below a span carry them, its own are a sum of theirs and go to metadata
as `uncounted_usage`. Of two spans that report one call the poorer becomes a SPAN and gives the richer what it lacks.
"""

from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from otel_bridge.model import CALLS, Level, Observation, ObservationType, TraceAttributes
from otel_bridge.trace import MAX_RESPONSE_ID, Answer, Known, Settled, Trace, is_one_call
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.sent import ACTOR, CALL, COST, HIDDEN, NO_DIGEST, USAGE, Sent, pack
from otel_bridge.translate.span import SpanView

ACTORS = (ObservationType.TOOL, ObservationType.AGENT)  # calls below one are other calls than those above it
MAX_SCOPE = 200  # characters of its name that tell it from another
MAX_TOLD = 16  # how many spans are compared that may tell of one call: who sends it a thousand times gains nothing
MAX_CALLS = 2_500  # responses that later parts know of, the newest: every part has them written again
INHERITED = ("model", "model_parameters", "completion_start_ns", "input", "output", "cost", "status_message")


@dataclass(slots=True, eq=False)
class Node:
    """An observation in its tree.

    fixed: its type was set by hand.
    paid: what it cost is in a cost that was said above or below it, in this part or an earlier one.
    noise: why it is not to be shown, where it may be left out; hidden: it is left out.
    loose: it is a log record whose span is not here.
    """

    span: SpanView
    reading: Reading
    observation: Observation
    fixed: bool = False
    paid: bool = False
    noise: str | None = None
    hidden: bool = False
    loose: bool = False
    parent: "Node | None" = None
    children: "list[Node]" = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Arranged:
    """Nodes with parents before their children, the root or what stands for it, and what is known of earlier parts.

    former: the root that is left out; `root` is what stands for it then.
    """

    order: Sequence[Node]
    root: Node | None
    known: Known
    former: Node | None = None


def arrange(nodes: dict[str, Node], trace: Trace, known: Known, before: dict[str, Sent]) -> Arranged:
    """Link the nodes, and settle calls, usage and roots. The nodes' observations are changed in place.

    before: what earlier parts sent.
    """
    order = _linked(nodes)
    if [node for node in order if node.reading.tool]:
        _one_for_each_tool(order)
    if [node for node in order if node.observation.type in CALLS]:
        _one_for_each_call(order)
        _leave_known(order, known.calls)
    _count_once(order, nodes, before)
    return Arranged(order, _root(order, nodes, trace.settled, trace.part), known)


def remember(tree: Arranged, digests: Mapping[str, bytes]) -> Known:
    """What later parts must know once this one is as it is sent; `digests` by the ids of spans."""
    before, root = tree.known, tree.root
    ids = {node.span.id for node in tree.order}
    sent = [
        (node.span.id, _parent_id(node, ids), _flags(node), digests.get(node.span.id, NO_DIGEST)) for node in tree.order
    ]
    stands = root is not None and (root.observation.app_root or not root.observation.parent_id)
    return Known(
        attributes=before.attributes,
        calls=list(dict.fromkeys([*before.calls, *_answered(tree.order)]))[-MAX_CALLS:],
        from_logs=before.from_logs,
        root_id=before.root_id or (root.observation.id if root and stands else None),
        spans=pack(sent, before.spans),
        unsure=before.unsure,
    )


def answers(tree: Arranged, said: TraceAttributes) -> dict[str, Answer]:
    """By response id, what tells of the response: whose usage counts, else the first call, else the first span."""
    told = [(id_, node) for node in tree.order if (id_ := node.reading.response_id) and len(id_) <= MAX_RESPONSE_ID]
    told.sort(key=lambda pair: _answers_last(pair[1]), reverse=True)
    return {id_: _answer(node, said) for id_, node in told}


def _answers_last(node: Node) -> tuple[bool, bool, int, str]:
    seen = node.observation
    return seen.usage is None, seen.type not in CALLS, seen.start_ns, seen.id


def _answer(node: Node, said: TraceAttributes) -> Answer:
    seen = node.observation
    return Answer(
        trace_id=seen.trace_id,
        observation_id=seen.id,
        scope=seen.scope_name[:MAX_SCOPE],
        start_ns=seen.start_ns,
        end_ns=seen.end_ns,
        environment=said.environment,
        counted=seen.usage is not None,
    )


def _linked(nodes: dict[str, Node]) -> list[Node]:
    """All nodes, parents before children; a circle is cut where it begins earliest."""
    for node in nodes.values():
        parent = nodes.get(node.span.parent_id)
        if parent is not None and parent is not node:
            node.parent = parent
            parent.children.append(node)
    order: list[Node] = []
    for top in [node for node in nodes.values() if node.parent is None]:
        order += _with_all_below(top)
    return order if len(order) == len(nodes) else order + _cut(nodes, set(map(id, order)))


def _cut(nodes: dict[str, Node], placed: set[int]) -> list[Node]:
    """Those in circles, and below them: nobody above them was reached."""
    order: list[Node] = []
    for start in nodes.values():
        if id(start) not in placed and start.parent is not None:
            start.parent.children.remove(start)
            start.parent = None
            found = _with_all_below(start)
            placed.update(map(id, found))
            order += found
    return order


def _with_all_below(top: Node) -> list[Node]:
    order: list[Node] = []
    queue = [top]
    while queue:
        node = queue.pop()
        order.append(node)
        if node.children:
            queue += node.children
    return order


# Tools


def _one_for_each_tool(order: Sequence[Node]) -> None:
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


def _one_for_each_call(order: Sequence[Node]) -> None:
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
    """Two instrumentations that do not nest: a key that the dialect gave, or one response id, two scopes, one time."""
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
    one, again = other.span, node.span
    return one.scope_name != again.scope_name and is_one_call(
        (one.scope_name, one.start_ns, one.end_ns), (again.scope_name, again.start_ns, again.end_ns)
    )


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
    """Where calls are that may be this one: of one parent or name, with the same count, the cache in it or not."""
    seen, counted = node.observation, node.observation.usage or {}
    if not (total := counted.get("total", 0)):
        return [(node.span.parent_id, seen.type, 0)] if seen.level is Level.ERROR else []
    counts = dict.fromkeys((total, total - _of_cache(counted)))
    return [(near, seen.type, count) for near in (node.span.parent_id, node.span.name) for count in counts]


def _of_cache(counted: Mapping[str, int]) -> int:
    return sum(count for bucket, count in counted.items() if bucket.startswith("input_cache"))


def _is_beside(other: Node, node: Node) -> bool:
    return (
        _is_response_again(other, node)
        and _one_call(other, node) is None
        and _alike(other.observation, node.observation)
    )


def _alike(one: Observation, other: Observation) -> bool:
    """Whether input and output count the same, and the model is one, with its date or provider or without.

    One that says nothing of a cache may count what was read of it or leave it out, as providers do.
    """
    here, there = one.usage or {}, other.usage or {}
    taken_in, found = _side(here, "input"), _side(there, "input")
    if _side(here, "output") != _side(there, "output"):
        return False
    cached, of_other = _of_cache(here), _of_cache(there)
    if (
        taken_in != found
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
    if kept.usage is None or (left.usage and _of_cache(left.usage) > _of_cache(kept.usage)):
        kept.usage = left.usage
    left.type = ObservationType.SPAN
    left.metadata["same_call_as"] = kept.id
    rich.reading.call = rich.reading.call or poor.reading.call  # a third may name the one or the other
    rich.reading.response_id = rich.reading.response_id or poor.reading.response_id
    uncount(left)


def _leave_known(order: Sequence[Node], calls: Sequence[str]) -> None:
    """A call that another span told of before, here or in another trace, is no second one here."""
    known = set(calls)
    for node in order:
        if known and node.reading.response_id in known and node.observation.type in CALLS:
            if not node.fixed:
                node.observation.type = ObservationType.SPAN
            uncount(node.observation)


def _answered(order: Iterable[Node]) -> list[str]:
    """The responses whose usage counts, in order of time."""
    told = [
        (node.span.start_ns, id_)
        for node in order
        if (id_ := node.reading.response_id) and len(id_) <= MAX_RESPONSE_ID and node.observation.usage is not None
    ]
    return [id_ for _, id_ in sorted(told)]


# Usage


def uncount(seen: Observation) -> None:
    """Its usage and cost are counted elsewhere; they stay in the metadata."""
    _uncount_usage(seen)
    _uncount_cost(seen)


def _uncount_usage(seen: Observation) -> None:
    if seen.usage:
        seen.metadata["uncounted_usage"] = dict(seen.usage)
    seen.usage = None


def _uncount_cost(seen: Observation) -> None:
    if seen.cost:
        seen.metadata["uncounted_cost"] = seen.cost
    seen.cost = None


def _parent_id(node: Node, ids: Container[str]) -> str:
    """As later parts see it. The parent of one that was cut from a circle is none."""
    if node.parent is not None:
        return node.parent.span.id
    above = node.span.parent_id
    return "" if above in ids else above


def _flags(node: Node) -> int:
    """What later parts must know of a node, as `sent` writes it."""
    seen = node.observation
    found = 0
    if seen.type in ACTORS:
        found = ACTOR
    elif seen.type in CALLS and not node.reading.aggregate:
        found = CALL
    if seen.usage:
        found |= USAGE
    if seen.cost:
        found |= COST
    if node.hidden:
        found |= HIDDEN
    return found


def _count_once(order: Sequence[Node], nodes: Mapping[str, Node], before: dict[str, Sent]) -> None:
    """Keep the lowest, but nothing beside what was sent before: that stays as it is.

    What a call counts stands beside what is counted below tools and agents; any other's is a sum of all below it.
    """
    used = [node for node in order if node.observation.usage]
    if not before and len(used) < 2 and not [node for node in order if node.observation.cost]:
        return
    here = {node.span.id: Sent.of(node.span.id, _parent_id(node, nodes), _flags(node)) for node in order}
    both = _parents_first({**before, **here}) if before else list(here.values())
    for one in _twice(both, before, "usage"):
        _uncount_usage(nodes[one].observation)
    for one in _twice(both, before, "cost"):
        nodes[one].paid = True
        _uncount_cost(nodes[one].observation)


def _twice(both: Sequence[Sent], before: Mapping[str, Sent], kind: Literal["usage", "cost"]) -> list[str]:
    """Those of this part that would count what is counted above them, in an earlier part, or below them."""
    found = _below_counted(both, before, kind) if before else set()
    counted = {one.id for one in both if getattr(one, kind)} - found
    if not counted:
        return sorted(found)
    below: set[str] = set()
    near: set[str] = set()
    for one in reversed(both):
        if one.id not in before and one.id in (near if one.call else below):
            found.add(one.id)
            counted.discard(one.id)
        if one.id in counted or one.id in below:
            below.add(one.parent_id)
        if (one.id in counted or one.id in near) and not one.actor:
            near.add(one.parent_id)
    return sorted(found)


def _below_counted(both: Sequence[Sent], before: Container[str], kind: Literal["usage", "cost"]) -> set[str]:
    """Those of this part for which what an earlier part counted stands."""
    found: set[str] = set()
    summed: set[str] = set()
    called: set[str] = set()
    for one in both:
        if one.parent_id in summed:
            summed.add(one.id)
        elif one.parent_id in called and not one.actor:
            called.add(one.id)
        if one.id not in before:
            if one.id in summed or one.id in called:
                found.add(one.id)
        elif getattr(one, kind):
            (called if one.call else summed).add(one.id)
    return found


def _parents_first(sent: dict[str, Sent]) -> list[Sent]:
    children: dict[str, list[Sent]] = {}
    for one in sent.values():
        children.setdefault(one.parent_id, []).append(one)
    order: dict[str, Sent] = {}
    for start in (*(one for one in sent.values() if one.parent_id not in sent), *sent.values()):  # then circles
        queue = [start]
        while queue:
            one = queue.pop()
            if one.id not in order:
                order[one.id] = one
                queue += children.get(one.id, ())
    return list(order.values())


# Roots


def _root(order: Sequence[Node], nodes: Mapping[str, Node], settled: Settled, part: int) -> Node | None:
    """Settle parents that are not here; gives the root, or the topmost that stands for it.

    A parent that may still come, or has come, is kept. Where it never will, and where a circle was cut, the
    observation becomes a root; its parent's id stays in the metadata.
    """
    tops = sorted((node for node in order if node.parent is None), key=lambda node: node.span.start_ns)
    for node in tops:
        seen, gone = node.observation, node.span.parent_id
        if not gone:
            continue
        if gone in nodes or (part == 0 and settled.complete):
            seen.parent_id = None
            seen.metadata["otel.parent_span_id"] = gone
        seen.app_root = part == 0 and (settled.complete or settled is Settled.REMOTE)
    return next(iter([*(node for node in tops if not node.observation.parent_id), *tops]), None)
