"""The exporter as the engine opens it."""

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.exporters.store import StoreConfig, store
from otel_bridge.model import Observation, ObservationType, TraceAttributes, Translation
from otel_bridge.store import rows
from otel_bridge.store.provisional import Said, Words
from otel_bridge.store.reader import reading
from tests.waiting import until


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


async def test_a_trace_that_stays_open_is_read_whatever_happens_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing more comes; and a bug in a dialect costs the words of one trace, not all that comes after it."""
    hear = Words.hear

    def failing_once(words: Words, span: Span, scope: str, resource: Said) -> tuple[str, str, str | None]:
        if span.name == "broken":
            raise ZeroDivisionError
        return hear(words, span, scope, resource)

    monkeypatch.setattr(Words, "hear", failing_once)
    monkeypatch.setattr("otel_bridge.exporters.store.HEAR_EVERY_S", 0.001)
    monkeypatch.setattr(rows, "SETTLING_NS", 0)
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number, name in enumerate(("broken", "whole"), 1):
        span = spans.add(trace_id=number.to_bytes(16), span_id=b"\1" * 8, name=name)
        span.attributes.add(key="session.id").value.string_value = name

    def sessions() -> list[str | None]:
        with reading(tmp_path / "store.db") as reader:
            return [row["session_id"] for row in reader.rows("SELECT session_id FROM traces ORDER BY trace_id")]

    async with asynccontextmanager(store.open)(StoreConfig(), Host("store", tmp_path)) as sinks:
        await sinks.batches(Batch.from_request(request))
        await until(lambda: sessions() == [None, "whole"])
