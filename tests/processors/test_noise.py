"""What the processor calls noise; what becomes of that is in tests/translate/test_hide.py."""

import threading
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from otel_bridge.processors.noise import NoiseConfig, noise
from otel_bridge.processors.noise.presets import PRESETS, Preset
from otel_bridge.trace import Decision, Known, Settled, Trace
from otel_bridge.translate import translate
from tests.translate.conftest import Otlp

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
PY = "opentelemetry.instrumentation."


@pytest.mark.parametrize(
    ("preset", "span", "is_noise"),
    [
        ("http_server", {"kind": Span.SPAN_KIND_SERVER, "attrs": {"http.request.method": "GET"}}, True),
        ("http_server", {"attrs": {"asgi.event.type": "http.response.body"}}, True),
        ("http_server", {"kind": Span.SPAN_KIND_SERVER, "attrs": {"rpc.system": "grpc"}}, False),
        ("http_client", {"kind": Span.SPAN_KIND_CLIENT, "attrs": {"http.method": "GET"}}, True),
        ("http_client", {"kind": Span.SPAN_KIND_SERVER, "attrs": {"http.method": "GET"}}, False),
        ("database", {"attrs": {"db.system.name": "postgresql"}}, True),
        ("fastapi", {"scope": f"{PY}fastapi"}, True),
        ("fastapi", {"scope": f"{PY}httpx"}, False),
        ("django", {"scope": f"{PY}django"}, True),
        ("requests", {"scope": f"{PY}urllib3"}, True),
        ("aiohttp", {"scope": f"{PY}aiohttp_client"}, True),
        ("redis", {"scope": "@opentelemetry/instrumentation-ioredis"}, True),
        ("langchain_internals", {"scope": "openinference.instrumentation.langchain", "name": "RunnableSequence"}, True),
        ("langchain_internals", {"scope": f"{PY}langchain", "name": "ChannelWrite<a,b>.task"}, True),
        ("langchain_internals", {"scope": "openinference.instrumentation.langchain", "name": "plan"}, False),
        ("langchain_internals", {"scope": "mine", "name": "RunnableSequence"}, False),
    ],
)
async def test_presets(opened: Any, otlp: Otlp, preset: str, span: dict[str, Any], is_noise: bool) -> None:
    async with opened(noise, presets=[preset]) as (take, passed, _):
        await take(Trace(otlp.trace_id, [otlp.span(1, **span)]))

    assert list(passed[0].noise.values()) == [preset] * is_noise


async def test_conditions_name_what_goes_and_what_stays(opened: Any, otlp: Otlp) -> None:
    config = {"presets": ["database"], "drop": ['name.startsWith("poll")'], "keep": ['status == "error"']}
    spans = [
        otlp.span(1, name="poll queue"),
        otlp.span(2, name="poll broken", status=(2, "no")),
        otlp.span(3, name="SELECT", attrs={"db.system": "x"}, status=(2, "locked")),
        otlp.span(4, name="work"),
    ]
    async with opened(noise, **config) as (take, passed, _):
        await take(Trace(otlp.trace_id, spans))

    assert passed[0].noise == {f"{1:016x}": "drop[0]"}


async def test_a_trace_without_llm_is_dropped_if_somebody_says_so(opened: Any, otlp: Otlp) -> None:
    """And what comes late of it is looked at for itself."""
    health = Trace(otlp.trace_id, [otlp.span(1, name="GET /health", kind=2, attrs={"http.request.method": "GET"})])
    work = Trace(otlp.trace_id, [otlp.span(1), otlp.span(2, 1, attrs=CHAT)])
    async with opened(noise, without_llm="drop") as (take, passed, host):
        await take(health)
        await take(work)
        ruling = health.rulings["noise"]
        await take(Trace(otlp.trace_id, [otlp.span(3, 1, attrs=CHAT)], part=1, known=ruling.later))
        await take(Trace(otlp.trace_id, [otlp.span(4, 1)], part=1, known=ruling.later))
        await take(Trace(otlp.trace_id, [otlp.span(5, 1)], part=1, known=translate(work).known))

    assert (ruling.decision, ruling.reason) == (Decision.FILTERED, "without_llm")
    assert [trace.spans[0].span.span_id[-1] for trace in passed] == [1, 3, 5]
    assert host.counters.value("traces_without_llm") == 2
    assert isinstance(ruling.later, Known)


@pytest.mark.parametrize("settled", Settled)
async def test_a_part_of_which_more_may_come_is_not_dropped(opened: Any, otlp: Otlp, settled: Settled) -> None:
    """The agent may be in what comes; a parent in another service is not waited for."""
    async with opened(noise, without_llm="drop") as (take, passed, _):
        await take(Trace(otlp.trace_id, [otlp.span(1)], settled=settled))

    assert bool(passed) == (settled in (Settled.HELD, Settled.FLUSHED))


async def test_health_checks_pass_otherwise(opened: Any, otlp: Otlp) -> None:
    async with opened(noise) as (take, passed, _):
        await take(Trace(otlp.trace_id, [otlp.span(1)]))

    assert len(passed) == 1


def test_an_unknown_preset_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="did you mean fastapi"):
        NoiseConfig.model_validate({"presets": ["fastpai"]})


@pytest.mark.parametrize(("spans", "in_thread"), [(10, False), (300, True)])
async def test_a_large_trace_is_looked_at_in_a_thread(
    opened: Any, otlp: Otlp, monkeypatch: pytest.MonkeyPatch, spans: int, in_thread: bool
) -> None:
    """A hundred thousand spans would hold up everybody for seconds."""
    seen: set[threading.Thread] = set()

    def shape(_span: Span) -> bool:
        seen.add(threading.current_thread())
        return False

    monkeypatch.setitem(PRESETS, "database", Preset(shape=shape))
    async with opened(noise, presets=["database"]) as (take, passed, _):
        await take(Trace("00" * 16, [otlp.span(number + 1) for number in range(spans)]))

    assert len(passed) == 1
    assert (threading.main_thread() not in seen) == in_thread
