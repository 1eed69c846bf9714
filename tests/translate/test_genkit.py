"""Genkit's evaluators and its users' judgements are scores."""

import json
from typing import Any

from otel_bridge.translate import to_json, translate

SCOPE = "genkit-tracer"


def scores(otlp: Any, *spans: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = to_json(translate(otlp.trace(*spans)))["scores"]
    return found


def test_an_evaluators_answer_is_a_score_on_each_case(otlp: Any, id_of: Any) -> None:
    cases = [
        {
            "testCaseId": "1",
            "traceId": otlp.trace_id,
            "spanId": id_of(2),
            "evaluation": {"score": 0.5, "status": "PASS"},
        },
        {"testCaseId": "2", "evaluation": [{"score": True, "details": {"reasoning": "good"}}, {"status": "FAIL"}, {}]},
    ]
    attrs = {"genkit:metadata:subtype": "evaluator", "genkit:name": "faithful", "genkit:output": json.dumps(cases)}

    found = scores(otlp, otlp.span(1, scope=SCOPE, attrs=attrs), otlp.span(2, 1, scope=SCOPE, attrs={}))

    assert [(score["name"], score["value"], score["observationId"], score["comment"]) for score in found] == [
        ("faithful", 0.5, id_of(2), None),
        ("faithful", 1.0, id_of(1), "good"),
        ("faithful", "FAIL", id_of(1), None),
    ]


def test_what_a_user_says_judges_the_run(otlp: Any, id_of: Any) -> None:
    attrs = {
        "genkit:type": "userEngagement",
        "genkit:metadata:subtype": "userFeedback",
        "genkit:metadata:feedbackValue": "negative",
        "genkit:metadata:textFeedback": "too long",
    }
    run = otlp.span(1, scope=SCOPE, attrs={"genkit:metadata:subtype": "flow"})

    (score,) = scores(otlp, run, otlp.span(2, 1, name="user-feedback", scope=SCOPE, attrs=attrs))

    assert (score["name"], score["value"], score["comment"]) == ("user-feedback", "negative", "too long")
    assert score["observationId"] == id_of(1)
