"""What the context knows stands on every span, the plain ones too."""

import asyncio

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.sdk import correlation
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.correlation import local_of
from tests.sdk.conftest import Spans


@pytest.fixture
def provider(spans: Spans) -> TracerProvider:
    spans.provider.add_span_processor(ContextProcessor())
    return spans.provider


async def test_ids_and_task_names_are_on_plain_spans(spans: Spans, provider: TracerProvider) -> None:
    tracer = trace.get_tracer("user")

    async def agent() -> None:
        with tracer.start_as_current_span("work", attributes={"user.id": "its own"}):
            await asyncio.sleep(0)

    async with correlation(session="s1", user="u1", tags=["x"]):
        await asyncio.create_task(agent(), name="researcher")

    assert dict(spans["work"].attributes or {}) == {
        "user.id": "its own",
        "session.id": "s1",
        "langfuse.trace.tags": ("x",),
        "asyncio.task.name": "researcher",
    }


def test_only_known_keys_are_taken_from_a_request(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BRIDGE_CORRELATION_KEYS", "order.id , ")
    spans.provider.add_span_processor(ContextProcessor())
    request = baggage.set_baggage("session.id", "s1", Context())
    for key in ("order.id", "langfuse.trace.public", "anything"):
        request = baggage.set_baggage(key, "x", request)
    trace.get_tracer("server").start_span("handle", context=request).end()

    assert dict(spans["handle"].attributes or {}) == {"session.id": "s1", "order.id": "x"}


async def test_a_child_of_what_has_ended_says_so(spans: Spans, provider: TracerProvider) -> None:
    tracer = trace.get_tracer("user")
    with tracer.start_as_current_span("request"):
        task = asyncio.create_task(asyncio.to_thread(lambda: tracer.start_span("late").end()))
        await asyncio.sleep(0)
    await task
    parent = trace.set_span_in_context(tracer.start_span("over"))
    trace.get_current_span(parent).end()
    tracer.start_span("later", context=parent).end()

    assert dict(spans["later"].attributes or {}) == {"otel_bridge.parent_ended": True}


def test_one_correlation_can_be_entered_twice(spans: Spans) -> None:
    one = correlation(session="s1")
    with one, one:
        pass
    assert local_of(None) == {}
