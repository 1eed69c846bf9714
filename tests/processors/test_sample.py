"""Which traces are kept: the same on every bridge, whole, within a budget, and decided once."""

import threading
import time
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from otel_bridge.processors.sample import PolicyConfig, SampleConfig, sample
from otel_bridge.trace import ANSWER, Decision, Ruling, Trace
from tests.translate.conftest import Otlp

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
OUT, IN = f"{0:032x}", "f" * 32  # at any rate but 0 and 1


def trace(key: str, *, tenant: str = "t", ms: int = 100, error: bool = False, **attrs: Any) -> Trace:
    otlp = Otlp(key)
    span = otlp.span(1, name="chat", at_ms=(0, ms), attrs=CHAT | attrs, status=(2, "no") if error else (0, ""))
    return Trace(key, [span], tenant=tenant)


async def decided(opened: Any, one: Trace, **config: Any) -> Ruling:
    async with opened(sample, **config) as (take, passed, _):
        await take(one)
        ruling: Ruling = one.rulings["sample"]
        assert (passed == [one]) == (ruling.decision == Decision.KEPT)
        return ruling


@pytest.mark.parametrize(
    ("policy", "fits"),
    [
        ({"errors": True}, {"error": True}),
        ({"slower_than": 5.0}, {"ms": 5001}),
        ({"tokens_above": 10}, {"gen_ai.usage.input_tokens": 11}),
        ({"cost_above": 1.0}, {"gen_ai.usage.cost": 1.5}),
        ({"when": 'user == "ada" && session == "s" && name == "chat"'}, {"user.id": "ada", "session.id": "s"}),
        ({"when": 'attributes["deep"] == 7 && !error && duration_s < 1 && tenant == "t"'}, {"deep": 7}),
        ({"when": '7 in values["deep"] && "chat" in names'}, {"deep": 7}),
        (
            {"when": '"vip" in tags && environment == "prod"'},
            {"langfuse.trace.tags": ["vip"], "langfuse.environment": "prod"},
        ),
    ],
)
async def test_a_policy_keeps_what_fits(opened: Any, policy: dict[str, Any], fits: dict[str, Any]) -> None:
    config = {"policies": [{**policy, "name": "mine"}], "rate": 0}

    ruling = await decided(opened, trace(OUT, **fits), **config)
    other = await decided(opened, trace(OUT), **config)

    assert (ruling.decision, ruling.reason, other.decision, other.reason) == ("kept", "mine", "sampled_out", "rate")
    assert ruling.metadata == {"sample_rate": 1.0, "sample_weight": 1.0, "sample_policy": "mine"}


async def test_the_first_that_fits_decides(opened: Any) -> None:
    config = {"policies": [{"when": 'name == "chat"', "rate": 0, "name": "health"}, {"errors": True}]}

    assert (await decided(opened, trace(IN, error=True), **config)).reason == "health"


async def test_scored_traces_are_kept(opened: Any, otlp: Otlp) -> None:
    judged = {"gen_ai.evaluation.name": "good", "gen_ai.evaluation.score.value": 1.0}
    log = otlp.log(1, name="gen_ai.evaluation.result", attrs=judged)
    one = Trace(otlp.trace_id, [otlp.span(1, attrs=CHAT)], [log], tenant="t")

    assert (await decided(opened, one, policies=[{"scored": True}], rate=0)).reason == "scored"


@pytest.mark.parametrize("rate", [0.0, 1.0])
async def test_what_was_decided_stands(opened: Any, rate: float) -> None:
    """Whatever the configuration, the day and the budget are meanwhile."""
    earlier = {"sample": Ruling(Decision.KEPT, "rate", {"sample_rate": 0.5})}
    one = trace(OUT)
    one.rulings = dict(earlier)

    assert await decided(opened, one, rate=rate, budget={"traces": 0}) == earlier["sample"]


async def test_a_budget_is_of_a_tenant(opened: Any) -> None:
    """Traces or observations; what another tenant spends is its own."""
    config = {"budget": {"traces": 2}, "tenants": {"rich": {"budget": {"observations": 3}}}}
    spent: dict[str, Counter[str]] = {"t": Counter(), "rich": Counter()}
    kept = Counter[str]()
    async with opened(sample, **config) as (take, passed, _):
        for number in range(5):
            for tenant, so_far in spent.items():
                one = trace(f"{number:032x}", tenant=tenant)
                one.spent = so_far
                await take(one)
                so_far.update(one.spends)
                kept[f"{tenant} {one.rulings['sample'].reason}"] += 1

    assert kept == {"t rate": 2, "t budget": 3, "rich rate": 3, "rich budget": 2}
    assert len(passed) == 5


async def test_the_day_of_a_budget_is_the_machine_s(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its clock was wrong when the bridge started, and has been set since."""
    one = trace(OUT)
    async with opened(sample, budget={"traces": 1}) as (take, _, _):
        monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
        await take(one)

    assert list(one.spends) == ["sample traces 2001-09-09"]


async def test_late_observations_are_spent_and_a_late_part_is_no_trace(opened: Any) -> None:
    one = trace(OUT)
    one.part, one.rulings = 1, {"sample": Ruling(Decision.KEPT, "rate")}
    async with opened(sample, budget={"traces": 0, "observations": 0}) as (take, _, _):
        await take(one)

    assert sorted(one.spends.values()) == [0, 1]


async def test_tenants_have_what_is_theirs(opened: Any) -> None:
    config = {"rate": 0, "tenants": {"acme": {"rate": 1.0}}}

    assert (await decided(opened, trace(OUT, tenant="acme"), **config)).decision == Decision.KEPT
    assert (await decided(opened, trace(OUT), **config)).decision == Decision.SAMPLED_OUT


@pytest.mark.parametrize("key", [f"{ANSWER}chatcmpl-1", "session:s"])
async def test_judgements_of_other_traces_pass(opened: Any, key: str) -> None:
    async with opened(sample, rate=0) as (take, passed, _):
        await take(Trace(key))

    assert len(passed) == 1


@pytest.mark.parametrize(
    "wrong", [{}, {"errors": True, "scored": True}, {"when": "no_such == 1"}, {"errors": True, "rate": 2}]
)
def test_a_policy_says_one_thing(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SampleConfig.model_validate({"policies": [wrong]})


@pytest.mark.parametrize(("spans", "in_thread"), [(10, False), (300, True)])
async def test_policies_look_at_a_large_trace_in_a_thread(
    opened: Any, monkeypatch: pytest.MonkeyPatch, spans: int, in_thread: bool
) -> None:
    seen: set[threading.Thread] = set()
    monkeypatch.setattr(PolicyConfig, "fits", lambda *_: seen.add(threading.current_thread()))
    otlp = Otlp(IN)
    await decided(opened, Trace(IN, [otlp.span(number + 1) for number in range(spans)]), policies=[{"errors": True}])

    assert (threading.main_thread() not in seen) == in_thread
