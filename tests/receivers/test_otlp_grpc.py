"""The gRPC door: right codes, with RetryInfo exactly where a sender should try again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_bridge.errors import JournalFullError, ParkedError, RefusedError, RetryableError, TooLargeError
from otel_bridge.receivers.otlp.grpc import ARRIVING

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
SPAN = {
    "trace_id": b"t" * 16,
    "span_id": b"s" * 8,
    "name": "one",
    "start_time_unix_nano": 10,
    "end_time_unix_nano": 20,
}
ONE = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [SPAN]}]}]).SerializeToString()


@asynccontextmanager
async def calling(taken: Any, method: str = TRACES) -> AsyncIterator[Any]:
    """The method as a function of raw bytes."""
    host, port = taken.address("grpc")
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        yield channel.unary_unary(method)


def retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in Status.FromString(value).details:
                retry = RetryInfo()
                if detail.Unpack(retry):
                    return float(retry.retry_delay.ToNanoseconds() / 1e9)
    return None


async def test_bytes_pass_untouched(receiving: Any) -> None:
    unknown_field = ONE + b"\xa2\x06\x03abc"
    async with receiving() as taken, calling(taken) as export:
        assert await export(unknown_field) == b""
        assert taken.batches[0].wire == unknown_field


@pytest.mark.parametrize("method", [TRACES, LOGS, METRICS])
async def test_nothing_to_take_is_fine(receiving: Any, method: str) -> None:
    async with receiving() as taken, calling(taken, method) as export:
        assert await export(b"") == b""
        assert taken.batches == []


async def test_a_bad_span_is_rejected_alone(receiving: Any) -> None:
    mixed = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [SPAN, {"name": "without ids"}]}]}])
    async with receiving() as taken, calling(taken) as export:
        partial = ExportTraceServiceResponse.FromString(await export(mixed.SerializeToString())).partial_success

        assert (partial.rejected_spans, taken.items) == (1, 1)
        assert "no_trace_id" in partial.error_message


async def test_malformed_bytes(receiving: Any) -> None:
    async with receiving() as taken, calling(taken) as export:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await export(b"\xff\xff\xff")

        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert retry_after_s(raised.value) is None
        assert taken.count("refused", reason="malformed") == 1
        assert await export(ONE) == b"", "the connection is still good"


async def test_more_than_max_body(receiving: Any) -> None:
    async with receiving(max_body=1000) as taken, calling(taken) as export:
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await export(bytes(100_000), compression=compression)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert retry_after_s(raised.value) is None
        assert taken.batches == []


@pytest.mark.parametrize(
    ("error", "code", "least_s", "most_s"),
    [
        (RetryableError("later", retry_after_s=7.5), grpc.StatusCode.UNAVAILABLE, 7.5, 7.5),
        (RetryableError("later"), grpc.StatusCode.UNAVAILABLE, 1, 5),
        (JournalFullError("full"), grpc.StatusCode.UNAVAILABLE, 1, 5),
        (ParkedError("parked", "unauthorized"), grpc.StatusCode.UNAVAILABLE, 1, 5),
        (RefusedError("never"), grpc.StatusCode.INVALID_ARGUMENT, None, None),
        (TooLargeError("too many"), grpc.StatusCode.RESOURCE_EXHAUSTED, None, None),
    ],
)
async def test_a_refusing_consumer_decides_the_answer(
    receiving: Any, error: Exception, code: grpc.StatusCode, least_s: float | None, most_s: float | None
) -> None:
    async with receiving() as taken, calling(taken) as export:
        taken.refuse = error
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await export(ONE)

        assert (raised.value.code(), raised.value.details()) == (code, str(error))
        waited = retry_after_s(raised.value)
        if least_s is None or most_s is None:
            assert waited is None
        else:
            assert waited is not None
            assert least_s <= waited <= most_s


async def test_a_bug_costs_nobody_what_was_sent(receiving: Any) -> None:
    """A sender gives up on what gRPC itself would answer, UNKNOWN."""
    async with receiving() as taken, calling(taken) as export:
        taken.refuse = ZeroDivisionError("SECRET")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await export(ONE)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (retry_after_s(raised.value) or 0) >= 1
        assert "SECRET" not in (raised.value.details() or "")
        assert taken.count("connection_failures") == 1

        taken.refuse = None
        await export(ONE)
        assert taken.items == 1


LARGE = ONE + b"\xa2\x06\xd8\x04" + bytes(600)  # an unknown field of 600 bytes


async def test_bytes_in_flight_are_bounded(receiving: Any) -> None:
    async with receiving(max_body=1000, max_inflight=8000) as taken, calling(taken) as export:
        taken.gate = asyncio.Event()
        calls = [asyncio.ensure_future(export(LARGE)) for _ in range(8000 // len(LARGE) + 1)]
        refused, fitting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await refused.pop()
        taken.gate.set()

        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_after_s(raised.value) is not None
        assert taken.count("refused", reason="busy") == 1
        assert await asyncio.gather(*fitting) == [b""] * len(fitting)
        assert await export(LARGE) == b"", "what was held is given back"


async def test_a_message_is_at_most_an_eighth_of_max_inflight(receiving: Any) -> None:
    async with receiving(max_body=1000, max_inflight=4000) as taken, calling(taken) as export:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await export(LARGE)

        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_after_s(raised.value) is None


@asynccontextmanager
async def stalling(taken: Any, calls: int) -> AsyncIterator[tuple[Any, list[Any], asyncio.Event]]:
    """The method; calls of it that were made before, and whose message does not come before the event is set."""
    go_on = asyncio.Event()

    async def later() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield ONE

    host, port = taken.address("grpc")
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        await channel.channel_ready()
        stalled = [channel.stream_unary(TRACES)(later()) for _ in range(calls)]
        for call in stalled:
            await call.wait_for_connection()
        yield channel.unary_unary(TRACES), stalled, go_on


async def test_a_few_messages_at_a_time_are_asked_for(receiving: Any) -> None:
    """The others stay with their senders, so that the memory of many large ones is bounded."""
    async with receiving() as taken, stalling(taken, ARRIVING) as (export, stalled, go_on):
        with pytest.raises(grpc.aio.AioRpcError):
            await export(ONE, timeout=0.2)
        assert taken.batches == []

        go_on.set()
        assert await asyncio.gather(export(ONE), *stalled) == [b""] * (ARRIVING + 1)
        assert taken.items == ARRIVING + 1


async def test_who_is_too_slow_is_let_go(receiving: Any) -> None:
    async with receiving(body_timeout=0.1) as taken, stalling(taken, 1) as (export, stalled, _):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stalled[0]

        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_after_s(raised.value) is not None
        assert taken.count("refused", reason="slow_client") == 1
        assert await export(ONE) == b""


async def test_other_methods_do_not_exist(receiving: Any) -> None:
    for method in ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", TRACES.replace("Export", "Import")):
        async with receiving() as taken, calling(taken, method) as call:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(b"")
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_running_requests_end_before_the_receiver_does(receiving: Any) -> None:
    bridge = receiving()
    taken = await bridge.__aenter__()
    async with calling(taken) as export:
        taken.gate = asyncio.Event()
        running = asyncio.ensure_future(export(ONE))
        await taken.waiting.wait()
        closing = asyncio.create_task(bridge.__aexit__(None, None, None))
        taken.gate.set()

        assert await running == b""
        await closing
        assert taken.items == 1


async def test_http_1_on_the_grpc_port_is_not_left_hanging(receiving: Any) -> None:
    async with receiving() as taken:
        reader, writer = await asyncio.open_connection(*taken.address("grpc"))
        writer.write(b"POST /v1/traces HTTP/1.1\r\nHost: bridge\r\nContent-Length: 0\r\n\r\n")
        try:
            assert b"HTTP/1.1 200" not in await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()


async def test_one_door_may_be_left_out(receiving: Any) -> None:
    async with receiving(http=None) as taken:
        assert set(taken.host.endpoints) == {"grpc"}
    async with receiving(grpc=None) as taken:
        assert set(taken.host.endpoints) == {"http"}
