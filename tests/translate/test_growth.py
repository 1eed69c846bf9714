"""Work grows as the records of a trace do, whatever they say, for who sends records that have to be matched.

Lines of the translation that run are counted, so a busy machine changes nothing: for each function by itself, as what
grows worst would else drown in the rest.
"""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.trace import LogEntry, Settled, SpanRecord, Trace
from otel_bridge.translate import Prices, dialect, translate
from otel_bridge.translate.records import nearest

FEW = 40
TIMES = 4
OURS = (str(Path(dialect.__file__).parent), "<string>")  # and what dataclasses make of our classes
CLAUDE = "com.anthropic.claude_code"
CODEX = "codex_otel"
GEMINI = "gemini-cli"
COUNTED = {"gen_ai.usage.input_tokens": 1}

Parts = list[SpanRecord | LogEntry]


def lines_of(trace: Trace) -> Counter[CodeType]:
    """How many lines of each function run for a trace."""
    counts: Counter[CodeType] = Counter()

    def inside(frame: FrameType, event: str, _arg: Any) -> Any:
        counts[frame.f_code] += event == "line"
        return inside

    def entering(frame: FrameType, _event: str, _arg: Any) -> Any:
        return inside if frame.f_code.co_filename.startswith(OURS) else None

    before = sys.gettrace()
    sys.settrace(entering)
    try:
        translate(trace, Prices())
    finally:
        sys.settrace(before)
    return counts


def grown(few: Counter[CodeType], many: Counter[CodeType]) -> dict[str, tuple[int, int]]:
    """The functions that had more to do than there is more of, with their lines."""
    return {
        code.co_qualname: (few[code], lines)
        for code, lines in many.items()
        if lines > 1.5 * TIMES * max(few[code], 10 * FEW)
    }


def claude(otlp: Any, name: str, at: int, *, under: int = 0, **said: Any) -> LogEntry:
    attrs = {"event.name": name, "session.id": "s", "prompt.id": "p", "query_source": "sdk", "model": "m"}
    return otlp.log(under, attrs=attrs | said, scope=f"{CLAUDE}.events", at_ms=at, traced=under > 0)  # type: ignore[no-any-return]


def claude_span(otlp: Any, number: int, **said: Any) -> SpanRecord:
    attrs = {"span.type": "llm_request" if number > 1 else "interaction", "model": "m"}
    return otlp.span(number, number > 1, attrs=attrs | said, scope=f"{CLAUDE}.tracing")  # type: ignore[no-any-return]


def bodies_of_another_model(otlp: Any, n: int) -> Parts:
    bodies = [claude(otlp, "api_request_body", at, body="{}", model="other") for at in range(n)]
    return [*bodies, *(claude(otlp, "api_request", n + at) for at in range(n))]


def bodies_before_all_ends(otlp: Any, n: int) -> Parts:
    bodies = [claude(otlp, "api_request_body", at, body="{}") for at in range(n)]
    return [*bodies, *(claude(otlp, "api_request", n + at) for at in range(n))]


def answers_after_all_ends(otlp: Any, n: int) -> Parts:
    ends = [claude(otlp, "api_request", at, request_id=f"r{at}") for at in range(n)]
    return [*ends, *(claude(otlp, "assistant_response", n + at, request_id=f"r{at}") for at in range(n))]


def answers_to_nobody(otlp: Any, n: int) -> Parts:
    ends = [claude(otlp, "api_request", at, request_id=f"r{at}") for at in range(n)]
    return [*ends, *(claude(otlp, "assistant_response", n + at, request_id="x") for at in range(n))]


def spans_by_id(otlp: Any, n: int) -> Parts:
    spans = [claude_span(otlp, 1), *(claude_span(otlp, 2 + at, request_id=f"r{n - at}") for at in range(n))]
    return [*spans, *(claude(otlp, "api_request", at, under=1, request_id=f"r{at}") for at in range(n))]


def spans_of_one_id(otlp: Any, n: int) -> Parts:
    spans = [claude_span(otlp, 1), *(claude_span(otlp, 2 + at, request_id="r") for at in range(n))]
    return [*spans, *(claude(otlp, "api_request", at, under=1, request_id="r") for at in range(n))]


def spans_of_another_model(otlp: Any, n: int) -> Parts:
    spans = [claude_span(otlp, 1 + at) for at in range(n)]
    ends = [claude(otlp, "api_request", 100, under=1, model="other", number=at) for at in range(n)]
    return [*spans, *ends, *(claude(otlp, "api_request_body", 0, under=1, model="b", number=at) for at in range(n))]


def turns(otlp: Any, n: int) -> Parts:
    prompt = {"event.name": "codex.user_prompt", "conversation.id": "c"}
    ended = {"event.name": "codex.sse_event", "conversation.id": "c", "input_token_count": 5, "output_token_count": 1}
    return [
        otlp.log(0, attrs=attrs, scope=CODEX, at_ms=at * 10, traced=False)
        for at in range(n)
        for attrs in (prompt, ended)
    ]


def prompts_far_below(otlp: Any, n: int) -> Parts:
    spans = [otlp.span(1 + at, at, scope=CODEX) for at in range(n)]
    said = {"event.name": "codex.user_prompt", "conversation.id": "c"}
    return [*spans, *(otlp.log(n, attrs=said, scope=CODEX, at_ms=at) for at in range(n))]


def streams_far_below(otlp: Any, n: int) -> Parts:
    spans = [otlp.span(1 + at, at, scope=CODEX) for at in range(n)]
    said = {"gen_ai.usage.input_tokens": 1}
    return [*spans, *(otlp.span(n + 1 + at, n, name="handle_responses", scope=CODEX, attrs=said) for at in range(n))]


def gemini(otlp: Any, name: str, at: int, *, under: int = 0, **said: Any) -> LogEntry:
    attrs = {"event.name": f"gemini_cli.{name}", "session.id": "s", "prompt_id": "p", "model": "m"}
    return otlp.log(under, attrs=attrs | said, scope=GEMINI, at_ms=at, traced=under > 0)  # type: ignore[no-any-return]


def requests_and_responses(otlp: Any, n: int) -> Parts:
    sent = [gemini(otlp, "api_request", at) for at in range(n)]
    return [*sent, *(gemini(otlp, "api_response", at, duration_ms=1) for at in range(n))]


def tools_of_one_answer(otlp: Any, n: int) -> Parts:
    named = {"gen_ai.tool.name": "t"}
    spans = [otlp.span(2 + at, 1, name="tool_call", scope=GEMINI, attrs=named) for at in range(n)]
    ran = [gemini(otlp, "tool_call", at, under=1, function_name="t") for at in range(n)]
    return [otlp.span(1, name="schedule_tool_calls", scope=GEMINI), *spans, *ran]


def tools_of_another_name(otlp: Any, n: int) -> Parts:
    spans = [otlp.span(2 + at, 1, name="tool_call", scope=GEMINI) for at in range(n)]
    ran = [gemini(otlp, "tool_call", at, under=1, function_name="t") for at in range(n)]
    return [otlp.span(1, name="schedule_tool_calls", scope=GEMINI), *spans, *ran]


def subagents_at_one_time(otlp: Any, n: int) -> Parts:
    """Each of which, and all that is asked for one, lasts until the last has begun."""
    of_one = {"query_source": "agent:custom", "duration_ms": 2 * n, "success": "true"}
    return [
        claude(otlp, name, 4 * n + at, **of_one, tool_name="Task", tool_use_id=f"t{at}")
        for at in range(n)
        for name in ("tool_result", "api_request")
    ]


def texts_logged_in_one_span(otlp: Any, n: int) -> Parts:
    spring = {"name": "chat m", "scope": "org.springframework.boot", "attrs": {"spring.ai.kind": "chat_client"}}
    asked = [otlp.log(1, body=f'Chat Model Prompt Content:\n["{at}"]', at_ms=at) for at in range(n)]
    return [otlp.span(1, **spring), *asked]


def prompts_logged_in_one_span(otlp: Any, n: int) -> Parts:
    prompts = [otlp.log(1, name="gen_ai.prompt", body="x", at_ms=n + at) for at in range(n)]
    return [otlp.span(1, scope="semantic_kernel.x"), *(otlp.log(1, body=at, at_ms=at) for at in range(n)), *prompts]


def messages_logged_in_one_span(otlp: Any, n: int) -> Parts:
    said = [
        otlp.log(1, name="gen_ai.content.prompt", body={"role": "user", "content": f"{at}"}, at_ms=at)
        for at in range(n)
    ]
    return [otlp.span(1, scope="litellm", attrs={"gen_ai.operation.name": "chat"}), *said]


def tools_of_one_key(otlp: Any, n: int) -> Parts:
    tool = {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "t", "ai.toolCall.id": "call_0"}
    return [otlp.span(1 + at, name="ai.toolCall", scope="opencode", attrs=tool) for at in range(n)]


def judgements_on_one_span(otlp: Any, n: int) -> Parts:
    said = {"gen_ai.evaluation.name": "q", "gen_ai.evaluation.score.value": 1}
    records = [otlp.log(1, name="gen_ai.evaluation.result", attrs=said, at_ms=n + at) for at in range(n)]
    return [otlp.span(1), *(otlp.log(1, body="x", at_ms=at) for at in range(n)), *records]


def chain(otlp: Any, n: int, **said: Any) -> Parts:
    return [otlp.span(1 + at, at, attrs=said) for at in range(n)]


def call_at_each_level(otlp: Any, n: int) -> Parts:
    said = {"langfuse.observation.type": "generation"}
    return [*chain(otlp, n), *(otlp.span(n + 1 + at, 1 + at, attrs=said) for at in range(n))]


def calls_around_many(otlp: Any, n: int) -> Parts:
    """Each of the outer ones is the last of the inner, told from outside."""
    said = {"gen_ai.operation.name": "chat"}
    return [*chain(otlp, n, **said), *(otlp.span(n + 1 + at, n, attrs=said | COUNTED) for at in range(n))]


def chain_below_a_cost(otlp: Any, n: int) -> Parts:
    said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"} | COUNTED
    calls = [otlp.span(n + 1 + at, 1 + at, attrs=said) for at in range(n)]
    cost = {"langfuse.observation.cost_details": '{"total": 1.5}'}
    return [*chain(otlp, n), *calls, otlp.span(2 * n + 1, 1, attrs=said | cost)]


def records_of_a_span_that_is_not_here(otlp: Any, n: int) -> Parts:
    """The root, below which they go, begins last."""
    spans = [otlp.span(2 + at, 1) for at in range(n)]
    return [*spans, otlp.span(1, at_ms=(50, 100)), *(otlp.log(n + 2, body=at) for at in range(n))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        bodies_of_another_model,
        bodies_before_all_ends,
        answers_after_all_ends,
        answers_to_nobody,
        spans_by_id,
        spans_of_one_id,
        spans_of_another_model,
        turns,
        prompts_far_below,
        streams_far_below,
        requests_and_responses,
        tools_of_one_answer,
        tools_of_another_name,
        subagents_at_one_time,
        texts_logged_in_one_span,
        prompts_logged_in_one_span,
        messages_logged_in_one_span,
        tools_of_one_key,
        judgements_on_one_span,
        call_at_each_level,
        calls_around_many,
        chain_below_a_cost,
        records_of_a_span_that_is_not_here,
    ],
    ids=lambda made: made.__name__,
)
def test_four_times_the_records_are_about_four_times_the_work(otlp: Any, made: Callable[[Any, int], Parts]) -> None:
    few, many = (lines_of(otlp.trace(*made(otlp, n))) for n in (FEW, TIMES * FEW))

    assert few.total() > FEW
    assert grown(few, many) == {}


@pytest.mark.slow
@pytest.mark.parametrize("sent", [False, True], ids=["here", "sent"])
def test_noise_above_noise_is_passed_once(otlp: Any, id_of: Any, sent: bool) -> None:
    """A chain of it, all with log records, and something that is shown below each; all of it here, or noise before."""

    def lines(n: int) -> Counter[CodeType]:
        noise = {id_of(1 + at): "web" for at in range(n)}
        above = [otlp.span(1, 9 * n), *(otlp.span(1 + at, at) for at in range(1, n))]
        shown = [otlp.span(n + 1 + at, 1 + at, attrs={"gen_ai.operation.name": "chat"}) for at in range(n)]
        records = [otlp.log(1 + at, body=at) for at in range(n)]
        if not sent:
            return lines_of(otlp.trace(*above, *shown, *records, noise=noise))
        known = translate(otlp.trace(*above, *shown, noise=noise, settled=Settled.HELD)).known
        late = [otlp.span(2 * n + 1 + at, 1 + at) for at in range(n)]
        return lines_of(otlp.trace(*late, part=1, known=known))

    assert grown(lines(FEW), lines(TIMES * FEW)) == {}


@given(st.lists(st.integers(0, 20)), st.integers(-1, 21))
def test_the_nearest_is_found_and_of_equals_the_first(times: list[int], at: int) -> None:
    times.sort()

    found = nearest(times, at, lambda time: time)

    assert found == min(range(len(times)), key=lambda place: abs(times[place] - at), default=None)
