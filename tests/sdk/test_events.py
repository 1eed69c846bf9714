"""Scores, feedback and events, and the ids that stand on all of them."""

import logging
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, SupportsFloat

import pytest
from opentelemetry import baggage, propagate
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from pydantic import BaseModel

from otel_bridge.sdk import correlation, event, feedback, score, span
from tests.sdk.conftest import Spans


def said(logs: InMemoryLogRecordExporter) -> list[tuple[str | None, dict[str, Any]]]:
    return [
        (found.log_record.event_name, dict(found.log_record.attributes or {})) for found in logs.get_finished_logs()
    ]


def test_a_score_is_an_evaluation_event_on_its_span(spans: Spans, logs: InMemoryLogRecordExporter) -> None:
    with span("work") as work:
        score("relevance", 0.9, comment="good")
        score("tone", "friendly")

    assert said(logs) == [
        (
            "gen_ai.evaluation.result",
            {
                "gen_ai.evaluation.name": "relevance",
                "gen_ai.evaluation.score.value": 0.9,
                "gen_ai.evaluation.explanation": "good",
            },
        ),
        (
            "gen_ai.evaluation.result",
            {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.label": "friendly"},
        ),
    ]
    assert {found.log_record.span_id for found in logs.get_finished_logs()} == {
        work.otel.get_span_context().span_id,
    }


def test_another_process_scores_by_ids(spans: Spans, logs: InMemoryLogRecordExporter) -> None:
    with span("work") as work:
        header = f"00-{work.trace_id}-{work.span_id}-01"
    feedback("up", comment="thanks", on=header, user="u1")
    score("quality", 1, session="s1")
    score("whole", 1, on=work.trace_id)

    by_header, by_session, by_trace = logs.get_finished_logs()
    assert (by_trace.log_record.trace_id, by_trace.log_record.span_id) == (work.otel.get_span_context().trace_id, 0)
    assert by_header.log_record.trace_id == work.otel.get_span_context().trace_id
    assert by_header.log_record.span_id == work.otel.get_span_context().span_id
    assert dict(by_header.log_record.attributes or {})["gen_ai.evaluation.score.value"] is True
    assert not by_session.log_record.trace_id
    assert dict(by_session.log_record.attributes or {})["session.id"] == "s1"


def test_ids_stand_on_events_and_travel(spans: Spans, logs: InMemoryLogRecordExporter) -> None:
    carrier: dict[str, str] = {}
    with correlation({"budget.id": "b1"}, session="s1", user="u1", tags=["a"], workflow__id="w1"):
        with correlation(tags=["b"], local=True, thread__id="t1"):
            event("cache.hit", key="k")
            propagate.inject(carrier)
        assert baggage.get_baggage("session.id") == "s1"
    assert baggage.get_all() == {}

    assert said(logs) == [
        (
            "cache.hit",
            {
                "budget.id": "b1",
                "session.id": "s1",
                "user.id": "u1",
                "workflow.id": "w1",
                "thread.id": "t1",
                "langfuse.trace.tags": ("a", "b"),
                "key": "k",
            },
        )
    ]
    assert sorted(carrier["baggage"].split(",")) == [
        "budget.id=b1",
        "session.id=s1",
        "user.id=u1",
        "workflow.id=w1",
    ]


def test_what_is_no_judgement_is_said_to_be_none(
    logs: InMemoryLogRecordExporter, caplog: pytest.LogCaptureFixture
) -> None:
    score("none", None)  # type: ignore[arg-type]
    score("bytes", b"1.5")  # type: ignore[arg-type]
    score("bytes", bytearray(b"1"))  # type: ignore[arg-type]
    feedback("sideways")  # type: ignore[arg-type]
    assert said(logs) == []
    assert caplog.text.count("it is left out") == 4


class Scalar:
    """As those of numpy and torch."""

    def __init__(self, value: float) -> None:
        self.item = lambda: value

    def __float__(self) -> float:
        return float(self.item())


def test_a_score_takes_the_numbers_of_others(logs: InMemoryLogRecordExporter) -> None:
    given: list[SupportsFloat] = [Scalar(0.5), Scalar(True), Fraction(1, 4), Decimal("0.75")]
    for value in given:
        score("relevance", value)
    values = [attributes["gen_ai.evaluation.score.value"] for _, attributes in said(logs)]
    assert values == [0.5, True, 0.25, 0.75]
    assert values[1] is True


@dataclass
class Upload:
    path: str
    bytes: int
    tags: list[str] = field(default_factory=list)


class Hit(BaseModel):
    key: str
    age_s: float


class Broken(BaseModel):
    def model_dump(self, **_: Any) -> dict[str, Any]:
        raise RuntimeError("boom")


def test_the_payload_of_an_event_may_be_of_a_class_of_ones_own(logs: InMemoryLogRecordExporter) -> None:
    event("file.upload", Upload("a.txt", 7, ["x"]), user__id="ada")
    event("cache.hit", Hit(key="k", age_s=1.5))
    event("file.upload", {"path": "b.txt"})
    assert said(logs) == [
        ("file.upload", {"path": "a.txt", "bytes": 7, "tags": ("x",), "user.id": "ada"}),
        ("cache.hit", {"key": "k", "age_s": 1.5}),
        ("file.upload", {"path": "b.txt"}),
    ]


@pytest.mark.parametrize("payload", [7, "word", [1], object(), Upload, Broken()])
def test_what_is_no_payload_is_said_to_be_none_and_the_event_is_told(
    logs: InMemoryLogRecordExporter, caplog: pytest.LogCaptureFixture, payload: object
) -> None:
    """An agent does not fail by its telemetry."""
    with caplog.at_level(logging.WARNING):
        event("file.upload", payload, bytes=7)
    assert said(logs) == [("file.upload", {"bytes": 7})]
    assert "'file.upload' is a mapping, a dataclass or a Pydantic model, and not " in caplog.text
