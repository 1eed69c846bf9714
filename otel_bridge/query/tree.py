"""The order of a tree: every observation under its parent, whatever the parent ids say."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

GUIDED_LEVELS = 32
"""Deeper levels are drawn as this deep: a tree of thousands of levels would be all lines."""


def in_tree_order(nodes: Iterable[tuple[str, str | None]]) -> list[tuple[str, int]]:
    """(id, parent id) pairs, siblings in their order → (id, depth) in the order in which a tree is read.

    A parent that is not there makes a root; of a circle, the first of it becomes one. Every id comes once.
    """
    parents = dict(nodes)
    children: defaultdict[str, list[str]] = defaultdict(list)
    roots = []
    for node, parent in parents.items():
        if parent is not None and parent in parents and parent != node:
            children[parent].append(node)
        else:
            roots.append(node)
    ordered: dict[str, int] = {}
    for first in (*roots, *parents):  # what only a circle holds has not been met when the roots are done
        waiting = [(first, 0)]
        while waiting:
            node, depth = waiting.pop()
            if node not in ordered:
                ordered[node] = depth
                waiting += [(child, depth + 1) for child in reversed(children[node])]
    return list(ordered.items())


def guides(depths: Sequence[int], levels: int = GUIDED_LEVELS) -> list[str]:
    """The lines to draw before each row of a tree, given the rows' depths; deeper ones are drawn `levels` deep."""
    drawn = []
    more: list[bool] = []  # by level: whether a sibling follows further down
    for depth in reversed([min(depth, levels) for depth in depths]):
        more += [False] * (depth + 1 - len(more))
        above = "".join("│  " if more[level] else "   " for level in range(1, depth))
        drawn.append("" if depth == 0 else above + ("├─ " if more[depth] else "└─ "))
        more = [*more[:depth], True]
    return drawn[::-1]
