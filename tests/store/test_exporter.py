"""The exporter as the engine opens it."""

from contextlib import asynccontextmanager
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.exporters.store import StoreConfig, store
from otel_bridge.model import Observation, ObservationType, TraceAttributes, Translation
from otel_bridge.store.reader import reading


async def test_both_sinks_reach_the_file(tmp_path: Path) -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"\1" * 16, span_id=b"\1" * 8, name="came")
    trace = TraceAttributes("02" * 16, name="became")
    observation = Observation("02" * 8, trace.trace_id, None, ObservationType.SPAN, "became", 1, 2, trace)

    async with asynccontextmanager(store.open)(StoreConfig(), Host("store", tmp_path)) as sinks:
        await sinks.batches(Batch.from_request(request))
        await sinks.settled(Translation(traces=[trace], observations=[observation]))

    with reading(tmp_path / "store.db") as reader:
        assert [row["name"] for row in reader.rows("SELECT name FROM traces ORDER BY trace_id")] == ["came", "became"]
