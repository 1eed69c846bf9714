"""A large request is cut by its bytes: the same items in the same order, each under its resource and scope."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_bridge.batch import Batch, Signal
from otel_bridge.otlp_pieces import PIECE_BYTES, cut
from otel_bridge.otlp_repair import decode
from otel_bridge.receivers.otlp.memory import resident_bytes
from otel_bridge.telemetry import Counters
from otel_bridge.validate import check

MOST = 400


def block(name: str, *counts: int, attribute_bytes: int = 10, name_bytes: int = 0) -> dict[str, Any]:
    """A resource with a scope for each count, and so many spans in it."""
    said = [{"key": name, "value": {"string_value": "r" * attribute_bytes}}]
    scopes = [
        {
            "scope": {"name": f"{name} {place}"},
            "schema_url": "of the scope",
            "spans": [
                {
                    "trace_id": name.encode().ljust(16, b"t"),
                    "span_id": (place * 100_000 + number + 1).to_bytes(8, "big"),
                    "name": f"span {number}".ljust(name_bytes),
                    "start_time_unix_nano": 1,
                    "end_time_unix_nano": 2,
                }
                for number in range(count)
            ],
        }
        for place, count in enumerate(counts)
    ]
    return {"resource": {"attributes": said}, "schema_url": "of the resource", "scope_spans": scopes}


def told(wires: list[bytes]) -> list[tuple[Any, ...]]:
    """Each span with all that stands above it."""
    return [
        (block.resource.SerializeToString(), block.schema_url, scoped.scope.name, scoped.schema_url, str(span))
        for wire in wires
        for block in ExportTraceServiceRequest.FromString(wire).resource_spans
        for scoped in block.scope_spans
        for span in scoped.spans
    ]


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=4), st.integers(1, 2000))
def test_the_pieces_say_what_the_whole_said(shape: list[list[int]], attribute_bytes: int) -> None:
    blocks = [block(f"r{n}", *counts, attribute_bytes=attribute_bytes) for n, counts in enumerate(shape)]
    whole = ExportTraceServiceRequest(resource_spans=blocks).SerializeToString()
    pieces = cut(whole, MOST)

    assert told(pieces) == told([whole])
    assert sum(map(len, pieces)) <= 2 * len(whole)


def test_a_piece_is_about_as_large_as_asked() -> None:
    pieces = cut(ExportTraceServiceRequest(resource_spans=[block("r", 500)]).SerializeToString(), MOST)

    assert len(pieces) > 30
    assert max(map(len, pieces)) < MOST + 100


def test_a_large_resource_is_not_multiplied() -> None:
    """Or a megabyte of attributes over many spans would be a bomb."""
    whole = ExportTraceServiceRequest(resource_spans=[block("r", 5000, attribute_bytes=50_000)]).SerializeToString()
    pieces = cut(whole, MOST)

    assert len(pieces) > 1
    assert sum(map(len, pieces)) < 1.5 * len(whole)


@pytest.mark.parametrize("odd", [b"\x0b\x0c", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 12, b"\x09abc", b"\x0a"])
def test_what_can_not_be_cut_comes_whole(odd: bytes) -> None:
    whole = ExportTraceServiceRequest(resource_spans=[block("r", 50)]).SerializeToString() + odd

    assert cut(whole, MOST) == [whole]


def large(**changes: Any) -> bytes:
    made = ExportTraceServiceRequest(resource_spans=[block("r", 2000, name_bytes=600)])
    for name, value in changes.items():
        setattr(made.resource_spans[0].scope_spans[0].spans[1500], name, value)
    wire = made.SerializeToString()
    assert len(wire) > 2 * PIECE_BYTES
    return wire


def test_a_large_sound_request_stays_as_it_is_in_parts() -> None:
    """No part takes long to decode, and what they say together is what came."""
    batch = decode(Signal.TRACES, large(), Counters())
    checked, rejected = check(batch, "http", counters := Counters())

    assert max(len(part.wire) for part in checked.parts) < PIECE_BYTES + 1000
    assert (checked.item_count, rejected) == (2000, [])
    assert told([checked.wire]) == told([large()])
    assert checked.editable() == checked.request
    assert counters.value("received", transport="http") == 2000


def test_what_is_bad_in_one_part_costs_that_item_only() -> None:
    checked, rejected = check(decode(Signal.TRACES, large(span_id=b""), Counters()), "http", counters := Counters())

    assert (checked.item_count, [one.reason for one in rejected]) == (1999, ["no_span_id"])
    assert sum(part.item_count for part in checked.parts) == 1999
    assert counters.value("received") == 2000


def test_text_that_is_no_utf8_is_repaired_in_its_part() -> None:
    counters = Counters()
    batch = decode(Signal.TRACES, large(name="BROKEN").replace(b"BROKEN", b"BR\xffKEN"), counters)

    assert counters.value("repaired", what="utf8") == 1
    assert [line for line in told([batch.wire]) if "BR\ufffdKEN" in line[-1] or "\\357\\277\\275" in line[-1]]


def test_the_same_span_in_two_parts_is_kept_once() -> None:
    made = ExportTraceServiceRequest.FromString(large())
    spans = made.resource_spans[0].scope_spans[0].spans
    spans[1500].CopyFrom(spans[0])
    checked, _ = check(decode(Signal.TRACES, made.SerializeToString(), Counters()), "http", counters := Counters())

    assert checked.item_count == 1999
    assert counters.value("dedup_identical") == 1


def test_a_batch_that_did_not_come_in_parts_is_its_only_part() -> None:
    batch = Batch.from_wire(Signal.TRACES, b"")

    assert batch.parts == (batch,)


@pytest.mark.slow
def test_no_part_of_a_large_request_stays_decoded() -> None:
    """Two bytes on the wire may be thirty decoded: all of it at once would be a bomb."""
    made = block("r", 12)
    for span in made["scope_spans"][0]["spans"]:
        span["attributes"] = [{"key": "list", "value": {"array_value": {"values": [AnyValue()] * 200_000}}}]
    whole = ExportTraceServiceRequest(resource_spans=[made]).SerializeToString()
    del made
    before = resident_bytes()
    checked, _ = check(decode(Signal.TRACES, whole, Counters()), "http", Counters())

    assert len(checked.parts) > 5
    assert resident_bytes() - before < 6 * len(whole)
