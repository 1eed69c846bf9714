"""What the journal can not read any more is accounted for, to the item."""

from typing import TYPE_CHECKING

from otel_bridge.errors import RetryableError

if TYPE_CHECKING:
    from tests.delivery.conftest import House, Sink

DAMAGED = {"delivered": 3, "dead_lettered": 2}


async def test_damaged_entries_are_counted_and_spare_their_neighbours(house: "House", sink: "Sink") -> None:
    """In the middle, and at the end."""
    sink.trouble = lambda _names: RetryableError("down")
    await house.start(batches={"store": sink})
    for name in ("one", "two", "three", "four", "five"):
        await house.append(name)
    await house.clock.asleep(7.0)
    await house.stop()
    assert house.damage("two")
    assert house.damage("five")
    assert house.outcomes("store") == {"waiting": 5}
    sink.trouble = lambda _names: None
    await house.start(batches={"store": sink})
    assert await sink.has(3) == ["one", "three", "four"]
    await house.stop()
    assert house.outcomes("store") == DAMAGED


async def test_damage_is_counted_whenever_assembly_meets_it(house: "House", sink: "Sink") -> None:
    """In a part that waits for its exporter, in a trace that was open, and again and again while another still is."""
    sink.trouble = lambda _names: RetryableError("down")
    await house.start(settled={"langfuse": sink})
    await house.append("part", trace=1)
    await house.settle()
    for number, name in enumerate(("open", "well", "waits", "also"), start=2):
        await house.append(name, trace=number)
    await house.stop()
    assert house.damage("part")
    assert house.damage("waits")
    for _ in range(3):
        await house.start(settled={"langfuse": sink})
        await house.stop(drain=False)
        assert house.outcomes("langfuse") in ({"waiting": 5}, {"waiting": 4, "dead_lettered": 1})
    sink.trouble = lambda _names: None
    await house.start(settled={"langfuse": sink})
    await house.settle()
    assert sorted(await sink.has(3)) == ["also", "open", "well"]
    await house.stop()
    assert house.outcomes("langfuse") == DAMAGED
