"""How much is kept of what people and models said."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.batch import Batch
from otel_bridge.translate import traces_of, translate
from tests.processors.redact.through import Through
from tests.processors.requests import trace_request
from tests.values import pairs


@pytest.mark.parametrize("key", ["gen_ai.input.messages", "input.value", "llm.prompts.0.content", "ai.response.text"])
async def test_how_much_content_is_kept(key: str) -> None:
    text = "tell me about ada@example.org and " + "x" * 100

    assert await Through(content="none").attribute(key, text) is None
    assert await Through(content="metadata").attribute(key, text) == f"[{len(text)} characters]"
    cut = await Through(packs=["pii"], content="truncated", truncate_to=25).attribute(key, text)
    assert cut is not None
    assert cut.startswith("tell me about [REDACTED:e…")  # redacted first, or half an address would be left
    assert "ada@" not in cut
    assert await Through(content="truncated").attribute(key, "short") == "short"


@pytest.mark.parametrize(
    "key", ["gen_ai.request.model", "gen_ai.usage.input_tokens", "llm.model_name", "session.id", "gen_ai.prompt.0.role"]
)
async def test_without_content_a_trace_still_says_what_happened(key: str) -> None:
    assert await Through(content="none").attribute(key, "something") == "something"


CASES = Path(__file__).parents[2] / "translate" / "cases"
FORM = {"role", "type", "id", "name", "tool_call_id", "finish_reason", "index"}


def _content_of(shown: Any, key: str = "") -> list[Any]:
    """The texts that are more than the form of messages and calls."""
    if isinstance(shown, dict):
        return [found for name, item in shown.items() for found in _content_of(item, name)]
    if isinstance(shown, list):
        return [found for item in shown for found in _content_of(item, key)]
    return [shown] if isinstance(shown, str) and shown not in ("", "{}") and key not in FORM else []


async def test_without_content_no_dialect_has_an_input_or_an_output() -> None:
    """Whatever the instrumentation calls it: over every case of every dialect."""
    redactor, shown = Through(content="none"), {}
    for path in sorted(CASES.glob("*/*.json")):
        case = json.loads(path.read_text())
        request, span = trace_request(1)
        request.resource_spans[0].scope_spans[0].scope.name = case.get("scope", "test")
        span.name = case.get("name", "a span")
        span.attributes.extend(pairs(case.get("attrs", {})))
        for event in case.get("events", ()):
            told = pairs(event.get("attrs", {}))
            span.events.add(name=event["name"], time_unix_nano=span.start_time_unix_nano, attributes=told)
        [trace] = traces_of([await redactor(Batch.from_request(request))])
        for seen in translate(trace).observations:
            if said := _content_of([seen.input, seen.output]):
                shown[f"{path.parent.name}/{path.stem}"] = said
    assert shown == {}
