"""What every component owes, run over all that are registered: a new file is tested by being there."""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import ValidationError

from otel_bridge.batch import Batch
from otel_bridge.component import Component, Host, Kind, Sinks, Takes
from otel_bridge.config import Config
from otel_bridge.errors import ConsumeError
from otel_bridge.model import Translation
from otel_bridge.registry import components, find
from otel_bridge.trace import Trace

ALL = components()
LISTENS = re.compile(r"127\.0\.0\.1:\d+")
NOBODY = "http://127.0.0.1:9"


def named(some: list[Component[Any]]) -> Any:
    return pytest.mark.parametrize("component", some, ids=[f"{one.kind}-{one.name}" for one in some])


def sample(component: Component[Any], folder: Path) -> Config:
    """A configuration with what must be said, on free ports and with nobody at the other end."""
    said: dict[str, Any] = {}
    for name, field in component.config.model_fields.items():
        if isinstance(field.default, str) and LISTENS.fullmatch(field.default):
            said[name] = "127.0.0.1:0"
        elif "base_url" in name or (name == "endpoint" and field.is_required()):
            said[name] = NOBODY
        elif field.is_required():
            said[name] = str(folder / "sample") if field.annotation is Path or name == "path" else "sample"
    config: Config = component.config.model_validate(said)
    return config


def spans() -> Batch:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        name="\x1b[2J<script>'; DROP TABLE spans; --",
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        start_time_unix_nano=1,
        end_time_unix_nano=2,
    )
    return Batch.from_request(request)


class Quiet:
    """A bridge that takes everything, and that nobody operates."""

    operator = None

    def status(self) -> dict[str, Any]:
        return {"ready": True}

    async def consume(self, batch: Batch) -> None:
        """Take it."""


def opened(component: Component[Any], folder: Path) -> Any:
    async def take(_given: Batch | Trace) -> None:
        """Take it."""

    host = Host(component.name, folder, bridge=Quiet())
    config = sample(component, folder)
    opening = asynccontextmanager(component.open)
    if component.kind in (Kind.EXPORTER, Kind.EXTENSION):
        return opening(config, host)
    return opening(config, take, host)


def test_there_are_components_of_the_kinds_that_a_bridge_needs() -> None:
    assert {Kind.RECEIVER, Kind.EXPORTER, Kind.EXTENSION} <= {component.kind for component in ALL}


@named(ALL)
def test_its_place_is_its_registration(component: Component[Any]) -> None:
    section = "processors" if "processors" in component.kind else component.kind

    assert find(section, component.name) is component
    assert component.summary.endswith((".", "!", ")"))


@named(ALL)
def test_it_refuses_what_it_does_not_know(component: Component[Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        component.config.model_validate({"no_such_key": 1})


@named(ALL)
async def test_it_opens_and_closes_and_leaves_nothing_running(component: Component[Any], tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    for _ in range(2):
        async with opened(component, tmp_path) as yielded:
            if component.kind is Kind.EXPORTER:
                assert isinstance(yielded, Sinks) is (component.takes is Takes.BOTH)

    assert asyncio.all_tasks() <= before


@named([component for component in ALL if component.kind is Kind.EXPORTER and component.takes is not Takes.SETTLED])
async def test_a_batch_is_read_only_to_an_exporter(component: Component[Any], tmp_path: Path) -> None:
    batch = spans()
    bytes_before = batch.wire
    request_before = batch.editable()

    async with opened(component, tmp_path) as sink:
        consume = sink.batches if isinstance(sink, Sinks) else sink
        try:
            await consume(batch)
        except ConsumeError:
            assert component.name == "otlp"  # nobody is there to take it

    assert batch.wire == bytes_before
    assert batch.request == request_before


@named([component for component in ALL if component.kind is Kind.EXPORTER and component.takes is not Takes.BATCHES])
async def test_an_empty_translation_is_nothing_to_deliver(component: Component[Any], tmp_path: Path) -> None:
    async with opened(component, tmp_path) as sink:
        settle = sink.settled if isinstance(sink, Sinks) else sink
        try:
            await settle(Translation())
        except ConsumeError:
            assert component.name == "langfuse"  # nobody is there to ask for a version


@named([component for component in ALL if component.kind is Kind.SPAN_PROCESSOR])
async def test_a_batch_is_read_only_to_a_span_processor(component: Component[Any], tmp_path: Path) -> None:
    batch = spans()
    bytes_before = batch.wire
    request_before = batch.editable()

    async with opened(component, tmp_path) as consume:
        await consume(batch)

    assert batch.wire == bytes_before
    assert batch.request == request_before
