"""Where each field came from."""

from typing import Any

from otel_bridge.translate import explain


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

    [found] = explain(otlp.trace(otlp.span(1, attrs=attrs), log))

    assert found.fields["type"] == ["gen_ai.operation.name"]
    assert found.fields["model"] == ["gen_ai.request.model"]
    assert found.fields["usage"] == ["gen_ai.usage.input_tokens"]
    assert found.fields["input"] == ["log:gen_ai.user.message"]
    assert found.fields["session_id"] == ["session.id"]
    assert found.shadowed == ["gen_ai.conversation.id"]
    assert found.metadata == ["team"]
    assert found.dialects == ["otel_genai", "plain"]
