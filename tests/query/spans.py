"""Spans as they come to a store: ended, or told of while they run."""

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_bridge.batch import Batch
from otel_bridge.store.writer import Writer
from tests.query.conftest import START

ONE = f"{1:032x}"


def still_open(writer: Writer, span: int, name: str, number: int = 1) -> None:
    """A record that tells of a span that has not ended after a minute."""
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(
        time_unix_nano=START + 60 * 10**9, trace_id=number.to_bytes(16), span_id=span.to_bytes(8),
        event_name="otel_bridge.span.heartbeat",
    )  # fmt: skip
    record.attributes.add(key="otel_bridge.span.name").value.string_value = name
    record.attributes.add(key="otel_bridge.span.start_time_unix_nano").value.int_value = START + span - 1
    writer.batch(Batch.from_request(logs))


def came(
    writer: Writer,
    number: int = 1,
    span: int = 9,
    parent: int = 1,
    flags: int = 0,
    start_ns: int = START + 50,
    service: str = "agents",
    message: str = "broke",
) -> None:
    """A span with attributes, an event and a log record, as it comes."""
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    scoped = traces.resource_spans.add().scope_spans.add()
    traces.resource_spans[0].resource.attributes.add(key="service.name").value.string_value = service
    scoped.scope.name = "acme"
    added = scoped.spans.add(
        trace_id=number.to_bytes(16),
        span_id=span.to_bytes(8),
        parent_span_id=parent.to_bytes(8) if parent else b"",
        flags=flags,
        name="running",
        start_time_unix_nano=start_ns,
        end_time_unix_nano=START + 1_500_000_050,
        status=Status(code=Status.STATUS_CODE_ERROR, message=message),
    )
    added.attributes.add(key="ratio").value.double_value = float("nan")
    added.events.add(name="exception", time_unix_nano=START).attributes.add(key="type").value.string_value = "E"
    record = (
        logs.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            time_unix_nano=START, trace_id=number.to_bytes(16), span_id=span.to_bytes(8), event_name="said"
        )
    )
    record.body.string_value = "hello"
    writer.batch(Batch.from_request(traces))
    writer.batch(Batch.from_request(logs))
