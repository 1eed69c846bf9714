"""VoltAgent: the loop of an agent's calls is one span, of which the agent says the sum and the answer."""

from typing import Any

import pytest

from otel_bridge.translate import translate
from tests.translate.records import of_type, seen

SCOPE = "@voltagent/core"
OF_AGENT = {"entity.type": "agent", "entity.name": "helper"}


def call(otlp: Any, number: int, prompt: int | None, answered: int = 3) -> Any:
    counts = {} if prompt is None else {"llm.usage.prompt_tokens": prompt, "llm.usage.completion_tokens": answered}
    attrs = OF_AGENT | {"span.type": "llm", "llm.model": "m"} | counts
    return otlp.span(number, parent=1, name="llm:generateText", scope=SCOPE, attrs=attrs)


@pytest.fixture
def agent(otlp: Any) -> Any:
    sums = {"usage.prompt_tokens": 522, "usage.completion_tokens": 106, "usage.cached_tokens": 200}
    return otlp.span(1, name="helper", scope=SCOPE, attrs=OF_AGENT | sums | {"input": "Paris?", "output": "Sunny."})


def test_the_sum_and_the_answer_are_those_of_the_loop(otlp: Any, agent: Any) -> None:
    run, *below = seen(otlp.trace(agent, call(otlp, 2, 311), call(otlp, 3, None)))

    [counted] = [one for one in of_type(below, "GENERATION") if one.usage]
    assert counted.usage == {"input": 322, "output": 106, "input_cached_tokens": 200, "total": 628}
    assert counted.output == [{"role": "assistant", "content": "Sunny."}]
    assert (run.output, run.usage) == ("Sunny.", None)


def test_of_several_loops_each_says_its_own(otlp: Any, agent: Any) -> None:
    run, *below = seen(otlp.trace(agent, call(otlp, 2, 100), call(otlp, 3, 200)))

    assert [one.usage["input"] for one in below if one.usage] == [100, 200]
    assert (run.output, run.usage) == ("Sunny.", None)


def test_a_scorer_judges_the_span_that_it_names(otlp: Any, agent: Any) -> None:
    said = {"eval.scorer.name": "Len", "eval.scorer.score": 0.7, "eval.source.span_id": "00" * 7 + "01"}
    scorer = otlp.span(2, parent=1, name="eval.scorer.len", scope=SCOPE, attrs={"span.type": "scorer"} | said)

    [score] = translate(otlp.trace(agent, scorer)).scores

    assert (score.name, score.value, score.observation_id) == ("Len", 0.7, "00" * 7 + "01")
