"""What Langfuse took of what is not through yet is known for a while, also over restarts."""

import asyncio
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from otel_bridge.errors import RefusedError, RetryableError
from otel_bridge.exporters.langfuse.taken import KEPT_S, Taken
from otel_bridge.model import Translation
from otel_bridge.telemetry import logger
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.exporters.langfuse.bisecting import bisect
from tests.exporters.langfuse.conftest import OTLP, SCORES, Build, Make, MakeScore, Opened


def test_what_does_not_come_again_is_forgotten(tmp_path: Path, observation: Make) -> None:
    """After an hour somebody may have deleted it there, and sends it again."""
    now_s = 1.8e9
    waits, gone = observation(1), observation(2)

    def opened() -> AbstractContextManager[Taken]:
        return Taken.kept(tmp_path / "taken.json", logger("langfuse"), lambda: now_s)

    with opened() as taken:
        taken.add([waits, gone])
    now_s += KEPT_S - 1
    with opened() as taken:
        assert taken.without([waits, gone]) == []
        taken.add([waits])
        now_s += 2
        assert taken.without([waits, gone]) == [gone]
    now_s += KEPT_S
    with opened() as taken:
        assert taken.without([waits, gone]) == [waits, gone]
    assert not (tmp_path / "taken.json").exists()


def test_what_is_known_is_bounded(observation: Make) -> None:
    taken = Taken(limit=2)
    items = [observation(number) for number in (1, 2, 3)]
    taken.add(items)
    assert taken.without(items) == items[:1]


async def test_scores_that_fail_do_not_send_the_observations_again(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        sent = translation(observations=3, scores=1)
        fake.script("scores", Fault(500), Fault(503))
        for _ in range(2):
            with pytest.raises(RetryableError):
                await settle(sent)
        await settle(sent)

        assert len(fake.sent_to(OTLP)) == 1
        assert fake.duplicates == 0
        await settle(sent)  # as after a restart, when nobody remembers
        assert len(fake.sent_to(OTLP)) == 2


async def test_what_says_something_else_under_an_id_that_was_taken_is_sent(
    opened: Opened, translation: Build, observation: Make
) -> None:
    async with FakeLangfuse("3.120.0").running() as fake, opened(fake) as settle:
        fake.script("ingestion", Fault(500))
        with pytest.raises(RetryableError):
            await settle(translation(observations=1, scores=1))
        await settle(Translation(observations=[observation(1, output="late")]))
        assert fake.observations[f"{1:016x}"]["output"] == "late"


def kept_in(folder: Path) -> list[Path]:
    return list(folder.glob("langfuse-taken-*.json"))


@pytest.mark.parametrize("ends", ["it fails", "it is cancelled"])
async def test_what_was_taken_before_a_bridge_ended_is_not_sent_again_by_the_next(
    opened: Opened, translation: Build, tmp_path: Path, ends: str
) -> None:
    """Its scores were missing; and what was kept of it is gone once they came, whatever project that is."""
    async with FakeLangfuse().running() as fake:
        async with opened(fake) as settle:
            if ends == "it fails":
                fake.script("scores", Fault(503))
                with pytest.raises(RetryableError):
                    await settle(translation(observations=2, scores=1))
            else:
                fake.script("scores", Fault(does="hang"))
                sending = asyncio.ensure_future(settle(translation(observations=2, scores=1)))
                while not fake.sent_to(SCORES):  # noqa: ASYNC110 - whoever hangs tells nobody
                    await asyncio.sleep(0.001)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        [kept] = kept_in(tmp_path)
        assert kept.stat().st_mode & 0o777 == 0o600
        async with opened(fake) as settle:
            assert not kept.exists()
            await settle(translation(observations=2, scores=1))
        assert (len(fake.observations), len(fake.scores), fake.duplicates) == (2, 1, 0)
        assert len(fake.sent_to(OTLP)) == 1
        assert not kept.exists()


async def test_nothing_is_kept_of_what_was_set_aside(
    opened: Opened, translation: Build, score: MakeScore, tmp_path: Path
) -> None:
    """It does not come again by itself; and who sends it again then may have deleted it in Langfuse."""
    async with FakeLangfuse("2.95.12").running() as fake:
        async with opened(fake) as settle:
            whole = translation(observations=2, scores=8)
            whole.scores[5] = score(6, value=3.0, data_type="BOOLEAN")
            assert await bisect(settle, whole) == ["score-6"]
        assert kept_in(tmp_path) == []


@pytest.mark.parametrize("version", ["2.95.12", "4.61.0"])
async def test_what_is_sent_again_by_hand_is_sent_whole(opened: Opened, translation: Build, version: str) -> None:
    """Though Langfuse had taken a part of it, and the rest never came: that may have been deleted there since."""
    async with FakeLangfuse(version).running() as fake, opened(fake) as settle:
        bad = translation(2, 1)
        bad.scores[0] = replace(bad.scores[0], value=3.0, data_type="BOOLEAN")
        with pytest.raises(RefusedError):
            await settle(bad)
        assert len(fake.observations) == 2
        fake.observations.clear()
        await settle(replace(translation(2), again=True))
        assert len(fake.observations) == 2


async def test_what_is_kept_of_another_project_says_nothing(opened: Opened, translation: Build) -> None:
    for _ in range(2):
        async with FakeLangfuse().running() as fake, opened(fake) as settle:  # at an address of its own
            fake.script("scores", Fault(503))
            with pytest.raises(RetryableError):
                await settle(translation(observations=2, scores=1))
            assert len(fake.sent_to(OTLP)) == 1


async def test_where_what_was_kept_can_not_be_read_all_comes_again(
    opened: Opened, translation: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeLangfuse().running() as fake:
        async with opened(fake) as settle:
            fake.script("scores", Fault(503))
            with pytest.raises(RetryableError):
                await settle(translation(observations=2, scores=1))
        [kept] = kept_in(tmp_path)
        kept.write_text("[1")
        async with opened(fake) as settle:
            await settle(translation(observations=2, scores=1))
        assert (len(fake.scores), fake.duplicates) == (1, 2)
    assert "comes again" in capsys.readouterr().err
