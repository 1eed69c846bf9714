"""Evaluation results in a dialect's own words are scores, on what they judge."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_bridge.batch import Batch
from otel_bridge.model import Translation
from otel_bridge.translate import gather, traces_of, translate


def said(translation: Translation) -> dict[str, tuple[float | str, str, str | None]]:
    return {score.name: (score.value, score.data_type, score.observation_id) for score in translation.scores}


def test_an_evaluated_case_carries_its_assertions_scores_and_labels(otlp: Any, id_of: Callable[[int], str]) -> None:
    case = otlp.span(
        2,
        1,
        name="case: {case_name}",
        scope="pydantic-evals",
        attrs={
            "inputs": "What?",
            "output": "That.",
            "assertions": json.dumps({"Equals": {"name": "Equals", "value": False, "reason": "not the same"}}),
            "scores": json.dumps({"Close": {"name": "Close", "value": 0.5, "reason": None}}),
            "labels": json.dumps({"Tone": {"name": "Tone", "value": "kind", "source": {"name": "Tone"}}}),
        },
    )
    run = otlp.span(1, name="evaluate {name}", scope="pydantic-evals", attrs={"assertion_pass_rate": 0.25})

    translation = translate(otlp.trace(run, case))

    assert said(translation) == {
        "Equals": (0.0, "BOOLEAN", id_of(2)),
        "Close": (0.5, "NUMERIC", id_of(2)),
        "Tone": ("kind", "CATEGORICAL", id_of(2)),
        "assertion_pass_rate": (0.25, "NUMERIC", id_of(1)),
    }
    assert next(score.comment for score in translation.scores if score.name == "Equals") == "not the same"
    seen = {one.id: one for one in translation.observations}[id_of(2)]
    assert (seen.input, seen.output) == ("What?", "That.")


def test_feedback_judges_the_span_above_it_and_is_the_same_score_however_often_it_comes(
    otlp: Any, id_of: Callable[[int], str]
) -> None:
    judged = otlp.span(1)
    feedback = otlp.span(
        2,
        1,
        scope="logfire.feedback",
        attrs={
            "logfire.span_type": "annotation",
            "logfire.feedback.name": "helpful",
            "helpful": True,
            "logfire.feedback.comment": "thanks",
        },
    )

    first, again = translate(otlp.trace(judged, feedback)), translate(otlp.trace(judged, feedback))

    assert said(first) == {"helpful": (1.0, "BOOLEAN", id_of(1))}
    assert first.scores[0].comment == "thanks"
    assert first.scores[0].id == again.scores[0].id


def test_what_is_no_judgement_gives_no_score(otlp: Any) -> None:
    broken = otlp.span(
        1, name="case: x", scope="pydantic-evals", attrs={"scores": '{"a": {"value": null}, "b": 3}', "labels": "[1]"}
    )

    assert translate(otlp.trace(broken)).scores == []


def test_an_evaluators_cases_are_a_score_each(otlp: Any) -> None:
    cases = [{"testCaseId": case, "evaluation": {"score": 1}} for case in ("a", "b")]
    attrs = {
        "genkit:metadata:subtype": "evaluator",
        "genkit:name": "faithful",
        "genkit:output": json.dumps(cases),
    }

    scores = translate(otlp.trace(otlp.span(1, scope="genkit-tracer", attrs=attrs))).scores

    assert [score.metadata["testCaseId"] for score in scores] == ["a", "b"]
    assert len({score.id for score in scores}) == 2


def judgement(**said: str) -> Batch:
    """One that names no trace."""
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(event_name="gen_ai.evaluation.result", time_unix_nano=5)
    )
    whole = {"gen_ai.evaluation.name": "kind", "gen_ai.evaluation.score.label": "yes", **said}
    for key, value in whole.items():
        record.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    return Batch.from_request(request)


def test_a_judgement_of_a_session_is_a_score_of_it() -> None:
    """The running bridge gathers it under a key of the session, a closed input does the same."""
    batch = judgement(**{"session.id": "s 1"})

    assert list(gather(batch)) == ["session:s 1"]
    [trace] = traces_of([batch])
    [score] = translate(trace).scores
    assert (score.name, score.value, score.session_id, score.trace_id, score.observation_id) == (
        *("kind", "yes", "s 1"),
        *(None, None),
    )


@pytest.mark.parametrize("key", ["gen_ai.response.id", "llm.response.id"])
def test_a_judgement_of_a_response_is_gathered_under_it(key: str) -> None:
    batch = judgement(**{key: "r1", "session.id": "s 1"})

    assert list(gather(batch)) == ["answer:r1"]


def test_a_judgement_of_a_response_that_a_closed_input_does_not_have_is_a_score_all_the_same() -> None:
    [trace] = traces_of([judgement(**{"gen_ai.response.id": "r1"})])

    [score] = translate(trace).scores
    assert (trace.key, score.value, score.trace_id, score.session_id) == ("", "yes", None, None)
