"""An operator at work on a bridge that runs, with nothing but the command line."""

import asyncio
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_bridge.delivery import audit
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.e2e.load import HEADERS
from tests.e2e.process import BridgeProcess, until_there


class Picky(FakeLangfuse):
    """A Langfuse that refuses any request with a certain word in it, until it is told not to."""

    refuses: bytes | None = b"poison"

    def _otlp(self, request: web.Request, body: bytes) -> web.Response:
        if self.refuses and self.refuses in zlib.decompress(body, 31):
            return web.json_response({"message": "no \x1b[31mpoison\x1b[0m here"}, status=400)
        return super()._otlp(request, body)


@pytest.fixture
def langfuse() -> Iterator[Picky]:
    with Picky().in_thread() as fake:
        assert isinstance(fake, Picky)
        yield fake


def trace_id(number: int) -> bytes:
    return (number + 1).to_bytes(16, "big")


def span_id(number: int, index: int) -> bytes:
    return ((number + 1) * 1000 + index + 1).to_bytes(8, "big")


async def send(bridge: BridgeProcess, number: int, *names: str) -> set[str]:
    """A trace whose first span is the root; returns the ids of its spans."""
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    for index, name in enumerate(names):
        span = scoped.spans.add(
            trace_id=trace_id(number),
            span_id=span_id(number, index),
            parent_span_id=span_id(number, 0) if index else b"",
            name=name,
            start_time_unix_nano=time.time_ns(),
            end_time_unix_nano=time.time_ns() + 1000,
        )
        span.attributes.append(KeyValue(key="input.value", value=AnyValue(string_value=name)))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{bridge.url}/v1/traces", data=request.SerializeToString(), headers=HEADERS) as answer,
    ):
        assert answer.status == 200
    return {span.span_id.hex() for span in scoped.spans}


def run(bridge: BridgeProcess, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "otel_bridge", *words, "--data-dir", str(bridge.data_dir)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def until(holds: Callable[[], bool], wait_s: float = 30) -> None:
    end = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def accounts(bridge: BridgeProcess, exporter: str = "langfuse") -> dict[str, int]:
    """From the files, in this process: it is asked again and again."""
    found = audit(bridge.data_dir)
    assert found.balanced, found.to_dict()
    [one] = [line for line in found.to_dict()["accounts"] if line["exporter"] == exporter]
    wanted = ("accepted", "delivered", "dead_lettered", "waiting")
    return {key: one[key] for key in wanted} | {"replayed": sum(one["replayed"].values())}


async def stands_there(bridge: BridgeProcess, wanted: Mapping[str, int]) -> None:
    """What a command was told by the bridge is in the file of its state a fifth of a second later."""
    await asyncio.to_thread(until, lambda: accounts(bridge) == wanted)


@pytest.mark.slow
@pytest.mark.timeout(300)  # it starts the command line some twenty times
async def test_a_refused_span_an_outage_by_hand_and_a_second_delivery(bridge: BridgeProcess, langfuse: Picky) -> None:
    """One span is refused; it is looked at and handed out again. Then a pause, a kill, a resume, a replay."""
    bridge.start(wait_s=60)
    poison = span_id(1, 2).hex()
    wanted = await send(bridge, 1, "agent", "chat", "poison \x1b[2J")
    assert await asyncio.to_thread(until_there, langfuse, wanted - {poison}, 30) == set()
    await asyncio.to_thread(until, lambda: accounts(bridge)["dead_lettered"] == 1)

    listed = run(bridge, "dead-letter", "list", "--exporter", "langfuse")
    [letter] = json.loads(run(bridge, "dead-letter", "list", "--json"))["letters"]
    assert (letter["reason"], letter["items"], letter["damaged"]) == ("refused", 1, False)
    assert letter["id"] in listed
    shown = run(bridge, "dead-letter", "show", letter["id"][:6])
    assert "poison" in shown
    assert "\x1b" not in listed + shown
    found = json.loads(run(bridge, "audit", "--trace", trace_id(1).hex(), "--json"))
    where = {(item["spanId"], at["exporter"]): at["where"] for item in found["items"] for at in item["places"]}
    assert where[poison, "langfuse"] == "dead_lettered"
    assert where[span_id(1, 1).hex(), "langfuse"] == where[poison, "store"] == "delivered"
    assert "refused" in run(bridge, "dead-letter", "retry", letter["id"], code=1)

    langfuse.refuses = None
    assert "delivered" in run(bridge, "dead-letter", "retry", "--all", "--exporter", "langfuse")
    assert poison in langfuse.observations
    assert run(bridge, "dead-letter", "list") == "no dead letters\n"
    await stands_there(bridge, {"accepted": 3, "delivered": 3, "dead_lettered": 0, "waiting": 0, "replayed": 0})

    run(bridge, "pause", "langfuse")
    later = await send(bridge, 2, "agent", "chat")
    await asyncio.to_thread(until, lambda: accounts(bridge, "store")["delivered"] == 5)
    assert "waiting" in run(bridge, "audit", "--span", span_id(2, 0).hex())
    bridge.kill()
    assert accounts(bridge)["waiting"] == 2
    run(bridge, "resume", "langfuse", code=3)
    bridge.start(wait_s=60)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{bridge.viewer}/api/v1/status") as answer,
    ):
        status = await answer.json()
    assert status["paused"] == ["langfuse"]
    assert status["exporters"]["main/langfuse"]["default"]["parked"] == "paused"
    assert not later & langfuse.observations.keys()
    assert "on again" in run(bridge, "resume", "langfuse")
    assert await asyncio.to_thread(until_there, langfuse, later, 30) == set()

    await asyncio.to_thread(until, lambda: accounts(bridge)["waiting"] == 0)
    arrived = dict(langfuse.arrivals)
    run(bridge, "pause", "langfuse")
    words = [*("replay", "--exporter", "langfuse", "--since", "1h"), "--data-dir", str(bridge.data_dir)]
    replaying = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "otel_bridge", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert replaying.stderr is not None
    await replaying.stderr.readuntil(b"it waits: paused\n")
    run(bridge, "resume", "langfuse")
    said, _ = await replaying.communicate()
    assert b"5 delivered" in said
    assert {key: langfuse.arrivals[key] - count for key, count in arrived.items() if "span" in key} == dict.fromkeys(
        (key for key in arrived if "span" in key), 1
    )
    await stands_there(bridge, {"accepted": 5, "delivered": 5, "dead_lettered": 0, "waiting": 0, "replayed": 5})
    run(bridge, "replay", "--exporter", "langfuse", "--since", "soon", code=2)
    code, _ = bridge.stop()
    assert code == 0
    assert json.loads(run(bridge, "dead-letter", "list", "--json"))["letters"] == []
