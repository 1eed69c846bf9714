"""Mastra's steps tell what their request was asked and answered."""

import json
from collections.abc import Callable
from typing import Any

from otel_bridge.translate import to_json, translate

SCOPE = "@mastra/otel-exporter"
CALLED = {"text": "", "toolCalls": [{"toolCallId": "c1", "toolName": "weather", "args": {"city": "Rome"}}]}
STEP = {
    "mastra.span.type": "model_step",
    "mastra.model_step.input": '[{"role": "user", "content": "Weather?"}]',
    "mastra.model_step.output": json.dumps(CALLED),
}
CHAT = {"mastra.span.type": "model_inference", "gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
NO_TEXT = {"gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": ""}]}]'}
TEXT = {"gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "Sunny"}]}]'}


def seen(otlp: Any, id_of: Callable[[int], str], *spans: Any) -> dict[int, Any]:
    made = to_json(translate(otlp.trace(*spans)))["observations"]
    return {
        number: next(one for one in made if one["id"] == id_of(number)) for number in (1, 2, 3) if number <= len(made)
    }


def test_a_request_that_shows_neither_has_them_from_its_step(otlp: Any, id_of: Callable[[int], str]) -> None:
    step, chat = (otlp.span(1, scope=SCOPE, attrs=STEP), otlp.span(2, 1, scope=SCOPE, attrs=CHAT | NO_TEXT))

    told = seen(otlp, id_of, step, chat)

    assert told[2]["type"] == "GENERATION"
    assert told[2]["input"] == [{"role": "user", "content": "Weather?"}]
    assert told[2]["output"] == told[1]["output"]
    assert told[2]["output"][0]["tool_calls"][0]["function"]["name"] == "weather"


def test_what_a_request_says_itself_stands(otlp: Any, id_of: Callable[[int], str]) -> None:
    step, chat = (otlp.span(1, scope=SCOPE, attrs=STEP), otlp.span(2, 1, scope=SCOPE, attrs=CHAT | TEXT))

    assert seen(otlp, id_of, step, chat)[2]["output"] == [{"role": "assistant", "content": "Sunny"}]


def test_a_step_of_two_requests_tells_of_neither(otlp: Any, id_of: Callable[[int], str]) -> None:
    step = otlp.span(1, scope=SCOPE, attrs=STEP)
    chats = [otlp.span(number, 1, scope=SCOPE, attrs=CHAT | NO_TEXT) for number in (2, 3)]

    assert seen(otlp, id_of, step, *chats)[2]["input"] is None
