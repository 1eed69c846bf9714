"""A call that two spans report in two traces, in a closed input: it counts once."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch, Signal
from otel_bridge.model import ObservationType
from otel_bridge.trace import SpanRecord
from otel_bridge.translate import traces_of, translate

OF_CONVENTIONS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.response.id": "r1",
    "gen_ai.usage.input_tokens": 11,
    "gen_ai.usage.output_tokens": 2,
    "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "Sunny."}]}]',
}
OF_OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.response.id": "r1",
    "llm.token_count.prompt": 11,
    "llm.token_count.completion": 2,
}

OF_LANGCHAIN = {
    "generations": [[{"text": "Sunny.", "message": {"lc": 1, "kwargs": {"response_metadata": {"id": "r1"}}}}]],
}


def told(otlp: Any, number: int, scope: str, at_ms: tuple[float, float], attrs: Mapping[str, Any]) -> SpanRecord:
    otlp.trace_id = f"{number:032x}"
    record: SpanRecord = otlp.span(number, scope=scope, at_ms=at_ms, attrs=attrs)
    return record


@pytest.mark.parametrize(
    ("scope", "at_ms", "counted"),
    [
        pytest.param("litellm", (0, 100), 13, id="two exporters of one instrumentation"),
        pytest.param("sdk", (10, 90), 13, id="one instrumentation within the other"),
        pytest.param("sdk", (-10, 99), 13, id="one instrumentation most of the time of the other"),
        pytest.param("sdk", (50, 150), 26, id="one instrumentation half of the time of the other"),
        pytest.param("litellm", (200, 300), 26, id="one instrumentation at two times"),
    ],
)
def test_it_counts_once(otlp: Any, scope: str, at_ms: tuple[float, float], counted: int) -> None:
    request = ExportTraceServiceRequest()
    for record in (
        told(otlp, 1, "litellm", (0, 100), OF_CONVENTIONS),
        told(otlp, 2, scope, at_ms, OF_OPENINFERENCE),
    ):
        block = request.resource_spans.add()
        scoped = block.scope_spans.add(scope=record.scope)
        scoped.spans.append(record.span)

    traces = traces_of([Batch.from_wire(Signal.TRACES, request.SerializeToString())])
    seen = [observation for trace in traces for observation in translate(trace).observations]

    assert len(seen) == 2
    assert sum((observation.usage or {}).get("total", 0) for observation in seen) == counted


@pytest.mark.parametrize(("at_ms", "counted"), [((10, 90), 13), ((10, 110), 13), ((50, 150), 26)])
def test_by_two_instrumentations_in_one_trace_it_counts_as_in_two(
    otlp: Any, at_ms: tuple[float, float], counted: int
) -> None:
    spans = (
        otlp.span(1),
        otlp.span(2, 1, scope="litellm", at_ms=(0, 100), attrs=OF_CONVENTIONS),
        otlp.span(3, 1, scope="sdk", at_ms=at_ms, attrs=OF_OPENINFERENCE),
    )

    for order in (spans, spans[::-1]):
        seen = translate(otlp.trace(*order)).observations
        assert sum((one.usage or {}).get("total", 0) for one in seen) == counted
        assert len([one for one in seen if one.type == "GENERATION"]) == counted // 13


def test_told_three_times_it_counts_once_whichever_is_the_richest(otlp: Any) -> None:
    told_by = [OF_CONVENTIONS, OF_OPENINFERENCE, OF_OPENINFERENCE]
    for richest in range(3):
        said = told_by[-richest:] + told_by[:-richest]
        spans = [otlp.span(2 + n, 1, scope=f"s{n}", at_ms=(10 * n, 100 - 10 * n), attrs=said[n]) for n in range(3)]
        seen = translate(otlp.trace(otlp.span(1), *spans)).observations

        assert [int(one.id, 16) for one in seen if one.usage] == [2 + richest]


def test_what_langchain_tells_and_the_sdk_below_it_is_one_call_wherever_they_stand(otlp: Any) -> None:
    answered = {"message": {"lc": 1, "kwargs": {"response_metadata": {"id": "r1"}}}}
    counts = {"llm.token_count.prompt": 11, "llm.token_count.completion": 2, "openinference.span.kind": "LLM"}
    langchain = {**counts, "output.value": json.dumps({"generations": [[answered]]})}
    sdk = {**counts, "output.value": json.dumps({"id": "r1", "object": "chat.completion"})}
    trace = otlp.trace(
        otlp.span(1),
        otlp.span(2, 1, attrs={"openinference.span.kind": "CHAIN"}),
        otlp.span(3, 2, scope="openinference.instrumentation.langchain", at_ms=(10, 90), attrs=langchain),
        otlp.span(4, 1, scope="openinference.instrumentation.openai", at_ms=(20, 80), attrs=sdk),
    )

    seen = translate(trace).observations

    assert [one.id[-1] for one in seen if one.type == "GENERATION"] == ["3"]
    assert sum((one.usage or {}).get("total", 0) for one in seen) == 13


def test_an_agent_beside_the_call_that_repeats_its_response_counts_nothing(otlp: Any) -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.response.id": "r1", "gen_ai.usage.input_tokens": 11}
    trace = otlp.trace(
        otlp.span(1),
        otlp.span(2, 1, scope="openlit.instrumentation.langchain", at_ms=(10, 90), attrs=OF_CONVENTIONS),
        otlp.span(3, 1, scope="openlit.instrumentation.langgraph", at_ms=(5, 95), attrs=agent),
    )

    seen = translate(trace).observations

    assert {one.type: (one.usage or {}).get("total") for one in seen} == {"SPAN": None, "GENERATION": 13, "AGENT": None}


def test_a_call_beside_one_that_leaves_the_cache_out_of_its_count_is_the_same(otlp: Any) -> None:
    answered = {"gen_ai.response.model": "claude-sonnet-4-5", "gen_ai.usage.output_tokens": 23}
    cached = {"gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.cache_write.input_tokens": 7}
    own = answered | cached | {"gen_ai.usage.input_tokens": 158, "gen_ai.response.id": "msg-1"}
    spoken = {"gen_ai.input.messages": '[{"role": "user", "content": "Look"}]', "gen_ai.operation.name": "chat"}
    outer = answered | spoken | {"gen_ai.usage.input_tokens": 111}
    spans = [
        otlp.span(1),
        otlp.span(2, 1, scope="com.anthropic.sdk.python", attrs=own, at_ms=(2, 8)),
        otlp.span(3, 1, scope="another", attrs=outer, at_ms=(1, 9)),
    ]

    for order in (spans, spans[::-1]):
        seen = {node.id[-1]: node for node in translate(otlp.trace(*order)).observations}

        assert {place: str(node.type) for place, node in seen.items()} == {"1": "SPAN", "2": "SPAN", "3": "GENERATION"}
        assert seen["3"].usage == {
            "input": 111,
            "input_cached_tokens": 40,
            "input_cache_creation": 7,
            "output": 23,
            "total": 181,
        }
        assert seen["2"].usage is None


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param({"output.value": '{"id": "r1", "content": [{"te'}, id="cut off by a limit"),
        pytest.param({"gen_ai.completion": json.dumps(OF_LANGCHAIN), "langsmith.span.kind": "llm"}, id="LangSmith"),
    ],
)
def test_a_response_that_an_answer_names_is_the_same_in_another_trace(otlp: Any, shown: Mapping[str, Any]) -> None:
    counted = {key: item for key, item in OF_OPENINFERENCE.items() if key != "llm.response.id"}
    request = ExportTraceServiceRequest()
    for record in (
        told(otlp, 1, "langsmith", (0, 100), counted | shown),
        told(otlp, 2, "com.anthropic.sdk.python", (10, 90), OF_CONVENTIONS),
    ):
        block = request.resource_spans.add()
        block.scope_spans.add(scope=record.scope).spans.append(record.span)

    traces = traces_of([Batch.from_wire(Signal.TRACES, request.SerializeToString())])
    seen = [observation for trace in traces for observation in translate(trace).observations]

    assert sum((observation.usage or {}).get("total", 0) for observation in seen) == 13


@pytest.mark.parametrize("models", [("o4-mini", "o4-mini"), ("o4-mini", "o3")])
def test_calls_beside_each_other_that_failed_both_are_one_if_the_model_is(otlp: Any, models: tuple[str, str]) -> None:
    spans = [
        otlp.span(1),
        *(
            otlp.span(
                number,
                1,
                scope=scope,
                at_ms=at_ms,
                status=(2, "overloaded"),
                attrs={"gen_ai.operation.name": "chat", "gen_ai.request.model": model},
            )
            for number, scope, at_ms, model in zip((2, 3), ("outer", "sdk"), ((1, 9), (2, 8)), models, strict=True)
        ),
    ]

    for order in (spans, spans[::-1]):
        seen = translate(otlp.trace(*order)).observations

        assert len([one for one in seen if one.type == "GENERATION"]) == len(set(models))
        assert len([one for one in seen if one.level == "ERROR"]) == 2


def test_of_two_that_tell_of_a_call_the_one_that_says_more_of_the_cache_counts(otlp: Any) -> None:
    read = {"gen_ai.usage.input_tokens": 158, "gen_ai.usage.cache_read.input_tokens": 40}
    spans = [
        otlp.span(1),
        otlp.span(2, 1, scope="langchain", at_ms=(0, 100), attrs=OF_CONVENTIONS | read),
        otlp.span(
            3,
            1,
            scope="com.anthropic.sdk.python",
            at_ms=(10, 90),
            attrs={
                "gen_ai.operation.name": "chat",
                "gen_ai.response.id": "r1",
                **read,
                "gen_ai.usage.output_tokens": 2,
                "gen_ai.usage.cache_write.input_tokens": 7,
            },
        ),
    ]

    seen = {one.id[-1]: one.usage for one in translate(otlp.trace(*spans)).observations if one.type == "GENERATION"}

    assert seen == {
        "2": {"input": 111, "input_cached_tokens": 40, "input_cache_creation": 7, "output": 2, "total": 160}
    }


@pytest.mark.parametrize(
    ("parents", "names", "times", "calls"),
    [
        pytest.param((1, 1), ("one", "two"), ((0, 80), (2, 82)), 1, id="beside each other, most of the time"),
        pytest.param((1, 1), ("one", "two"), ((0, 80), (50, 130)), 2, id="beside each other, at another time"),
        pytest.param((1, 2), ("Chat", "Chat"), ((0, 80), (2, 78)), 1, id="two tracers of one framework"),
        pytest.param((1, 2), ("Chat", "other"), ((0, 80), (2, 78)), 2, id="two frameworks"),
    ],
)
def test_two_that_name_no_response_tell_of_one_call(
    otlp: Any, parents: tuple[int, int], names: tuple[str, str], times: tuple[tuple[int, int], ...], calls: int
) -> None:
    counted = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 2}
    spans = [
        otlp.span(1, at_ms=(0, 200)),
        otlp.span(2, 1, at_ms=(0, 200)),
        *(
            otlp.span(number, parent, name=name, scope=scope, at_ms=at_ms, attrs=counted)
            for number, parent, name, scope, at_ms in zip(
                (3, 4), parents, names, ("langfuse-sdk", "openinference"), times, strict=True
            )
        ),
    ]

    for order in (spans, spans[::-1]):
        seen = translate(otlp.trace(*order)).observations

        assert len([one for one in seen if one.type == "GENERATION"]) == calls
        assert sum((one.usage or {}).get("total", 0) for one in seen) == 13 * calls


@pytest.mark.parametrize(
    ("where", "at_ms", "counts", "model", "counted"),
    [
        pytest.param((1, 2), (10, 90), 11, "gpt-4o", 13, id="in another trace"),
        pytest.param((1, 2), (50, 150), 11, "gpt-4o", 26, id="half of the time"),
        pytest.param((1, 2), (10, 90), 12, "gpt-4o", 27, id="other counts"),
        pytest.param((1, 2), (10, 90), 11, "o3", 26, id="another model"),
        pytest.param((2, 1), (10, 90), 11, "gpt-4o", 13, id="the trace of the other came first"),
    ],
)
def test_one_that_names_no_response_tells_of_the_call_at_that_time(
    otlp: Any, where: tuple[int, int], at_ms: tuple[float, float], counts: int, model: str, counted: int
) -> None:
    """As a framework's spans, or what was set by hand; an SDK's own instrumentation is in no trace of theirs."""
    by_hand = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": model,
        "langfuse.observation.usage_details": json.dumps({"input": counts, "output": 2}),
        "langfuse.observation.output": "Sunny.",
    }
    request = ExportTraceServiceRequest()
    for record in (
        told(otlp, where[0], "langfuse-sdk", (0, 100), by_hand),
        told(otlp, where[1], "sdk", at_ms, OF_OPENINFERENCE | {"llm.model_name": "gpt-4o"}),
    ):
        block = request.resource_spans.add()
        block.scope_spans.add(scope=record.scope).spans.append(record.span)

    traces = traces_of([Batch.from_wire(Signal.TRACES, request.SerializeToString())])
    seen = {one.scope_name: one for trace in traces for one in translate(trace).observations}

    assert sum((observation.usage or {}).get("total", 0) for observation in seen.values()) == counted
    assert seen["langfuse-sdk"].usage
    assert str(seen["sdk"].type) == ("SPAN" if counted == 13 else "GENERATION")


def test_of_calls_at_one_time_each_is_told_again_once(otlp: Any) -> None:
    """The one that is told beside itself in its own trace is no second telling of another."""
    request = ExportTraceServiceRequest()
    unnamed = {key: item for key, item in OF_OPENINFERENCE.items() if key != "llm.response.id"}
    for number, scope, attrs in (
        (1, "langchain", unnamed),
        (1, "sdk", OF_OPENINFERENCE),
        (2, "sdk", OF_OPENINFERENCE | {"llm.response.id": "r2"}),
    ):
        record = told(otlp, number, scope, (0, 100), attrs)
        record.span.span_id = len(request.resource_spans).to_bytes(7) + b"!"
        block = request.resource_spans.add()
        block.scope_spans.add(scope=record.scope).spans.append(record.span)

    traces = traces_of([Batch.from_wire(Signal.TRACES, request.SerializeToString())])

    assert [(one.known.calls if one.known else []) for one in traces] == [[], []]


@pytest.mark.parametrize(
    ("names", "attrs", "calls"),
    [
        pytest.param(("request", "request"), OF_OPENINFERENCE, 1, id="in the words of two conventions"),
        pytest.param(("proxy request", "request"), OF_CONVENTIONS, 1, id="under two names"),
        pytest.param(("request", "request"), OF_CONVENTIONS, 2, id="in the same words, as where an id is used again"),
        pytest.param(("request", "request"), OF_CONVENTIONS | {"app.try": 2}, 2, id="and one has a word of its own"),
    ],
)
def test_one_instrumentation_may_tell_two_exporters_of_one_response(
    otlp: Any, names: tuple[str, str], attrs: Mapping[str, Any], calls: int
) -> None:
    """As LiteLLM's proxy does to its callbacks `otel`, `langfuse_otel` and `arize_phoenix`."""
    spans = (
        otlp.span(1),
        otlp.span(2, 1, name=names[0], scope="litellm", at_ms=(0, 100), attrs=OF_CONVENTIONS),
        otlp.span(3, 1, name=names[1], scope="litellm", at_ms=(0, 100), attrs=attrs),
    )

    seen = translate(otlp.trace(*spans)).observations

    assert len([one for one in seen if one.type == "GENERATION"]) == calls
    assert sum((one.usage or {}).get("total", 0) for one in seen) == 13 * calls


@pytest.mark.parametrize("nested", [True, False])
def test_of_a_stream_whose_framework_lost_what_was_asked_the_sdk_counts(otlp: Any, nested: bool) -> None:
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    answered = {key: OF_CONVENTIONS[key] for key in ("gen_ai.usage.output_tokens", "gen_ai.output.messages")}
    lost: dict[str, Any] = {**call, **answered, "gen_ai.usage.input_tokens": 0}
    native = {
        **call,
        "gen_ai.response.id": "r1",
        "gen_ai.usage.input_tokens": 158,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 40,
    }
    framework = otlp.span(1, 9, scope="opentelemetry.instrumentation.langchain", attrs=lost)
    sdk = otlp.span(2, 1 if nested else 9, scope="com.anthropic.sdk.python", at_ms=(5, 95), attrs=native)

    seen = translate(otlp.trace(framework, sdk)).observations

    calls = [(one.output is not None, one.usage) for one in seen if one.type is ObservationType.GENERATION]
    assert calls == [(True, {"input": 118, "output": 2, "input_cached_tokens": 40, "total": 160})]
    assert [one.usage for one in seen if one.type is not ObservationType.GENERATION] == [None]
