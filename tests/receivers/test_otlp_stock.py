"""The stock OpenTelemetry exporters deliver every signal through both doors, ids and times exact."""

import asyncio
from typing import Any

import grpc
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_bridge.batch import Signal

GRPC = {"plain": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
HTTP = {"plain": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
WAYS = [(door, compression) for door in ("grpc", "http") for compression in ("plain", "gzip", "deflate")]


def exporters(door: str, compression: str, url: str) -> tuple[Any, Any, Any]:
    if door == "grpc":
        settings = {"endpoint": url, "insecure": True, "compression": GRPC[compression], "timeout": 10}
        return GrpcSpans(**settings), GrpcLogs(**settings), GrpcMetrics(**settings)
    settings = {"compression": HTTP[compression], "timeout": 10}
    return (
        HttpSpans(endpoint=f"{url}/v1/traces", **settings),
        HttpLogs(endpoint=f"{url}/v1/logs", **settings),
        HttpMetrics(endpoint=f"{url}/v1/metrics", **settings),
    )


def emit(spans: Any, logs: Any, metrics: Any) -> list[ReadableSpan]:
    """One run of a program that uses the stock SDK: thirty spans, three log records, a metric."""
    made: list[ReadableSpan] = []
    tracing = TracerProvider()
    tracing.add_span_processor(BatchSpanProcessor(spans))
    for number in range(30):
        with tracing.get_tracer("test").start_as_current_span(f"span {number}") as span:
            span.set_attribute("text", "x" * 1000)
        assert isinstance(span, ReadableSpan)
        made.append(span)
    tracing.shutdown()
    logging = LoggerProvider()
    logging.add_log_record_processor(SimpleLogRecordProcessor(logs))
    for number in range(3):
        logging.get_logger("test").emit(LogRecord(timestamp=1 + number, body=f"line {number}"))
    logging.shutdown()
    metering = MeterProvider([PeriodicExportingMetricReader(metrics)])
    metering.get_meter("test").create_counter("calls").add(5)
    metering.shutdown()
    return made


@pytest.mark.parametrize(("door", "compression"), WAYS)
async def test_stock_exporters_deliver(receiving: Any, door: str, compression: str) -> None:
    async with receiving() as taken:
        made = await asyncio.to_thread(emit, *exporters(door, compression, taken.host.endpoints[door]))

        assert taken.count("received", signal=Signal.TRACES, transport=door) == 30
        assert taken.count("received", signal=Signal.LOGS, transport=door) == 3
        assert taken.count("received", signal=Signal.METRICS, transport=door) == 1
        received = {
            (span.trace_id, span.span_id, span.name, span.start_time_unix_nano, span.end_time_unix_nano)
            for batch in taken.batches
            if isinstance(batch.request, ExportTraceServiceRequest)
            for block in batch.request.resource_spans
            for scoped in block.scope_spans
            for span in scoped.spans
        }
        assert received == {
            (
                span.context.trace_id.to_bytes(16, "big"),
                span.context.span_id.to_bytes(8, "big"),
                span.name,
                span.start_time,
                span.end_time,
            )
            for span in made
        }
