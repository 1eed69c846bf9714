"""Chat messages of every shape become those that Langfuse renders: who speaks, in order, results tied to calls."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge import message_parts
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


KINDS = [*message_parts.CALL_KINDS, *message_parts.RESULT_KINDS, *message_parts.THOUGHT_KINDS, "text"]
WORDS = sorted(
    {
        *(*message_parts.CALL_IDS, *message_parts.ARGUMENTS, *message_parts.ANSWERS, *message_parts.TOOL_NAMES),
        *("content", "parts", "tool_calls", "reasoning_content", "item_id", "kind", "function", "text", "blocks"),
    }
)
SAID = st.recursive(
    st.uuids().map(str),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
        | st.builds(dict, st.dictionaries(st.sampled_from(WORDS), inner, max_size=4), type=st.sampled_from(KINDS))
    ),
    max_leaves=8,
)


def leaves(said: Any) -> list[str]:
    """All that is said but of which kind a part is, which its place tells."""
    if isinstance(said, str):
        return [] if said in KINDS else [said]
    return [leaf for item in (said.values() if isinstance(said, dict) else said) for leaf in leaves(item)]


@given(role=st.sampled_from(["user", "assistant", "tool"]), said=st.dictionaries(st.sampled_from(WORDS), SAID))
def test_nothing_that_a_message_says_is_lost(role: str, said: dict[str, Any]) -> None:
    found = orjson.dumps(messages([{"role": role} | said])).decode()

    assert [leaf for leaf in leaves(said) if leaf not in found] == []
