"""Requests and responses of providers' APIs become chat messages, and nothing of them is lost."""

from typing import Any

import pytest

from otel_bridge.translate.provider import request, response


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
