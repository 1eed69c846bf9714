"""Every example runs as it is, and what it shows arrives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk.sink import sink

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_research() -> None:
    with sink() as arrived:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "research.py")],
            env={**kept, "OTEL_EXPORTER_OTLP_ENDPOINT": arrived.url, "OTEL_BRIDGE_EXIT_SECONDS": "20"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    by_id = {span.span_id: span for span in arrived.spans}
    tree = {
        span.name: by_id[span.parent_span_id].name if span.parent_span_id else None
        for span in arrived.spans
        if span.name not in ("execute_tool look_up", "chat gpt-4o-mini", "answer")
    }
    assert tree == {
        "invoke_workflow compare-cities": None,
        "invoke_agent researcher-lisbon": "invoke_workflow compare-cities",
        "invoke_agent researcher-oslo": "invoke_workflow compare-cities",
    }
    assert len(arrived.spans) == 9
    assert len({span.trace_id for span in arrived.spans}) == 1
    [failed] = [span for span in arrived.spans if span.status.code]
    assert failed.status.message == "TimeoutError: the library did not answer"
    attributes = [{item.key: item.value.string_value for item in span.attributes} for span in arrived.spans]
    assert all(found["session.id"] == "s-1" for found in attributes)
    [scored] = arrived.logs
    assert scored.event_name == "gen_ai.evaluation.result"
    assert by_id[scored.span_id].name == "invoke_workflow compare-cities"
    assert f"trace {scored.trace_id.hex()}; all of it was sent:" in done.stdout
