"""Command-line agents that speak in log records: what all of them have in common."""

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_bridge.translate import traces_of, translate
from tests.translate.records import CLAUDE, CODEX, GEMINI, batch

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
