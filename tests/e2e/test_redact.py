"""Two hundred planted secrets through a bridge that runs: they are nowhere, whatever becomes of their spans."""

import asyncio
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator

import aiohttp
import grpc.aio
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge import otlp_json
from otel_bridge.batch import Batch, Request, Signal
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.e2e.process import PLAN, BridgeProcess
from tests.processors.planted import core, hidden, secrets_of
from tests.processors.requests import SURFACES, pair, spans_of

SERVICES = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
SEEDS = range(8)  # of 25 formats
REFUSED = "refuse this"


class Refusing(FakeLangfuse):
    """Refuses what has a certain word in it, and repeats what it was sent, so that dead letters have content."""

    def _otlp(self, request: web.Request, body: bytes) -> web.Response:
        plain = zlib.decompress(body, 31)
        if REFUSED.encode() in plain:
            return web.json_response({"message": plain.decode("latin-1")[:20_000]}, status=400)
        return super()._otlp(request, body)


@pytest.fixture
def langfuse() -> Iterator[Refusing]:
    with Refusing().in_thread() as fake:
        assert isinstance(fake, Refusing)
        yield fake


def planted() -> list[tuple[str, Request]]:
    """What must be nowhere, and the request that has it: each secret at another place, each format in other clothes."""
    made: list[tuple[str, Request]] = []
    places = list(SURFACES.values())
    for seed in SEEDS:
        for name, secret in secrets_of(seed).items():
            number = len(made)
            request = places[number % len(places)](number, secret)
            if isinstance(request, ExportTraceServiceRequest):
                [span] = spans_of(request)
                if number % 3 == 0:
                    span.attributes.append(pair("fate", REFUSED))
                for clothes, text in hidden(secret).items():
                    span.attributes.append(pair(f"gen_ai.{clothes}", text))
            made.append((core(name, secret), request))
    return made


async def send(bridge: BridgeProcess, requests: list[Request]) -> None:
    """By gRPC, by HTTP as protobuf and by HTTP as JSON, in turn."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{bridge.grpc}") as channel, aiohttp.ClientSession() as session:
        for number, request in enumerate(requests):
            batch = Batch.from_request(request)
            if number % 3 == 0:
                await channel.unary_unary(SERVICES[batch.signal])(batch.wire)
                continue
            as_json = number % 3 == 1
            body = otlp_json.dump(request) if as_json else batch.wire
            kind = "application/json" if as_json else "application/x-protobuf"
            url = f"{bridge.url}/v1/{batch.signal}"
            async with session.post(url, data=body, headers={"Content-Type": kind}) as answer:
                assert answer.status == 200


def everything(bridge: BridgeProcess, langfuse: FakeLangfuse) -> dict[str, bytes]:
    """All that the bridge has written, said or sent."""
    found = {str(path): path.read_bytes() for path in bridge.data_dir.rglob("*") if path.is_file()}
    found["log"] = (bridge.folder / "bridge.log").read_bytes()
    for number, request in enumerate(langfuse.requests):
        body = request.body
        found[f"langfuse {number} {request.path}"] = zlib.decompress(body, 31) if body[:2] == b"\x1f\x8b" else body
    for words in (("dead-letter", "list", "--limit", "500"), ("audit",), ("traces", "--limit", "500")):
        done = subprocess.run(
            [sys.executable, "-m", "otel_bridge", *words, "--json", "--data-dir", str(bridge.data_dir)],
            capture_output=True,
        )
        found[" ".join(words)] = done.stdout + done.stderr
    return found


@pytest.mark.slow
async def test_two_hundred_secrets_are_nowhere(bridge: BridgeProcess, langfuse: Refusing) -> None:
    bridge.plan = PLAN.replace(
        "exporters:\n", "processors:\n  redact: {{packs: [secrets, pii]}}\nexporters:\n", 1
    ).replace("{{receivers: [otlp],", "{{receivers: [otlp], processors: [redact],")
    said = planted()
    assert len(said) == 200
    assert all(secret.encode() in Batch.from_request(request).wire for secret, request in said)
    await asyncio.to_thread(bridge.start)

    await send(bridge, [request for _, request in said])

    wanted = sum(isinstance(request, ExportTraceServiceRequest) for _, request in said)
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{bridge.viewer}/api/v1/status") as answer:
                status = await answer.json()
            of_langfuse = status["exporters"]["main/langfuse"]["default"]
            if of_langfuse["waiting"] == 0 and len(langfuse.observations) >= wanted / 2:
                break
            await asyncio.sleep(0.1)
    found = await asyncio.to_thread(everything, bridge, langfuse)
    found["status"] = json.dumps(status).encode()
    assert b"REDACTED" in found["dead-letter list --limit 500"]  # there are some, and they say what they were
    await asyncio.to_thread(bridge.stop)
    found |= {str(path): path.read_bytes() for path in bridge.data_dir.rglob("*") if path.is_file()}

    leaked = {
        (secret, place)
        for secret, _ in said
        for place, content in found.items()
        if secret.encode() in content or json.dumps(secret)[1:-1].encode() in content
    }
    assert leaked == set()
    counted = sum(one["value"] for one in status["counters"] if one["name"] == "redacted")
    assert counted >= len(said)
