"""A batch is read-only, and each of its forms is made from the other."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import INLINE_BYTES, Batch, Signal, in_parts
from otel_bridge.errors import MalformedError


def spans(*names: str) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    for name in names:
        scoped.spans.add(name=name, trace_id=b"t" * 16, span_id=b"s" * 8)
    return request


def names(batch: Batch) -> list[str]:
    request = batch.request
    assert isinstance(request, ExportTraceServiceRequest)
    return [span.name for block in request.resource_spans for scoped in block.scope_spans for span in scoped.spans]


@given(st.lists(st.lists(st.text(max_size=5), max_size=4), min_size=1, max_size=5))
def test_merging_joins_bytes_and_keeps_every_span_in_order(parts: list[list[str]]) -> None:
    merged = Batch.merge([Batch.from_request(spans(*part)) for part in parts])

    assert names(merged) == [name for part in parts for name in part]
    assert merged.item_count == sum(len(part) for part in parts)


def test_two_tenants_never_share_a_batch() -> None:
    with pytest.raises(ValueError, match="one tenant"):
        Batch.merge([Batch.from_request(spans("a"), tenant="red"), Batch.from_request(spans("b"), tenant="blue")])


def test_an_editable_copy_leaves_the_batch_as_it_was() -> None:
    batch = Batch.from_wire(Signal.TRACES, spans("a", "b").SerializeToString())

    copy = batch.editable()
    assert isinstance(copy, ExportTraceServiceRequest)
    del copy.resource_spans[0].scope_spans[0].spans[0]

    assert names(batch) == ["a", "b"]
    assert Batch.from_request(copy).item_count == 1


def test_bytes_that_are_no_request_are_refused_when_they_are_read() -> None:
    with pytest.raises(MalformedError, match="not an OTLP traces request"):
        _ = Batch.from_wire(Signal.TRACES, b"\xff\xff\xff").request


def test_unknown_fields_pass_through() -> None:
    wire = spans("a").SerializeToString() + b"\xfa\x01\x03new"  # field 31, which no version has

    assert b"new" in Batch.from_request(Batch.from_wire(Signal.TRACES, wire).editable()).wire


async def test_large_parts_are_changed_in_a_thread_and_all_in_their_order() -> None:
    parts = [Batch.from_request(spans(name)) for name in ("a", "b" * (INLINE_BYTES + 1), "c")]
    whole = Batch.of_parts(parts, like=parts[0])
    by: list[tuple[str, bool]] = []

    def look(part: Batch) -> Batch:
        by.append((names(part)[0][0], threading.current_thread() is threading.main_thread()))
        return part

    assert await in_parts(whole, look) is whole
    assert by == [("a", True), ("b", False), ("c", True)]
