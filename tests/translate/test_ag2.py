"""AG2: records of what was spent, beside the spans of the calls that spent it or alone."""

from typing import Any

from tests.translate.records import of_type, seen

SCOPE = "opentelemetry.instrumentation.ag2"


def span(
    otlp: Any, number: int, kind: str, spent: int | None = None, said: dict[str, str] | None = None, parent: int = 1
) -> Any:
    counts = {} if spent is None else {"gen_ai.usage.input_tokens": spent, "gen_ai.usage.output_tokens": 3}
    return otlp.span(number, parent, name=kind, scope=SCOPE, attrs={"ag2.span.type": kind} | counts | (said or {}))


def test_what_a_call_spent_counts_once(otlp: Any) -> None:
    trace = otlp.trace(
        span(otlp, 1, "agent", parent=0),
        span(otlp, 2, "llm", 10),
        span(otlp, 3, "usage", 10, said={"ag2.usage.kind": "model_call"}),
        span(otlp, 4, "usage", 10, said={"ag2.usage.kind": "compaction"}),
        span(otlp, 5, "usage", 99, said={"ag2.usage.kind": "model_call"}),
    )

    _, call, told, *alone = seen(trace)

    assert call.usage == {"input": 10, "output": 3, "total": 13}
    assert (told.type, told.usage) == ("SPAN", None)
    assert told.metadata["uncounted_usage"] == {"input_tokens": 10, "output_tokens": 3}
    assert [one.usage["input"] for one in of_type(alone, "GENERATION") if one.usage] == [10, 99]


def test_what_a_sub_agent_spent_is_told_by_its_own_spans(otlp: Any) -> None:
    rollup = span(otlp, 5, "usage", 10, said={"ag2.usage.kind": "subtask", "ag2.usage.label": "worker"})
    worker = [span(otlp, 3, "agent", said={"gen_ai.agent.name": "worker"}), span(otlp, 4, "llm", 10, parent=3)]

    *_, told = seen(otlp.trace(span(otlp, 1, "agent", parent=0), *worker, rollup))
    *_, alone = seen(otlp.trace(span(otlp, 1, "agent", parent=0), rollup))

    assert (told.type, told.usage) == ("SPAN", None)
    assert (alone.type, alone.usage) == ("GENERATION", {"input": 10, "output": 3, "total": 13})
