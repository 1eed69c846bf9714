"""What a request costs at the doors: µs of CPU per request and per span, decoded and validated, but not stored.

python tests/bench/bench_receivers.py
"""

import asyncio
import gzip
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch, Signal
from otel_bridge.component import Host
from otel_bridge.otlp_json import dump
from otel_bridge.receivers.otlp import OtlpConfig, otlp
from otel_bridge.telemetry import Counters, configure_logs
from otel_bridge.validate import validate

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
Send = Callable[[], Awaitable[None]]


def request(spans: int, text: int) -> ExportTraceServiceRequest:
    """Spans of twenty short attributes, and one of `text` characters."""
    attributes = [{"key": f"gen_ai.request.some_{number}", "value": {"string_value": "v" * 20}} for number in range(20)]
    made = [
        {
            "trace_id": b"t" * 16,
            "span_id": (number + 1).to_bytes(8, "big"),
            "name": "chat",
            "start_time_unix_nano": 1,
            "end_time_unix_nano": 2,
            "attributes": [
                *attributes,
                {"key": "gen_ai.input.messages", "value": {"string_value": "word " * (text // 5)}},
            ],
        }
        for number in range(spans)
    ]
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": made}]}])


CASES = {
    "1 small span": (1, 20, 2000),
    "64 small": (64, 20, 300),
    "64 llm": (64, 6000, 100),
    "1024 llm": (1024, 6000, 8),
}


async def serve() -> None:
    """The child: a receiver that throws everything away, and says its CPU seconds for each line that it reads."""

    async def consume(batch: Batch) -> None:
        pass

    configure_logs(level="error")  # standard output is for the parent
    config = OtlpConfig(grpc="127.0.0.1:0", http="127.0.0.1:0")
    with tempfile.TemporaryDirectory() as directory:
        host = Host(id="otlp", data_dir=Path(directory))
        async with asynccontextmanager(otlp.open)(config, consume, host):
            print(host.endpoints["grpc"], host.endpoints["http"], flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                print(time.process_time(), flush=True)


@asynccontextmanager
async def over_grpc(url: str, body: bytes, _headers: str) -> AsyncIterator[Send]:
    async with grpc.aio.insecure_channel(url.removeprefix("http://")) as channel:
        export = channel.unary_unary(EXPORT)

        async def send() -> None:
            await export(body)

        yield send


@asynccontextmanager
async def over_http(url: str, body: bytes, headers: str) -> AsyncIterator[Send]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()

    async def send() -> None:
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        await reader.readexactly(int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))

    yield send
    writer.close()


async def main() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "serve", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    grpc_url, http_url = (await child.stdout.readline()).decode().split()

    async def cpu_s() -> float:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"\n")
        return float(await child.stdout.readline())

    print(f"{'':14}{'door':12}{'KiB':>8}{'µs/request':>12}{'µs/span':>10}{'requests/s':>12}")
    for case, (spans, text, times) in CASES.items():
        made = request(spans, text)
        wire = made.SerializeToString()
        protobuf, json = "Content-Type: application/x-protobuf\r\n", "Content-Type: application/json\r\n"
        ways = {
            "grpc": (over_grpc, grpc_url, wire, ""),
            "http": (over_http, http_url, wire, protobuf),
            "http gzip": (over_http, http_url, gzip.compress(wire, 1), protobuf + "Content-Encoding: gzip\r\n"),
            "http json": (over_http, http_url, dump(made), json),
        }
        for way, (door, url, body, headers) in ways.items():
            async with door(url, body, headers) as send:
                await send()
                before_s, began_s = await cpu_s(), time.perf_counter()
                for _ in range(times):
                    await send()
                took_s, cpu = time.perf_counter() - began_s, (await cpu_s() - before_s) / times * 1e6
                size = len(body) / 1024
                print(f"{case:14}{way:12}{size:8.0f}{cpu:12.0f}{cpu / spans:10.1f}{times / took_s:12.0f}")
        began_s = time.process_time()
        for _ in range(times):
            validate(Batch(Signal.TRACES, "t", wire=wire, request=made), 1, Counters())
        cpu = (time.process_time() - began_s) / times * 1e6
        print(f"{case:14}{'validate':12}{len(wire) / 1024:8.0f}{cpu:12.0f}{cpu / spans:10.1f}")
    child.stdin.close()
    await child.wait()


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1:] == ["serve"] else main())
