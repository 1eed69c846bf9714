"""A bridge under load is given other configurations, again and again, and is killed right after one."""

import asyncio
import itertools
import json
import os
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from tests.e2e.load import TORN, Load, numbered, span_id
from tests.e2e.process import BridgeProcess
from tests.proofs.rig import rig

pytestmark = pytest.mark.slow

STOCK = 90  # the sender whose spans come from OpenTelemetry's own exporters


def variants(plan: str) -> Iterator[str]:
    """What the configuration says next, for ever: exporters change, come and go, and the rest changes a little."""
    more = ("  file: {{path: {folder}/spans.jsonl}}\n", "[store, langfuse, file]")
    for turn in itertools.count():
        text = plan.replace("timeout: 5s", f"timeout: {5 + turn}s").replace("300ms", f"{300 + turn}ms")
        if turn % 3 == 1:
            text = text.replace("extensions:", more[0] + "extensions:").replace("[store, langfuse]", more[1])
        if turn % 3 == 2:
            text = text.replace("max_bytes: 8GiB", "max_bytes: 4GiB").replace("[store, langfuse]", "[langfuse, store]")
        yield text


def status(bridge: BridgeProcess) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{bridge.viewer}/api/v1/status", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def reloads(bridge: BridgeProcess) -> Counter[str]:
    return Counter({one["outcome"]: one["value"] for one in status(bridge)["counters"] if one["name"] == "reloads"})


def say(bridge: BridgeProcess, text: str, outcome: str, *, hang_up: bool = True) -> None:
    """Write a configuration, and wait until the bridge has seen it."""
    before = reloads(bridge)[outcome]
    config = bridge.folder / "bridge.yaml"
    draft = config.with_suffix(".new")
    draft.write_text(text.format(**{**vars(bridge), "data_dir": bridge.data_dir}))
    draft.replace(config)
    if hang_up:
        os.kill(bridge.pid, signal.SIGHUP)
    until = time.monotonic() + 60
    while reloads(bridge)[outcome] == before:
        assert time.monotonic() < until, bridge.log
        time.sleep(0.05)


class Numbered(IdGenerator):
    """Ids as those of a load."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def generate_span_id(self) -> int:
        return int.from_bytes(span_id(STOCK, next(self._numbers)))

    def generate_trace_id(self) -> int:
        return STOCK << 64 | next(self._numbers) + 1


class Stock:
    """Sends spans one by one by an exporter of OpenTelemetry, from a thread."""

    def __init__(self, exporter: SpanExporter, numbers: Numbered) -> None:
        self.exported: list[ReadableSpan] = []
        self.results: Counter[SpanExportResult] = Counter()
        self.stopped = False
        self._exporter = exporter
        self._numbers = numbers

    def run(self) -> None:
        made = InMemorySpanExporter()
        provider = TracerProvider(id_generator=self._numbers, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(made))
        tracer = provider.get_tracer("stock")
        while not self.stopped:
            tracer.start_span("step").end()
            spans = made.get_finished_spans()
            made.clear()
            self.results[self._exporter.export(spans)] += 1
            self.exported += spans
            time.sleep(0.01)  # an agent, not a flood
        self._exporter.shutdown()


async def change(bridge: BridgeProcess) -> None:
    """Eight good configurations, and eight bad ones between."""
    for turn, text in zip(range(8), variants(bridge.plan), strict=False):
        await asyncio.to_thread(say, bridge, text, "done", hang_up=turn % 4 != 3)
        if turn % 2:
            await asyncio.to_thread(say, bridge, text.replace("timeout:", "timeuot:"), "invalid")
            assert "did you mean timeout?" in status(bridge)["configuration_rejected"]["mistakes"][0]
            await asyncio.to_thread(say, bridge, text.replace("{data_dir}", "{data_dir}2"), "needs_restart")


async def test_under_load_reloads_lose_double_and_refuse_nothing() -> None:
    """Good ones and bad ones, on SIGHUP and by what the file says; the doors are OTLP's, by HTTP and gRPC."""
    with rig() as made:
        bridge, sink = made.bridge, made.sink
        load = Load(bridge.url, grpc=f"127.0.0.1:{bridge.grpc}", shape=TORN, bodies=("light", "mid"))
        numbers = Numbered()
        stock = [
            Stock(OTLPSpanExporter(f"{bridge.url}/v1/traces"), numbers),
            Stock(GrpcSpanExporter(f"127.0.0.1:{bridge.grpc}", insecure=True), numbers),
        ]
        with ThreadPoolExecutor() as threads:
            agents = [threads.submit(one.run) for one in stock]
            running = asyncio.create_task(load.run(workers=2))
            try:
                await change(bridge)
            finally:
                for one in (load, *stock):
                    one.stopped = True
            await running
            for agent in agents:
                agent.result(60)

        await asyncio.to_thread(made.check, load)
        assert (load.spans["refused"], load.spans["failed"]) == (0, 0)
        assert [set(one.results) for one in stock] == [{SpanExportResult.SUCCESS}] * 2
        sent = [span.context.span_id for one in stock for span in one.exported if span.context]
        there = sink.counts(STOCK)
        assert [there[numbered(number.to_bytes(8))[1]] for number in sent] == [1] * len(sent)
        assert sink.totals().repeated == 0
        assert "Traceback" not in bridge.log


@pytest.mark.long
async def test_killed_right_after_a_reload_it_has_lost_nothing() -> None:
    with rig() as made:
        bridge = made.bridge
        load = Load(bridge.url, grpc=f"127.0.0.1:{bridge.grpc}", shape=TORN, bodies=("light",))
        running = asyncio.create_task(load.run(workers=2))
        try:
            await asyncio.to_thread(say, bridge, next(variants(bridge.plan)), "done")
            await asyncio.to_thread(bridge.kill)
            await asyncio.to_thread(bridge.start)
        finally:
            load.stopped = True
        await running

        assert await asyncio.to_thread(made.check, load)
