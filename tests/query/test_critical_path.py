"""Where the time of a trace went."""

from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.query.critical_path import Piece, own_times

PIECES = st.lists(
    st.builds(
        lambda number, parent, start, took: Piece(str(number), str(parent) if parent else None, start, start + took),
        st.integers(1, 9), st.integers(0, 9), st.integers(0, 50), st.integers(0, 30),
    ),
    max_size=12, unique_by=lambda piece: piece.id,
)  # fmt: skip


def test_what_was_waited_for_last_counts() -> None:
    """A chat, then two researchers at once of whom the second took longer, then nothing but the planner itself."""
    found = own_times(
        [
            Piece("planner", None, 0, 100), Piece("chat", "planner", 5, 20), Piece("quick", "planner", 20, 50),
            Piece("slow", "planner", 20, 90), Piece("tool", "slow", 30, 60),
        ]
    )  # fmt: skip
    assert found == {"planner": 15, "chat": 15, "slow": 40, "tool": 30}


def test_what_goes_on_beyond_its_parent_counts_as_far_as_that_waited() -> None:
    assert own_times([Piece("a", None, 0, 10), Piece("b", "a", 5, 30), Piece("c", "a", 40, 50)]) == {"a": 5, "b": 5}


@given(PIECES)
def test_it_adds_up_to_the_time_in_which_something_ran(pieces: list[Piece]) -> None:
    """Whatever the parents say; what stands in a circle stands below nothing, and has no place in a tree."""
    ids = {piece.id for piece in pieces}
    roots = [piece for piece in pieces if piece.parent_id not in ids or piece.parent_id == piece.id]
    ran = {moment for root in roots for moment in range(root.start_ns, root.end_ns)}

    assert sum(own_times(pieces).values()) == len(ran)
