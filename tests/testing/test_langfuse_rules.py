"""The rules find what they are there to find."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from otel_bridge.testing import langfuse_rules as rules

GOOD = rules.SpanRow(
    trace_id="0af7651916cd43dd8448eb211c80319c",
    id="00f067aa0ba902b7",
    parent_id="",
    name="chat",
    start_ns=10**18,
    end_ns=10**18 + 1,
    attributes={
        "langfuse.observation.type": "generation",
        "langfuse.observation.level": "DEFAULT",
        "langfuse.observation.input": "hi",
        "langfuse.observation.output": "hello",
        "langfuse.observation.model.name": "m",
        "langfuse.observation.usage_details": '{"input":1,"output":2,"total":3}',
        "langfuse.observation.cost_details": '{"total":0.5}',
        "langfuse.trace.name": "run",
        "langfuse.environment": "production",
        "session.id": "s",
    },
    resource={},
    scope_name="",
    scope_version="",
    error=False,
    status_message="",
    bad_ids=False,
)
EVENT: dict[str, Any] = {
    "id": "1",
    "timestamp": "2026-11-20T12:00:00.000Z",
    "type": "generation-create",
    "body": {"id": "a", "name": "chat", "level": "DEFAULT", "startTime": "2026-11-20T12:00:00.000Z"},
}


def test_a_whole_span_and_a_whole_event_have_no_faults() -> None:
    assert rules.contract_faults(GOOD) == []
    assert rules.event_faults(EVENT) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("langfuse.observation.type", "GENERATION"),
        ("langfuse.observation.level", "error"),
        ("langfuse.observation.output", None),
        ("langfuse.observation.usage_details", '{"input":1,"output":2,"total":4}'),
        ("langfuse.observation.usage_details", '{"input":-1,"output":4,"total":3}'),
        ("langfuse.observation.usage_details", '{"input":1.5,"total":1.5}'),
        ("langfuse.observation.cost_details", '{"input":0.5}'),
        ("langfuse.observation.cost_details", '{"total":"much"}'),
        ("langfuse.observation.completion_start_time", "2026-11-20T12:00:00"),
        ("langfuse.observation.model.parameters", "[1]"),
        ("langfuse.observation.prompt.name", "without version"),
        ("langfuse.observation.metadata", '{"tools":[]}'),
        ("langfuse.trace.name", None),
        ("langfuse.environment", "Prod EU"),
        ("langfuse.environment", "langfuse-x"),
        ("gen_ai.operation.name", "invoke_agent"),
        ("langfuse.trace.tags", {"raw": "kvlist"}),
    ],
)
def test_a_fault_of_an_attribute_is_found(key: str, value: Any) -> None:
    attributes = {**GOOD.attributes, key: value}

    faults = rules.contract_faults(
        replace(GOOD, attributes={key: item for key, item in attributes.items() if item is not None})
    )

    assert len(faults) == 1


@pytest.mark.parametrize(
    "fields", [{"id": "0" * 16}, {"bad_ids": True}, {"end_ns": 0}, {"start_ns": 0}, {"name": "n" * 1001}]
)
def test_a_fault_of_the_span_itself_is_found(fields: dict[str, Any]) -> None:
    assert len(rules.contract_faults(replace(GOOD, **fields))) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda event: event.update(id=""),
        lambda event: event.update(id="i" * 801),
        lambda event: event.update(type="agent-create"),
        lambda event: event.update(timestamp="2026-11-20 12:00"),
        lambda event: event["body"].update(completionStartTime=1),
        lambda event: event["body"].update(name="n" * 1001),
        lambda event: event["body"].update(level="error"),
        lambda event: event["body"].update(modelParameters={"a": {"b": 1}}),
        lambda event: event["body"].update(usage={"input": -1}),
        lambda event: event["body"].update(usage={"totalCost": float("nan")}),
        lambda event: event["body"].update(userId=5),
        lambda event: event["body"].update(tags=[1]),
    ],
)
def test_a_fault_of_an_event_is_found(change: Callable[[dict[str, Any]], None]) -> None:
    event = EVENT | {"body": dict(EVENT["body"])}
    change(event)

    assert len(rules.event_faults(event)) == 1
