"""Claude Code: turns, requests and tools out of records alone, or beside spans."""

import itertools
from typing import Any

import pytest

from otel_bridge.trace import LogEntry, Settled, Trace
from otel_bridge.translate import gather, to_json, traces_of, translate
from tests.translate.records import CLAUDE, Say, batch, of_type, seen, shape


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
