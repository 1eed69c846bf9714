"""Requests and responses of providers' APIs become chat messages, and nothing of them is lost."""

from typing import Any

import pytest

from otel_bridge.translate.provider import request, response, usage


@pytest.mark.parametrize(
    ("raw", "messages", "tools", "rest"),
    [
        (
            {"model": "m", "system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}], "tools": [1]},
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            [1],
            {"model": "m"},
        ),
        (
            {"instructions": "Be brief.", "input": "Hi", "store": None},
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            None,
            {},
        ),
        (
            {
                "modelId": "m",
                "system": [{"text": "Be brief."}],
                "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
            },
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            None,
            {"modelId": "m"},
        ),
        (
            {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "config": {"temperature": 0}},
            [{"role": "user", "content": "Hi"}],
            None,
            {"config": {"temperature": 0}},
        ),
        ({"city": "Paris"}, {"city": "Paris"}, None, {}),
        ("Hi", "Hi", None, {}),
    ],
    ids=["anthropic", "responses", "bedrock", "gemini", "something else", "text"],
)
def test_requests(raw: Any, messages: Any, tools: Any, rest: Any) -> None:
    assert request(raw) == (messages, tools, rest)


@pytest.mark.parametrize(
    ("raw", "messages", "rest"),
    [
        (
            {"id": "c", "choices": [{"index": 0, "text": "Done.", "finish_reason": "stop"}]},
            [{"role": "assistant", "content": "Done.", "finish_reason": "stop"}],
            {"id": "c"},
        ),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "Done."}], "stop_reason": "end_turn"},
            [{"role": "assistant", "content": "Done."}],
            {"stop_reason": "end_turn"},
        ),
        (
            {"candidates": [{"content": {"role": "model", "parts": [{"text": "Done."}]}, "finish_reason": "STOP"}]},
            [{"role": "assistant", "content": "Done.", "finish_reason": "STOP"}],
            {},
        ),
        (
            {"output": {"message": {"role": "assistant", "content": [{"text": "Done."}]}}, "stopReason": "end_turn"},
            [{"role": "assistant", "content": "Done."}],
            {"stopReason": "end_turn"},
        ),
        (
            {"message": {"role": "assistant", "content": "Done."}, "done": True},
            [{"role": "assistant", "content": "Done."}],
            {"done": True},
        ),
        ({"choices": ["odd"], "output": [3]}, ["odd"], {"output": [3]}),
        ({"answer": 42}, {"answer": 42}, {}),
        ([1], [1], {}),
    ],
    ids=["completion", "anthropic", "gemini", "bedrock", "ollama", "odd", "something else", "list"],
)
def test_responses(raw: Any, messages: Any, rest: Any) -> None:
    assert response(raw) == (messages, rest)


@pytest.mark.parametrize(
    ("raw", "wanted", "rest"),
    [
        (
            {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15, "cacheReadInputTokens": 90},
            {"input": 10, "output": 5, "input_cached_tokens": 90, "total": 105},
            {},
        ),
        (
            {  # a gateway's: Anthropic's words added to OpenAI's, which say that the cached tokens are inside
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "cache_read_input_tokens": 90,
                "prompt_tokens_details": {"cached_tokens": 90},
            },
            {"input": 10, "output": 5, "input_cached_tokens": 90, "total": 105},
            {},
        ),
        (
            {"prompt_tokens": 9, "total_tokens": 9, "completion_tokens_details": None, "service_tier": "flex"},
            {"input": 9, "total": 9},
            {"service_tier": "flex"},
        ),
        (
            {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"image_tokens": 4}},
            {"input": 9, "output": 1, "total": 10},
            {"input_tokens_details": {"image_tokens": 4}},
        ),
        (
            {  # LangChain's of Anthropic: 0 written in all, where it is told for how long
                "input_tokens": 100,
                "output_tokens": 5,
                "input_token_details": {
                    "cache_read": 40,
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": 7,
                    "ephemeral_1h_input_tokens": 3,
                },
            },
            {
                "input": 50,
                "input_cached_tokens": 40,
                "input_cache_creation": 7,
                "input_cache_creation_1h": 3,
                "output": 5,
                "total": 105,
            },
            {},
        ),
        ({"seconds": 3}, None, {}),
        ("none", None, {}),
    ],
)
def test_counts(raw: Any, wanted: dict[str, int] | None, rest: dict[str, Any]) -> None:
    assert usage(raw) == (wanted, rest)
