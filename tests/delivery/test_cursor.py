"""How much is leased at once."""

import pytest

from otel_bridge.delivery.cursor import Lease, fill
from otel_bridge.journal.parts import Part
from otel_bridge.model import Observation, ObservationType, TraceAttributes, Translation
from otel_bridge.trace import Settled


def part(number: int) -> Part:
    return Part(number, "main", "t", f"{number:032x}", 0, [], 100, 5, Settled.ROOT)


@pytest.mark.parametrize(
    ("max_bytes", "max_items", "taken"),
    [(10**9, 10**9, 5), (250, 10**9, 2), (10**9, 4, 2), (1, 1, 1)],
)
async def test_parts_are_taken_while_they_stay_within_the_limits(max_bytes: int, max_items: int, taken: int) -> None:
    """At least one of which something is to be sent; those of which nothing is count for nothing."""
    lease = Lease(0, None)

    async def take(_lease: Lease, part: Part) -> Translation | None:
        of = TraceAttributes(part.key)
        made = [Observation(str(n), part.key, None, ObservationType.SPAN, "", 1, 2, of, size=50) for n in range(2)]
        return None if part.id == 1 else Translation([of], made)

    found = await fill(lease, [part(number) for number in range(1, 7)], take, max_bytes, max_items)
    assert [translation.traces[0].trace_id for translation in found] == [f"{n:032x}" for n in range(2, 2 + taken)]
    assert lease.position == 1 + taken
