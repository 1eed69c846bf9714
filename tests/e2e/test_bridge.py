"""The whole bridge as a process, real senders before it and a Langfuse behind it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.e2e.load import Load
from tests.e2e.process import BridgeProcess, until_there

CORPUS = Path(__file__).parent.parent / "corpus"
AGENTS = Path(__file__).parent / "agents.py"


def agent(name: str, bridge: BridgeProcess, protocol: str) -> subprocess.Popen[str]:
    port = bridge.grpc if protocol == "grpc" else bridge.http
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    stock = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.Popen(
        [sys.executable, str(AGENTS), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**stock, **endpoint},
    )


@pytest.mark.slow
def test_two_stock_processes_and_content_in_logs_make_one_whole_trace(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    """Their batches leave up to 5 s apart, over two protocols, and the content in a third request."""
    bridge.grace, bridge.idle = "6s", "2m"  # the defaults
    bridge.start()
    with agent("caller", bridge, "grpc") as caller, agent("answerer", bridge, "http") as answerer:
        assert caller.stdin
        assert caller.stdout
        assert answerer.stdin
        assert answerer.stdout
        answerer.stdin.write(caller.stdout.readline())
        answerer.stdin.flush()
        assert answerer.stdout.readline() == "answered\n"
        caller.stdin.write("\n")
        caller.stdin.flush()
        wait_for_trace(langfuse, spans=3, wait_s=30)
        caller.stdin.close()
        answerer.stdin.close()

    seen = {shown["name"]: shown for shown in langfuse.observations.values()}
    assert set(seen) == {"handle", "ask", "chat gpt-4o-mini"}
    assert len({shown["traceId"] for shown in seen.values()}) == 1
    assert {(shown["sessionId"], shown["userId"]) for shown in seen.values()} == {("s-1", "u-1")}
    assert seen["chat gpt-4o-mini"]["parentObservationId"] == seen["ask"]["id"]
    assert seen["ask"]["parentObservationId"] == seen["handle"]["id"]
    said = seen["chat gpt-4o-mini"]
    assert said["type"] == "GENERATION"
    assert (said["usageDetails"]["input"], said["usageDetails"]["output"]) == (12, 5)
    assert "Why?" in json.dumps(said["input"])
    assert "Because." in json.dumps(said["output"])
    assert langfuse.duplicates == 0


def wait_for_trace(langfuse: FakeLangfuse, spans: int, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while len(langfuse.observations) < spans and time.monotonic() < until:
        time.sleep(0.1)
    assert len(langfuse.observations) == spans


@pytest.mark.slow
async def test_recorded_payloads_arrive_whole_and_every_item_is_accounted_for(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    bridge.start()
    sent = 0
    async with aiohttp.ClientSession() as session:
        for file in sorted(CORPUS.glob("*/*.pb")):
            signal = file.name.split(".")[1]
            headers = {"Content-Type": "application/x-protobuf"}
            async with session.post(f"{bridge.url}/v1/{signal}", data=file.read_bytes(), headers=headers) as answer:
                assert answer.status == 200, file
                assert await answer.read() == b"", file
            sent += 1
    assert sent > 80

    waiting = await asyncio.to_thread(wait_until_nothing_waits, bridge)

    assert waiting == 0
    accounts = {(one["exporter"], one["signal"]): one for one in bridge.audit()}
    assert accounts["langfuse", "traces"]["delivered"] == accounts["langfuse", "traces"]["accepted"]
    assert accounts["store", "traces"]["delivered"] == accounts["store", "traces"]["accepted"]
    assert langfuse.dropped == []
    assert langfuse.duplicates == 0


def wait_until_nothing_waits(bridge: BridgeProcess, wait_s: float = 30) -> int:
    until = time.monotonic() + wait_s
    while True:
        waiting = sum(int(str(one["waiting"])) for one in bridge.audit())
        if not waiting or time.monotonic() > until:
            return waiting
        time.sleep(0.5)


@pytest.mark.slow
async def test_a_langfuse_that_is_down_for_the_whole_load_gets_everything_when_it_is_back(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    """And meanwhile the bridge keeps its memory to itself: what waits is on disk."""
    langfuse.always("health", Fault(does="disconnect"))
    langfuse.always("otlp", Fault(does="disconnect"))
    bridge.start()
    load = Load(bridge.url)
    await load.run(traces=200)
    before = bridge.rss_mib()
    await load.run(traces=1500)
    grown = bridge.rss_mib() - before

    assert not langfuse.observations
    langfuse.always("health", None)
    langfuse.always("otlp", None)
    missing = await asyncio.to_thread(until_there, langfuse, load.acked, 90)

    assert len(load.acked) == 1500 * 5
    assert missing == set()
    assert grown < 50, f"{grown:.0f} MiB"
    code, took_s = bridge.stop()
    assert (code, took_s < 5) == (0, True)
    bridge.audit()


@pytest.mark.slow
async def test_sigterm_with_a_dead_langfuse_ends_in_time_and_loses_nothing(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    langfuse.always("health", Fault(does="hang"))
    bridge.start()
    load = Load(bridge.url)
    await load.run(traces=50)

    code, took_s = bridge.stop()

    assert code == 0
    assert took_s < 5
    langfuse.always("health", None)
    bridge.start()
    assert await asyncio.to_thread(until_there, langfuse, load.acked, 60) == set()
    assert langfuse.duplicates == 0
