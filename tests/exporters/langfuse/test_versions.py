"""Each server version: how it is known, and what is written to it by which way."""

import asyncio

import pytest

from otel_bridge.errors import ConsumeError, RetryableError
from otel_bridge.model import ObservationType, Translation
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.exporters.langfuse.conftest import INGESTION, OTLP, SCORES, Build, Make, Opened

VERSIONS = ["2.95.12", "3.21.0", "3.22.0", "3.60.0", "3.120.0", "4.0.0", "4.16.0", "4.61.0"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_observations_and_scores_arrive_at_every_server(opened: Opened, translation: Build, version: str) -> None:
    async with FakeLangfuse(version).running() as fake, opened(fake) as settle:
        await settle(translation(observations=3, scores=2))

        assert set(fake.observations) == {f"{n:016x}" for n in (1, 2, 3)}
        assert fake.observations[f"{2:016x}"]["name"] == "step 2"
        assert {key: score["value"] for key, score in fake.scores.items()} == {"score-1": 0.5, "score-2": 0.5}
        assert {score["timestamp"] for score in fake.scores.values()} == {"2026-11-18T11:06:40.123Z"}
        assert fake.duplicates == 0
        assert fake.dropped == []


@pytest.mark.parametrize(
    ("version", "spans", "scores", "trace_writes"),
    [
        ("2.95.12", INGESTION, INGESTION, 1),
        ("3.120.0", OTLP, INGESTION, 1),
        ("4.16.0", OTLP, INGESTION, 0),
        ("4.61.0", OTLP, SCORES, 0),
    ],
)
async def test_the_version_picks_the_writer(
    opened: Opened, translation: Build, version: str, spans: str, scores: str, trace_writes: int
) -> None:
    async with FakeLangfuse(version).running() as fake, opened(fake) as settle:
        await settle(translation(observations=2, scores=1))

        wanted = ["/health", spans] if spans == scores else ["/health", spans, scores]
        assert [request.path.removeprefix("/api/public") for request in fake.requests] == wanted
        assert len(fake.traces) == trace_writes
        if trace_writes:
            trace = fake.traces["0af7651916cd43dd8448eb211c80319c"]
            assert (trace["name"], trace["userId"], trace["sessionId"]) == ("answer", "ada", "s-1")
            assert trace["tags"] == ["a, b", "c"]


async def test_requests_say_who_sends_and_how(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        await settle(translation())

        headers = fake.sent_to(OTLP)[0].headers
        assert headers["Content-Type"] == "application/x-protobuf"
        assert headers["Content-Encoding"] == "gzip"
        assert headers["x-langfuse-ingestion-version"] == "4"
        assert headers["x-langfuse-sdk-name"] == "otel-bridge"
        assert headers["Authorization"].startswith("Basic ")


async def test_server_3_is_not_asked_for_what_only_server_4_has(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse("3.22.0").running() as fake, opened(fake) as settle:
        await settle(translation())

        headers = fake.sent_to(OTLP)[0].headers
        assert "x-langfuse-ingestion-version" not in headers
        assert "Content-Encoding" not in headers


async def test_in_dual_mode_server_4_writes_the_new_rows_only(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse("4.16.0", mode="dual").running() as fake, opened(fake) as settle:
        await settle(translation())

        assert len(fake.observations) == 3
        assert fake.traces == {}


async def test_a_server_4_that_writes_the_old_tables_drops_nothing(opened: Opened, observation: Make) -> None:
    odd = observation(
        name="n" * 2000,
        type=ObservationType.GENERATION,
        prompt_name="p",
        cost={"total": float("nan")},
        completion_start_ns=-1,
    )
    async with FakeLangfuse("4.16.0", mode="legacy").running() as fake, opened(fake) as settle:
        await settle(Translation(observations=[odd]))

        assert fake.dropped == []
        assert fake.observations[odd.id]["metadata"]["name"] == "n" * 2000


async def test_data_waits_until_the_version_is_known(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("health", Fault(503), Fault(200, "<html>", {"Content-Type": "text/html"}), Fault(200, '{"ok":1}'))
        reasons = []
        for _ in range(3):
            with pytest.raises(ConsumeError) as refused:
                await settle(translation())
            reasons.append(getattr(refused.value, "reason", "retry"))

        assert reasons == ["retry", "html_response", "not_langfuse"]
        assert fake.sent_to(OTLP) == []
        await settle(translation())
        assert len(fake.observations) == 3


async def test_the_version_is_asked_once_and_again_after_each_park_and_lost_connection(
    opened: Opened, translation: Build
) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        await asyncio.gather(*(settle(translation(observations=1)) for _ in range(4)))
        assert len(fake.sent_to("/health")) == 1

        for fault, asked in ((Fault(500), 1), (Fault(403), 2), (Fault(does="disconnect"), 3)):
            fake.script("otlp", fault)
            with pytest.raises(ConsumeError):
                await settle(translation())
            await settle(translation())
            assert len(fake.sent_to("/health")) == asked


async def test_a_server_that_was_upgraded_gets_its_new_writer(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse("2.95.12").running() as fake, opened(fake) as settle:
        await settle(translation(observations=1))
        fake.version = "4.61.0"
        with pytest.raises(RetryableError, match="another version"):
            await settle(translation())
        await settle(translation())
        assert len(fake.sent_to(OTLP)) == 1
