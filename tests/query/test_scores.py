"""Scores with their trace, and how much of them an answer holds."""

import orjson

from otel_bridge.model import Score
from otel_bridge.query.observations import one_observation
from otel_bridge.query.outline import outline
from otel_bridge.query.scores import list_scores
from otel_bridge.query.traces import one_trace
from otel_bridge.store.writer import Writer
from tests.query.conftest import START, Opened, Settled
from tests.query.spans import ONE, came


def test_scores_come_with_their_trace(settled: Settled, reader: Opened) -> None:
    settled(
        1,
        scores=(
            Score("a", "helpful", 0.5, "NUMERIC", START, trace_id=ONE, observation_id=f"{1:016x}"),
            Score("b", "tone", "kind", "CATEGORICAL", START + 1, trace_id=ONE, comment="very"),
        ),
    )

    shown = [(score["name"], score["value"], score["observationId"]) for score in one_trace(reader(), ONE)["scores"]]
    assert shown == [("helpful", 0.5, f"{1:016x}"), ("tone", "kind", None)]
    assert [score["name"] for score in list_scores(reader())["scores"]] == ["tone", "helpful"]


def test_what_a_judge_wrote_can_be_read_and_no_answer_grows_without_bounds(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    comment = "Because of this, and that. " * 100
    long = {"name": "n" * 2**20, "status_message": "s" * 2**21, "resource": {"r": "r" * 2**21}, "model": "m" * 2**20}
    scores = [
        Score(f"{number:03}", "judged", "l" * 2**16, "TEXT", START + number, trace_id=ONE,
              comment=comment if number == 0 else "c" * 2**16, metadata={"m": "m" * 2**16})
        for number in range(201)
    ]  # fmt: skip
    settled(1, scores=tuple(scores), observation=long)
    came(writer, span=9, parent=1, service="x" * 2**21, message="x" * 2**21)

    found = one_trace(reader(), ONE)
    assert found["scores"][0]["comment"] == comment
    assert (len(found["scores"]), found["scoreCount"]) == (200, 201)
    assert len(outline(found)) < 200_000
    assert len(orjson.dumps(found)) < 4_000_000
    for span in (1, 9):
        assert len(orjson.dumps(one_observation(reader(), ONE, f"{span:016x}"))) < 2_000_000
