"""A viewer on a free port, over a store with one trace that means harm and one span that is still open."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.extensions.viewer import ViewerConfig, viewer
from otel_bridge.model import Level, Observation, ObservationType, Score, TraceAttributes, Translation
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters

START = 1_700_000_000_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
OPEN = "bb" * 16

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "<iframe src=https://attacker.test/>",
    "<a href=https://attacker.test/ ping=https://attacker.test/>x</a>",
    "</script><script>alert(1)</script>",
    "{{constructor.constructor('alert(1)')()}}",
    "<style>@import 'https://attacker.test/x.css'</style>",
    "![x](https://attacker.test/x.png)",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "__proto__",
    "</textarea><link rel=stylesheet href=https://attacker.test/x.css>",
    "data:text/html,<script>alert(1)</script>",
)
HARM = " ".join(PAYLOADS)

Viewing = Callable[..., AbstractAsyncContextManager[str]]


class FakeBridge:
    """Takes batches into a list, and has a status."""

    operator = None

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.ready = True
        self.told: dict[str, dict[str, dict[str, Any]]] = {}
        self.endpoints = {"otlp": {"grpc": "http://127.0.0.1:4317", "http": "http://127.0.0.1:4318"}}

    def status(self) -> dict[str, Any]:
        return {"ready": self.ready, "waiting": 0, "endpoints": self.endpoints}

    def destinations(self) -> dict[str, dict[str, dict[str, Any]]]:
        return self.told

    async def consume(self, batch: Batch) -> None:
        self.batches.append(batch)


@pytest.fixture
def bridge() -> FakeBridge:
    return FakeBridge()


def harmful() -> Translation:
    trace = TraceAttributes(
        TRACE, name=HARM, user_id=HARM, session_id=HARM, tags=list(PAYLOADS), metadata={HARM: HARM}, input=HARM
    )

    def observation(number: int, **said: Any) -> Observation:
        return Observation(
            id=f"{number:016x}",
            trace_id=TRACE,
            parent_id=f"{1:016x}" if number > 1 else None,
            start_ns=START + number * 10**8,
            end_ns=START + 10**9,
            trace=trace,
            **{"type": ObservationType.TOOL, "name": f"{number} {HARM}", "model": HARM, **said},
        )

    messages = [
        {"role": "system", "content": payload, "name": payload, "tool_calls": [{"name": payload, "arguments": payload}]}
        for payload in PAYLOADS
    ]
    tools = [
        {
            "type": "function",
            "function": {"name": "weather", "description": HARM, "parameters": {"x": "a city's name"}},
        },
        {"name": HARM, "description": HARM, "input_schema": {HARM: HARM}},
    ]
    parts = [{"type": kind, "content": HARM, "name": HARM} for kind in ("text", "tool_call", "tool_result", HARM)]
    return Translation(
        traces=[trace],
        observations=[
            observation(1, type=ObservationType.AGENT, name="planner"),
            observation(
                2,
                type=ObservationType.GENERATION,
                input={"messages": messages, "tools": tools, HARM: HARM},
                output=[{"role": HARM, "parts": parts}],
                metadata={payload: {payload: payload} for payload in PAYLOADS},
                model_parameters=dict.fromkeys(PAYLOADS, HARM),
                usage={"input": 3, "total": 3, HARM: 1},
                prompt_name=HARM,
            ),
            observation(3, level=Level.ERROR, status_message=HARM, input=HARM, output={HARM: [HARM]}),
        ],
        scores=[
            Score("a", HARM, HARM, "TEXT", START, trace_id=TRACE, comment=HARM),
            Score("b", HARM, 1.0, "NUMERIC", START, trace_id=TRACE, observation_id=f"{2:016x}", comment=HARM),
        ],
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=bytes.fromhex(OPEN), span_id=b"\1" * 8, name="still running",
        start_time_unix_nano=START + 10**12, end_time_unix_nano=START + 10**12 + 5,
    )  # fmt: skip
    span.events.add(name=HARM).attributes.add(key=HARM).value.string_value = HARM
    writer = Writer(tmp_path / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    writer.settled(harmful())
    writer.batch(Batch.from_request(request))
    writer.close()
    return tmp_path


@pytest.fixture
def viewing(data_dir: Path, bridge: FakeBridge) -> Viewing:
    """`async with viewing() as url`; takes what else its configuration says."""

    @asynccontextmanager
    async def run(**said: Any) -> AsyncIterator[str]:
        host = Host("viewer", data_dir, bridge=bridge)
        config = ViewerConfig.model_validate({"endpoint": "127.0.0.1:0", "allowed_hosts": ("traces.team",), **said})
        async with asynccontextmanager(viewer.open)(config, host):
            yield host.endpoints["viewer"]

    return run


@pytest.fixture
async def url(viewing: Viewing) -> AsyncIterator[str]:
    async with viewing() as address:
        yield address
