"""Bytes that are no request, or only the beginning of one: what is answered, and that nothing else happens."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge import otlp_json
from tests.receivers.payloads.world import (
    INVALID,
    MANY,
    OK,
    Answer,
    World,
    attribute,
    each_binary_door,
    each_door,
    json_span,
    request,
    span,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@each_binary_door
@MANY
@given(noise=st.binary(min_size=1, max_size=200))
async def test_random_bytes_are_refused(world: World, door: str, noise: bytes) -> None:
    """Or, as a few are protobuf all the same, taken for a request in which nothing is."""
    refused, used = world.count("refused", reason="malformed"), world.bridge.status()["journal"]["used_bytes"]
    answer = await world.send(door, noise)

    assert answer.code in (OK, INVALID)
    assert world.count("refused", reason="malformed") - refused == (answer.code == INVALID)
    assert world.bridge.status()["journal"]["used_bytes"] == used


@each_door
async def test_cut_off_anywhere_it_never_holds_more_than_it_did(world: World, door: str) -> None:
    made = request(span(name="SECRET", attributes=[attribute("k")]), span())
    whole = otlp_json.dump(made) if door == "json" else made.SerializeToString()
    for size in range(1, len(whole)):
        answer = await world.send(door, whole[:size])
        assert answer.code == INVALID if door == "json" else answer.code in (OK, INVALID)

    assert len(await world.spans()) == 0, "the outermost length stands first"


@each_binary_door
async def test_unknown_fields_go_on_to_the_destination(world: World, door: str) -> None:
    """Also where something else in the request was mended."""
    unknown = b"\xc2\xb8\x02\x05later"  # field 5000
    for made in (span(), span(parent_span_id=b"short")):
        wire = made.SerializeToString() + unknown
        assert await world.send(door, request(Span.FromString(wire)).SerializeToString() + unknown) == Answer(OK)

    assert [one.SerializeToString().endswith(unknown) for one in await world.spans()] == [True, True]
    assert b"".join(batch.wire for batch in world.batches).count(unknown) == 4


@pytest.mark.parametrize(
    "body", [b"{", b'{"resourceSpans": []} SECRET', b"\xef\xbb\xbf{}", b"[]", b"null", b"5", b'"SECRET"', b"{'a': 1}"]
)
async def test_what_is_no_json_object_is_refused(world: World, body: bytes) -> None:
    answer = await world.send("json", body)

    assert answer.code == INVALID
    assert "SECRET" not in answer.message
    assert world.count("refused", reason="malformed") == 1


async def test_unknown_keys_are_passed_over_and_names_with_underscores_are_unknown(world: World) -> None:
    assert await world.send("json", json_span(future={"SECRET": [1]})) == Answer(OK)

    one = json.loads(json_span())
    of = one["resourceSpans"][0]["scopeSpans"][0]["spans"][1]
    of["span_id"] = of.pop("spanId")
    answer = await world.send("json", json.dumps(one).encode())

    assert (answer.code, answer.rejected) == (OK, 1)
    assert "no_span_id" in answer.message
    assert world.count("rejected", reason="no_span_id") == 1
    assert len(await world.spans()) == 3


async def test_the_name_of_an_enum_is_refused_with_its_place(world: World) -> None:
    answer = await world.send("json", json_span(kind="SPAN_KIND_SERVER"))

    assert answer.code == INVALID
    assert "spans[1].kind must be the integer" in answer.message


WIDE = st.integers(-(2**70), 2**70)


@MANY
@given(
    number=WIDE | WIDE.map(str) | st.sampled_from(["1e3", "0x10", "", " 5", "5.0", "+5", 1e3, "٣", 2**64, 2**64 - 1]),
    place=st.sampled_from(["startTimeUnixNano", "intValue"]),
)
async def test_integers_are_read_exactly_or_cost_their_span(world: World, number: float | str, place: str) -> None:
    fields = {place: number} if place != "intValue" else {"attributes": [{"key": "n", "value": {"intValue": number}}]}
    world.begin()
    answer = await world.send("json", json_span(endTimeUnixNano=2**64 - 1, **fields))

    is_plain = isinstance(number, int) or (
        isinstance(number, str) and number.isascii() and number.lstrip("-").isdigit()
    )
    low, high = (0, 2**64) if place != "intValue" else (-(2**63), 2**63)
    if is_plain and low <= int(number) < high:
        assert answer == Answer(OK)
        read = (await world.spans())[-1]
        found = read.attributes[0].value.int_value if place == "intValue" else read.start_time_unix_nano
        assert found == int(number) or (place != "intValue" and int(number) == 0)
    else:
        assert (answer.code, answer.rejected) == (OK, 1)
        assert world.count("rejected", reason="out_of_range") == 1
        assert len(await world.spans()) == 1
