"""Each signal at its door: what is taken, and what is told to those at another."""

import math
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_bridge.batch import Signal
from tests.receivers.payloads.world import (
    INVALID,
    NOT_FOUND,
    OK,
    PROTOBUF,
    UNIMPLEMENTED,
    Answer,
    World,
    each_binary_door,
    each_door,
    request,
    span,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@each_door
@pytest.mark.parametrize("trace_id", [b"", b"t" * 16])
async def test_logs_at_the_door_of_spans_are_told_where_to_go(world: World, door: str, trace_id: bytes) -> None:
    record = LogRecord(time_unix_nano=1, severity_text="INFO", body={"string_value": "SECRET"}, trace_id=trace_id)
    logs = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}])
    used = world.bridge.status()["journal"]["used_bytes"]
    answer = await world.send(door, logs)

    assert world.bridge.status()["journal"]["used_bytes"] == used
    if door != "json":  # there it has another key, and is nothing at all
        assert answer.rejected or answer.code == INVALID
        assert "log" in answer.message


@each_binary_door
async def test_spans_at_the_door_of_logs_are_told_where_to_go(world: World, door: str) -> None:
    answer = await world.send(door, request(span()), Signal.LOGS)

    assert answer.code == INVALID
    assert "it looks like traces" in answer.message


@each_door
@pytest.mark.parametrize("blocks", [[], [{}], [{"scope_spans": [{}]}]])
async def test_nothing_is_fine(world: World, door: str, blocks: list[dict[str, Any]]) -> None:
    used = world.bridge.status()["journal"]["used_bytes"]

    assert await world.send(door, ExportTraceServiceRequest(resource_spans=blocks)) == Answer(OK)
    assert await world.send(door, b"") == Answer(OK)
    assert world.bridge.status()["journal"]["used_bytes"] == used


async def test_profiles_have_no_door(world: World) -> None:
    """So senders know that trying again is of no use; metrics and logs have one."""
    answer = await world._post("/v1development/profiles", b"", PROTOBUF, Signal.TRACES)
    assert answer.code == NOT_FOUND
    assert world.count("refused", reason="not_found") == 1
    method = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
    assert (await world._call(method, b"", Signal.TRACES)).code == UNIMPLEMENTED


@each_door
async def test_metrics_are_taken_and_accounted_for(world: World, door: str) -> None:
    metric = {"name": "calls", "gauge": {"data_points": [{"as_double": math.nan}]}}
    metrics = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [metric]}]}])

    assert await world.send(door, metrics, Signal.METRICS) == Answer(OK)
    await world.settled()
    assert [batch.signal for batch in world.batches] == [Signal.METRICS]
