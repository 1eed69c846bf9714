"""Too much of something: it is cut and counted, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_bridge import otlp_json
from otel_bridge.batch import Signal
from tests.receivers.payloads.world import (
    INVALID,
    MANY,
    MIB,
    OK,
    Answer,
    World,
    attribute,
    each_door,
    request,
    span,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@each_door
@pytest.mark.parametrize("size", [1, MIB - 100, 2 * MIB, 9 * MIB])
async def test_a_large_value_is_cut_and_never_rejected(world: World, door: str, size: int) -> None:
    made = span(attributes=[attribute("kept"), attribute("large", string_value="é" * (size // 2) or "e")])
    assert await world.send(door, request(made)) == Answer(OK)

    kept, large, *marks = (await world.spans())[0].attributes
    assert kept.value.string_value == "SECRET"
    assert len(large.value.string_value.encode()) == min(size, MIB)
    if size > MIB:
        assert [mark.key for mark in marks] == ["otel_bridge.truncated_attrs"]
        assert [value.string_value for value in marks[0].value.array_value.values] == ["large"]
    assert world.count("repaired", what="attribute_value") == (size > MIB)


@each_door
async def test_a_large_log_body_is_cut(world: World, door: str) -> None:
    record = LogRecord(time_unix_nano=1, body={"string_value": "x" * 2 * MIB})
    logs = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}])
    assert await world.send(door, logs, Signal.LOGS) == Answer(OK)

    read = (await world.records())[0]
    assert len(read.body.string_value) == MIB
    assert [one.key for one in read.attributes] == ["otel_bridge.truncated"]
    assert world.count("repaired", what="log_body") == 1


@each_door
async def test_a_flood_of_attributes_is_bounded(world: World, door: str) -> None:
    many = [attribute(f"key {number}") for number in range(10_000)]
    odd = [attribute("k" * 100_000), attribute(""), attribute("a", int_value=1), attribute("a", int_value=2)]
    assert await world.send(door, request(span(attributes=many), span(attributes=odd))) == Answer(OK)

    flooded, mended = await world.spans()
    assert (len(flooded.attributes), flooded.dropped_attributes_count) == (1024, 8976)
    assert [(one.key, one.value.int_value) for one in mended.attributes] == [("k" * 256, 0), ("", 0), ("a", 2)]
    assert world.count("repaired", what="attributes") == 8976
    assert world.count("repaired", what="attribute_key") == 1
    assert world.count("repaired", what="duplicate_attribute") == 1


@each_door
async def test_a_flood_of_events_and_links_is_bounded(world: World, door: str) -> None:
    made = span(events=[{"name": ""}] * 10_000, links=[{"trace_id": b"t" * 16, "span_id": b"s" * 8}] * 10_000)
    assert await world.send(door, request(made)) == Answer(OK)

    read = (await world.spans())[0]
    assert (len(read.events), read.dropped_events_count) == (128, 9872)
    assert (len(read.links), read.dropped_links_count) == (128, 9872)
    assert (world.count("repaired", what="events"), world.count("repaired", what="links")) == (9872, 9872)
    assert len(await world.observations()) == 1


def deep(door: str, depth: int, kind: str, inmost: bytes = b"SECRET") -> bytes:
    """A request of one span with an attribute of lists in lists, or of maps in maps."""
    if door == "json":
        opening, closing = {
            "list": (b'{"arrayValue":{"values":[', b"]}}"),
            "map": (b'{"kvlistValue":{"values":[{"value":', b"}]}}"),
        }[kind]
        value = opening * depth + b'{"stringValue":"%b"}' % inmost + closing * depth
        body = otlp_json.dump(request(span(attributes=[attribute("deep", string_value="HERE")])))
        return body.replace(b'{"stringValue":"HERE"}', value)
    value = b"\x0a" + _varint(len(inmost)) + inmost
    for _ in range(depth):
        for tag in (b"\x0a", b"\x2a") if kind == "list" else (b"\x12", b"\x0a", b"\x32"):
            value = tag + _varint(len(value)) + value
    attributes = b"\x12" + _varint(len(value)) + value
    one = span().SerializeToString() + b"\x4a" + _varint(len(attributes)) + attributes
    for tag in (b"\x12", b"\x12", b"\x0a"):
        one = tag + _varint(len(one)) + one
    return one


@each_door
@MANY
@given(depth=st.integers(0, 60) | st.sampled_from([31, 32, 47, 48, 100]), kind=st.sampled_from(["list", "map"]))
async def test_nesting_is_kept_as_deep_as_protobuf_reads_it(world: World, door: str, depth: int, kind: str) -> None:
    """And comes out at the end, however deep it is; deeper it is refused."""
    world.begin()
    answer = await world.send(door, deep(door, depth, kind))

    if depth <= {"list": 47, "map": 31}[kind]:
        assert answer == Answer(OK)
        value = (await world.spans())[0].attributes[0].value
        for _ in range(depth):
            value = value.array_value.values[0] if kind == "list" else value.kvlist_value.values[0].value
        assert value.string_value == "SECRET"
        assert len(await world.observations()) == 1
    else:
        assert answer.code == INVALID


@each_door
@pytest.mark.parametrize("kind", ["list", "map"])
@pytest.mark.parametrize("size", [6, 2 * MIB])
async def test_endless_nesting_is_refused(world: World, door: str, kind: str, size: int) -> None:
    """For good: told to come again, its sender would do so for ever."""
    assert (await world.send(door, deep(door, 10_000 if size == 6 else 1500, kind, b"x" * size))).code == INVALID


def _varint(size: int) -> bytes:
    out = b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size])
