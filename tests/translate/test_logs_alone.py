"""Command-line agents that speak in log records: turns, requests and tools out of records alone, or beside spans."""

import itertools
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.model import Observation
from otel_bridge.trace import LogEntry, Settled, Trace
from otel_bridge.translate import gather, to_json, traces_of, translate

CLAUDE = "com.anthropic.claude_code.events"
CODEX = "codex_otel.log_only"
GEMINI = "gemini-cli"

Say = Callable[..., LogEntry]


def batch(*entries: LogEntry) -> Batch:
    request = ExportLogsServiceRequest()
    for entry in entries:
        block = request.resource_logs.add(resource=entry.resource)
        block.scope_logs.add(scope=entry.scope).log_records.append(entry.record)
    return Batch.from_request(request)


def seen(trace: Trace) -> list[Observation]:
    return list(translate(trace).observations)


def shape(observations: Iterable[Observation]) -> list[tuple[str, str]]:
    return [(seen.type, seen.name) for seen in observations]


def of_type(observations: Iterable[Observation], kind: str) -> list[Observation]:
    return [seen for seen in observations if seen.type == kind]


@pytest.fixture
def claude(otlp: Any) -> Say:
    """A record of Claude Code that names no trace."""
    numbers = itertools.count()

    def say(name: str, at_ms: float, *, of: str | None = "p1", **attrs: Any) -> LogEntry:
        said = {"session.id": "s1", "user.id": "0123abcd", "event.sequence": next(numbers), "event.name": name}
        said |= {"prompt.id": of} if of else {}
        return otlp.log(0, body=f"claude_code.{name}", attrs=said | attrs, scope=CLAUDE, at_ms=at_ms, traced=False)  # type: ignore[no-any-return]

    return say


@pytest.fixture
def turn(claude: Say) -> list[LogEntry]:
    """A prompt, a request that calls a tool, the tool, and a request that answers."""
    request = {"model": "claude-sonnet-4-5", "query_source": "sdk"}
    return [
        claude("user_prompt", 0, prompt_length="4"),
        claude(
            "api_request",
            100,
            **request,
            input_tokens=111,
            output_tokens=23,
            cache_read_tokens="40",
            cache_creation_tokens=7,
            cost_usd="0.25",
            duration_ms=90,
            ttft_ms=20,
            request_id="r1",
        ),
        claude("tool_decision", 101, tool_name="Bash", tool_use_id="t1", decision="accept", source="config"),
        claude(
            "tool_result",
            150,
            tool_name="Bash",
            tool_use_id="t1",
            success="true",
            duration_ms="40",
            tool_input='{"command": "ls"}',
        ),
        claude(
            "api_request",
            300,
            **request,
            input_tokens=211,
            output_tokens=43,
            cost_usd=0.5,
            duration_ms=140,
            request_id="r2",
        ),
        claude("assistant_response", 300, **request, response="Done.", response_length=5, request_id="r2"),
    ]


class TestClaudeCode:
    def test_a_session_of_1_0_whose_prompt_has_no_id_is_its_turn(self, claude: Say) -> None:
        entries = [
            claude("user_prompt", 0, of=None, prompt="Look"),
            claude("api_request", 100, of=None, model="m", input_tokens="111", output_tokens="23", cost_usd="0.25"),
            claude("tool_result", 150, of=None, tool_name="Bash", success="true", duration_ms="40"),
        ]

        [trace] = traces_of([batch(*entries)])
        agent, call, tool = seen(trace)

        assert shape([agent, call, tool]) == [
            ("AGENT", "claude_code.interaction"),
            ("GENERATION", "claude_code.llm_request"),
            ("TOOL", "Bash"),
        ]
        assert (agent.input, agent.level, agent.trace.session_id) == ("Look", "DEFAULT", "s1")

    def test_what_a_subagent_asked_and_called_is_below_the_tool_that_it_is(self, claude: Say) -> None:
        def asked(at_ms: float, took_ms: int, source: str) -> LogEntry:
            return claude("api_request", at_ms, model="m", query_source=source, duration_ms=took_ms, output_tokens=1)

        def called(name: str, at_ms: float, until_ms: float, kind: str = "") -> list[LogEntry]:
            said = {"tool_name": name, "tool_use_id": f"{name}-{at_ms}"}
            given = {"tool_parameters": f'{{"subagent_type": "{kind}"}}'} if kind else {}
            return [
                claude("tool_decision", at_ms, **said, decision="accept", source="config"),
                claude("tool_result", until_ms, **said, **given, success="true", duration_ms=until_ms - at_ms - 1),
            ]

        finder, writer = "agent:builtin:finder", "agent:builtin:writer"
        entries = [
            claude("user_prompt", 0, prompt="Look"),
            asked(100, 90, "sdk"),
            *called("Agent", 101, 500, "finder"),
            asked(200, 90, finder),
            *called("Bash", 201, 210),
            *called("Task", 202, 400, "writer"),
            asked(300, 90, writer),
            *called("Read", 301, 310),
            asked(390, 70, writer),
            asked(490, 70, finder),
            asked(600, 90, "sdk"),
            *called("Write", 601, 610),
        ]

        [trace] = traces_of([batch(*entries)])
        found = seen(trace)
        names = {node.id: node.name for node in found}
        below = [(node.start_ns // 1_000_000 % 1000, names.get(node.parent_id or "")) for node in found[1:]]

        turn = "claude_code.interaction"
        assert sorted(below) == [
            *((10, turn), (102, turn), (110, "Agent"), (202, "Agent"), (203, "Agent"), (210, "Task"), (302, "Task")),
            *((320, "Task"), (420, "Agent"), (510, turn), (602, turn)),
        ]

    def test_of_two_subagents_of_one_kind_at_one_time_nothing_is_guessed(self, claude: Say) -> None:
        two = [{"tool_name": "Task", "tool_use_id": f"t{place}"} for place in range(2)]
        source = {"model": "m", "query_source": "agent:builtin:finder", "duration_ms": 90}
        entries = [
            claude("api_request", 100, model="m", query_source="sdk", duration_ms=90),
            *(claude("tool_decision", 101, **said, decision="accept") for said in two),
            claude("api_request", 200, **source),
            claude("tool_result", 250, **two[0], success="true", duration_ms=148),
            claude("api_request", 400, **source),
            claude("tool_result", 450, **two[1], success="true", duration_ms=348),
        ]

        [trace] = traces_of([batch(*entries)])
        agent, *found = seen(trace)

        last = max(of_type(found, "GENERATION"), key=lambda call: call.end_ns)
        assert [node.parent_id for node in found if node is not last] == [agent.id] * 4
        assert last.parent_id == max(of_type(found, "TOOL"), key=lambda tool: tool.end_ns).id

    def test_a_turn_is_an_agent_with_its_requests_and_tools(self, turn: list[LogEntry]) -> None:
        [trace] = traces_of([batch(*turn)])

        agent, first, tool, second = seen(trace)

        assert shape([agent, first, tool, second]) == [
            ("AGENT", "claude_code.interaction"),
            ("GENERATION", "claude_code.llm_request"),
            ("TOOL", "Bash"),
            ("GENERATION", "claude_code.llm_request"),
        ]
        assert {child.parent_id for child in (first, tool, second)} == {agent.id}
        assert first.usage == {
            "input": 111,
            "output": 23,
            "input_cached_tokens": 40,
            "input_cache_creation": 7,
            "total": 181,
        }
        assert (first.cost, second.cost) == ({"total": 0.25}, {"total": 0.5})
        assert (first.end_ns - first.start_ns, tool.end_ns - tool.start_ns) == (90_000_000, 40_000_000)
        assert first.completion_start_ns == first.start_ns + 20_000_000
        assert tool.input == {"command": "ls"}
        assert second.output == [{"role": "assistant", "content": "Done."}]
        assert (agent.input, agent.output, agent.trace.session_id) == (None, "Done.", "s1")
        totals = {name: agent.metadata[name] for name in ("num_turns", "duration_api_ms", "total_cost_usd")}
        assert totals == {"num_turns": 2, "duration_api_ms": 230, "total_cost_usd": 0.75}
        assert agent.end_ns - agent.start_ns == 300_000_000

    def test_the_order_of_arrival_changes_nothing(self, turn: list[LogEntry]) -> None:
        [trace] = traces_of([batch(*turn)])
        [turned] = traces_of([batch(entry) for entry in reversed(turn)])

        assert to_json(translate(trace)) == to_json(translate(turned))

    def test_each_turn_is_a_trace_of_its_session(self, claude: Say) -> None:
        entries = [
            claude("api_request", at, of=f"p{at}", model="m", input_tokens=at, output_tokens=1) for at in (1, 2, 3)
        ]

        traces = traces_of([batch(*entries)])

        calls = [of_type(seen(trace), "GENERATION") for trace in traces]
        assert [[call.usage["input"] for call in made if call.usage] for made in calls] == [[1], [2], [3]]
        assert {made[0].trace.session_id for made in calls} == {"s1"}
        assert len({trace.key for trace in traces}) == 3

    def test_a_key_is_that_of_the_record_alone(self, turn: list[LogEntry]) -> None:
        keys = {key for entry in turn for key in gather(batch(entry))}

        assert keys == {trace.key for trace in traces_of([batch(*turn)])}
        assert len(keys) == 1

    def test_what_was_not_counted_is_not_0(self, claude: Say) -> None:
        [trace] = traces_of([batch(claude("api_request", 5, model="m", cost_usd=0.5))])

        [call] = of_type(seen(trace), "GENERATION")

        assert (call.usage, call.cost) == (None, {"total": 0.5})

    def test_a_failed_request_is_an_error_of_its_turn(self, claude: Say) -> None:
        failed = claude("api_error", 20, model="m", error="overloaded", status_code=529, duration_ms=15)
        [trace] = traces_of([batch(claude("user_prompt", 0), failed)])

        agent, call = seen(trace)

        assert [(each.level, each.status_message) for each in (agent, call)] == [("ERROR", "overloaded")] * 2
        assert (call.type, call.usage) == ("GENERATION", None)

    def test_a_tool_that_was_refused_never_ran(self, claude: Say) -> None:
        refused = claude("tool_decision", 5, tool_name="Write", tool_use_id="t1", decision="reject", source="user")
        [trace] = traces_of([batch(claude("user_prompt", 0), refused)])

        [tool] = of_type(seen(trace), "TOOL")

        assert (tool.name, tool.level, tool.status_message) == ("Write", "WARNING", "rejected by user")

    def test_what_belongs_to_no_prompt_stands_in_the_session(self, claude: Say) -> None:
        entries = [claude("plugin_loaded", 1, of=None, plugin="a"), claude("user_prompt", 2)]

        session, turn = sorted(traces_of([batch(*entries)]), key=lambda trace: len(seen(trace)[0].name))

        [told] = seen(session)
        assert (told.name, told.level, told.trace.session_id) == ("claude_code.session", "DEBUG", "s1")
        assert told.metadata["otel.logs"][0]["attributes"]["plugin"] == "a"
        assert shape(seen(turn)) == [("AGENT", "claude_code.interaction")]

    def test_a_turn_in_parts_has_one_root(self, turn: list[LogEntry]) -> None:
        key = next(iter(gather(batch(*turn))))
        first = translate(Trace(key=key, logs=turn[:3], settled=Settled.HELD))
        second = translate(Trace(key=key, logs=turn[3:], part=1, known=first.known, settled=Settled.IDLE))

        agent = first.observations[0]
        assert shape(second.observations) == [("TOOL", "Bash"), ("GENERATION", "claude_code.llm_request")]
        assert {part.parent_id for part in second.observations} == {agent.id}
        assert not {part.id for part in first.observations} & {part.id for part in second.observations}
        assert second.observations[0].trace.session_id == "s1"
        assert first.known.root_id is None  # a turn may go on for long: no span's end said that it is over

    def test_records_whose_trace_has_no_span_are_as_if_they_named_none(self, turn: list[LogEntry]) -> None:
        """As when an agent sends both and only the records come here."""
        for entry in turn:
            entry.record.trace_id = bytes(range(16))
            entry.record.span_id = bytes(range(1, 9))

        [trace] = traces_of([batch(*turn)])

        assert [kind for kind, _ in shape(seen(trace))] == ["AGENT", "GENERATION", "TOOL", "GENERATION"]


class TestClaudeCodeWithTraces:
    """Records of requests name the span of their turn."""

    SCOPE = "com.anthropic.claude_code.tracing"

    @pytest.fixture
    def spans(self, otlp: Any) -> list[Any]:
        request = {"span.type": "llm_request", "model": "m", "output_tokens": 5}
        return [
            otlp.span(1, name="claude_code.interaction", scope=self.SCOPE, at_ms=(0, 1000), attrs={"session.id": "s1"}),
            otlp.span(
                2,
                1,
                name="claude_code.llm_request",
                scope=self.SCOPE,
                at_ms=(10, 500.4),
                attrs=request | {"input_tokens": 100},
            ),
            otlp.span(
                3,
                1,
                name="claude_code.llm_request",
                scope=self.SCOPE,
                at_ms=(20, 500.6),
                attrs=request | {"input_tokens": 200},
            ),
        ]

    @pytest.fixture
    def records(self, otlp: Any) -> list[LogEntry]:
        def ended(number: int, tokens: int, cost: float) -> list[LogEntry]:
            common = {"model": "m", "query_source": "sdk", "session.id": "s1", "prompt.id": "p1"}
            said = common | {"input_tokens": tokens, "output_tokens": 5, "cost_usd": cost, "duration_ms": 400}
            answer = common | {"response": f"answer to {tokens}", "request_id": f"r{number}"}
            return [
                otlp.log(
                    1,
                    name="api_request",
                    attrs=said | {"event.sequence": number, "request_id": f"r{number}"},
                    scope=CLAUDE,
                    at_ms=500,
                ),
                otlp.log(
                    1,
                    name="assistant_response",
                    attrs=answer | {"event.sequence": number + 1},
                    scope=CLAUDE,
                    at_ms=501,
                ),
            ]

        return [*ended(1, 200, 0.5), *ended(3, 100, 0.25)]

    def test_each_request_has_its_own_cost_and_answer_in_any_order(
        self, otlp: Any, spans: list[Any], records: list[LogEntry]
    ) -> None:
        for order in itertools.permutations(records):
            agent, first, second = seen(otlp.trace(*order, *spans))

            assert (first.cost, second.cost) == ({"total": 0.25}, {"total": 0.5})
            assert first.output == [{"role": "assistant", "content": "answer to 100"}]
            assert agent.type == "AGENT"
            assert "otel.logs" not in agent.metadata

    def test_late_records_become_events_that_count_nothing(
        self, otlp: Any, spans: list[Any], records: list[LogEntry]
    ) -> None:
        known = translate(otlp.trace(*spans)).known

        late = seen(otlp.trace(*records, part=1, known=known))

        assert {(each.type, each.usage is None, each.cost is None) for each in late} == {("EVENT", True, True)}

    def test_a_request_without_its_span_counts_nothing_beside_the_spans(
        self, otlp: Any, spans: list[Any], records: list[LogEntry]
    ) -> None:
        observations = seen(otlp.trace(*spans[:2], *records))

        assert [call.cost for call in of_type(observations, "GENERATION")] == [{"total": 0.25}]


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


NAMES = {
    CLAUDE: (
        "user_prompt",
        "api_request_body",
        "api_request",
        "api_error",
        "api_response_body",
        "tool_result",
        "other",
    ),
    CODEX: ("codex.user_prompt", "codex.api_request", "codex.sse_event", "codex.tool_decision", "codex.tool_result"),
    GEMINI: ("gemini_cli.user_prompt", "gemini_cli.api_request", "gemini_cli.api_response", "gemini_cli.tool_call"),
}
KEYS = (
    *("session.id", "prompt.id", "conversation.id", "prompt_id", "model", "query_source", "event.sequence", "attempt"),
    *("duration_ms", "cost_usd", "input_tokens", "input_token_count", "output_token_count", "total_token_count"),
    *("body", "request_id", "prompt", "response", "tool_use_id", "tool_name", "call_id", "tool_input", "arguments"),
    *("request_text", "response_text", "function_name", "function_args", "error", "error.message", "event.kind"),
    *("decision", "success", "app.version", "user.email"),
)
ODD = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=10)
ODD |= st.sampled_from(
    ("[1", "{", '{"messages": [{"role": 1', '[{"candidates": [{"content": 1}, 2]}, 3]', "9" * 40, "1")
)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 3),
        st.dictionaries(
            st.sampled_from(KEYS), ODD | st.lists(ODD, max_size=2) | st.dictionaries(st.text(), ODD), max_size=8
        ),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(NAMES)), RECORDS, st.randoms())
def test_whatever_records_hold_they_become_sound_observations_in_any_order(
    otlp: Any, scope: str, records: list[tuple[int, int, dict[str, Any]]], chance: Random
) -> None:
    ids = {"session.id": "s1", "conversation.id": "c1"}
    entries = [
        otlp.log(0, name=NAMES[scope][kind % len(NAMES[scope])], attrs=ids | attrs, scope=scope, at_ms=at, traced=False)
        for kind, at, attrs in records
    ]
    translations = [translate(trace) for trace in traces_of([batch(*entries)])]
    chance.shuffle(entries)
    turned = [translate(trace) for trace in traces_of([batch(*entries)])]

    made = [seen for translation in translations for seen in translation.observations]
    assert len({(seen.trace_id, seen.id) for seen in made}) == len(made)
    assert all(seen.start_ns <= seen.end_ns for seen in made)
    assert {(seen.trace_id, seen.id) for seen in made} == {
        (seen.trace_id, seen.id) for translation in turned for seen in translation.observations
    }
