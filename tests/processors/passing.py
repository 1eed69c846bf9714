"""A span processor between a batch and a list; and requests as they were recorded of a web service with an agent."""

from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import Batch
from otel_bridge.component import Component, Host
from otel_bridge.otlp_files import read_batches

CORPUS = Path(__file__).parents[1] / "corpus"


async def passed(component: Component[Any], config: dict[str, Any], batch: Batch, host: Host | None = None) -> Batch:
    """What goes on when a batch has passed a processor (an empty batch where nothing does); it stays as it was."""
    went_on: list[Batch] = []

    async def consume(one: Batch) -> None:
        went_on.append(one)

    before, looked_at = batch.wire, batch.editable()
    host = host or Host(f"{component.name}/test", Path("unused"))
    async with asynccontextmanager(component.open)(component.config.model_validate(config), consume, host) as process:
        await process(batch)
    assert batch.wire == before
    assert batch.request == looked_at
    assert len(went_on) <= 1
    assert not went_on or went_on[0].tenant == batch.tenant
    return went_on[0] if went_on else Batch.of_parts([], like=batch)


def recorded(name: str = "plain-fastapi-noise", number: int = 1) -> Batch:
    """One request of a recording."""
    [batch] = read_batches(CORPUS / name / f"{number:03}.traces.pb")
    return batch


def spans(batch: Batch) -> Iterator[Span]:
    """All spans of a batch, or of none."""
    for part in batch.parts:
        if part.item_count and isinstance(part.request, ExportTraceServiceRequest):
            for block in part.request.resource_spans:
                for scoped in block.scope_spans:
                    yield from scoped.spans
