"""Observations and scores by hand, and the exporter as the engine opens it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.component import Host, Settle
from otel_bridge.exporters.langfuse import LangfuseConfig, langfuse
from otel_bridge.model import Observation, ObservationType, Score, TraceAttributes, Translation
from otel_bridge.testing.fake_langfuse import FakeLangfuse

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1_795_000_000_123_456_789

OTLP = "/otel/v1/traces"
INGESTION = "/ingestion"
SCORES = "/scores"

Opened = Callable[..., AbstractAsyncContextManager[Settle]]
Build = Callable[..., Translation]
Make = Callable[..., Observation]
MakeScore = Callable[..., Score]


def make_observation(number: int = 1, **fields: Any) -> Observation:
    trace = fields.pop("trace", None) or TraceAttributes(
        trace_id=fields.get("trace_id", TRACE_ID),
        name="answer",
        user_id="ada",
        session_id="s-1",
        tags=["a, b", "c"],
        environment="prod",
        release="r1",
        version="v1",
        metadata={"team": "blue"},
    )
    defaults: dict[str, Any] = {
        "id": f"{number:016x}",
        "trace_id": trace.trace_id,
        "parent_id": None if number == 1 else f"{1:016x}",
        "type": ObservationType.SPAN,
        "name": f"step {number}",
        "start_ns": START_NS + number,
        "end_ns": START_NS + 5_000_000_000 + number,
        "trace": trace,
        "resource": {"service.name": "agent"},
        "scope_name": "acme.sdk",
        "size": 500,
    }
    return Observation(**(defaults | fields))


def make_score(number: int = 1, **fields: Any) -> Score:
    defaults: dict[str, Any] = {
        "id": f"score-{number}",
        "name": "helpful",
        "value": 0.5,
        "data_type": "NUMERIC",
        "timestamp_ns": START_NS,
        "trace_id": TRACE_ID,
        "observation_id": f"{1:016x}",
    }
    return Score(**(defaults | fields))


@pytest.fixture
def observation() -> Make:
    return make_observation


@pytest.fixture
def score() -> MakeScore:
    return make_score


@pytest.fixture
def translation() -> Build:
    """A translation of so many observations and scores."""

    def build(observations: int = 3, scores: int = 0) -> Translation:
        return Translation(
            observations=[make_observation(n) for n in range(1, observations + 1)],
            scores=[make_score(n) for n in range(1, scores + 1)],
        )

    return build


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """The exporter, opened towards a fake Langfuse."""

    @asynccontextmanager
    async def build(fake: FakeLangfuse, **settings: Any) -> AsyncIterator[Settle]:
        config = LangfuseConfig(
            **({"base_url": fake.url, "public_key": fake.public_key, "secret_key": fake.secret_key} | settings)
        )
        async with asynccontextmanager(langfuse.open)(config, Host(id="langfuse", data_dir=tmp_path)) as settle:
            yield settle

    return build
