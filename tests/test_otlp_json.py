"""OTLP/JSON: what is written is read back the same; what is wrong is refused with its path and without its content."""

import contextlib
import json
import math
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_bridge import otlp_json
from otel_bridge.batch import REQUESTS, Request, Signal
from otel_bridge.errors import MalformedError
from otel_bridge.model import Omitted
from otel_bridge.otlp_json import RANGES, dump, parse
from otel_bridge.telemetry import Counters

SPAN: dict[str, Any] = {"traceId": "74" * 16, "spanId": "73" * 8, "name": "one"}


def one_span(**fields: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN | fields]}]}]}).encode()


def parsed(**fields: Any) -> Any:
    request = parse(Signal.TRACES, one_span(**fields))
    assert isinstance(request, ExportTraceServiceRequest)
    return request.resource_spans[0].scope_spans[0].spans[0]


def messages(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """The constructor's arguments of any message of a type; of each oneof, one field at most."""
    fields = [field for field in descriptor.fields if depth < 8 or field.message_type is None]
    return (
        st.lists(st.sampled_from(fields), max_size=4, unique_by=_group).flatmap(
            lambda chosen: st.fixed_dictionaries({field.name: values(field, depth) for field in chosen})
        )
        if fields
        else st.just({})
    )


def _group(field: FieldDescriptor) -> str:
    oneof = field.containing_oneof
    return oneof.name if oneof is not None else field.name


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        one: st.SearchStrategy[Any] = messages(field.message_type, depth + 1)
    elif field.type == FieldDescriptor.TYPE_STRING:
        one = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        one = st.binary(max_size=17)
    elif field.type == FieldDescriptor.TYPE_BOOL:
        one = st.booleans()
    elif field.type == FieldDescriptor.TYPE_DOUBLE:
        one = st.floats(allow_nan=False)
    else:
        one = st.integers(*RANGES[field.type])
    return st.lists(one, max_size=2) if field.is_repeated else one


@pytest.mark.slow
@pytest.mark.parametrize("signal", list(Signal))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_written_is_read_back(signal: Signal, data: st.DataObject) -> None:
    request = REQUESTS[signal](**data.draw(messages(REQUESTS[signal].DESCRIPTOR)))
    assert parse(signal, dump(request)) == request


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        parse(Signal.TRACES, data)


@settings(suppress_health_check=list(HealthCheck))
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["resourceSpans", "scopeSpans", "spans", "traceId", "kind", "attributes", "value"]),
                inner,
            )
        ),
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    with contextlib.suppress(MalformedError):
        parse(Signal.TRACES, json.dumps(value).encode("utf-8", "surrogatepass"))


def test_written_as_the_specification_says() -> None:
    request = ExportTraceServiceRequest(
        resource_spans=[
            {
                "scope_spans": [
                    {
                        "spans": [
                            {
                                "trace_id": b"t" * 16,
                                "span_id": b"s" * 8,
                                "kind": 3,
                                "start_time_unix_nano": 2**63,
                                "dropped_attributes_count": 7,
                                "attributes": [
                                    {"key": "int", "value": {"int_value": -5}},
                                    {"key": "double", "value": {"double_value": math.nan}},
                                    {"key": "bytes", "value": {"bytes_value": b"\x00\xff"}},
                                    {"key": "false", "value": {"bool_value": False}},
                                    {"key": "nothing", "value": {}},
                                ],
                            }
                        ]
                    }
                ]
            }
        ]
    )
    assert json.loads(dump(request))["resourceSpans"][0]["scopeSpans"][0]["spans"] == [
        {
            "traceId": "74" * 16,
            "spanId": "73" * 8,
            "kind": 3,
            "startTimeUnixNano": str(2**63),
            "droppedAttributesCount": 7,
            "attributes": [
                {"key": "int", "value": {"intValue": "-5"}},
                {"key": "double", "value": {"doubleValue": "NaN"}},
                {"key": "bytes", "value": {"bytesValue": "AP8="}},
                {"key": "false", "value": {"boolValue": False}},
                {"key": "nothing", "value": {}},
            ],
        }
    ]


def test_a_response_is_written_too() -> None:
    response = ExportTraceServiceResponse(partial_success={"rejected_spans": 3, "error_message": "why"})
    assert json.loads(dump(response)) == {"partialSuccess": {"rejectedSpans": "3", "errorMessage": "why"}}


@pytest.mark.parametrize("number", [5, "5"])
def test_integers_may_be_numbers_or_strings(number: int | str) -> None:
    assert parsed(startTimeUnixNano=number).start_time_unix_nano == 5


@pytest.mark.parametrize(("given", "read"), [("NaN", math.nan), ("-Infinity", -math.inf), (3, 3.0), ("2.5", 2.5)])
def test_doubles(given: Any, read: float) -> None:
    value = parsed(attributes=[{"key": "k", "value": {"doubleValue": given}}]).attributes[0].value.double_value
    assert value == read or (math.isnan(value) and math.isnan(read))


def test_unknown_keys_and_nulls_are_passed_over() -> None:
    span = parsed(trace_id="snake", future={"a": [1]}, status=None, parentSpanId="")
    assert (span.name, span.trace_id, span.HasField("status")) == ("one", b"t" * 16, False)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "SPAN_KIND_SERVER"}, "kind must be the integer of the enum value, not its name"),
        ({"kind": True}, "kind must be the integer"),
        ({"kind": 2**31}, "kind must be between"),
        ({"name": 5}, "name must be a string"),
        ({"status": {"code": "SECRET"}}, "status.code must be the integer"),
        ({"startTimeUnixNano": True}, "startTimeUnixNano must be an integer"),
        ({"startTimeUnixNano": -1}, "startTimeUnixNano must be between"),
        ({"startTimeUnixNano": 2**64}, "startTimeUnixNano must be"),
        ({"startTimeUnixNano": "1e3"}, "startTimeUnixNano must be an integer in plain digits"),
        ({"startTimeUnixNano": 1.5}, "startTimeUnixNano must be an integer in plain digits"),
        ({"startTimeUnixNano": "٣"}, "startTimeUnixNano must be an integer in plain digits"),
        ({"traceId": "SECRET"}, "traceId must be hex digits"),
        ({"traceId": 7}, "traceId must be a string of hex digits"),
        ({"attributes": {}}, "attributes must be an array"),
        ({"attributes": [None]}, r"attributes\[0\] must be an object"),
        (
            {"attributes": [{"value": {"boolValue": "SECRET"}}]},
            r"attributes\[0\].value.boolValue must be true or false",
        ),
        (
            {"attributes": [{}, {"value": {"bytesValue": "SECRET!"}}]},
            r"attributes\[1\].value.bytesValue must be base64",
        ),
        ({"attributes": [{"value": {"doubleValue": "SECRET"}}]}, "doubleValue must be a number"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedError, match=said) as raised:
        parsed(**fields)
    assert str(raised.value).startswith("resourceSpans[0].scopeSpans[0].spans[0].")
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf{}", b"{} x", b'{"a": NaN}', b'{"\xff', b"[" * 100_000])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="not JSON"):
        parse(Signal.TRACES, data)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\uDE00 half", "\ufffd half"),
        (rb"\ud83d\ud83d\ude00 \n", "\ufffd\U0001f600 \n"),
        (rb"\\ud83d said \" \ude00", '\\ud83d said " \ufffd'),
        (b"byte \xff", "byte \ufffd"),
    ],
)
def test_what_is_no_text_is_repaired(written: bytes, read: str) -> None:
    """As JavaScript writes it, where it cuts a text through a character."""
    data = one_span(name="NAME", attributes=[{"key": "NAME", "value": {"stringValue": "as it is: ü"}}])
    request = parse(Signal.TRACES, data.replace(b"NAME", written), counters=(counters := Counters()))

    assert isinstance(request, ExportTraceServiceRequest)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    assert (span.name, span.attributes[0].key) == (read, read)
    assert span.attributes[0].value.string_value == "as it is: ü"
    assert counters.value("repaired", what="utf8") == 1


@pytest.mark.parametrize("data", [b"[]", b"null", b"5", b'"text"'])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="the request must be an object"):
        parse(Signal.TRACES, data)


def test_a_spoilt_item_may_be_left_out() -> None:
    spans = [SPAN, SPAN | {"traceId": "AB" * 16, "endTimeUnixNano": 2**64}, SPAN | {"spanId": "no hex"}, SPAN]
    data = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    rejected: list[Omitted] = []
    request = parse(Signal.TRACES, data, rejected)

    assert isinstance(request, ExportTraceServiceRequest)
    assert len(request.resource_spans[0].scope_spans[0].spans) == 2
    assert rejected == [
        Omitted("73" * 8, "ab" * 16, "out_of_range"),
        Omitted("", "74" * 16, "bad_id"),
    ]


def test_what_belongs_to_many_spans_is_never_left_out() -> None:
    data = b'{"resourceSpans": [{"resource": {"attributes": [{"key": "k", "value": {"intValue": "1e3"}}]}}]}'
    with pytest.raises(MalformedError, match=r"resourceSpans\[0\].resource.attributes\[0\].value.intValue"):
        parse(Signal.TRACES, data, [])


@pytest.mark.parametrize(("depth", "fits"), [(47, True), (48, False), (300, False)])
def test_nesting_is_bounded_where_protobuf_bounds_it(depth: int, fits: bool) -> None:
    value: dict[str, Any] = {"intValue": 1}
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    data = one_span(attributes=[{"key": "deep", "value": value}])
    if fits:
        request = parse(Signal.TRACES, data)
        assert ExportTraceServiceRequest.FromString(request.SerializeToString()) == request
        assert parse(Signal.TRACES, dump(request)) == request
    else:
        with pytest.raises(MalformedError, match=r"nested deeper|not JSON"):
            parse(Signal.TRACES, data)


def test_metrics_keep_their_presence() -> None:
    point = {"count": "3", "sum": 0, "bucketCounts": ["1", 2], "explicitBounds": [0.5]}
    data = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"histogram": {"dataPoints": [point]}}]}]}]})
    request = parse(Signal.METRICS, data.encode())
    assert isinstance(request, ExportMetricsServiceRequest)
    read = request.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0]

    assert (read.HasField("sum"), read.HasField("min")) == (True, False)
    assert list(read.bucket_counts) == [1, 2]


@pytest.mark.parametrize("written", ["+/8B", "-_8B", "+/8BAA==", "+/8BAA", "-_8BAA"])
def test_bytes_are_base64_as_protobuf_s_json_may_have_it(written: str) -> None:
    value = parsed(attributes=[{"key": "k", "value": {"bytesValue": written}}]).attributes[0].value
    assert value.bytes_value == b"\xfb\xff\x01" + bytes(len(written.rstrip("=")) - 4)[:1]


def test_an_empty_value_is_kept_as_one() -> None:
    value = parsed(attributes=[{"key": "k", "value": {}}]).attributes[0]
    assert value.HasField("value")
    assert value.value == AnyValue()


def test_a_thread_that_reads_while_another_learns_how_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the first two requests of a bridge come together: what is not known is passed over, and is OK."""
    learned = otlp_json._codec
    meanwhile: list[Future[Request]] = []

    with ThreadPoolExecutor(1) as thread:

        def codec(field: FieldDescriptor) -> Any:
            if not meanwhile:
                meanwhile.append(thread.submit(parse, Signal.TRACES, one_span()))
                wait(meanwhile, timeout=0.1)  # it does not come to an end before this one has
            return learned(field)

        monkeypatch.setattr(otlp_json, "_KNOWN", {})
        monkeypatch.setattr(otlp_json, "_codec", codec)
        first = parse(Signal.TRACES, one_span())
    assert meanwhile[0].result() == first
    assert b'"name":"one"' in dump(first)
