"""What only the whole tree can tell: who stands below whom, which calls are reported twice, whose usage counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from otel_bridge.model import CALLS, TraceAttributes
from otel_bridge.trace import MAX_RESPONSE_ID, Answer, Known, Settled, Trace
from otel_bridge.translate.calls import leave_known, one_for_each_call, one_for_each_tool
from otel_bridge.translate.node import Node, flags, parent_id
from otel_bridge.translate.sent import NO_DIGEST, Sent, pack
from otel_bridge.translate.usage import count_once

MAX_SCOPE = 200  # characters of its name that tell it from another
MAX_CALLS = 2_500  # responses that later parts know of, the newest: every part has them written again


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
        one_for_each_tool(order)
    if [node for node in order if node.observation.type in CALLS]:
        one_for_each_call(order)
        leave_known(order, known.calls)
    count_once(order, nodes, before)
    return Arranged(order, _root(order, nodes, trace.settled, trace.part), known)


def remember(tree: Arranged, digests: Mapping[str, bytes]) -> Known:
    """What later parts must know once this one is as it is sent; `digests` by the ids of spans."""
    before, root = tree.known, tree.root
    ids = {node.span.id for node in tree.order}
    sent = [
        (node.span.id, parent_id(node, ids), flags(node), digests.get(node.span.id, NO_DIGEST)) for node in tree.order
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


def _answered(order: Iterable[Node]) -> list[str]:
    """The responses whose usage counts, in order of time."""
    told = [
        (node.span.start_ns, id_)
        for node in order
        if (id_ := node.reading.response_id) and len(id_) <= MAX_RESPONSE_ID and node.observation.usage is not None
    ]
    return [id_ for _, id_ in sorted(told)]


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
