"""What a dialect takes and does not understand, or finds said twice and differently, is shown all the same."""

import json
from typing import Any

import orjson
import pytest

from otel_bridge.translate import to_json, translate

GOOGLE = "gcp.vertex.agent."
LLM = {"haystack.component.type": "OpenAIChatGenerator"}


@pytest.mark.parametrize(
    ("scope", "name", "attrs"),
    [
        ("test", "", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.definitions": "KEPT"}),
        ("test", "", {"requested_model": "KEPT", "gen_ai.request.model": "a", "gen_ai.response.model": "b"}),
        ("test", "", {"langfuse.observation.cost_details": {"input": 0.5, "currency": "KEPT"}}),
        ("openrouter", "", {"langfuse.trace.metadata.k": "a", "trace.metadata.k": "KEPT"}),
        ("openrouter", "", {"gen_ai.completion": {"completion": "KEPT", "content": "a"}}),
        ("openrouter", "", {"gen_ai.completion": {"completion": "a", "rawRequest": "KEPT"}}),
        ("openrouter", "", {"gen_ai.completion": {"completion": "a", "rawRequest": {"model": "m", "prompt": "KEPT"}}}),
        ("logfire", "", {"logfire.tags": ["a", {"b": "KEPT"}]}),
        ("openinference.x", "", {"llm.prompts": ["a", ["KEPT"]]}),
        ("openinference.x", "", {"openinference.span.kind": "AGENT", "llm.token_count.total": 4711}),
        ("langsmith", "", {"langsmith.span.kind": "llm", "gen_ai.usage.total_tokens": 4711}),
        ("openlit.x", "", {"gen_ai.usage.total_tokens": 1, "gen_ai.client.token.usage": 4711}),
        ("ai", "", {"ai.operationId": "ai.embed.doEmbed", "ai.usage.tokens": 1, "gen_ai.usage.input_tokens": "KEPT"}),
        ("haystack", "", LLM | {"haystack.component.input": "KEPT"}),
        ("haystack", "", LLM | {"haystack.component.input": {"prompt": "a", "generation_kwargs": "KEPT"}}),
        (
            "haystack",
            "",
            LLM | {"haystack.component.input": {"prompt": "a", "tools": {"type": "Toolset", "x": "KEPT"}}},
        ),
        ("gemini-cli", "llm_call", {"gen_ai.input.messages": "a", "request_text": "KEPT"}),
        ("gemini-cli", "llm_call", {"gen_ai.output.messages": "KEPT", "response_text": [{"candidates": []}]}),
        ("gemini-cli", "llm_call", {"gen_ai.output.messages": "a", "response_text": "KEPT"}),
        ("gemini-cli", "llm_call", {"response_text": [{"candidates": [{"content": {}, "citationMetadata": "KEPT"}]}]}),
        (
            "gemini-cli",
            "llm_call",
            {"response_text": [{"candidates": [{"content": {}, "finishReason": why}]} for why in ("KEPT", "STOP")]},
        ),
        ("gemini-cli", "llm_call", {"input_token_count": 1, "tool_token_count": 4711}),
        ("gemini-cli", "llm_call", {"gen_ai.input.messages": "a", "gen_ai.system_instructions": "KEPT"}),
        ("livekit-agents", "llm_node", {"lk.response.function_calls": "KEPT"}),
        (GOOGLE[:-1], "call_llm", {f"{GOOGLE}llm_request": {"model": ["KEPT"]}}),
        (GOOGLE[:-1], "call_llm", {f"{GOOGLE}llm_request": {"config": "KEPT"}}),
        (GOOGLE[:-1], "call_llm", {f"{GOOGLE}llm_request": {"contents": "KEPT"}}),
        (GOOGLE[:-1], "call_llm", {f"{GOOGLE}llm_response": {"content": "KEPT"}}),
        (GOOGLE[:-1], "", {f"{GOOGLE}tool_call_args": {"a": "KEPT"}, f"{GOOGLE}data": "b"}),
        (
            GOOGLE[:-1],
            "call_llm",
            {f"{GOOGLE}llm_response": {"usage_metadata": {"prompt_token_count": 1, "traffic_type": "KEPT"}}},
        ),
    ],
)
@pytest.mark.parametrize("give", [lambda said: said, json.dumps], ids=["structured", "as JSON"])
def test_what_is_taken_is_shown(otlp: Any, scope: str, name: str, attrs: dict[str, Any], give: Any) -> None:
    given = {key: give(item) if isinstance(item, dict | list) else item for key, item in attrs.items()}

    translation = translate(otlp.trace(otlp.span(name=name or "a span", scope=scope, attrs=given)))

    shown = orjson.dumps(to_json(translation)).decode()
    assert "KEPT" in shown or "4711" in shown


@pytest.mark.parametrize(
    ("scope", "attrs", "name"),
    [
        ("com.anthropic.claude_code.tracing", {"span.type": "llm_request"}, "assistant_response"),
        ("codex_exec", {"call_id": "c", "tool_name": "a span"}, "codex.tool_result"),
        ("gemini-cli", {"gen_ai.operation.name": "llm_call"}, "gen_ai.client.inference.operation.details"),
    ],
)
def test_an_event_that_is_called_like_a_record_is_shown(
    otlp: Any, scope: str, attrs: dict[str, Any], name: str
) -> None:
    translation = translate(otlp.trace(otlp.span(scope=scope, attrs=attrs, events=[(name, {"k": "KEPT"})])))

    assert "KEPT" in orjson.dumps(to_json(translation)).decode()


@pytest.mark.parametrize("name", ["gen_ai.choice", "gen_ai.user.message", "db.query.result"])
def test_a_record_may_say_one_thing_in_its_body_and_another_beside(otlp: Any, name: str) -> None:
    store = {"db.system": "chroma", "db.operation": "query"}
    record = otlp.log(name=name, attrs={"content": "BESIDE"}, body="BODY")

    shown = orjson.dumps(to_json(translate(otlp.trace(otlp.span(attrs=store), record)))).decode()

    assert "BESIDE" in shown
    assert "BODY" in shown
