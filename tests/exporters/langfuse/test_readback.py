"""What Langfuse said 200 to can be read there, or somebody is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.component import Host
from otel_bridge.exporters.langfuse import LangfuseConfig, langfuse, readback
from otel_bridge.telemetry import Counters
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.exporters.langfuse.conftest import Build
from tests.waiting import until

EMPTY = Fault(200, '{"data": [], "meta": {}}')


@asynccontextmanager
async def reading(fake: FakeLangfuse, folder: Path) -> AsyncIterator[tuple[Any, Counters]]:
    config = LangfuseConfig(
        base_url=fake.url,
        public_key=fake.public_key,
        secret_key=fake.secret_key,
        read_back=0.01,  # type: ignore[arg-type]  # pydantic makes it secret
    )
    host = Host("langfuse", folder)
    async with asynccontextmanager(langfuse.open)(config, host) as settle:
        yield settle, host.counters


def reads(fake: FakeLangfuse) -> list[str]:
    return [request.path for request in fake.requests if request.method == "GET" and "observations" in request.path]


@pytest.mark.parametrize(
    ("version", "path"), [("4.61.0", "/api/public/v2/observations"), ("3.98.2", "/api/public/observations")]
)
async def test_what_was_delivered_is_asked_for_once_it_is_there(
    version: str, path: str, tmp_path: Path, translation: Build
) -> None:
    async with FakeLangfuse(version).running() as fake, reading(fake, tmp_path) as (settle, counters):
        async with asyncio.timeout(10):
            while len(reads(fake)) < 3:
                await settle(translation(2))

        assert set(reads(fake)) == {path}
        assert counters.value(readback.LAG) == counters.value("readback_late") == 0


async def test_what_never_shows_is_told_once_and_not_sent_again(
    tmp_path: Path,
    translation: Build,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(readback, "LATE_S", 1.0)
    async with FakeLangfuse().running() as fake, reading(fake, tmp_path) as (settle, counters):
        fake.always("read", EMPTY)
        await asyncio.sleep(0)
        await settle(translation(1))
        await until(lambda: counters.value("readback_late") == 1 and counters.value(readback.LAG) >= 1)
        sent = [request for request in fake.requests if request.method == "POST"]
        fake.always("read", None)
        asked = len(reads(fake))
        await until(lambda: len(reads(fake)) > asked)

        assert len(sent) == 1
        assert counters.value("readback_late") == 1
    assert "can not be read there" in capsys.readouterr().err


async def test_what_is_not_there_after_very_long_is_given_up(
    tmp_path: Path, translation: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other observations of its trace are none of it."""
    monkeypatch.setattr(readback, "GIVE_UP_S", 0.05)
    async with FakeLangfuse().running() as fake, reading(fake, tmp_path) as (settle, counters):
        fake.always("read", Fault(200, '{"data": [{"id": "another"}], "meta": {}}'))
        await asyncio.sleep(0)
        await settle(translation(1))
        await until(lambda: counters.value("readback_lost") == 1)


@pytest.mark.parametrize("fault", [Fault(429), Fault(403), Fault(200, "<html>"), Fault(200, "[]")])
async def test_where_nobody_can_tell_nothing_is_said_to_be_late(
    fault: Fault, tmp_path: Path, translation: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "LATE_S", 1e9)
    async with FakeLangfuse().running() as fake, reading(fake, tmp_path) as (settle, counters):
        fake.always("read", fault)
        await asyncio.sleep(0)
        await settle(translation(1))
        await until(lambda: counters.value("readback_failures") >= 2)

        assert counters.value(readback.LAG) == 0
        await settle(translation(3))  # delivery goes on as ever
        assert len(fake.observations) == 3
