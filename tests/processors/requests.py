"""OTLP requests with a text at every place where a text can stand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import REQUESTS, Request

START_NS = 1_795_000_000_000_000_000


def pair(key: str, text: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=text))


def trace_request(number: int) -> tuple[ExportTraceServiceRequest, Span]:
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            trace_id=(number + 1).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            name=f"step {number}",
            start_time_unix_nano=START_NS,
            end_time_unix_nano=START_NS + 1000,
        )
    )
    return request, span


def _span(put: Callable[[Span, str], object]) -> Callable[[int, str], Request]:
    def build(number: int, text: str) -> Request:
        request, span = trace_request(number)
        put(span, text)
        return request

    return build


def _trace(put: Callable[[ExportTraceServiceRequest, str], object]) -> Callable[[int, str], Request]:
    def build(number: int, text: str) -> Request:
        request, _ = trace_request(number)
        put(request, text)
        return request

    return build


def _in_array(text: str) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(string_value=text)]))


def _in_map(text: str) -> AnyValue:
    return AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="deep", value=_in_array(text))]))


def _log(field: str) -> Callable[[int, str], Request]:
    def build(number: int, text: str) -> Request:
        request = ExportLogsServiceRequest()
        record = (
            request.resource_logs.add()
            .scope_logs.add()
            .log_records.add(trace_id=(number + 1).to_bytes(16, "big"), time_unix_nano=START_NS)
        )
        match field:
            case "body":
                record.body.string_value = text
            case "body map":
                record.body.CopyFrom(_in_map(text))
            case "attribute":
                record.attributes.append(pair("note", text))
            case _:
                setattr(record, field, text)
        return request

    return build


def _metric(put: Callable[..., object]) -> Callable[[int, str], Request]:
    def build(_number: int, text: str) -> Request:
        request = ExportMetricsServiceRequest()
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
        put(metric, text)
        return request

    return build


SURFACES: Mapping[str, Callable[[int, str], Request]] = {
    "span name": _span(lambda span, text: setattr(span, "name", f"call {text}")),
    "trace state": _span(lambda span, text: setattr(span, "trace_state", text)),
    "attribute": _span(lambda span, text: span.attributes.append(pair("note", f"it is {text}."))),
    "attribute key": _span(lambda span, text: span.attributes.append(pair(f"note {text}", "x"))),
    "array": _span(lambda span, text: span.attributes.append(KeyValue(key="list", value=_in_array(text)))),
    "map": _span(lambda span, text: span.attributes.append(KeyValue(key="map", value=_in_map(text)))),
    "map key": _span(
        lambda span, text: span.attributes.append(
            KeyValue(key="map", value=AnyValue(kvlist_value=KeyValueList(values=[pair(text, "x")])))
        )
    ),
    "bytes": _span(
        lambda span, text: span.attributes.append(
            KeyValue(key="raw", value=AnyValue(bytes_value=b"\xff\xfe" + text.encode() + b"\x00\xff"))
        )
    ),
    "event": _span(lambda span, text: span.events.add(name=f"said {text}", time_unix_nano=START_NS)),
    "event attribute": _span(
        lambda span, text: span.events.add(
            name="e", time_unix_nano=START_NS, attributes=[pair("exception.message", text)]
        )
    ),
    "link": _span(
        lambda span, text: span.links.add(trace_id=b"t" * 16, span_id=b"s" * 8, attributes=[pair("why", text)])
    ),
    "status": _span(lambda span, text: setattr(span.status, "message", f"401 for {text}")),
    "resource": _trace(lambda request, text: request.resource_spans[0].resource.attributes.append(pair("host", text))),
    "scope": _trace(lambda request, text: setattr(request.resource_spans[0].scope_spans[0].scope, "name", text)),
    "scope attribute": _trace(
        lambda request, text: request.resource_spans[0].scope_spans[0].scope.attributes.append(pair("x", text))
    ),
    "log body": _log("body"),
    "log body map": _log("body map"),
    "log attribute": _log("attribute"),
    "log event": _log("event_name"),
    "log severity": _log("severity_text"),
    "metric description": _metric(lambda metric, text: setattr(metric, "description", text)),
    "metric attribute": _metric(lambda metric, text: metric.sum.data_points.add(attributes=[pair("x", text)])),
    "exemplar": _metric(
        lambda metric, text: metric.histogram.data_points.add().exemplars.add(filtered_attributes=[pair("x", text)])
    ),
}


def spans_of(request: Request) -> Sequence[Span]:
    assert isinstance(request, ExportTraceServiceRequest)
    return [span for block in request.resource_spans for scoped in block.scope_spans for span in scoped.spans]


def with_text_anywhere(text: str) -> Iterator[tuple[str, Request]]:
    """By the path of each text that OTLP knows, a request in which it is this one."""
    for kind in REQUESTS.values():
        for path in _texts(kind.DESCRIPTOR, ()):
            request = kind()
            here: Any = request
            for field in path[:-1]:
                here = getattr(here, field.name)
                if field.is_repeated:
                    here = here.add()
            last = path[-1]
            if last.is_repeated:
                getattr(here, last.name).append(text)
            else:
                setattr(here, last.name, text)
            yield ".".join(field.name for field in path), request


def _texts(kind: Descriptor, path: tuple[FieldDescriptor, ...]) -> Iterator[tuple[FieldDescriptor, ...]]:
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield (*path, field)
        elif field.message_type is not None and field not in path:
            yield from _texts(field.message_type, (*path, field))
