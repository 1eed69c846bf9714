"""What tests write into a store, and how they look at it."""

from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, ResourceMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_bridge.batch import Batch
from otel_bridge.model import Level, Observation, ObservationType, Score, TraceAttributes, Translation
from otel_bridge.store.reader import Row, reading

TRACE = "0af7651916cd43dd8448eb211c80319c"
START = 1_700_000_000_000_000_000


def spans(
    *names: str, trace_id: str = TRACE, tenant: str = "default", status: int = 0, service: str = "agents"
) -> Batch:
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.add(key="service.name").value.string_value = service
    scoped = block.scope_spans.add()
    scoped.scope.name = "acme"
    for i, name in enumerate(names):
        scoped.spans.add(
            trace_id=bytes.fromhex(trace_id),
            span_id=(i + 1).to_bytes(8),
            parent_span_id=(1).to_bytes(8) if i else b"",
            name=name,
            start_time_unix_nano=START + i,
            end_time_unix_nano=START + 1000 + i,
            status=Status(code=status),  # type: ignore[arg-type]  # a number is what the wire has
        )
    return Batch.from_request(request, tenant=tenant)


def translation(*names: str, trace_id: str = TRACE, **trace: Any) -> Translation:
    attributes = TraceAttributes(trace_id, **{"name": "run", "session_id": "s1", **trace})
    observations = [
        Observation(
            id=f"{i + 1:016x}",
            trace_id=trace_id,
            parent_id=f"{1:016x}" if i else None,
            type=ObservationType.GENERATION if i else ObservationType.AGENT,
            name=name,
            start_ns=START + i,
            end_ns=START + 2000,
            trace=attributes,
            level=Level.ERROR if name == "broken" else Level.DEFAULT,
            usage={"input": 40, "output": 2, "total": 42} if i else None,
            cost={"total": 0.25} if i else None,
        )
        for i, name in enumerate(names)
    ]
    return Translation(traces=[attributes], observations=observations)


def count(path: Path, table: str) -> int:
    with reading(path) as reader:
        found = reader.row(f"SELECT count(*) AS n FROM {table}")
    assert found is not None
    return int(found["n"])


def rows(path: Path, query: str) -> list[Row]:
    with reading(path) as reader:
        return reader.rows(query)


def trace_row(path: Path, tenant: str = "default") -> dict[str, Any]:
    with reading(path) as reader:
        found = reader.row("SELECT * FROM traces WHERE trace_id = ? AND tenant = ?", (TRACE, tenant))
    assert found is not None
    return found


def without_root(batch: Batch) -> Batch:
    request = batch.editable()
    del request.resource_spans[0].scope_spans[0].spans[0]  # type: ignore[union-attr]  # it is of spans
    return Batch.from_request(request)


def saying(number: int, **said: str) -> Batch:
    batch = spans("a")
    request = batch.editable()
    span = request.resource_spans[0].scope_spans[0].spans[0]  # type: ignore[union-attr]  # it is of spans
    span.span_id = number.to_bytes(8)
    for key, value in said.items():
        span.attributes.add(key=key.replace("_", ".")).value.string_value = value
    return Batch.from_request(request)


def open_span(event: str, after_ns: int, **attributes: str | int) -> Batch:
    """That the first span of the trace has not ended."""
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            trace_id=bytes.fromhex(TRACE),
            span_id=(1).to_bytes(8),
            event_name=f"otel_bridge.span.{event}",
            time_unix_nano=START + after_ns,
        )
    )
    said = {"name": "a", "start_time_unix_nano": START, **attributes}
    for key, value in said.items():
        kind = "int_value" if isinstance(value, int) else "string_value"
        setattr(record.attributes.add(key=key if "." in key else f"otel_bridge.span.{key}").value, kind, value)
    return Batch.from_request(request)


def log(body: str = "hello", trace_id: str = TRACE) -> Batch:
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            event_name="acme.said", time_unix_nano=START, trace_id=bytes.fromhex(trace_id), span_id=(1).to_bytes(8)
        )
    )
    record.body.string_value = body
    return Batch.from_request(request)


def points() -> Batch:
    block = ResourceMetrics()
    scoped = block.scope_metrics.add()
    metric = scoped.metrics.add(name="requests", unit="1")
    metric.sum.data_points.add(time_unix_nano=START, as_int=7)
    metric.sum.data_points.add(time_unix_nano=START, as_double=0.5).attributes.add(key="a").value.string_value = "b"
    metric.sum.is_monotonic = True
    latency = scoped.metrics.add(name="latency").histogram
    latency.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    latency.data_points.add(time_unix_nano=START, start_time_unix_nano=START - 5, count=3, sum=1.5)
    scoped.metrics.add(name="old").summary.data_points.add(time_unix_nano=START, count=2, sum=4.0)
    scoped.metrics.add(name="empty")
    return Batch.from_request(ExportMetricsServiceRequest(resource_metrics=[block]))


def score(score_id: str, **more: Any) -> Score:
    return Score(id=score_id, name="q", value=1.0, data_type="NUMERIC", timestamp_ns=START, **more)
