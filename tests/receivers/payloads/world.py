"""A running bridge that hostile payloads are sent to over real sockets, by every door."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, settings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge import otlp_json
from otel_bridge.batch import RESPONSES, Batch, Signal
from otel_bridge.component import Consume, Host, Settle, Takes, exporter
from otel_bridge.config import Config
from otel_bridge.delivery import audit
from otel_bridge.exporters.langfuse.otlp import encode
from otel_bridge.model import Observation, Translation
from otel_bridge.pipeline import running
from otel_bridge.plan import Plan, Planned, ServiceConfig
from otel_bridge.receivers.otlp import OtlpConfig, otlp
from otel_bridge.translate import to_json

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MIB = 1 << 20
OK, INVALID, NOT_FOUND, UNIMPLEMENTED = 0, 3, 5, 12  # of google.rpc.Code
HTTP_STATUS = {OK: 200, INVALID: 400, NOT_FOUND: 404}
SERVICES = {Signal.TRACES: "trace.v1.TraceService", Signal.LOGS: "logs.v1.LogsService"}
SERVICES[Signal.METRICS] = "metrics.v1.MetricsService"
NUMBERS = count(1)
each_door = pytest.mark.parametrize("door", ["grpc", "http", "json"])
each_binary_door = pytest.mark.parametrize("door", ["grpc", "http"])


@dataclass
class Answer:
    """What a sender is told; `code` is that of google.rpc.Status, by whatever door."""

    code: int
    rejected: int = 0
    message: str = ""


class Empty(Config):
    """Nothing to say."""


@dataclass
class World:
    """A running bridge, and what came out of it since the last case: spans as they came, and observations."""

    data_dir: Path
    batches: list[Batch] = field(default_factory=list)
    translations: list[Translation] = field(default_factory=list)
    before: dict[Any, int] = field(default_factory=dict)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["World"]:
        @exporter(Empty)
        async def sink(_config: Empty, _host: Host) -> AsyncIterator[Consume]:
            async def consume(batch: Batch) -> None:
                self.batches.append(batch)

            yield consume

        @exporter(Empty, takes=Takes.SETTLED)
        async def whole(_config: Empty, _host: Host) -> AsyncIterator[Settle]:
            async def settle(translation: Translation) -> None:
                self.translations.append(translation)

            yield settle

        soon = "10ms"
        service = {
            "data_dir": str(self.data_dir),
            "deliver": {"max_batch_age": soon},
            "assemble": {"grace": soon, "remote_grace": soon, "idle": soon},
            "pipelines": {"main": {"receivers": ["otlp"], "exporters": ["sink", "whole"]}},
        }
        config = OtlpConfig(grpc="127.0.0.1:0", http="127.0.0.1:0")
        plan = Plan(
            "test",
            receivers={"otlp": Planned("otlp", otlp, config)},
            processors={},
            exporters={"sink": Planned("sink", sink, Empty()), "whole": Planned("whole", whole, Empty())},
            extensions={},
            service=ServiceConfig.model_validate(service),
        )
        async with running(plan) as self.bridge, aiohttp.ClientSession() as self.http:
            self.urls = self.bridge.endpoints["otlp"]
            async with grpc.aio.insecure_channel(self.urls["grpc"].removeprefix("http://")) as self.channel:
                yield self

    async def send(self, door: str, payload: Message | bytes, signal: Signal = Signal.TRACES) -> Answer:
        """Send a message, or bytes as they are, and read the answer."""
        if isinstance(payload, Message):
            payload = otlp_json.dump(payload) if door == "json" else payload.SerializeToString()
        if door == "grpc":
            return await self._call(f"/opentelemetry.proto.collector.{SERVICES[signal]}/Export", payload, signal)
        return await self._post(f"/v1/{signal}", payload, JSON if door == "json" else PROTOBUF, signal)

    async def _call(self, method: str, payload: bytes, signal: Signal) -> Answer:
        try:
            body = await self.channel.unary_unary(method)(payload)
        except grpc.aio.AioRpcError as error:
            return Answer(error.code().value[0], message=error.details() or "")
        return _answer(RESPONSES[signal][0].FromString(body), signal)

    async def _post(self, path: str, payload: bytes, content_type: str, signal: Signal) -> Answer:
        headers = {"Content-Type": content_type}
        async with self.http.post(self.urls["http"] + path, data=io.BytesIO(payload), headers=headers) as answer:
            body = await answer.read()
            assert answer.content_type == content_type
        if answer.status == 200:
            response = RESPONSES[signal][0]()
            if content_type == JSON:
                said = json.loads(body).get("partialSuccess", {})
                rejected = next((int(value) for key, value in said.items() if key.startswith("rejected")), 0)
                return Answer(OK, rejected, said.get("errorMessage", ""))
            response.MergeFromString(body)
            return _answer(response, signal)
        if content_type == JSON:
            status = json.loads(body)
            refused = Answer(status["code"], message=status["message"])
        else:
            status = Status.FromString(body)
            refused = Answer(status.code, message=status.message)
        assert answer.status == HTTP_STATUS[refused.code]
        return refused

    def counters(self) -> dict[Any, int]:
        return {
            tuple(sorted((key, value) for key, value in one.items() if key != "value")): one["value"]
            for one in self.bridge.status()["counters"]
        }

    def count(self, name: str, **labels: str) -> int:
        """How often something was counted in this case."""
        wanted = {("name", name), *labels.items()}
        return sum(
            value - self.before.get(labelled, 0)
            for labelled, value in self.counters().items()
            if wanted <= set(labelled)
        )

    def begin(self) -> None:
        self.before = self.counters()
        self.batches.clear()
        self.translations.clear()

    async def settled(self) -> None:
        """Return when nothing waits any more."""
        async with asyncio.timeout(20):
            while any(  # noqa: ASYNC110 - it happens on threads that tell nobody
                tenant["waiting"]
                for exporters in self.bridge.status()["exporters"].values()
                for tenant in exporters.values()
            ):
                await asyncio.sleep(0.005)

    async def spans(self) -> list[Span]:
        """What the exporter of batches was given."""
        await self.settled()
        requests = [batch.request for batch in self.batches if batch.signal is Signal.TRACES]
        return [
            one
            for request in requests
            for block in request.resource_spans
            for s in block.scope_spans
            for one in s.spans
        ]

    async def records(self) -> list[LogRecord]:
        await self.settled()
        requests = [batch.request for batch in self.batches if batch.signal is Signal.LOGS]
        return [one for r in requests for block in r.resource_logs for s in block.scope_logs for one in s.log_records]

    async def observations(self) -> list[Observation]:
        """What the exporter of settled traces was given; it can be sent, and shown as JSON."""
        await self.settled()
        for translation in self.translations:
            encode(translation)
            json.dumps(to_json(translation), allow_nan=False)
        return [seen for translation in self.translations for seen in translation.observations]

    async def is_well(self) -> None:
        """What holds after every case."""
        for door in ("grpc", "http"):
            assert await self.send(door, request(span())) == Answer(OK)
        await self.settled()
        assert (await asyncio.to_thread(audit, self.data_dir)).balanced
        assert self.count("connection_failures") == 0


def _answer(response: Any, signal: Signal) -> Answer:
    partial = response.partial_success
    return Answer(OK, getattr(partial, RESPONSES[signal][1]), partial.error_message)


def span(**changes: Any) -> Span:
    """A span of a trace of its own."""
    number = next(NUMBERS)
    fields: dict[str, Any] = {
        "trace_id": number.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "name": f"span {number}",
        "start_time_unix_nano": 10**18,
        "end_time_unix_nano": 10**18 + 1000,
    }
    return Span(**fields | changes)


def request(*spans: Span) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": spans}]}])


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value or {"string_value": "SECRET"}}


def json_span(**fields: Any) -> bytes:
    """A request of a good span, and one with these fields too; as JSON."""
    one = json.loads(otlp_json.dump(request(span(), span())))
    one["resourceSpans"][0]["scopeSpans"][0]["spans"][1].update(fields)
    return json.dumps(one).encode()


MANY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
