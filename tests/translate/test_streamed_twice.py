"""Logfire tells a streamed call twice, and the provider's own SDK may tell it once more: it is one call."""

import json
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from otel_bridge.model import Level, ObservationType
from otel_bridge.trace import SpanRecord
from otel_bridge.translate import translate

ASKED = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "request_data": '{"model": "m"}',
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]),
}
ANSWERED = {
    "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "Done."}]}]),
    "gen_ai.usage.input_tokens": 158,
    "gen_ai.usage.output_tokens": 23,
    "gen_ai.usage.raw": json.dumps(
        {"input_tokens": 111, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 7}
    ),
    "logfire.span_type": "log",
}
NATIVE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.usage.input_tokens": 158,
    "gen_ai.usage.output_tokens": 23,
    "gen_ai.usage.cache_read.input_tokens": 40,
    "gen_ai.usage.cache_write.input_tokens": 7,
}
STREAMING = "streaming response from {request_data[model]!r} took {duration:.2f}s"
USAGE = {"input": 111, "output": 23, "input_cached_tokens": 40, "input_cache_creation": 7, "total": 181}


def streamed(otlp: Any, first: int, begins: float, *, native: bool) -> list[SpanRecord]:
    """One call from a moment on: the request, what the SDK below it says, and the log of what was answered."""
    scope = "logfire.anthropic"
    request = otlp.span(first, 99, scope=scope, name="Message", at_ms=(begins, begins + 5), attrs=ASKED)
    below = otlp.span(
        first + 1,
        first,
        scope="com.anthropic.sdk.python",
        at_ms=(begins + 1, begins + 30),
        attrs=NATIVE | {"gen_ai.response.id": f"r{first}"},
    )
    log = otlp.span(
        first + 2, 99, scope=scope, name=STREAMING, at_ms=(begins + 31, begins + 31), attrs=ASKED | ANSWERED
    )
    return [request, below, log] if native else [request, log]


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("second_begins", [40, 2])  # after the first, or beside it
def test_two_equal_calls_are_two_however_they_are_told(
    otlp: Any, id_of: Callable[[int], str], native: bool, second_begins: float
) -> None:
    spans = streamed(otlp, 1, 0, native=native) + streamed(otlp, 4, second_begins, native=native)

    for order in list(permutations(spans))[::97]:
        seen = translate(otlp.trace(otlp.span(99), *order)).observations

        calls = [one for one in seen if one.type is ObservationType.GENERATION]
        assert {one.id for one in calls} == {id_of(3), id_of(6)}
        assert [one.usage for one in calls] == [USAGE, USAGE]
        assert sum((one.usage or {}).get("total", 0) for one in seen) == 2 * USAGE["total"]


def test_a_failed_call_and_its_repetition_are_two(otlp: Any) -> None:
    scope = "logfire.openai"
    failed = otlp.span(1, 99, scope=scope, at_ms=(0, 5), attrs=ASKED, status=(2, "boom"))
    again = otlp.span(
        2,
        99,
        scope=scope,
        at_ms=(6, 9),
        attrs=ASKED | ANSWERED | {"logfire.span_type": "span", "gen_ai.response.id": "r"},
    )

    seen = translate(otlp.trace(otlp.span(99), failed, again)).observations

    assert [one.level for one in seen if one.type is ObservationType.GENERATION] == ["ERROR", "DEFAULT"]


def test_a_stream_that_broke_off_is_one_call_that_failed(otlp: Any, id_of: Callable[[int], str]) -> None:
    request, log = streamed(otlp, 1, 0, native=False)
    log.span.status.code = log.span.status.STATUS_CODE_ERROR
    log.span.status.message = "RemoteProtocolError: peer closed connection"

    seen = translate(otlp.trace(otlp.span(99), request, log)).observations

    calls = [one for one in seen if one.type is ObservationType.GENERATION]
    assert [(one.id, one.level, one.status_message) for one in calls] == [
        (id_of(3), Level.ERROR, "RemoteProtocolError: peer closed connection")
    ]


@pytest.mark.parametrize("native", [False, True])
def test_a_call_without_a_span_around_it_is_told_in_the_trace_of_its_answer(
    otlp: Any, id_of: Callable[[int], str], native: bool
) -> None:
    request, *below, _ = streamed(otlp, 1, 0, native=native)
    request.span.parent_span_id = b""
    answer = otlp.span(3, scope="logfire.anthropic", name=STREAMING, at_ms=(31, 31), attrs=ASKED | ANSWERED)

    asked = translate(otlp.trace(request, *below)).observations
    answered = translate(otlp.trace(answer)).observations

    assert [one.type for one in asked] == [ObservationType.SPAN] * len(asked)
    assert not any(one.usage or one.cost for one in asked)
    assert [(one.type, one.usage) for one in answered] == [(ObservationType.GENERATION, USAGE)]


def test_a_limit_that_cuts_off_one_halfs_schema_leaves_them_halves_of_one_call(otlp: Any) -> None:
    schema = json.dumps({"type": "object", "properties": {"gen_ai.input.messages": {"type": "array"}}})
    scope = "logfire.openai"
    spans = [
        otlp.span(99),
        otlp.span(1, 99, scope=scope, name="Chat", at_ms=(0, 5), attrs=ASKED | {"logfire.json_schema": schema}),
        otlp.span(
            2,
            99,
            scope=scope,
            name=STREAMING,
            at_ms=(9, 9),
            attrs=ASKED | ANSWERED | {"logfire.json_schema": schema[:20]},
        ),
    ]

    seen = translate(otlp.trace(*spans)).observations

    assert len([one for one in seen if one.type is ObservationType.GENERATION]) == 1
