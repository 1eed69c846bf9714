"""Chat messages of every shape become those that Langfuse renders: who speaks, in order, results tied to calls."""

from typing import Any

import pytest

from otel_bridge.translate.messages import messages

RESULT = {"type": "tool_result", "tool_use_id": "c", "content": "sunny"}
CALL = {"type": "tool_use", "id": "c", "name": "weather", "input": {}}
TEXT = {"type": "text", "text": "And tomorrow?"}


def spoken(*said: dict[str, Any]) -> list[tuple[str, Any]]:
    """Who says what, in a word each."""
    found = messages(list(said))
    assert isinstance(found, list)
    return [(one["role"], one.get("tool_call_id") or one.get("tool_calls", one.get("content"))) for one in found]


@pytest.mark.parametrize(
    ("parts", "order"),
    [
        ([RESULT, TEXT], ["tool", "user"]),
        ([TEXT, RESULT], ["user", "tool"]),
        ([RESULT, TEXT, RESULT], ["tool", "user", "tool"]),
        ([CALL, RESULT, TEXT], ["user", "tool"]),
        ([RESULT, RESULT], ["tool", "tool"]),
    ],
)
def test_results_of_tools_stand_where_they_stood(parts: list[Any], order: list[str]) -> None:
    """A result that opens a message answers the call before it, which nothing may come between."""
    assert [who for who, _ in spoken({"role": "user", "content": parts})] == order


@pytest.mark.parametrize("key", ["call_id", "tool_call_id", "toolCallId"])
def test_a_call_goes_by_the_id_that_its_result_names_not_by_its_own_as_an_item(key: str) -> None:
    """As of LiveKit, and of OpenAI's Responses API."""
    said = {"role": "assistant", "tool_calls": [{"id": "item", key: "c", "name": "f", "arguments": "{}"}]}

    assert messages([said]) == [
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "item_id": "item"}
            ],
        }
    ]


@pytest.mark.parametrize(
    ("role", "shown"),
    [
        ("USER", "user"),
        ("CHATBOT", "assistant"),
        ("Assistant", "assistant"),
        ("model", "assistant"),
        ("Critic", "Critic"),
    ],
)
def test_who_speaks_is_told_whatever_the_case(role: str, shown: str) -> None:
    assert spoken({"role": role, "content": "Hi"}) == [(shown, "Hi")]


@pytest.mark.parametrize(("kind", "role"), [("ToolMessageChunk", "tool"), ("AIMessageChunk", "assistant")])
def test_a_chunk_of_langchains_is_spoken_by_who_speaks_the_message(kind: str, role: str) -> None:
    assert spoken({"lc": 1, "id": ["messages", kind], "kwargs": {"content": "Hi"}}) == [(role, "Hi")]


def test_the_name_beside_a_tools_result_is_the_results() -> None:
    said = {"role": "tool", "name": "weather", "parts": [{"type": "tool_call_response", "id": "c", "result": "sunny"}]}

    assert messages([said]) == [
        {"role": "tool", "name": "weather", "content": "sunny", "tool_call_id": "c", "type": "tool_call_response"}
    ]
