"""One item that is too large is made to fit: its largest texts are cut, all else stays."""

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.delivery.truncate import truncated
from otel_bridge.model import Observation, ObservationType, Score, TraceAttributes, Translation
from otel_bridge.validate import TRUNCATED

HUGE = "ü€" * 100_000


def span() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    made = request.resource_spans.add().scope_spans.add().spans.add(name="chat", span_id=b"12345678")
    made.attributes.add(key="model").value.string_value = "gpt"
    made.attributes.add(key="messages").value.array_value.values.add().string_value = HUGE
    made.events.add(name="said").attributes.add(key="text").value.bytes_value = b"\xff" * 300_000
    return request


def test_a_span_keeps_what_is_small() -> None:
    cut = truncated(Batch.from_request(span(), tenant="t"), 50_000)
    assert isinstance(cut, Batch)
    assert len(cut.wire) <= 50_100
    assert (cut.tenant, cut.item_count) == ("t", 1)
    [made] = cut.request.resource_spans[0].scope_spans[0].spans
    shown = {pair.key: pair.value for pair in made.attributes}
    assert (made.name, made.span_id, shown["model"].string_value) == ("chat", b"12345678", "gpt")
    assert shown[TRUNCATED].bool_value
    text = shown["messages"].array_value.values[0].string_value
    assert 20_000 < len(text.encode()) < 25_000
    assert text.endswith(("€… [cut]", "ü… [cut]"))


def test_it_can_be_cut_again_and_says_so_once() -> None:
    cut = truncated(Batch.from_request(span()), 100_000)
    assert isinstance(cut, Batch)
    again = truncated(cut, 50_000)
    assert isinstance(again, Batch)
    [made] = again.request.resource_spans[0].scope_spans[0].spans
    assert [pair.key for pair in made.attributes].count(TRUNCATED) == 1


def test_a_log_record_is_cut_in_its_body() -> None:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.body.kvlist_value.values.add(key="text").value.string_value = HUGE
    cut = truncated(Batch.from_request(request), 50_000)
    assert isinstance(cut, Batch)
    assert len(cut.wire) <= 50_100


def observation(**said: object) -> Translation:
    of = TraceAttributes("a", input=HUGE)
    fields = {"input": {"messages": [HUGE, "short"]}, "metadata": {"n": 1}, "size": 1_010_000} | said
    one = Observation("1", "a", None, ObservationType.SPAN, "chat", 1, 2, of, **fields)  # type: ignore[arg-type]
    return Translation([of], [one], tenant="t")


def test_an_observation_keeps_its_shape() -> None:
    whole = observation()
    cut = truncated(whole, 100_000)
    assert isinstance(cut, Translation)
    [one] = cut.observations
    assert one.input["messages"][1] == "short"  # type: ignore[index,call-overload]
    assert one.metadata == {"n": 1, TRUNCATED: True}
    assert one.size == cut.size == 100_000
    assert cut.traces == [one.trace]
    assert len(one.trace.input) < len(HUGE)  # type: ignore[arg-type]
    assert whole.observations[0].metadata == {"n": 1}, "others hold the same one"


@pytest.mark.parametrize(
    "whole",
    [
        Batch.from_request(
            ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [{"name": HUGE}]}]}])
        ),
        Translation(scores=[Score("1", "good", "x" * 10_000, "TEXT", 1, trace_id="a")]),
        observation(input=[1] * 500_000, metadata={"short": "x" * 200}, size=10_000_000),
    ],
    ids=["metric", "score", "numbers"],
)
def test_what_has_no_texts_to_cut_is_left_alone(whole: Batch | Translation) -> None:
    if isinstance(whole, Translation) and whole.observations:
        whole.observations[0].trace.input = None
    assert truncated(whole, 1000) is None
