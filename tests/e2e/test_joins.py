"""An evaluator that knows no more than the id of a response, and a bridge that is killed before it speaks."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.request import Request, urlopen

import orjson
import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.e2e.process import BridgeProcess, until_there

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def attributes(said: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": text}} for key, text in said.items()]


def post(url: str, body: Mapping[str, Any]) -> None:
    with urlopen(Request(url, orjson.dumps(body), {"Content-Type": "application/json"}), timeout=10) as answer:
        assert answer.status == 200


@pytest.mark.slow
def test_a_judgement_that_names_a_response_reaches_its_generation_after_a_kill(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    now_ns = time.time_ns()
    span = {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "chat",
        "startTimeUnixNano": str(now_ns - 10**9),
        "endTimeUnixNano": str(now_ns),
        "attributes": attributes({"gen_ai.operation.name": "chat", "gen_ai.response.id": "resp_1"}),
    }
    result = {
        "eventName": "gen_ai.evaluation.result",
        "timeUnixNano": str(now_ns),
        "attributes": attributes(
            {
                "gen_ai.evaluation.name": "Relevance",
                "gen_ai.evaluation.score.label": "relevant",
                "gen_ai.response.id": "resp_1",
            }
        ),
    }
    resource = {"attributes": attributes({"deployment.environment.name": "staging"})}
    bridge.start()
    post(f"{bridge.url}/v1/traces", {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]})
    assert until_there(langfuse, {SPAN}, 30) == set()

    bridge.kill()
    bridge.start()
    post(f"{bridge.url}/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [result]}]}]})

    until = time.monotonic() + 30
    while not langfuse.scores and time.monotonic() < until:
        time.sleep(0.1)  # another process sends it to another thread: there is nothing to wait on
    [score] = langfuse.scores.values()
    assert (score["traceId"], score["observationId"], score["value"]) == (TRACE, SPAN, "relevant")
    assert score["environment"] == "staging"
