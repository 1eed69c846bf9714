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


async def test_damage_after_a_kill_is_accounted_for_as_well(house: "House", sink: "Sink") -> None:
    """The last segment has no index then: what was damaged of it is known by the marks of its commits."""
    sink.trouble = lambda _names: RetryableError("down")
    await house.start(batches={"store": sink})
    for name in ("one", "two", "three", "four", "five"):
        await house.append(name)
    await house.clock.asleep(7.0)
    await house.kill()
    assert house.damage("two")
    assert house.damage("five")
    sink.trouble = lambda _names: None
    await house.start(batches={"store": sink})
    assert (await sink.has(3))[-3:] == ["one", "three", "four"]
    await house.stop()
    assert house.outcomes("store") == DAMAGED


async def test_entries_of_unknown_owners_are_told_of_and_not_called_missing(house: "House", sink: "Sink") -> None:
    """Their exporter had them already, so its account can not add up without them."""
    await house.start(batches={"store": sink})
    for name in ("one", "two", "three"):
        await house.append(name)
    await sink.has(3)
    await house.state.flush()
    await house.kill()
    [path] = house.directory.glob("journal/*.seg")
    content = path.read_bytes()
    start, end = content.index(b"one"), content.index(b"three") - 150  # the second, with its mark and the first's
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])
    await house.start(batches={"store": sink})
    await house.stop()

    told = house.audit().to_dict()
    assert told["balanced"]
    assert told["unknown_entries"] == 2
    assert [account["unknown"] for account in told["accounts"]] == [-2]
