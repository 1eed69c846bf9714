"""A receiver on free ports, and a list that consumes what it takes in."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.receivers.otlp import OtlpConfig, otlp
from otel_bridge.tenants import TenantConfig, Tenants


@dataclass
class Taken:
    """A consumer that keeps what it is given, once `gate` is open; it raises `refuse` instead where that is set."""

    host: Host
    batches: list[Batch] = field(default_factory=list)
    refuse: Exception | None = None

    gate: asyncio.Event | None = None
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, *batches: Batch) -> None:
        self.waiting.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse is not None:
            raise self.refuse
        self.batches += batches

    @property
    def items(self) -> int:
        return sum(batch.item_count for batch in self.batches)

    def address(self, door: str) -> tuple[str, int]:
        host, _, port = self.host.endpoints[door].partition("://")[2].rpartition(":")
        return host, int(port)

    def count(self, name: str, **labels: str) -> int:
        return self.host.counters.value(name, **labels)


Receiving = Callable[..., AbstractAsyncContextManager[Taken]]


@pytest.fixture
def receiving(tmp_path: Path) -> Receiving:
    """`async with receiving(max_body=...) as taken`: an OTLP receiver, configured so, on free ports."""

    @asynccontextmanager
    async def run(tenants: Mapping[str, Mapping[str, Any]] | None = None, **config: Any) -> AsyncIterator[Taken]:
        read = {name: TenantConfig.model_validate(of) for name, of in (tenants or {}).items()}
        taken = Taken(Host(id="otlp", data_dir=tmp_path, tenants=Tenants(read)))
        settings = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"} | config
        async with asynccontextmanager(otlp.open)(OtlpConfig(**settings), taken, taken.host):
            yield taken

    return run


def export_one(exporter: Any) -> SpanExportResult:
    """What a stock exporter says of one span."""
    results: list[SpanExportResult] = []
    export: Callable[..., SpanExportResult] = exporter.export
    exporter.export = lambda spans: results.append(export(spans)) or results[-1]
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("test").start_span("one").end()
    provider.shutdown()
    return results[0]
