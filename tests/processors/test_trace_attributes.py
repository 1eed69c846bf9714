"""What is true of a trace is found where it was said, and stands on every observation."""

from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from otel_bridge.component import Host
from otel_bridge.processors.trace_attributes import MANY, TraceAttributesConfig, trace_attributes
from otel_bridge.telemetry import Counters
from otel_bridge.trace import LogEntry, SpanRecord, Trace
from otel_bridge.translate import traces_of, translate
from tests.processors.passing import recorded

KEY = "0af7651916cd43dd8448eb211c80319c"


def filled(message: Any, said: dict[str, Any]) -> Any:
    for key, value in said.items():
        into = message.attributes.add(key=key).value
        if isinstance(value, list):
            into.CopyFrom(AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=one) for one in value])))
        elif isinstance(value, str):
            into.string_value = value
        elif isinstance(value, bool):
            into.bool_value = value
        else:
            into.int_value = value
    return message


def span(number: int, parent: int = 0, resource: dict[str, Any] | None = None, **said: Any) -> SpanRecord:
    made = Span(
        trace_id=bytes.fromhex(KEY),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        start_time_unix_nano=10**18 + number,
        end_time_unix_nano=10**18 + 100,
    )
    said = {key.replace("_", "."): value for key, value in said.items()}
    return SpanRecord(filled(made, said), InstrumentationScope(name="x"), filled(Resource(), resource or {}))


async def passed(config: dict[str, Any], trace: Trace, counters: Counters | None = None) -> Trace:
    went_on: list[Trace] = []

    async def consume(one: Trace) -> None:
        went_on.append(one)

    opening = asynccontextmanager(trace_attributes.open)
    host = Host("trace_attributes", Path("unused"), counters=counters or Counters())
    async with opening(TraceAttributesConfig.model_validate(config), consume, host) as process:
        await process(trace)
    [one] = went_on
    return one


async def found(config: dict[str, Any], *records: SpanRecord | LogEntry, tenant: str = "default") -> dict[str, Any]:
    spans = [one for one in records if isinstance(one, SpanRecord)]
    logs = [one for one in records if isinstance(one, LogEntry)]
    return dict((await passed(config, Trace(KEY, spans, logs, tenant))).attributes)


async def test_any_span_may_say_it_and_every_observation_has_it() -> None:
    """Of a recorded web service: the agent says whose conversation it is, deep inside."""
    config = {
        "metadata": {"conversation": 'attributes["gen_ai.conversation.id"]', "target": 'attributes["http.target"]'}
    }
    [trace] = [one for one in traces_of([recorded(number=1), recorded(number=2)]) if len(one.spans) == 11]

    made = translate(await passed(config, trace))

    assert len(made.observations) == 11
    for seen in made.observations:
        assert seen.trace.metadata["target"] == "/ask"
        assert seen.trace.metadata["conversation"]


async def test_the_first_place_where_there_is_something_is_heard() -> None:
    config = {"user_id": ['attributes["enduser.id"]', 'resource["app.user"]', '"nobody"']}
    resource = {"app.user": "of the resource"}

    assert await found(config, span(1, resource=resource), span(2, 1, enduser_id="ada")) == {"user_id": "ada"}
    assert await found(config, span(1, resource=resource)) == {"user_id": "of the resource"}
    assert await found(config, span(1, enduser_id="")) == {"user_id": "nobody"}


async def test_the_root_is_heard_before_others_and_those_by_time() -> None:
    config = {"session_id": 'attributes["s"]'}

    assert await found(config, span(1, 3, s="first"), span(2, 3, s="second"), span(3, s="root")) == {
        "session_id": "root"
    }
    assert await found(config, span(2, 3, s="second"), span(1, 3, s="first")) == {"session_id": "first"}


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (["a", "b"], "a"), ([], None), (True, None), ("", None), ("x", "x")]
)
async def test_an_id_is_text_or_a_number_or_the_first_of_a_list(value: Any, text: str | None) -> None:
    """Headers are lists."""
    said = await found({"user_id": 'attributes["http.request.header.x-user"]'}, filled_span(value))

    assert said.get("user_id") == text


def filled_span(value: Any) -> SpanRecord:
    record = span(1)
    filled(record.span, {"http.request.header.x-user": value})
    return record


async def test_tags_are_all_that_is_found() -> None:
    config = {"tags": ['resource["team"]', 'attributes["tags"]', "tenant"]}
    resource = {"team": "blue"}

    said = await found(
        config,
        span(1, resource=resource, tags=["b", "a"]),
        span(2, 1, resource=resource, tags=["a", "c"]),
        tenant="acme",
    )

    assert said == {"tags": ["blue", "b", "a", "c", "acme"]}


async def test_metadata_keep_their_types() -> None:
    config = {"metadata": {"tier": 'attributes["tier"]', "paid": 'attributes["paid"]', "none": 'attributes["x"]'}}

    assert await found(config, span(1, tier=3, paid=False)) == {"metadata": {"tier": 3, "paid": False}}


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ("[duration(attributes['d']), 1]", [1]),
        ("[[timestamp('2026-01-01T00:00:00Z')], [null, []], 'x']", [[None, []], "x"]),
        (
            "{'a': duration('1s'), 'b': {'c': [timestamp('2026-01-01T00:00:00Z'), 2.5]}, 'd': {'e': duration('1s')}}",
            {"b": {"c": [2.5]}},
        ),
        ("{'a': {1: 'one', 'two': 2}}", {"a": {"two": 2}}),
        ("[duration('1s')]", "as next"),
        ("duration('1s')", "as next"),
        ("[]", []),
    ],
)
async def test_of_metadata_what_is_no_json_is_left_out_and_counted(place: str, kept: Any) -> None:
    """Or the trace could not be written down as settled, and none of its pipeline after it."""
    counters = Counters()
    trace = Trace(KEY, [span(1, d="3s")])

    one = await passed({"metadata": {"took": [place, "'as next'"]}}, trace, counters)

    assert one.attributes == {"metadata": {"took": kept}}
    assert orjson.loads(orjson.dumps(one.attributes)) == one.attributes
    assert counters.value("no_json", processor="trace_attributes", metadata="took") == (kept != [])


async def test_values_can_be_made_of_others() -> None:
    config = {
        "environment": 'attributes["env"] == "production" ? "prod" : "dev"',
        "user_id": 'resource["org"] + "/" + attributes["user"]',
    }

    said = await found(config, span(1, resource={"org": "acme"}, env="production", user="ada"))

    assert said == {"environment": "prod", "user_id": "acme/ada"}


async def test_log_records_are_asked_too() -> None:
    record = LogRecord(event_name="user_prompt", time_unix_nano=1)
    entry = LogEntry(filled(record, {"user.email": "ada@example.com"}), InstrumentationScope(), Resource())

    assert await found({"user_id": 'attributes["user.email"]'}, span(1), entry) == {"user_id": "ada@example.com"}


async def test_where_nothing_is_found_the_trace_is_the_same_object() -> None:
    trace = Trace(KEY, [span(1)])

    assert await passed({"user_id": 'attributes["x"]'}, trace) is trace


async def test_a_large_trace_is_looked_through_beside_the_event_loop() -> None:
    records = [span(number, number - 1) for number in range(1, MANY + 1)]

    assert await found({"user_id": 'attributes["u"]'}, *records, span(MANY + 1, 1, u="ada")) == {"user_id": "ada"}


@pytest.mark.parametrize("wrong", ['nam == "x"', "attributes[", 'kind == "server"', 7])
def test_a_place_that_can_not_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        TraceAttributesConfig.model_validate({"user_id": wrong})
