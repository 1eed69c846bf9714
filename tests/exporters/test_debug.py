"""What is printed, and that it does nothing to a terminal."""

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.exporters.debug import DebugConfig, debug, details, summary


def batches(text: str) -> list[Batch]:
    pairs = [
        KeyValue(key=text, value=AnyValue(string_value=text)),
        KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=text)]))),
        KeyValue(key="empty"),
    ]
    traces, logs, metrics = ExportTraceServiceRequest(), ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    span = traces.resource_spans.add().scope_spans.add().spans.add(name=text, span_id=b"\1" * 8, attributes=pairs)
    span.status.code, span.status.message = 2, text
    span.events.add(name=text, attributes=pairs)
    block = logs.resource_logs.add()
    block.resource.attributes.extend(pairs)
    block.scope_logs.add().log_records.add(severity_text=text, body=pairs[0].value, attributes=pairs)
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name=text, unit=text)
    return [Batch.from_request(request) for request in (traces, logs, metrics)]


@given(st.text(max_size=500))
def test_nothing_that_is_printed_acts(text: str) -> None:
    for batch in batches(text):
        lines = [summary(batch), *details(batch)]
        assert all(line.isprintable() for line in lines)
        assert len(lines) > 1


async def print_all(tmp_path: Path, verbosity: str) -> None:
    config = DebugConfig(verbosity=verbosity)
    async with asynccontextmanager(debug.open)(config, Host(id="debug", data_dir=tmp_path)) as consume:
        for batch in batches("secret prompt"):
            await consume(batch)


async def test_basic_is_a_line_for_each_batch_without_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await print_all(tmp_path, "basic")
    said = capsys.readouterr()
    assert [line.split(",")[0] for line in said.err.splitlines()] == [
        "traces: 1 item",
        "logs: 1 item",
        "metrics: 1 item",
    ]
    assert "secret" not in said.err
    assert said.out == ""


async def test_detailed_shows_names_ids_and_attributes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await print_all(tmp_path, "detailed")
    said = capsys.readouterr().err
    assert "secret prompt = secret prompt" in said
    assert f"span {'01' * 8}" in said
    assert "status 2: secret prompt" in said
