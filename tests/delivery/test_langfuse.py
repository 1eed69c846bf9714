"""Delivery and the exporter for Langfuse together, over real HTTP, against every answer that is scripted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.component import Host
from otel_bridge.exporters.langfuse import LangfuseConfig, langfuse
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from otel_bridge.testing.fault_proxy import FaultProxy
from tests.delivery.conftest import BACKOFF_S, PROBE_S, House

OTLP = "/otel/v1/traces"


@asynccontextmanager
async def delivering_to(house: House, url: str, fake: FakeLangfuse, **settings: Any) -> AsyncIterator[None]:
    keys = {"public_key": fake.public_key, "secret_key": fake.secret_key}
    config = LangfuseConfig(base_url=url, **keys, **settings)
    async with asynccontextmanager(langfuse.open)(config, Host("langfuse", Path(), house.counters)) as settle:
        await house.start(settled={"langfuse": settle})
        yield
        await house.stop()


async def delivered(house: House, fake: FakeLangfuse, count: int, step_s: float = BACKOFF_S) -> None:
    """Let time pass until so many observations arrived, and are confirmed."""
    while len(fake.observations) < count or any(house.delivery.waiting().values()):
        await house.clock.advance(step_s)
        await asyncio.sleep(0.002)  # for real connections


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(status) for status in (408, 409, 425, 500, 502, 503, 504, 520, 523, 527)),
        Fault(does="disconnect"),
        Fault(does="disconnect", stored=True),
    ],
    ids=lambda fault: f"{fault.does}-{fault.status}-{fault.stored}",
)
async def test_what_may_pass_is_tried_until_it_has_passed_with_the_same_bytes(house: House, fault: Fault) -> None:
    async with FakeLangfuse().running() as fake, delivering_to(house, fake.url, fake):
        fake.script("otlp", *[fault] * 5)
        await house.append("agent", "llm")
        await house.settle()
        await delivered(house, fake, 2)
        assert len({request.body for request in fake.sent_to(OTLP)}) == 1
        assert len(fake.sent_to(OTLP)) == 6
    assert house.outcomes("langfuse") == {"delivered": 2}


async def test_fifty_500s_are_no_reason_to_give_up(house: House) -> None:
    async with FakeLangfuse().running() as fake, delivering_to(house, fake.url, fake):
        fake.script("otlp", *[Fault(500)] * 50)
        await house.append("agent", "llm")
        await house.settle()
        tries = 0
        while len(fake.sent_to(OTLP)) < 51:
            await house.clock.advance(BACKOFF_S)
            await asyncio.sleep(0.002)  # for real connections
            tries = max(tries, house.delivery.status()["exporters"]["main/langfuse"]["t"]["tries"])
        await delivered(house, fake, 2)
        assert tries >= 49
    assert house.outcomes("langfuse") == {"delivered": 2}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(200, "<html>log in</html>", {"Content-Type": "text/html"}), "html_response"),
        (Fault(302, headers={"Location": "https://sso.example"}), "redirect"),
        (Fault(401), "unauthorized"),
        (Fault(403, "Ingestion suspended"), "forbidden"),
        (Fault(404), "not_found"),
        (Fault(405), "method_not_allowed"),
        (Fault(407), "proxy_unauthorized"),
        (Fault(410), "gone"),
        (Fault(415), "content_type"),
        (Fault(421), "misdirected"),
        (Fault(501), "not_implemented"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Fault) else value,
)
async def test_what_somebody_must_mend_parks_and_nothing_is_lost(house: House, fault: Fault, reason: str) -> None:
    """It is asked about once a minute."""
    async with FakeLangfuse().running() as fake, delivering_to(house, fake.url, fake):
        fake.always("otlp", fault)
        await house.append("agent", "llm")
        await house.settle()
        await house.clock.asleep(PROBE_S)
        status = house.delivery.status()["exporters"]["main/langfuse"]["t"]
        assert (status["parked"], status["waiting"]) == (reason, 2)
        assert house.delivery.parked == 1
        assert len(fake.sent_to(OTLP)) == 1
        fake.always("otlp", None)
        await house.clock.advance(PROBE_S)
        await delivered(house, fake, 2)
        assert house.delivery.parked == 0
    assert house.outcomes("langfuse") == {"delivered": 2}


@pytest.mark.parametrize("body", ["", '{"id":"job"}', "\n\x02", "garbage \x00"])
async def test_any_200_is_success(house: House, body: str) -> None:
    async with FakeLangfuse().running() as fake, delivering_to(house, fake.url, fake):
        fake.script("otlp", Fault(200, body, stored=True))
        await house.append("agent", "llm")
        await house.settle()
        await delivered(house, fake, 2)
        assert len(fake.sent_to(OTLP)) == 1
    assert house.outcomes("langfuse") == {"delivered": 2}


async def test_the_other_destination_goes_on_while_one_is_dead(house: House, sinks: Any) -> None:
    store = sinks()
    async with FakeLangfuse().running() as fake, FaultProxy(fake.url).running() as proxy:
        config = LangfuseConfig(base_url=proxy.url, public_key=fake.public_key, secret_key=fake.secret_key, timeout=1)
        proxy.does = "swallow"
        async with asynccontextmanager(langfuse.open)(config, Host("langfuse", Path())) as settle:
            await house.start(batches={"store": store}, settled={"langfuse": settle})
            for number in range(20):
                await house.append("agent", trace=number + 1)
                await store.has(number + 1)
            assert not fake.observations
            await house.stop()
    assert house.outcomes("store") == {"delivered": 20}
    assert house.outcomes("langfuse") == {"waiting": 20}
