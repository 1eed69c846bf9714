"""Scores: what is sent of each, and what becomes of a list in which some are refused."""

import pytest

from otel_bridge.errors import ParkedError, RefusedError, RetryableError
from otel_bridge.model import Translation
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.exporters.langfuse.bisecting import bisect
from tests.exporters.langfuse.conftest import INGESTION, OTLP, SCORES, Build, MakeScore, Opened


async def test_a_rejected_score_is_found_by_halving_and_its_neighbours_arrive(
    opened: Opened, translation: Build, score: MakeScore
) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        whole = translation(observations=2, scores=8)
        whole.scores[5] = score(6, value=3.0, data_type="BOOLEAN")
        culprits = await bisect(settle, whole)

        assert culprits == ["score-6"]
        assert set(fake.scores) == {f"score-{n}" for n in range(1, 9)} - {"score-6"}
        assert len(fake.sent_to(OTLP)) == 1


async def test_long_lists_of_scores_go_in_pieces_and_what_was_taken_is_not_sent_again(
    opened: Opened, score: MakeScore
) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        many = Translation(scores=[score(n, comment="x" * 3000) for n in range(1, 301)])
        await settle(Translation(scores=[score(0)]))
        fake.script("scores", *[Fault(200, '{"message":"Accepted"}', stored=True)] * 2, Fault(500))
        with pytest.raises(RetryableError):
            await settle(many)
        await settle(many)

        assert len(fake.scores) == 301
        assert fake.duplicates == 0
        assert max(len(request.body) for request in fake.sent_to(SCORES)) < 1 << 20


@pytest.mark.parametrize("body", ["", "no json", "[]", '{"message":"odd"}', '{"accepted":"many"}'])
async def test_a_207_that_cannot_be_read_parks(opened: Opened, translation: Build, body: str) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("scores", Fault(207, body))
        with pytest.raises(ParkedError, match="not Langfuse's"):
            await settle(translation(observations=1, scores=1))


async def test_a_score_has_one_target_and_its_type(opened: Opened, score: MakeScore) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        await settle(
            Translation(
                scores=[
                    score(1, session_id="s-1", comment="why", environment="Prod", metadata={"label": "good"}),
                    score(2, trace_id=None, session_id="s-1"),
                    score(3, value="good", data_type="CATEGORICAL"),
                    score(4, value="x" * 600, data_type="TEXT"),
                    score(5, value=1.0, data_type="BOOLEAN"),
                ]
            )
        )

        first = fake.scores["score-1"]
        assert (first["traceId"], first["observationId"], first.get("sessionId")) == (
            "0af7651916cd43dd8448eb211c80319c",
            f"{1:016x}",
            None,
        )
        assert (first["comment"], first["environment"], first["metadata"]) == ("why", "prod", {"label": "good"})
        assert fake.scores["score-2"]["sessionId"] == "s-1"
        assert "observationId" not in fake.scores["score-2"]
        assert fake.scores["score-3"]["value"] == "good"
        assert fake.scores["score-4"]["value"] == "x" * 500
        assert fake.scores["score-4"]["metadata"]["value"] == "x" * 600


async def test_of_a_list_with_rejected_scores_the_others_arrive_at_most_twice(
    opened: Opened, translation: Build, score: MakeScore
) -> None:
    """The server says how many, not which: they are asked for one by one, once."""
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        whole = translation(observations=1, scores=50)
        for number in (7, 20, 41):
            whole.scores[number - 1] = score(number, value=3.0, data_type="BOOLEAN")
        culprits = await bisect(settle, whole)

        assert sorted(culprits) == ["score-20", "score-41", "score-7"]
        assert len(fake.scores) == 47
        assert max(fake.arrivals[f"score score-{n}"] for n in range(1, 51)) <= 2
        assert len(fake.sent_to(OTLP)) == 1


async def test_a_rejected_score_is_told_of_with_its_reason(opened: Opened, score: MakeScore) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        with pytest.raises(RefusedError, match="rejected 1 of 1 scores: value does not fit dataType BOOLEAN"):
            await settle(Translation(scores=[score(1, value=3.0, data_type="BOOLEAN")]))


async def test_where_lists_of_scores_are_refused_events_go_and_it_is_remembered(
    opened: Opened, translation: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("scores", Fault(400, "expected object, received array"))
        await settle(translation(observations=1, scores=3))
        await settle(translation(observations=1, scores=4))
        assert len(fake.scores) == 4
        assert len(fake.sent_to(SCORES)) == 1
        assert len(fake.sent_to(INGESTION)) == 2

    monkeypatch.setattr("otel_bridge.exporters.langfuse.NO_LISTS_FOR_S", 0)  # as if an hour had passed
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("scores", Fault(400, "expected object, received array"))
        for _ in range(2):
            await settle(translation(observations=1, scores=3))
        assert len(fake.sent_to(SCORES)) == 2
