"""The load numbers its spans: what proves a loss must not lose count itself."""

import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.load import ACKED, AGENT, BULK, SENT, TORN, Body, Counts, Load, Shape, numbered, template


@pytest.mark.parametrize("shape", [AGENT, TORN, BULK], ids=["agent", "torn", "bulk"])
def test_the_requests_of_a_shape_bring_each_span_once_under_its_own_number(shape: Shape) -> None:
    now_ns = time.time_ns()
    brought = []
    for turn in (0, 1, 70_000):
        for part in (*shape.parts, *shape.late):
            made = template(shape, "light", part)
            request = ExportTraceServiceRequest.FromString(made.numbered(sender=3, turn=turn, now_ns=now_ns))
            spans = request.resource_spans[0].scope_spans[0].spans
            assert [numbered(span.span_id) for span in spans] == [(3, number) for number in made.numbers(turn)]
            assert all(now_ns <= span.start_time_unix_nano < span.end_time_unix_nano for span in spans)
            brought += made.numbers(turn)

    wanted = [turn * shape.round_spans + offset for turn in (0, 1, 70_000) for offset in range(shape.round_spans)]
    assert sorted(brought) == wanted


def test_spans_of_one_trace_have_its_root_above_them() -> None:
    made = template(BULK, "light", BULK.parts[0])
    request = ExportTraceServiceRequest.FromString(made.numbered(sender=1, turn=5, now_ns=1))
    spans = request.resource_spans[0].scope_spans[0].spans
    roots = {span.trace_id: span.span_id for span in spans if not span.parent_span_id}

    assert len(roots) == BULK.traces
    assert all(span.parent_span_id == roots[span.trace_id] for span in spans if span.parent_span_id)


@pytest.mark.parametrize(("body", "size"), [("light", 145), ("mid", 911), ("llm", 3400)])
def test_bodies_have_the_size_that_they_are_named_for(body: Body, size: int) -> None:
    wire = template(BULK, body, BULK.parts[0]).numbered(sender=1, turn=0, now_ns=1)

    assert len(wire) / BULK.round_spans == pytest.approx(size, rel=0.05)


def test_what_was_acknowledged_and_never_came_is_lost_and_nothing_else_is() -> None:
    load = Load("http://127.0.0.1:1", states=bytearray([ACKED, ACKED, SENT, ACKED]))
    came = Counts()
    came.add(0)
    assert came.add(0)

    assert load.lost(bytes(came.bytes)) == [1, 3]
    assert load.lost(b"") == [0, 1, 3]
    assert load.acked_count == 3
