"""Codex: turns, requests and tools out of records alone, or beside spans."""

from typing import Any

import pytest

from otel_bridge.trace import LogEntry
from otel_bridge.translate import to_json, traces_of, translate
from tests.translate.records import CODEX, Say, batch, of_type, seen, shape


@pytest.fixture
def codex(otlp: Any) -> Say:
    def say(name: str, at_ms: float, *, version: str = "0.169.0", **attrs: Any) -> LogEntry:
        said = {"event.name": f"codex.{name}", "conversation.id": "c1", "app.version": version, "model": "gpt-5-codex"}
        return otlp.log(0, name="event otel/src/e.rs:1", attrs=said | attrs, scope=CODEX, at_ms=at_ms, traced=False)  # type: ignore[no-any-return]

    return say


def streamed(codex: Say, at_ms: float, tokens: int, **more: Any) -> list[LogEntry]:
    """A response's stream and its end."""
    counts = {"input_token_count": str(tokens), "output_token_count": "23", "cached_token_count": 40}
    kind = {"event.kind": "response.completed"}
    return [
        codex("sse_event", at_ms - 50, **{"event.kind": "response.created"}, **more),
        codex("sse_event", at_ms, **kind, **more),
        codex("sse_event", at_ms, **kind, **counts, ttft_ms=20, **more),
    ]


class TestCodex:
    @pytest.fixture
    def conversation(self, codex: Say) -> list[LogEntry]:
        return [
            codex("conversation_starts", 0, approval_policy="never"),
            codex("user_prompt", 10, prompt="Look", prompt_length="4"),
            codex("api_request", 60, duration_ms="40", **{"http.response.status_code": 200}),
            *streamed(codex, 120, 111),
            codex("tool_decision", 130, tool_name="exec", call_id="t1", decision="approved"),
            codex("tool_result", 180, tool_name="exec", call_id="t1", duration_ms="45", arguments="{}", output="a"),
            codex("user_prompt", 500, prompt="[REDACTED]"),
            codex("api_request", 540, duration_ms="30"),
            *streamed(codex, 600, 211),
        ]

    def test_turns_stand_in_their_conversation(self, conversation: list[LogEntry]) -> None:
        [trace] = traces_of([batch(*conversation)])

        root, first, call, tool, second, last = seen(trace)

        assert shape([root, first, call, tool, second, last]) == [
            ("SPAN", "codex.conversation"),
            ("AGENT", "session_task.turn"),
            ("GENERATION", "try_run_sampling_request"),
            ("TOOL", "exec"),
            ("AGENT", "session_task.turn"),
            ("GENERATION", "try_run_sampling_request"),
        ]
        assert [each.parent_id for each in (first, call, tool, second, last)] == [
            root.id,
            first.id,
            first.id,
            root.id,
            second.id,
        ]
        assert (first.input, second.input) == ("Look", None)
        assert call.usage == {"input": 71, "output": 23, "input_cached_tokens": 40, "total": 134}
        assert (call.model, call.end_ns - call.start_ns) == ("gpt-5-codex", 100_000_000)
        assert call.metadata["stream_events"] == {"response.created": 1, "response.completed": 1}
        assert (tool.input, tool.output) == ({}, "a")
        assert first.metadata["duration_api_ms"] == 100
        assert root.trace.session_id == "c1"

    def test_the_order_of_arrival_changes_nothing(self, conversation: list[LogEntry]) -> None:
        [trace] = traces_of([batch(*conversation)])
        [turned] = traces_of([batch(entry) for entry in reversed(conversation)])

        assert to_json(translate(trace)) == to_json(translate(turned))

    def test_a_failed_request_counts_nothing(self, codex: Say) -> None:
        failed = codex("api_request", 30, duration_ms=20, **{"http.response.status_code": 500, "error.message": "no"})
        [trace] = traces_of([batch(codex("user_prompt", 0, prompt="Look"), failed)])

        [call] = of_type(seen(trace), "GENERATION")

        assert (call.level, call.status_message, call.usage) == ("ERROR", "no", None)

    def test_the_stream_alone_was_counted_by_the_spans(self, codex: Say) -> None:
        """With traces on all other records name a trace, and go there, but for the one of the first token's time."""
        [trace] = traces_of([batch(codex("turn_ttft", 90, duration_ms="80"), *streamed(codex, 100, 111))])

        [told] = seen(trace)

        assert (told.type, told.level, told.usage) == ("SPAN", "DEBUG", None)
        first, counted = told.metadata["otel.logs"]
        assert (first["attributes"]["duration_ms"], counted["attributes"]["input_token_count"]) == ("80", "111")

    def test_spans_of_older_versions_counted_nothing(self, codex: Say) -> None:
        [trace] = traces_of([batch(*streamed(codex, 100, 111, version="0.121.0"))])

        assert len(of_type(seen(trace), "GENERATION")) == 1

    def test_spans_get_what_others_say_of_them(self, otlp: Any) -> None:
        counts = {"gen_ai.usage.input_tokens": 111, "gen_ai.usage.output_tokens": 23, "codex.usage.total_tokens": 134}
        spans = [
            otlp.span(1, name="session_task.turn", scope="codex_exec"),
            otlp.span(2, 1, name="run_hooks", scope="codex_exec"),
            otlp.span(3, 1, name="try_run_sampling_request", scope="codex_exec", attrs={"model": "m"}),
            otlp.span(4, 3, name="handle_responses", scope="codex_exec", attrs=counts),
            otlp.span(5, 4, name="exec", scope="codex_exec", attrs={"tool_name": "exec", "call_id": "t1"}),
            otlp.span(6, 5, name="dispatch", scope="codex_exec"),
        ]
        prompt = otlp.log(2, attrs={"event.name": "codex.user_prompt", "prompt": "Look"}, name="event a:1", scope=CODEX)
        result = {"event.name": "codex.tool_result", "tool_name": "exec", "call_id": "t1", "output": "a"}
        ran = otlp.log(6, name="event b:2", attrs=result, scope=CODEX)

        found = {each.name: each for each in seen(otlp.trace(*spans, ran, prompt))}

        assert found["session_task.turn"].input == "Look"
        assert found["exec"].output == "a"
        call = found["try_run_sampling_request"]
        assert (call.type, call.model, call.usage) == ("GENERATION", "m", {"input": 111, "output": 23, "total": 134})
        assert found["handle_responses"].usage is None
        assert {found[name].level for name in ("run_hooks", "handle_responses", "dispatch")} == {"DEBUG"}
