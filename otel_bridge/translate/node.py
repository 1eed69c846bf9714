"""An observation in its tree, and what later parts of its trace must know of it."""

from collections.abc import Container
from dataclasses import dataclass, field

from otel_bridge.model import CALLS, Observation, ObservationType
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.sent import ACTOR, CALL, COST, HIDDEN, USAGE
from otel_bridge.translate.span import SpanView

ACTORS = (ObservationType.TOOL, ObservationType.AGENT)  # calls below one are other calls than those above it


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


def parent_id(node: Node, ids: Container[str]) -> str:
    """As later parts see it. The parent of one that was cut from a circle is none."""
    if node.parent is not None:
        return node.parent.span.id
    above = node.span.parent_id
    return "" if above in ids else above


def flags(node: Node) -> int:
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
