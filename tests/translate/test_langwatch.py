"""LangWatch's times, and what it says of a span in an event."""

import json
from typing import Any

from otel_bridge.translate import translate
from tests.translate.records import seen

SCOPE = "langwatch"


def test_the_first_token_came_when_its_times_say(otlp: Any) -> None:
    first_ms = otlp.start_ns // 1_000_000 + 20
    attrs = {"langwatch.span.type": "llm", "langwatch.timestamps": json.dumps({"first_token_at": first_ms})}

    [call] = seen(otlp.trace(otlp.span(1, scope=SCOPE, attrs=attrs)))

    assert call.completion_start_ns == first_ms * 1_000_000


def test_an_evaluation_in_an_event_is_a_score_with_what_was_noted(otlp: Any) -> None:
    said = {"name": "len", "passed": True, "score": 0.7, "label": None, "details": "fine"}
    event = ("langwatch.evaluation.custom", {"json_encoded_event": json.dumps(said)})

    [score] = translate(otlp.trace(otlp.span(1, scope=SCOPE, attrs={}, events=[event]))).scores

    assert (score.name, score.value, score.comment) == ("len", 0.7, "fine")


def test_javascript_tells_its_counts_in_its_own_spelling(otlp: Any) -> None:
    counts = {"type": "json", "value": {"promptTokens": 11, "completionTokens": 3, "cost": 0.5}}
    attrs = {"langwatch.span.type": "llm", "langwatch.metrics": json.dumps(counts)}

    [call] = seen(otlp.trace(otlp.span(1, scope="langwatch.manual", attrs=attrs)))

    assert call.usage == {"input": 11, "output": 3, "total": 14}
    assert call.cost == {"total": 0.5}
