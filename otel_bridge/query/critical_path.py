"""Where the time of a trace went: of what ran at once, what ended last is what was waited for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Piece:
    """A span that has ended: its times in ns."""

    id: str
    parent_id: str | None
    start_ns: int
    end_ns: int


def children_of(pieces: Iterable[Piece]) -> Mapping[str | None, Sequence[Piece]]:
    """What stands below each; below None what stands below nothing that is here. Circles stand below themselves."""
    known = {piece.id: piece for piece in pieces}
    below: dict[str | None, list[Piece]] = defaultdict(list)
    for piece in known.values():
        is_below = piece.parent_id in known and piece.parent_id != piece.id
        below[piece.parent_id if is_below else None].append(piece)
    return below


def own_times(pieces: Sequence[Piece]) -> dict[str, int]:
    """Of each span on the critical path, how long it was the deepest that was waited for, in ns.

    Together that is how long the trace took, but for the time in which nothing of it ran.
    """
    below = children_of(pieces)
    own: dict[str, int] = defaultdict(int)
    # From the end of each to its beginning; what is put on the stack ends where that stands that waits for it.
    waiting: list[tuple[str | None, int, int]] = [
        (None, min((piece.start_ns for piece in pieces), default=0), max((piece.end_ns for piece in pieces), default=0))
    ]
    while waiting:
        span_id, start_ns, place = waiting.pop()
        for child in sorted(below.get(span_id, ()), key=lambda piece: (-piece.end_ns, piece.start_ns, piece.id)):
            child_start, child_end = max(child.start_ns, start_ns), min(child.end_ns, place)
            if child_start < child_end:
                if span_id is not None:
                    own[span_id] += place - child_end
                waiting.append((child.id, child_start, child_end))
                place = child_start
        if span_id is not None:
            own[span_id] += place - start_ns
    return {span_id: took for span_id, took in own.items() if took > 0}
