"""Noise is left out of a tree once all is known of it, so that nobody is orphaned and nothing is counted otherwise.

Noise is translated with the rest: it may say who the user is, and usage is counted over the tree as it was. What stood
below it then stands below the nearest that is shown, and a root that is left out gives way to the one branch below it.
Where several would be left, the root stays, as it is what holds them together. Work (calls of models and tools, agents,
whatever counts tokens) is never left out, nor what an observation hangs below that was sent before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from otel_bridge.model import Level, ObservationType, Omitted, TraceAttributes
from otel_bridge.trace import BY_DIALECT, WITHOUT_LLM, Trace
from otel_bridge.translate.node import Node
from otel_bridge.translate.sent import Sent
from otel_bridge.translate.span import LogView
from otel_bridge.translate.tree import Arranged

WORK = frozenset(ObservationType) - {ObservationType.SPAN, ObservationType.EVENT, ObservationType.CHAIN}
REQUEST = ("http.", "url.", "server.", "client.", "user_agent.", "network.protocol.")
"""What the attributes of a root begin with that tell of the request."""


@dataclass(slots=True)
class Hidden:
    """What was left out.

    stands: by the id of what is left out, what is shown in its place; None where nothing is.
    logs: records of what is left out, with the id of what stands for it, where that is not in this part.
    """

    omitted: list[Omitted] = field(default_factory=list)
    stands: dict[str, str | None] = field(default_factory=dict)
    logs: list[tuple[str | None, LogView]] = field(default_factory=list)

    def shown(self, observation_id: str | None) -> str | None:
        """The observation itself, or what stands for it."""
        return observation_id if observation_id is None else self.stands.get(observation_id, observation_id)


def hide(tree: Arranged, trace: Trace, before: Mapping[str, Sent]) -> tuple[Arranged, Hidden]:
    """Leave noise out, here and where earlier parts did; the nodes' observations are changed in place."""
    if not trace.noise and not [sent for sent in before.values() if sent.hidden]:
        return tree, Hidden()
    return _Hiding(tree, trace, before).run()


def promote(tree: Arranged, said: TraceAttributes) -> None:
    """What a root that is left out tells of its request, and that it failed, goes to the trace and the new root."""
    if tree.former is None:
        return
    left = tree.former.observation
    for key, item in left.metadata.items():
        if key.startswith(REQUEST):
            said.metadata.setdefault(key, item)
    if (root := tree.root) is None:
        return
    seen = root.observation
    seen.input = left.input if seen.input is None else seen.input
    seen.output = left.output if seen.output is None else seen.output
    if left.level is Level.ERROR and seen.level is not Level.ERROR:
        seen.level = Level.ERROR
        seen.status_message = seen.status_message or left.status_message


class _Hiding:
    def __init__(self, tree: Arranged, trace: Trace, before: Mapping[str, Sent]) -> None:
        self._tree = tree
        self._trace = trace
        self._before = before
        self._root_id = tree.known.root_id
        self._here = {node.span.id: node for node in tree.order}
        self._everything = WITHOUT_LLM in trace.noise.values()
        self._over_root = self._find_over_root()
        self._instead: dict[str, tuple[Node, Node]] = {}  # tops that are left out, with the one branch below
        self._ends: dict[int, Node] = {}  # of what is left out, the first above it that is shown, or the top
        self._kept_above: dict[str, str] = {}  # what `_above` and `_sent_above` found: no path is gone twice
        self._shown_from: dict[str, str | None] = {}

    def run(self) -> tuple[Arranged, Hidden]:
        hung = {self._above(sent.parent_id)[0] for sent in self._before.values() if not sent.hidden}
        for node in self._tree.order:
            node.hidden = self._everything or (_may_go(node) and node.span.id not in hung)
        if not self._everything:
            self._settle_tops()
        root = self._root()
        top_id = root.observation.id if root is not None else self._root_id
        found = Hidden(stands={one: self._stand_in(one) for one, sent in self._before.items() if sent.hidden})
        for node in self._tree.order:
            above = self._shown_above(node)
            if node.hidden:
                place = self._instead.get(node.span.id)
                found.stands[node.span.id] = place[1].observation.id if place else above or top_id
            else:
                node.observation.parent_id = above
        for top, instead in self._instead.values():
            instead.observation.app_root = top.observation.app_root
            if gone := top.observation.metadata.get("otel.parent_span_id"):
                instead.observation.metadata["otel.parent_span_id"] = gone
        self._move(found)
        former = self._tree.root if self._tree.root is not None and self._tree.root.hidden else None
        if root is not None and not root.hidden and root.noise:
            self._fill(root)
        return replace(self._tree, root=root, former=former), found

    # Who goes.

    def _settle_tops(self) -> None:
        """A top goes where exactly one branch is left below it, or none and something else is shown."""
        bare: list[Node] = []
        for node in self._tree.order:
            if node.parent is not None or not node.hidden or not self._holds(node):
                continue
            branches = _branches(node)
            if len(branches) == 1:
                self._instead[node.span.id] = node, branches[0]
            elif branches:
                node.hidden = False
            elif node.span.parent_id:
                bare.append(node)
            else:
                node.hidden = False  # the root, and what comes late may hang below it
        shown = any(not node.hidden for node in self._tree.order) or any(not of.hidden for of in self._before.values())
        if bare and not shown:
            min(bare, key=lambda node: (node.span.start_ns, node.span.id)).hidden = False

    def _holds(self, top: Node) -> bool:
        """Whether nothing else would hold what is below it together."""
        above, passed = self._above(top.span.parent_id)
        if above in self._before or above in self._here or (self._root_id and passed):
            return False
        return not above or self._trace.part == 0

    # Who stands where.

    def _above(self, parent_id: str) -> tuple[str, bool]:
        """The first up from here that earlier parts did not leave out, and whether any was; it may not be known."""
        seen: set[str] = set()
        at = parent_id
        while at in self._before and self._before[at].hidden and at not in seen and at not in self._kept_above:
            seen.add(at)
            at = self._before[at].parent_id
        found = self._kept_above.get(at, "" if at in seen else at)
        self._kept_above.update(dict.fromkeys(seen, found))
        return found, parent_id in self._kept_above

    def _sent_above(self, parent_id: str) -> str | None:
        """What is shown above a span whose parent is not in this part."""
        seen: set[str] = set()
        at, last = parent_id, ""
        while at and at not in seen and at not in self._shown_from:
            if (node := self._here.get(at)) is not None and node.hidden and at not in self._instead:
                above = node.parent.span.id if node.parent is not None else node.span.parent_id
            elif node is None and (sent := self._before.get(at)) is not None and sent.hidden:
                above = sent.parent_id
            else:
                break
            seen.add(at)
            at, last = above, at
        found = self._shown_from[at] if at in self._shown_from else self._shown_at(at, last)
        self._shown_from.update(dict.fromkeys(seen, found))
        return found

    def _shown_at(self, end: str, last: str) -> str | None:
        """What is shown where a path upwards ends; last: what it came through."""
        if (node := self._here.get(end)) is not None:
            if not node.hidden:
                return node.observation.id
            if end in self._instead:
                return self._instead[end][1].observation.id
        elif end in self._before and not self._before[end].hidden:
            return end
        return self._root_id if last in self._over_root else end or None

    def _stand_in(self, span_id: str) -> str | None:
        """What is shown in the place of what an earlier part left out."""
        above = self._sent_above(span_id)
        return above if above in self._before or above in self._here else self._root_id

    def _find_over_root(self) -> set[str]:
        """What the spans say stands above what was sent as the root, or in its place."""
        parents = {one: node.span.parent_id for one, node in self._here.items()}
        parents |= {one: sent.parent_id for one, sent in self._before.items()}
        over: set[str] = set()
        at = parents.get(self._root_id or "", "")
        while at and at not in over:
            over.add(at)
            at = parents.get(at, "")
        return over

    def _shown_above(self, node: Node) -> str | None:
        """The id of what a node stands below once noise is left out; parents are to be asked for before children."""
        above = node.parent
        if above is None:
            return self._of_top(node)
        end = self._ends.get(id(above), above)
        if node.hidden:
            self._ends[id(node)] = end
        if not end.hidden:
            return end.observation.id
        place = self._instead.get(end.span.id)
        if place is not None and place[1] is not node:
            return place[1].observation.id
        return self._of_top(end)

    def _of_top(self, top: Node) -> str | None:
        parent_id = top.span.parent_id
        if parent_id in self._before and self._before[parent_id].hidden:
            above = self._sent_above(parent_id)
            return None if above == self._root_id and top.span.id in self._over_root else above
        if not parent_id and top.hidden and self._root_id and top.span.id not in self._instead:
            return self._root_id
        return top.observation.parent_id

    def _root(self) -> Node | None:
        root = self._tree.root
        if root is None or not root.hidden:
            return root
        if place := self._instead.get(root.span.id):
            return place[1]
        tops = [node for node in self._tree.order if node.parent is None and not node.hidden]
        tops.sort(key=lambda node: (bool(node.observation.parent_id), node.span.start_ns))
        return next(iter(tops), None)

    # What goes with them.

    def _move(self, found: Hidden) -> None:
        """Log records and links go to what stands for their spans; what is left out is told."""
        here = {node.observation.id: node for node in self._tree.order if not node.hidden}
        moved: dict[str, list[LogView]] = {}
        for node in self._tree.order:
            if node.hidden:
                found.omitted.append(Omitted(node.span.id, node.span.trace_id, f"noise:{node.noise}"))
                if node.span.logs and not self._everything:
                    stand_in = found.stands[node.span.id]
                    if stand_in in here:
                        moved.setdefault(stand_in, []).extend(node.span.logs)
                    else:
                        found.logs += [(stand_in, log) for log in node.span.logs]
            links = node.observation.metadata.get("otel.links")
            for link in links if isinstance(links, list) else ():
                if isinstance(link, dict) and link.get("trace_id") == self._trace.key:
                    link["span_id"] = found.stands.get(str(link.get("span_id")), link.get("span_id"))
        for stand_in, logs in moved.items():
            _add_logs(here[stand_in], logs)

    def _fill(self, root: Node) -> None:
        """A root that stays only to hold its branches shows the input of the first and the output of the last."""
        below = [node.observation for node in self._tree.order if node.observation.parent_id == root.observation.id]
        below = [seen for seen in below if seen.type is not ObservationType.EVENT]
        seen = root.observation
        if seen.input is None:
            begun = sorted(below, key=lambda one: (one.start_ns, one.id))
            seen.input = next((one.input for one in begun if one.input is not None), None)
        if seen.output is None:
            ended = sorted(below, key=lambda one: (one.end_ns, one.id), reverse=True)
            seen.output = next((one.output for one in ended if one.output is not None), None)


def _add_logs(node: Node, logs: Sequence[LogView]) -> None:
    """Log records of what a node stands for, as if they were its own."""
    seen = node.observation
    own = seen.metadata["otel.logs"] if node.span.logs else []  # else it is an attribute that is called so
    told = [*own, *(log.left() for log in logs)]
    node.span.logs += logs
    seen.metadata["otel.logs"] = sorted(told, key=lambda log: log["time_ns"])
    seen.size += sum(log.size for log in logs)


def _may_go(node: Node) -> bool:
    if node.noise is None or (node.noise == BY_DIALECT and not node.reading.noise):
        return False
    reading, seen = node.reading, node.observation
    counts = reading.usage or reading.cost or seen.usage or seen.cost
    return not (counts or reading.type in WORK or seen.type in WORK or reading.response_id)


def _branches(top: Node) -> Sequence[Node]:
    """The nearest below that are shown; two at most, as more make no difference."""
    found: list[Node] = []
    queue = list(top.children)
    while queue and len(found) < 2:
        node = queue.pop()
        if node.hidden:
            queue += node.children
        elif not node.loose:
            found.append(node)
    return found
