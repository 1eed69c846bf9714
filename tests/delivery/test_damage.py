"""What the journal can not read any more is accounted for, to the item."""

import pytest

from otel_bridge.batch import Signal
from otel_bridge.delivery import locate
from otel_bridge.delivery.accounts import Audit, Line
from otel_bridge.errors import RetryableError
from otel_bridge.journal.exporters import Account
from tests.delivery.conftest import House, Sink, gather

DAMAGED = {"delivered": 3, "dead_lettered": 2}


async def test_damaged_entries_are_counted_and_spare_their_neighbours(house: House, sink: Sink) -> None:
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


async def test_damage_is_counted_whenever_assembly_meets_it(house: House, sink: Sink) -> None:
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


async def test_damage_after_a_kill_is_accounted_for_as_well(house: House, sink: Sink) -> None:
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


async def test_entries_of_unknown_owners_are_told_of(house: House, sink: Sink) -> None:
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

    found = house.audit()
    told = found.to_dict()
    assert told["unknown_entries"] == 2
    assert [account["missing"] for account in told["accounts"]] == [-2]
    assert (found.balanced, found.explained) == (False, True)
    assert "2 entries damaged" in locate(house.directory, span_id="ab" * 8, gather=gather).notes[-2]


@pytest.mark.parametrize(
    ("missing", "unknown", "explained"),
    [([-2, -3], 1, False), ([-2, -3], 2, True), ([-2, 1], 5, False), ([-2], 0, False)],
)
def test_entries_of_unknown_owners_explain_no_more_than_they_can(
    missing: list[int], unknown: int, explained: bool
) -> None:
    lines = [
        Line(Account("main", "store", f"tenant {number}", Signal.TRACES), items, {}, {}, 0, {})
        for number, items in enumerate(missing)
    ]
    assert Audit(tuple(lines), unknown).explained is explained
