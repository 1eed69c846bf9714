"""Gemini CLI, and Qwen Code after it: turns, requests and tools out of records alone."""

from typing import Any

import pytest

from otel_bridge.trace import LogEntry
from otel_bridge.translate import traces_of
from tests.translate.records import GEMINI, Say, batch, of_type, seen, shape


@pytest.fixture
def gemini(otlp: Any) -> Say:
    def say(name: str, at_ms: float, *, of: str | None = "s1########1", **attrs: Any) -> LogEntry:
        said = {"event.name": name, "session.id": "s1", "interactive": True}
        said |= {"prompt_id": of} if of else {}
        return otlp.log(0, attrs=said | attrs, scope=GEMINI, at_ms=at_ms, traced=False, body="In words.")  # type: ignore[no-any-return]

    return say


class TestGeminiCli:
    CHUNKS = (
        '[{"candidates": [{"content": {"role": "model", "parts": [{"text": "Do"}]}}], "responseId": "g1"},'
        ' {"candidates": [{"content": {"role": "model", "parts": [{"text": "ne."}]}, "finishReason": "STOP"}]}]'
    )

    def test_a_turn_is_an_agent_with_its_requests_and_tools(self, gemini: Say) -> None:
        counts = {"input_token_count": 111, "output_token_count": 23, "cached_content_token_count": 40}
        counts |= {"thoughts_token_count": 5, "tool_token_count": 0, "total_token_count": 139}
        entries = [
            gemini("gemini_cli.user_prompt", 0, prompt_length=4, prompt="Look"),
            gemini(
                "gemini_cli.api_request",
                10,
                model="m",
                request_text='[{"role": "user", "parts": [{"text": "Look"}]}]',
            ),
            gemini("gemini_cli.api_response", 100, model="m", duration_ms=90, response_text=self.CHUNKS, **counts),
            gemini(
                "gen_ai.client.inference.operation.details",
                100,
                **{
                    "gen_ai.request.model": "m",
                    "gen_ai.request.temperature": 1.0,
                    "gen_ai.output.messages": "[]",
                },
            ),
            gemini("gemini_cli.tool_call", 150, function_name="look", function_args="{}", duration_ms=30, success=True),
        ]

        [trace] = traces_of([batch(entry) for entry in reversed(entries)])
        agent, call, tool = seen(trace)

        assert shape([agent, call, tool]) == [
            ("AGENT", "gemini_cli.turn"),
            ("GENERATION", "llm_call"),
            ("TOOL", "look"),
        ]
        assert (agent.output, agent.trace.session_id) == ("Done.", "s1")
        assert call.usage == {
            "input": 71,
            "output": 23,
            "input_cached_tokens": 40,
            "output_reasoning_tokens": 5,
            "total": 139,
        }
        assert call.input == [{"role": "user", "content": "Look"}]
        assert call.output == [{"role": "assistant", "content": "Done."}]
        assert call.model_parameters == {"temperature": 1.0}
        assert (agent.metadata["num_turns"], agent.metadata["duration_api_ms"]) == (1, 90)

    def test_what_tools_put_into_the_prompt_is_input(self, gemini: Say) -> None:
        counts = {"input_token_count": 100, "output_token_count": 20, "tool_token_count": 7, "total_token_count": 127}
        [trace] = traces_of([batch(gemini("gemini_cli.api_response", 100, model="m", **counts))])

        [call] = of_type(seen(trace), "GENERATION")

        assert call.usage == {"input": 107, "output": 20, "total": 127}

    def test_records_of_no_prompt_and_of_the_only_one_stand_in_the_session(self, gemini: Say) -> None:
        entries = [
            gemini("gemini_cli.config", 0, of=None),
            gemini("gemini_cli.user_prompt", 1, of="s1"),
            gemini("gemini_cli.user_prompt", 2),
        ]

        sizes = sorted(len(trace.logs) for trace in traces_of([batch(*entries)]))

        assert sizes == [1, 2]

    def test_a_failed_request_counts_nothing(self, gemini: Say) -> None:
        failed = gemini("gemini_cli.api_error", 50, model="m", duration_ms=20, **{"error.message": "no"})
        [trace] = traces_of([batch(gemini("gemini_cli.user_prompt", 0), failed)])

        agent, call = seen(trace)

        assert (call.level, call.status_message, call.usage, agent.level) == ("ERROR", "no", None, "ERROR")


def test_qwen_code_says_the_same_in_its_own_name(otlp: Any) -> None:
    def say(name: str, at_ms: float, **attrs: Any) -> LogEntry:
        said = {"event.name": f"qwen-code.{name}", "session.id": "s1", "prompt_id": "p1"}
        return otlp.log(0, attrs=said | attrs, scope="qwen-code", at_ms=at_ms, traced=False)  # type: ignore[no-any-return]

    counts = {"input_token_count": 111, "output_token_count": 23, "cached_content_token_count": 40}
    counts |= {"thoughts_token_count": 5, "total_token_count": 134}
    entries = [
        say("user_prompt", 0, prompt="Look"),
        say("api_request", 10, model="m", request_text='[{"role": "user", "parts": [{"text": "Look"}]}]'),
        say("api_response", 100, model="m", duration_ms=90, response_text="Done.", response_id="r1", **counts),
        say("api_response", 120, model="m", duration_ms=9, response_text="Found.", subagent_name="finder", **counts),
        say("tool_call", 150, function_name="look", function_args="{}", success=False, error="no such place"),
    ]

    [trace] = traces_of([batch(*entries)])
    agent, call, _, tool = seen(trace)

    assert shape([agent, call, tool]) == [("AGENT", "qwen-code.turn"), ("GENERATION", "llm_call"), ("TOOL", "look")]
    assert (agent.input, agent.output, agent.trace.session_id) == ("Look", "Done.", "s1")
    assert call.usage == {
        "input": 71,
        "output": 18,
        "input_cached_tokens": 40,
        "output_reasoning_tokens": 5,
        "total": 134,
    }
    assert call.input == [{"role": "user", "content": "Look"}]
    assert call.output == [{"role": "assistant", "content": "Done."}]
    assert (tool.level, tool.status_message) == ("ERROR", "no such place")


def test_a_turn_of_qwen_code_with_spans_asks_and_answers_what_its_records_say(otlp: Any) -> None:
    def span(number: int, name: str, parent: int, operation: str, **attrs: Any) -> Any:
        said = {"gen_ai.operation.name": operation} | attrs
        return otlp.span(number, parent=parent, name=f"qwen-code.{name}", scope="qwen-code", attrs=said)

    def say(number: int, name: str, at_ms: float, **attrs: Any) -> LogEntry:
        said = {"event.name": f"qwen-code.{name}", "session.id": "s1"}
        return otlp.log(number, attrs=said | attrs, scope="qwen-code", at_ms=at_ms)  # type: ignore[no-any-return]

    asked = '[{"role": "user", "parts": [{"text": "<skills/>"}, {"text": "Look"}]}]'
    trace = otlp.trace(
        span(1, "interaction", 0, "invoke_agent"),
        span(2, "llm_request", 1, "chat"),
        span(3, "tool", 1, "execute_tool", **{"gen_ai.tool.name": "look", "call_id": "c1"}),
        span(4, "tool_call", 3, "", **{"event.name": "qwen-code.tool_call", "function_name": "look", "call_id": "c1"}),
        span(5, "llm_request", 1, "chat"),
        say(2, "api_request", 10, request_text=asked),
        say(2, "api_response", 20, response_text=None),
        say(5, "api_request", 40, request_text='[{"role": "user", "parts": [{"functionResponse": {}}]}]'),
        say(5, "api_response", 50, response_text="Done."),
    )

    turn, *below = seen(trace)

    assert (turn.type, turn.input, turn.output) == ("AGENT", "Look", "Done.")
    assert shape(of_type(below, "TOOL")) == [("TOOL", "look")]
