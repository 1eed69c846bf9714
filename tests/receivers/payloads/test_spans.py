"""What a span must have: ids, parents, and to come once."""

from typing import Any

import pytest

from tests.receivers.payloads.world import OK, Answer, World, each_door, request, span

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@each_door
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": b""}, "no_trace_id"),
        ({"trace_id": b"t" * 15}, "bad_trace_id"),
        ({"trace_id": bytes(16)}, "bad_trace_id"),
        ({"span_id": b""}, "no_span_id"),
        ({"span_id": b"s" * 16}, "bad_span_id"),
        ({"span_id": bytes(8)}, "bad_span_id"),
    ],
)
async def test_a_span_without_good_ids_is_rejected_alone(
    world: World, door: str, changes: dict[str, Any], reason: str
) -> None:
    answer = await world.send(door, request(span(), span(name="SECRET", **changes), span()))

    assert (answer.code, answer.rejected) == (OK, 1)
    assert reason in answer.message
    assert world.count("rejected", reason=reason) == 1
    assert len(await world.spans()) == 2


@each_door
async def test_where_all_are_rejected_nothing_is_written(world: World, door: str) -> None:
    used = world.bridge.status()["journal"]["used_bytes"]
    answer = await world.send(door, request(*(span(trace_id=b"") for _ in range(3))))

    assert (answer.code, answer.rejected) == (OK, 3)
    assert world.bridge.status()["journal"]["used_bytes"] == used


@each_door
async def test_impossible_parents_are_cleared_and_odd_ones_kept(world: World, door: str) -> None:
    """A circle and a parent that never comes end nowhere in a loop: all are shown."""
    trace_id, one, two = b"c" * 15 + door[:1].encode(), b"1" * 8, b"2" * 8
    made = [
        span(parent_span_id=b"short"),
        span(span_id=b"self" * 2, parent_span_id=b"self" * 2),
        span(parent_span_id=b"unknown!"),
        span(trace_id=trace_id, span_id=one, parent_span_id=two),
        span(trace_id=trace_id, span_id=two, parent_span_id=one),
    ]
    assert await world.send(door, request(*made)) == Answer(OK)

    assert [read.parent_span_id for read in await world.spans()] == [b"", b"", b"unknown!", two, one]
    assert world.count("repaired", what="parent") == 2
    assert len(await world.observations()) == 5


@each_door
async def test_a_span_that_comes_twice(world: World, door: str) -> None:
    """In one request it is kept once; what comes in another is kept too, as what is sent again is the same."""
    made = span()
    assert await world.send(door, request(made, made)) == Answer(OK)
    assert await world.send(door, request(made)) == Answer(OK)

    assert [read.span_id for read in await world.spans()] == [made.span_id] * 2
    assert world.count("dedup_identical") == 1


@each_door
async def test_two_spans_under_one_id_are_both_kept(world: World, door: str) -> None:
    first, second = span(name="first"), span(name="second")
    second.trace_id, second.span_id = first.trace_id, first.span_id
    assert await world.send(door, request(first, second)) == Answer(OK)

    assert [read.name for read in await world.spans()] == ["first", "second"]
    assert world.count("span_id_conflict") == 1
