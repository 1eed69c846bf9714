"""Work that takes long is seen while it does, in the store of a running bridge."""

import subprocess
import sys

import pytest

from tests.examples.conftest import Bench, until

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from otel_bridge.sdk import agent_run, install, span
installed = install(service="slow")
with agent_run("planner", task="long") as run:
    with span("inner"):
        telling = installed.open_spans
        telling._told_from_s, telling._beat_s = 0, 1e-9  # else this would take fifteen seconds
        telling.tell(), telling.tell()
    print(installed.flush(20), run.trace_id, flush=True)
    sys.stdin.readline()
"""


def told(bench: Bench) -> dict[str, int]:
    """How many records of open spans each exporter's account has as filtered."""
    accounts: list[dict[str, object]] = bench.bridge.audit()
    reasons = {str(each["exporter"]): each["reasons"] for each in accounts if each["signal"] == "logs"}
    return {exporter: dict(said).get("filtered:open_span", 0) for exporter, said in reasons.items()}  # type: ignore[call-overload]


def test_a_span_that_is_open_is_seen_as_such_until_it_has_ended(bench: Bench) -> None:
    before = told(bench)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=bench.environ(OTEL_BRIDGE_HEARTBEAT_SECONDS="0"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        sent, trace_id = program.stdout.readline().split()
        assert sent == "True"
        until(lambda: bench.ask(f"/api/v1/traces?filter=id:{trace_id}%20name:*")["traces"])  # spans and logs come apart
        [still] = bench.ask(f"/api/v1/traces?filter=id:{trace_id}")["traces"]
        seen = bench.ask(f"/api/v1/traces/{trace_id}?full=true")
        assert (still["name"], still["settled"]) == ("invoke_agent planner", False)
        run = next(each for each in seen["observations"] if each["name"] == "invoke_agent planner")
        assert (run["settled"], run["metadata"]["gen_ai.agent.name"]) == (False, "planner")
        assert (run["open"], run["logs"]) == (True, [])
        assert seen["unfinished"]["said"] == "still running: invoke_agent planner has not ended"
        program.communicate("end\n")
    whole = bench.trace(f"id:{trace_id}", 2)
    assert whole.tree == ["AGENT invoke_agent planner", "  SPAN inner"]
    assert (whole["invoke_agent planner"]["logs"], whole["invoke_agent planner"]["open"]) == ([], False)
    assert {exporter: count - before.get(exporter, 0) for exporter, count in told(bench).items()} == {
        "store": 0,  # as they came
        "store.settled": 4,
        "langfuse/product": 4,
        "langfuse/quality": 4,
    }
