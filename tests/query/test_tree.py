"""Observations and spans in the order of a tree, whatever their parents say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.query.traces import one_trace
from otel_bridge.query.tree import guides, in_tree_order
from otel_bridge.store.writer import Writer
from tests.query.conftest import START, Opened, Settled
from tests.query.spans import ONE, came


@pytest.mark.parametrize(
    ("parents", "shown"),
    [
        ({1: 2, 2: 1, 3: 2}, [(1, 0, 0), (2, 1, 1), (3, 2, 2)]),
        ({1: 1, 2: 1}, [(1, 0, 0), (2, 1, 1)]),
        ({1: 3, 2: 1, 3: 2, 4: 0}, [(4, 0, 0), (1, 0, 0), (2, 1, 1), (3, 2, 2)]),
        ({2: 1}, [(2, 1, 0)]),
    ],
)
def test_who_follows_parents_comes_to_a_root(
    settled: Settled, writer: Writer, reader: Opened, parents: dict[int, int], shown: list[tuple[int, int, int]]
) -> None:
    """Of spans in a circle the first is one, also where that has settled; what has not come may be named."""
    first = next(iter(parents))
    for span, parent in parents.items():
        came(writer, span=span, parent=parent, start_ns=START + span)

    def rows() -> list[tuple[int, int, int]]:
        found = one_trace(reader(), ONE)["observations"]
        return [(int(row["id"], 16), int(row["parentObservationId"] or "0", 16), row["depth"]) for row in found]

    assert rows() == shown
    if len(parents) > 1:
        settled(1, tuple((span, 0 if span == first else parent) for span, parent in parents.items()))
        assert rows() == shown


def test_a_span_that_nothing_stands_for_is_shown_in_its_place(settled: Settled, writer: Writer, reader: Opened) -> None:
    """Late ones, and those a processor dropped; those that settled are not shown twice."""
    settled(1, ((1, 0), (2, 1)))
    came(writer, span=9, parent=1)
    came(writer, span=2, parent=1)

    rows = one_trace(reader(), ONE)["observations"]
    assert [(int(row["id"], 16), row["depth"], row["settled"]) for row in rows] == [
        (1, 0, True), (2, 1, True), (9, 1, False),
    ]  # fmt: skip


def test_a_deep_tree_needs_no_deep_stack() -> None:
    ordered = in_tree_order((str(i), str(i - 1)) for i in range(20_000))

    assert ordered[-1] == ("19999", 19_999)
    assert len(guides([depth for _, depth in ordered])[-1]) < 200


@given(st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 12)), max_size=20))
def test_whatever_the_parents_say_every_node_comes_once(pairs: list[tuple[int, int | None]]) -> None:
    """Missing parents, circles and self-parents included; a child always comes one deeper than its parent, below it."""
    nodes = [(str(node), None if parent is None else str(parent)) for node, parent in pairs]
    ordered = in_tree_order(nodes)

    assert sorted(node for node, _ in ordered) == sorted({node for node, _ in nodes})
    for above, below in zip([("", -1), *ordered], ordered, strict=False):
        assert below[1] <= above[1] + 1


def test_guides_draw_the_tree() -> None:
    assert guides([0, 1, 2, 1, 2, 0]) == ["", "├─ ", "│  └─ ", "└─ ", "   └─ ", ""]
