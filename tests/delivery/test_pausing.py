"""Exporters, and tenants of one, that an operator pauses and resumes."""

import asyncio

import pytest

from otel_bridge.errors import RetryableError, UsageError
from tests.delivery.conftest import BACKOFF_S, House, Sink


async def test_a_paused_exporter_keeps_its_data_over_a_restart(house: House, sinks: type[Sink]) -> None:
    store, langfuse = sinks(), sinks()
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.delivery.operator.pause("langfuse")
    await house.append("agent", "llm")
    await house.settle()
    await store.has(2)
    await house.state.flush()
    await house.kill()
    assert house.outcomes("langfuse") == {"waiting": 2}
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    assert house.delivery.status()["paused"] == ["langfuse"]
    assert house.delivery.status()["exporters"]["main/langfuse"]["t"]["parked"] == "paused"
    assert langfuse.calls == []
    await house.delivery.operator.resume("langfuse")
    assert await langfuse.has(2) == ["agent", "llm"]
    assert house.delivery.status()["paused"] == []
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 2}


async def test_one_tenant_is_paused_alone_over_a_restart(house: House, sinks: type[Sink]) -> None:
    """Drains and replays leave it alone too; it is resumed alone, and not before the exporter is."""
    store, langfuse = sinks(), sinks()
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.append("acme's first", tenant="acme", trace=1)
    await house.append("beta's first", tenant="beta", trace=2)
    await house.settle()
    await langfuse.has(2)
    operator = house.delivery.operator
    with pytest.raises(UsageError, match="no tenant 'acmee', did you mean acme"):
        await operator.pause("langfuse", "acmee")
    told = await operator.pause("langfuse", "acme")
    assert told == {"exporter": "langfuse", "tenant": "acme", "paused": True, "pausedTenants": ["acme"]}
    await operator.replay("langfuse", since_ns=0)
    await house.append("acme's", tenant="acme", trace=3)
    await house.append("beta's", tenant="beta", trace=4)
    await house.settle()
    await langfuse.has(4)
    while len(operator.replays()["replays"]) > 1:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)
    assert [(one["tenant"], one["why"]) for one in operator.replays()["replays"]] == [("acme", "paused")]
    await house.stop()
    assert sorted(langfuse.names[2:]) == ["beta's", "beta's first"]
    assert house.outcomes("langfuse") == {"delivered": 3, "waiting": 1}

    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    operator, status = house.delivery.operator, house.delivery.status()
    assert (status["paused"], status["paused_tenants"]) == ([], {"langfuse": ["acme"]})
    lanes = status["exporters"]["main/langfuse"]
    assert {tenant: lane["parked"] for tenant, lane in lanes.items()} == {"acme": "paused", "beta": None}
    await operator.pause("langfuse")
    assert (await operator.resume("langfuse", "acme"))["paused"] is True
    assert (await operator.resume("langfuse"))["paused"] is False
    assert sorted((await langfuse.has(6))[4:]) == ["acme's", "acme's first"]
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 4}


async def test_a_pause_takes_hold_while_a_destination_is_down(house: House, sink: Sink) -> None:
    sink.trouble = lambda _names: RetryableError("down")
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(BACKOFF_S)
    await house.delivery.operator.pause("store")
    await house.clock.advance(10 * BACKOFF_S)
    assert len(sink.calls) == 1
    sink.trouble = lambda _names: None
    await house.delivery.operator.resume("store")
    await sink.has(1)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1}


async def test_nobody_is_paused_by_a_wrong_name(house: House, sink: Sink) -> None:
    await house.start(batches={"store": sink})
    with pytest.raises(UsageError, match="did you mean store"):
        await house.delivery.operator.pause("stor")
