"""AgentOps: what a model's answer calls are spans below the call, in which nothing runs."""

from typing import Any

from tests.translate.records import seen


def test_the_calls_of_an_answer_are_its_output_and_no_tools(otlp: Any) -> None:
    asked = {"gen_ai.request.type": "chat", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Paris?"}
    answered = {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.finish_reason": "tool_calls"}
    model = otlp.span(1, name="openai.chat.completion", scope="openai", attrs=asked | answered)
    below = [
        otlp.span(
            number,
            parent=1,
            name="tool_call.get_weather",
            scope="agentops.instrumentation.providers.openai.wrappers.chat",
            attrs={
                "agentops.span.kind": "AgentOpsSpanKindValues.TOOL",
                "tool.name": "get_weather",
                "tool.parameters": f'{{"city": "{city}"}}',
                "tool.call.id": f"call_{number}",
            },
        )
        for number, city in ((2, "Paris"), (3, "Rome"))
    ]

    call, *others = seen(otlp.trace(model, *below))

    assert [(one["id"], one["function"]["arguments"]) for one in call.output[0]["tool_calls"]] == [
        ("call_2", '{"city": "Paris"}'),
        ("call_3", '{"city": "Rome"}'),
    ]
    assert [str(other.type) for other in others] == ["SPAN", "SPAN"]
