import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from otel_bridge.condition import LogCondition, SpanCondition
from otel_bridge.config import Config
from otel_bridge.trace import LogEntry, SpanRecord


class Dropping(Config):
    spans: SpanCondition


def attributes(**values: str | int) -> list[KeyValue]:
    return [
        KeyValue(
            key=key.replace("_", "."),
            value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value),
        )
        for key, value in values.items()
    ]


RECORD = SpanRecord(
    Span(
        name="GET /health",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=10**18,
        end_time_unix_nano=10**18 + 1_500_000_000,
        status={"code": 2},
        attributes=attributes(http_route="/health", http_status=500),
    ),
    InstrumentationScope(name="opentelemetry.instrumentation.fastapi"),
    Resource(attributes=attributes(service_name="batch-7")),
)


@pytest.mark.parametrize(
    "text",
    [
        'name == "GET /health"',
        'kind == "server" && status == "error"',
        "duration_s > 1 && duration_s <= 1.5",
        'attributes["http.route"] == "/health" && attributes["http.status"] >= 500',
        'resource["service.name"].startsWith("batch-")',
        'scope.endsWith(".fastapi")',
        'name.matches("^(GET|HEAD) ")',
        'tenant in ["acme", "beta"]',
        '"http.route" in attributes',
    ],
)
def test_a_condition_asks_for_what_a_span_says(text: str) -> None:
    assert SpanCondition(text).of(RECORD, "acme")
    assert not SpanCondition(f"!({text})").of(RECORD, "acme")


@pytest.mark.parametrize(
    "text",
    [
        'attributes["no.such"] == "x"',
        'attributes["no.such"] != "x"',
        'attributes["http.route"] > 5',
        'attributes["http.status"].startsWith("5")',
        "1 / 0 == 1",
        "name",
    ],
)
def test_what_is_not_there_or_makes_no_sense_makes_it_false(text: str) -> None:
    assert not SpanCondition(text).of(RECORD, "acme")


def test_a_condition_on_log_records_knows_what_those_have() -> None:
    entry = LogEntry(
        LogRecord(event_name="gen_ai.choice", severity_number=9, body=AnyValue(string_value="hello")),  # type: ignore[arg-type]
        InstrumentationScope(),
        Resource(),
    )

    assert LogCondition('event_name == "gen_ai.choice" && severity < 10 && body.contains("ell")').of(entry, "acme")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name ==", "this is no CEL expression"),
        ('nam == "x"', "'nam' is not known here, did you mean name?"),
        ("(" * 5000, "4096 characters"),
        (7, "must be text, a condition"),
    ],
)
def test_a_condition_that_can_not_be_meant_is_refused_when_it_is_read(text: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("?", r"\?")):
        Dropping.model_validate({"spans": text})


def test_it_is_written_as_it_was_read() -> None:
    assert Dropping.model_validate({"spans": "duration_s > 5"}).model_dump() == {"spans": "duration_s > 5"}


@given(st.text(max_size=30))
def test_no_text_does_more_than_being_refused(text: str) -> None:
    try:
        condition = SpanCondition(text)
    except ValueError:
        return
    assert condition.of(RECORD, "acme") in (True, False)


def test_a_pattern_takes_linear_time() -> None:
    record = SpanRecord(Span(name="a" * 100_000 + "!"), InstrumentationScope(), Resource())

    assert not SpanCondition('name.matches("^(a+)+$")').of(record, "acme")
