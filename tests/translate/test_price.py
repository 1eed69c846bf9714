"""What a call cost where nobody said it, and where no price is added."""

import random
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from genai_prices import Usage as Counted
from genai_prices import calc_price
from genai_prices.data import providers
from genai_prices.types import ModelPrice, TimeOfDateConstraint
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.model import Observation, ObservationType, TraceAttributes, Usage
from otel_bridge.translate import Prices, translate
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.node import Node
from otel_bridge.translate.price import PRICED_BY, SLOT_NS
from otel_bridge.translate.span import SpanView

CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}
OWN = {"gpt-*": {"input": 1, "output": 2}, "gpt-4o": {"input": 10, "output": 20, "input_cached_tokens": 1}}
SOURCE = "otel_bridge.cost_source"


def priced(otlp: Any, *spans: Any, own: Any = None) -> dict[str, Any]:
    return {seen.id: seen for seen in translate(otlp.trace(*spans), Prices(own)).observations}


def one(otlp: Any, attrs: dict[str, Any] | None = None, own: Any = None) -> Any:
    [seen] = priced(otlp, otlp.span(attrs=CALL | (attrs or {})), own=own).values()
    return seen


def test_a_call_without_a_cost_gets_the_package_s(otlp: Any) -> None:
    seen = one(otlp, {"gen_ai.usage.cache_read.input_tokens": 400})

    assert seen.cost == pytest.approx(
        {"input": 0.0015, "input_cached_tokens": 0.0005, "output": 0.001, "total": 0.003}, abs=1e-12
    )
    assert seen.metadata[SOURCE].startswith("genai-prices ")


def test_without_prices_nothing_is_added(otlp: Any) -> None:
    [seen] = translate(otlp.trace(otlp.span(attrs=CALL))).observations

    assert seen.cost is None
    assert SOURCE not in seen.metadata


def test_what_was_said_stands(otlp: Any) -> None:
    seen = one(otlp, {"gen_ai.usage.cost": 0.5}, own=OWN)

    assert seen.cost == {"total": 0.5}
    assert seen.metadata[SOURCE] == "said"


@pytest.mark.parametrize(
    "attrs",
    [
        {"gen_ai.request.model": "a-model-of-our-own"},
        {"gen_ai.provider.name": "ollama"},
        {"gen_ai.provider.name": "anthropic"},
        {"gen_ai.request.model": "gpt-4o" * 10_000},
        {"openai.response.service_tier": "a tier without prices"},
        {"gen_ai.operation.name": "execute_tool"},
        {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0},
    ],
    ids=["model", "provider", "model-of-another", "long-name", "tier", "no-call", "nothing-used"],
)
def test_what_is_not_known_has_no_cost(otlp: Any, attrs: dict[str, Any]) -> None:
    seen = one(otlp, attrs)

    assert seen.cost is None
    assert SOURCE not in seen.metadata


def test_a_call_that_failed_has_no_cost(otlp: Any) -> None:
    attrs = {key: item for key, item in CALL.items() if "usage" not in key}
    [seen] = priced(otlp, otlp.span(attrs=attrs, status=(2, "rate limited"))).values()

    assert seen.cost is None


def test_a_kind_of_token_without_a_price_leaves_the_call_without(otlp: Any) -> None:
    usage = '{"input": 10, "output_thoughts_of_a_new_kind": 5}'
    seen = one(otlp, {"langfuse.observation.usage_details": usage, "langfuse.observation.type": "generation"})

    assert seen.usage["output_thoughts_of_a_new_kind"] == 5
    assert seen.cost is None


def test_the_user_s_own_table_stands_above_the_package(otlp: Any) -> None:
    cached = {"gen_ai.usage.cache_read.input_tokens": 400}

    exact = one(otlp, cached, own=OWN)
    assert exact.cost == pytest.approx(
        {"input": 0.006, "input_cached_tokens": 0.0004, "output": 0.002, "total": 0.0084}
    )
    assert exact.metadata[SOURCE] == "your price table"
    fitting = one(otlp, {"gen_ai.request.model": "gpt-of-ours", **cached}, own=OWN)
    assert fitting.cost["input_cached_tokens"] == pytest.approx(0.0004)
    assert one(otlp, {"gen_ai.request.model": "o3"}, own=OWN).metadata[SOURCE].startswith("genai-prices")


def test_a_model_that_costs_nothing_costs_nothing(otlp: Any) -> None:
    assert one(otlp, own={"*": {"input": 0, "output": 0}}).cost == {"input": 0, "output": 0, "total": 0}


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("azure.ai.openai", "gpt-4o"),
        ("microsoft.foundry", "gpt-4o"),
        ("az.ai.openai", "gpt-4o"),
        ("openai.chat", "gpt-4o-2024-08-06"),
        ("aws.bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("gcp.gemini", "gemini-2.5-flash"),
        ("gcp.vertex_ai", "gemini-2.5-flash"),
        ("gcp.gen_ai", "gemini-2.5-flash"),
        ("mistral_ai", "mistral-large-latest"),
        ("x_ai", "grok-4"),
        ("groq", "llama-3.3-70b-versatile"),
        ("deepseek", "deepseek-chat"),
        ("openai", "openai/gpt-4o"),
        ("azure.ai.openai", "azure:gpt-4o"),
        ("litellm", "openai/gpt-4o"),
        ("litellm", "bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("langchain", "claude-sonnet-4-5"),
        ("", "gpt-4o"),
        ("", "anthropic:claude-sonnet-4-5"),
        ("", "openrouter/openai/gpt-4o"),
        ("strands-agents", "gpt-4o-mini"),
    ],
)
def test_providers_in_the_words_of_instrumentations(otlp: Any, provider: str, model: str) -> None:
    seen = one(otlp, {"gen_ai.provider.name": provider, "gen_ai.request.model": model})

    assert seen.cost is not None
    assert seen.cost["total"] > 0


def test_an_embedding_has_a_price_for_what_went_in(otlp: Any) -> None:
    attrs = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "text-embedding-3-small"}
    [seen] = priced(otlp, otlp.span(attrs=attrs | {"gen_ai.usage.input_tokens": 1000})).values()

    assert seen.cost == pytest.approx({"input": 0.00002, "total": 0.00002})


def test_a_sum_that_was_said_holds_the_calls_below_it(otlp: Any) -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.cost": 0.5}
    seen = priced(otlp, otlp.span(1, attrs=agent), otlp.span(2, 1, at_ms=(10, 90), attrs=CALL))

    assert [one.cost for one in seen.values()] == [{"total": 0.5}, None]


def test_a_call_around_a_cost_that_was_said_has_none_of_its_own(otlp: Any) -> None:
    seen = priced(
        otlp,
        otlp.span(1, attrs=CALL),
        otlp.span(2, 1, at_ms=(10, 90), attrs={"gen_ai.usage.cost": 0.25}, name="request"),
    )

    assert [one.cost for one in seen.values()] == [None, {"total": 0.25}]


def test_calls_with_a_tool_between_them_each_have_their_own(otlp: Any) -> None:
    """Also beside, above and below one whose cost was said."""
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ask"}
    seen = priced(
        otlp,
        otlp.span(1, attrs=CALL),
        otlp.span(2, 1, at_ms=(10, 90), attrs=tool),
        otlp.span(3, 2, at_ms=(20, 80), attrs=CALL | {"gen_ai.usage.cost": 0.25}),
        otlp.span(4, 3, at_ms=(30, 70), attrs=tool),
        otlp.span(5, 4, at_ms=(40, 60), attrs=CALL),
    )

    costs = [one.cost for one in seen.values()]
    assert [cost and cost["total"] for cost in costs] == [0.0035, None, 0.25, None, 0.0035]


def test_usage_that_is_not_counted_has_no_cost(otlp: Any) -> None:
    agent = CALL | {"gen_ai.operation.name": "invoke_agent"}
    seen = priced(otlp, otlp.span(1, attrs=agent), otlp.span(2, 1, at_ms=(10, 90), attrs=CALL))

    assert [(one.type, one.cost is None) for one in seen.values()] == [
        (ObservationType.AGENT, True),
        (ObservationType.GENERATION, False),
    ]


def test_the_price_is_that_of_the_day_of_the_call(otlp: Any) -> None:
    otlp.start_ns = int(datetime(2024, 6, 1, tzinfo=UTC).timestamp()) * 10**9
    before = one(otlp, {"gen_ai.request.model": "o3"}).cost
    otlp.start_ns = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9

    assert before["total"] > one(otlp, {"gen_ai.request.model": "o3"}).cost["total"]


@pytest.mark.slow
def test_every_model_costs_what_the_package_says_it_does(otlp: Any) -> None:
    """Over all models and kinds of tokens that both count, below and above every step of a price."""
    at = datetime(2026, 11, 20, 5, 30, tzinfo=UTC)
    otlp.start_ns = int(at.timestamp()) * 10**9
    chance, compared = random.Random(7), 0
    for provider in providers:
        for model in provider.models:
            if chance.random() > 0.25 or not provider.find_model(model.id):
                continue
            read, write, fresh, made = (chance.choice((0, 7, 90_000, 300_000)) for _ in range(4))
            usage = Usage.exclusive(fresh + 1, made, cache_read=read, cache_write=write)
            assert usage is not None
            counted = {
                "input_tokens": usage["total"] - made,
                "output_tokens": made,
                "cache_read_tokens": read,
                "cache_write_tokens": write,
            }
            wanted = calc_price(Counted(**counted), model.id, provider_id=provider.id, genai_request_timestamp=at)
            seen = one(
                otlp,
                {
                    "gen_ai.provider.name": provider.id,
                    "gen_ai.request.model": model.id,
                    "gen_ai.usage.input_tokens": counted["input_tokens"],
                    "gen_ai.usage.output_tokens": made,
                    "gen_ai.usage.cache_read.input_tokens": read,
                    "gen_ai.usage.cache_creation.input_tokens": write,
                    "gen_ai.usage.total_tokens": usage["total"],
                },
            )
            if seen.cost is not None:
                compared += 1
                assert seen.cost["total"] == pytest.approx(float(wanted.total_price)), (provider.id, model.id, usage)
                assert seen.cost["total"] == pytest.approx(sum(seen.cost.values()) / 2)
    assert compared > 300


def test_the_package_s_prices_change_only_where_we_look_again() -> None:
    for provider in providers:
        for model in provider.models:
            for price in [] if isinstance(model.prices, ModelPrice) else model.prices:
                if isinstance(price.constraint, TimeOfDateConstraint):
                    for edge in (price.constraint.start_time, price.constraint.end_time):
                        second_of_day = edge.hour * 3600 + edge.minute * 60 + edge.second
                        assert second_of_day * 10**9 % SLOT_NS == 0


@given(st.text(max_size=300), st.one_of(st.text(), st.lists(st.text()), st.none()), st.integers(1, 2**64 - 1))
def test_any_model_provider_and_time_can_be_asked_for(model: str, provider: Any, start_ns: int) -> None:
    """And the answer is the same each time."""
    seen = Observation(
        id="1",
        trace_id="2",
        parent_id=None,
        type=ObservationType.GENERATION,
        name="n",
        start_ns=start_ns,
        end_ns=start_ns,
        trace=TraceAttributes("2"),
        model=model,
        usage={"input": 5, "total": 5},
        metadata={"gen_ai.system": provider},
    )
    node = Node(SpanView.of(Span(), InstrumentationScope(), {}), Reading(), seen)
    Prices({"a*": {"input": 1}}).tell([node])
    first, seen.cost = seen.cost, None
    Prices({"a*": {"input": 1}}).tell([node])
    assert seen.cost == first


def test_every_bucket_says_in_its_name_which_side_it_is() -> None:
    assert all(("input" in bucket) != ("output" in bucket) for bucket in PRICED_BY)


def test_pricing_costs_microseconds(otlp: Any) -> None:
    """About two for each call once its model is known; the limit leaves room for a busy machine."""
    spans = [otlp.span(n, attrs=CALL) for n in range(1, 1001)]
    prices = Prices()
    plain = translate(otlp.trace(*spans))
    translate(otlp.trace(*spans), prices)
    began = time.process_time()
    for seen in plain.observations:
        prices._price(seen)
    assert (time.process_time() - began) / len(spans) < 50e-6
