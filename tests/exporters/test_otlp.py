"""Batches passed on to OTLP destinations on loopback, by gRPC and HTTP."""

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from pydantic import ValidationError

from otel_bridge.batch import Batch, Signal
from otel_bridge.component import Consume, Host
from otel_bridge.errors import ConsumeError, ParkedError, RefusedError, RetryableError, SlowError, TooLargeError
from otel_bridge.exporters.otlp import METHODS, OtlpConfig, otlp

PROTOCOLS = ["grpc", "http/protobuf"]


def spans(count: int = 2) -> Batch:
    request = ExportTraceServiceRequest()
    for number in range(count):
        request.resource_spans.add().scope_spans.add().spans.add(name=f"span {number}", span_id=bytes(7) + b"\1")
    return Batch.from_request(request)


def batch(signal: Signal) -> Batch:
    logs, metrics = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="INFO")
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    return {Signal.TRACES: spans(), Signal.LOGS: Batch.from_request(logs), Signal.METRICS: Batch.from_request(metrics)}[
        signal
    ]


@dataclass
class Destination:
    """An OTLP receiver: keeps what it got, answers as it is told."""

    endpoint: str = ""
    got: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    reply: bytes = b""
    http: tuple[int, dict[str, str], str] | None = None
    code: grpc.StatusCode | None = None
    trailing: tuple[tuple[str, bytes], ...] = ()


@asynccontextmanager
async def grpc_destination() -> AsyncIterator[Destination]:
    here = Destination()

    def export(method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def answer(body: bytes, context: Any) -> bytes:
            here.got.append((method, body))
            here.headers.append({key: str(value) for key, value in context.invocation_metadata()})
            if here.code is not None:
                await context.abort(here.code, "no \x1b[2J", here.trailing)
            return here.reply

        return answer

    server = grpc.aio.server()
    for method in METHODS.values():
        service, name = method[1:].split("/")
        handlers = {name: grpc.unary_unary_rpc_method_handler(export(method))}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    here.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield here
    finally:
        await server.stop(None)


@asynccontextmanager
async def http_destination() -> AsyncIterator[Destination]:
    here = Destination()

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        packed = request.headers.get("Content-Encoding") == "gzip"
        here.got.append((request.path, gzip.decompress(body) if packed else body))
        here.headers.append({key.lower(): value for key, value in request.headers.items()})
        if here.http is not None:
            status, headers, text = here.http
            return web.Response(status=status, headers=headers, text=text)
        return web.Response(body=here.reply, content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield here
    finally:
        await runner.cleanup()


def destination(protocol: str) -> Any:
    return grpc_destination() if protocol == "grpc" else http_destination()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(id="otlp/next", data_dir=tmp_path)


@asynccontextmanager
async def exporting(to: Destination, host: Host, protocol: str, **settings: Any) -> AsyncIterator[Consume]:
    config = OtlpConfig(endpoint=to.endpoint, protocol=protocol, **settings)
    async with asynccontextmanager(otlp.open)(config, host) as consume:
        yield consume


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_bytes_arrive_as_they_came(protocol: str, signal: Signal, compression: str, host: Host) -> None:
    async with destination(protocol) as there, exporting(there, host, protocol, compression=compression) as consume:
        sent = batch(signal)
        await consume(sent)
        path = METHODS[signal] if protocol == "grpc" else f"/v1/{signal}"
        assert there.got == [(path, sent.wire)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_headers_are_sent_and_never_shown(protocol: str, host: Host) -> None:
    async with (
        destination(protocol) as there,
        exporting(there, host, protocol, headers={"Authorization": "Bearer secret"}) as consume,
    ):
        await consume(spans())
        assert there.headers[0]["authorization"] == "Bearer secret"
    assert "secret" not in repr(OtlpConfig(endpoint="http://x", headers={"Authorization": "Bearer secret"}))


@pytest.mark.parametrize(
    ("signal", "reply"),
    [
        (Signal.TRACES, ExportTraceServiceResponse(partial_success={"rejected_spans": 2, "error_message": "\x1b[2J"})),
        (Signal.LOGS, ExportLogsServiceResponse(partial_success={"rejected_log_records": 2})),
        (Signal.METRICS, ExportMetricsServiceResponse(partial_success={"rejected_data_points": 2})),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_partial_success_is_delivered_and_counted(protocol: str, signal: Signal, reply: Any, host: Host) -> None:
    async with destination(protocol) as there, exporting(there, host, protocol) as consume:
        there.reply = reply.SerializeToString()
        await consume(batch(signal))
        assert host.counters.value("destination_rejected", exporter="otlp/next", signal=str(signal)) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_that_is_no_otlp_is_success_all_the_same(protocol: str, host: Host) -> None:
    async with destination(protocol) as there, exporting(there, host, protocol) as consume:
        there.reply = b'{"id":"job"}'
        await consume(spans())
        assert len(there.got) == 1


def retry_info(seconds: int) -> tuple[tuple[str, bytes], ...]:
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    return (("grpc-status-details-bin", Status(code=8, details=[detail]).SerializeToString()),)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", RefusedError),
        ("RESOURCE_EXHAUSTED", TooLargeError),
        *((code, RetryableError) for code in ("UNAVAILABLE", "ABORTED", "CANCELLED")),
        ("DEADLINE_EXCEEDED", SlowError),
        *((code, RetryableError) for code in ("OUT_OF_RANGE", "DATA_LOSS", "UNKNOWN", "INTERNAL")),
        *((code, ParkedError) for code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND")),
    ],
)
async def test_each_grpc_status_has_its_error(code: str, kind: type[ConsumeError], host: Host) -> None:
    async with grpc_destination() as there, exporting(there, host, "grpc") as consume:
        there.code = grpc.StatusCode[code]
        with pytest.raises(ConsumeError, match=code) as refused:
            await consume(spans())
        assert type(refused.value) is kind
        assert str(refused.value).isprintable()


@pytest.mark.parametrize(("said_s", "wait_s"), [(7, 7), (0, 0), (10**15, 10**15)])
@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
async def test_retry_info_is_a_wait(code: str, said_s: int, wait_s: float, host: Host) -> None:
    async with grpc_destination() as there, exporting(there, host, "grpc") as consume:
        there.code, there.trailing = grpc.StatusCode[code], retry_info(said_s)
        with pytest.raises(RetryableError) as busy:
            await consume(spans())
        assert busy.value.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((400, {}, "no"), RefusedError),
        ((413, {}, ""), TooLargeError),
        ((429, {"Retry-After": "7"}, ""), RetryableError),
        ((503, {}, ""), RetryableError),
        ((401, {}, ""), ParkedError),
        ((404, {}, ""), ParkedError),
        ((200, {"Content-Type": "text/html"}, "<html>"), ParkedError),
        ((301, {"Location": "/elsewhere"}, ""), ParkedError),
    ],
)
async def test_each_http_answer_has_its_error(answer: Any, kind: type[ConsumeError], host: Host) -> None:
    async with http_destination() as there, exporting(there, host, "http/protobuf") as consume:
        there.http = answer
        with pytest.raises(ConsumeError) as refused:
            await consume(spans())
        assert isinstance(refused.value, kind)
        assert len(there.got) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_nobody_there_is_retryable(protocol: str, host: Host) -> None:
    async with destination(protocol) as there:
        pass
    async with exporting(there, host, protocol) as consume:
        with pytest.raises(RetryableError):
            await consume(spans())


@pytest.mark.parametrize("endpoint", ["localhost:4317", "grpc://x", "http://user:pw@host", ""])
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="http://host"):
        OtlpConfig(endpoint=endpoint)
