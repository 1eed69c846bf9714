import logging
import re
import threading

import cel
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from otel_bridge.condition import LogCondition, Rules, SpanCondition
from otel_bridge.config import Config
from otel_bridge.trace import LogEntry, SpanRecord
from tests.values import pairs


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
        ('name == "a" and kind == "server"', "write && for 'and'"),
        ('name.startWith("a")', "there is no function 'startWith', did you mean startsWith?"),
        ('matches(name, "a")', "write it as text.matches(…)"),
        ('attributes["a"].matches("(")', '"(" is no pattern that can be read'),
        (r'name.matches(r"[\d") || true', r'r"[\d" is no pattern that can be read'),
        ('name.matches(b"a")', 'b"a" is no pattern that can be read'),
        (r'name.matches(r"[\w&&[^x]]")', "RE2 has no && within [ ]"),
        ("name.matches(scope)", 'write a pattern as one text: matches("…")'),
        ('name.matches("a" + "b")', 'write a pattern as one text: matches("…")'),
        ('resource.attributes["a"] == "b"', 'write it as resource["…"], without .attributes'),
        ('scope.name == "a"', "'scope' is text and has no '.name'"),
        ('kind == "SERVER"', "no kind is 'SERVER'"),
        ('status != "errors"', "no status is 'errors', did you mean error?"),
        ('"""a""" == name', "a text stands between two quotation marks"),
    ],
)
def test_a_condition_that_can_not_be_meant_is_refused_when_it_is_read(text: object, said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
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


def test_a_pattern_is_of_the_re2_that_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """CEL's own, which it compiles for each span, takes other digits for digits."""
    found = SpanCondition(r'name . matches(r"^\d$") || scope.matches( "^\\d{2}$" ) && !name.matches(r"^\d$")')
    rules: Rules[SpanRecord] = Rules({"one": SpanCondition(r'name.matches(r"^\d\d$")'), "two": found})
    monkeypatch.setattr(re2, "compile", None)
    for name, scope, holds in (("7", "x", True), ("٣", "x", False), ("x", "17", True), ("x", "٣٣", False)):
        record = SpanRecord(Span(name=name), InstrumentationScope(name=scope), Resource())
        assert found.of(record, "acme") is holds
        assert rules.first(record, "acme") == ("two" if holds else None)


def test_what_is_no_text_fits_no_pattern_and_nobody_is_told_for_each_span(caplog: pytest.LogCaptureFixture) -> None:
    record = SpanRecord(Span(attributes=pairs({"n": 5, "t": "5"})), InstrumentationScope(), Resource())

    for text in ('attributes["n"].matches("5")', '!attributes["n"].matches("6")', '!attributes["no"].matches("6")'):
        assert not SpanCondition(text).of(record, "acme")
    assert SpanCondition('attributes["n"].matches("5") || attributes["t"].matches("5")').of(record, "acme")
    assert not caplog.records


HOSTILE = {
    "not": "!" * 4090 + "true",
    "minus": "-" * 4090 + "1",
    "lists": "[" * 2048 + "]" * 2048,
    "open": "[" * 4096,
    "brackets": "(" * 2046 + "true" + ")" * 2046,
    "not (": "!(" * 1300 + "true" + ")" * 1300,
    "maps": "{1:" * 1000 + "1" + "}" * 1000,
    "choices": "true?" * 400 + "true" + ":true" * 400,
    "calls": "size(" * 500 + "name" + ")" * 500,
    "sum": "1+" * 2047 + "1",
    "fields": "attributes" + ".a" * 2040,
    "index": "attributes" + "[0]" * 1360,
    "long list": "[" + "1," * 2046 + "1]",
    "and": "true&&" * 680 + "true",
    "macros": "[1].all(x," * 300 + "true" + ")" * 300,
    "comments": "//" * 2048,
    "as deep as may be": "(" * 32 + "true" + ")" * 32,
    "as many as may be": "1+" * 510 + "1 == 511",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_expression_overflows_the_stack(text: str) -> None:
    """Of a thread with half a megabyte; most have eight."""

    def judge() -> None:
        try:
            condition = SpanCondition(text)
        except ValueError:
            said.append("refused")
        else:
            said.append(condition.of(RECORD, "acme"))

    said: list[object] = []
    before = threading.stack_size(512 << 10)
    try:
        thread = threading.Thread(target=judge)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()

    assert said in ([True], [False], ["refused"])


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('attributes["a"] == "x" && "b" in attributes || has(attributes.c)', {"a", "b", "c"}),
        ('attributes["a"]["b"] == "x"', {"a"}),
        ('attributes["tags"].exists(tag, tag == "x")', {"tags"}),
        (r'attributes["a"].matches("\\d\"") || attributes["b"].matches(r"\d")', {"a", "b"}),
        ("name == 'attributes' // attributes\n || attributes['a'] == 'b'", {"a"}),
        ("attributes.size() > 3", None),
        ("size(attributes) > 3", None),
        ("attributes[name] == 1", None),
        ('attributes["a" + "b"] == 1', None),
        ('"a" + "b" in attributes', None),
        ('attributes.exists(key, key == "x")', None),
        ('attributes == {"a": 1}', None),
    ],
)
def test_it_knows_which_attributes_it_asks_for(text: str, keys: set[str] | None) -> None:
    """To look up the others costs more than all the rest."""
    assert SpanCondition(text).keys["attributes"] == keys


TERMS = st.sampled_from(
    (
        'attributes["a"] == "x"',
        'attributes["b"] > 1',
        '"c" in attributes',
        '!("a" in attributes)',
        "has(attributes.c)",
        'attributes["l"].exists(one, one == "x")',
        'attributes["m"]["a"] == "x"',
        '"a" in attributes["m"]',
        "size(attributes) > 2",
        '(attributes["b"] == 1 ? attributes["a"] : attributes["c"]) == "x"',
    )
)
JOINED = st.recursive(
    TERMS, lambda inner: st.tuples(inner, st.sampled_from(("&&", "||")), inner).map("({0[0]} {0[1]} {0[2]})".format)
)
LEAVES = st.sampled_from(("x", "y", 1, 2.5, True, None))
ANYTHING = st.dictionaries(
    st.sampled_from("abclm"), LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.sampled_from("abc"), LEAVES)
)


@settings(max_examples=40, deadline=None)
@given(JOINED, ANYTHING)
def test_it_is_true_of_what_it_asks_for_as_it_is_of_all(text: str, said: dict[str, object]) -> None:
    condition = SpanCondition(text)
    record = SpanRecord(Span(attributes=pairs(said)), InstrumentationScope(), Resource())

    holds = condition.of(record, "acme")

    assert holds in (True, False)
    assert holds is condition.holds({"attributes": said})
    assert Rules({"one": condition, "other": SpanCondition('name == "no"')}).first(record, "acme") == (
        "one" if holds else None
    )


def test_of_several_the_first_that_holds_is_named() -> None:
    rules: Rules[SpanRecord] = Rules(
        {
            "never": SpanCondition('attributes["no.such"] == "x"'),
            "slow": SpanCondition("duration_s > 1"),
            "health": SpanCondition('attributes["http.route"] == "/health"'),
        }
    )

    assert rules.first(RECORD, "acme") == "slow"
    assert Rules({}).first(RECORD, "acme") is None


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1,
        -(2**63),
        float("nan"),
        float("inf"),
        "9" * 400,
        "٣",
        "\x00",
        "9999999-01-01T00:00:00Z",
        [],
        {},
        True,
        None,
    ],
    ids=repr,
)
def test_no_value_does_more_than_making_it_false(value: object) -> None:
    record = SpanRecord(Span(attributes=pairs({"a": value})), InstrumentationScope(), Resource())

    for text in (
        'int(attributes["a"]) + 1 > 0',
        '-attributes["a"] == 0',
        'uint(attributes["a"]) == 1u',
        'double(attributes["a"]) / 0.0 == 1.0',
        'timestamp(attributes["a"]) > timestamp("2020-01-01T00:00:00Z") + duration("9999999h")',
        'duration(attributes["a"]) > duration("1s")',
        'attributes["a"].exists(one, one == attributes["a"])',
        'attributes["a"].matches("^[0-9]+$") != true',
        'attributes["a"][attributes["a"]] == attributes["a"]',
    ):
        condition = SpanCondition(text)
        assert condition.of(record, "acme") in (True, False)
        assert Rules({"one": condition, "two": condition}).first(record, "acme") in ("one", None)


def test_values_may_be_nested() -> None:
    record = SpanRecord(
        Span(attributes=pairs({"tags": ["a", "b"], "user": {"plan": "free", "age": 7}, "http.status": 500.0})),
        InstrumentationScope(),
        Resource(),
    )

    for text in (
        '"b" in attributes["tags"]',
        'attributes["tags"].exists(tag, tag.startsWith("b"))',
        'attributes["user"]["plan"] == "free" && attributes.user.age < 8',
        'attributes["http.status"] >= 500',
    ):
        assert SpanCondition(text).of(record, "acme"), text


def test_what_others_in_the_same_program_do_with_cel_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Their logs are their own."""

    def theirs(_: object) -> bool:
        raise TypeError("of another program")

    with pytest.raises(RuntimeError):
        cel.evaluate("theirs(1)", cel.Context({}, {"theirs": theirs}))
    assert "of another program" in caplog.text
    assert logging.getLogger("cel").level == logging.NOTSET
