"""What any dialect may say: token counts as buckets that exclude each other, costs, and who it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.model import Usage
from otel_bridge.translate import translate

BASE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "claude",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}
COUNT = st.integers(0, 60)
PART = st.none() | COUNT
PARTS = st.fixed_dictionaries(
    dict.fromkeys(("cache_read", "cache_write", "reasoning", "input_audio", "output_audio"), PART)
)


@pytest.mark.parametrize(
    ("scope", "provider"),
    [
        ("@traceloop/instrumentation-bedrock", "aws.bedrock"),
        ("openlit.instrumentation.anthropic", "anthropic"),
        ("pipecat", "anthropic"),
        ("agent_framework", "anthropic"),
    ],
)
@pytest.mark.parametrize("cached", [500, 1500])
@pytest.mark.parametrize("total", [None, 1100])
def test_cached_tokens_beside_the_input_stay_beside_it_whatever_the_total_says(
    otlp: Any, scope: str, provider: str, cached: int, total: int | None
) -> None:
    attrs = BASE | {"gen_ai.provider.name": provider, "gen_ai.usage.cache_read_input_tokens": cached}
    if total is not None:
        attrs["gen_ai.usage.total_tokens"] = total

    [seen] = translate(otlp.trace(otlp.span(scope=scope, attrs=attrs))).observations

    assert seen.usage == {"input": 1000, "output": 100, "input_cached_tokens": cached, "total": 1100 + cached}


def test_a_total_that_only_fits_the_other_way_puts_the_parts_beside() -> None:
    assert Usage.inclusive(1000, 100, cache_read=500, total=1600) == Usage.exclusive(1000, 100, cache_read=500)
    assert Usage.inclusive(10, 50, reasoning=20, total=80) == {
        "input": 10,
        "output": 50,
        "output_reasoning_tokens": 20,
        "total": 80,
    }


def test_parts_for_which_the_total_has_no_room_are_cut() -> None:
    assert Usage.inclusive(100, 10, cache_read=20, cache_write=90, total=110) == {
        "input": 0,
        "output": 10,
        "input_cached_tokens": 20,
        "input_cache_creation": 80,
        "total": 110,
    }


@given(COUNT, COUNT, PARTS, st.integers(0, 200))
def test_the_buckets_sum_to_no_more_than_was_said(
    counted_in: int, counted_out: int, parts: dict[str, int | None], total: int
) -> None:
    usage = Usage.inclusive(counted_in, counted_out, **parts, total=total)

    assert usage is not None
    assert usage.pop("total") == sum(usage.values()) <= max(total, counted_in + counted_out)
    assert all(tokens >= 0 for tokens in usage.values())


@pytest.mark.parametrize("key", ["session.id", "sessionId", "conversationId", "threadId", "chat_id"])
@pytest.mark.parametrize(
    ("scope", "prefix"),
    [
        ("test", ""),
        ("langsmith", "langsmith.metadata."),
        ("@mastra/otel-exporter", "mastra.metadata."),
        ("ai", "ai.telemetry.metadata."),
        ("test", "traceloop.association.properties."),
    ],
)
def test_session_and_user_are_found_in_every_spelling_wherever_a_program_gives_them(
    otlp: Any, scope: str, prefix: str, key: str
) -> None:
    attrs = {f"{prefix}{key}": "s", f"{prefix}userId": 42}

    [trace] = translate(otlp.trace(otlp.span(scope=scope, attrs=attrs))).traces

    assert (trace.session_id, trace.user_id) == ("s", "42")


@pytest.mark.parametrize("delay", [-1e308, 1e308, -1.0, 0.0])
@pytest.mark.parametrize(
    ("scope", "name", "key"),
    [
        ("test", "a span", "time_to_first_token"),
        ("strands-agents", "a span", "gen_ai.server.time_to_first_token"),
        ("livekit-agents", "llm_node", "lk.response.ttft"),
        ("pipecat", "llm", "metrics.ttfb"),
        ("ai", "a span", "ai.response.msToFirstChunk"),
        ("openrouter", "a span", "trace.metadata.openrouter.first_token_ms"),
    ],
)
def test_a_delay_that_leads_out_of_the_span_is_no_first_token_and_is_shown(
    otlp: Any, scope: str, name: str, key: str, delay: float
) -> None:
    [seen] = translate(otlp.trace(otlp.span(name=name, scope=scope, attrs={key: delay}))).observations

    assert seen.completion_start_ns is None
    assert delay in seen.metadata.values()


@pytest.mark.parametrize("mark", [{"openinference.span.kind": "LLM"}, {"mlflow.spanType": '"LLM"'}])
def test_they_are_found_in_metadata_that_stays_as_it_was_given(otlp: Any, mark: dict[str, str]) -> None:
    attrs = mark | {"metadata": '{"threadId": "s", "userId": "u"}'}

    [seen] = translate(otlp.trace(otlp.span(attrs=attrs))).observations

    assert (seen.trace.session_id, seen.trace.user_id) == ("s", "u")
    assert (seen.metadata["threadId"], seen.metadata["userId"]) == ("s", "u")


def test_the_operating_systems_thread_is_no_session(otlp: Any) -> None:
    [trace] = translate(otlp.trace(otlp.span(attrs={"thread.id": 140}))).traces

    assert trace.session_id is None


def test_a_cost_below_nothing_is_none_and_stays_in_the_metadata(otlp: Any) -> None:
    attrs = BASE | {"gen_ai.usage.cost": -2.0, "gen_ai.usage.input_cost": 0.5}

    [seen] = translate(otlp.trace(otlp.span(attrs=attrs))).observations

    assert seen.cost == {"input": 0.5, "total": 0.5}
    assert seen.metadata["gen_ai.usage.cost"] == -2


def test_a_cost_of_nothing_is_no_cost_and_stays_in_the_metadata(otlp: Any) -> None:
    [seen] = translate(otlp.trace(otlp.span(attrs=BASE | {"gen_ai.usage.cost": 0.0}))).observations

    assert seen.cost is None
    assert seen.metadata["gen_ai.usage.cost"] == 0
