"""Usage and cost are counted once: where spans below a span carry them, its own are a sum of theirs.

They go to its metadata then, as `uncounted_usage` and `uncounted_cost`.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Literal

from otel_bridge.model import Observation
from otel_bridge.translate.node import Node, flags, parent_id
from otel_bridge.translate.sent import Sent


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


def count_once(order: Sequence[Node], nodes: Mapping[str, Node], before: dict[str, Sent]) -> None:
    """Keep the lowest, but nothing beside what was sent before: that stays as it is.

    What a call counts stands beside what is counted below tools and agents; any other's is a sum of all below it.
    """
    used = [node for node in order if node.observation.usage]
    if not before and len(used) < 2 and not [node for node in order if node.observation.cost]:
        return
    here = {node.span.id: Sent.of(node.span.id, parent_id(node, nodes), flags(node)) for node in order}
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
