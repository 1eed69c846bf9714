"""Where each field came from."""

from typing import Any

from otel_bridge.translate import Prices, explain, translate


def test_fields_metadata_and_what_was_shadowed(otlp: Any) -> None:
    attrs = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 5,
        "session.id": "s",
        "gen_ai.conversation.id": "s",
        "team": "blue",
    }
    log = otlp.log(1, name="gen_ai.user.message", body={"content": "Hi"})

    trace = otlp.trace(otlp.span(1, attrs=attrs), log)
    [found] = explain(trace, translate(trace))

    assert found.fields["type"] == ["gen_ai.operation.name"]
    assert found.fields["model"] == ["gen_ai.request.model"]
    assert found.fields["usage"] == ["gen_ai.usage.input_tokens"]
    assert found.fields["input"] == ["log:gen_ai.user.message"]
    assert found.fields["session_id"] == ["session.id"]
    assert found.shadowed == ["gen_ai.conversation.id"]
    assert found.metadata == ["team"]
    assert found.dialects == ["otel_genai", "plain"]


def test_what_the_tree_decided(otlp: Any, id_of: Any) -> None:
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.response.id": "r",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 5,
    }
    trace = otlp.trace(
        otlp.span(
            1,
            9,
            attrs={"gen_ai.operation.name": "invoke_agent", "session.id": "s", "gen_ai.usage.input_tokens": 5},
            resource={"deployment.environment.name": "prod"},
        ),
        otlp.span(2, 1, at_ms=(10, 90), attrs=call | {"input.value": "Hi"}),
        otlp.span(3, 2, at_ms=(20, 80), attrs=call),
    )

    agent, rich, poor = explain(trace, translate(trace, Prices()))

    assert agent.tree == [
        "its usage is not counted: others that report it are",
        f"made a root: its parent {id_of(9)} is not here",
    ]
    assert agent.fields["session_id"] == ["session.id"]
    assert agent.fields["environment"] == ["resource"]
    assert rich.fields["session_id"] == [f"span:{id_of(1)}"]
    assert rich.fields["cost"][0].startswith("genai-prices")
    assert "cost" not in poor.fields
    assert poor.tree[0] == f"reports the same call as {id_of(2)}, which says more of it: shown as SPAN"
