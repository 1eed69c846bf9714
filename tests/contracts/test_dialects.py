"""What holds for every dialect, by being registered: total, deterministic, sound in its numbers, and nothing lost."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.model import Translation
from otel_bridge.trace import LogEntry, SpanRecord, Trace
from otel_bridge.translate import dialects, explain, to_json, translate
from otel_bridge.translate.dialect import Dialect

TRACE_ID = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
CASES = Path(__file__).parents[1] / "translate" / "cases"
DIALECTS = dialects()
BROKEN = ("[1, 2", "{", '"', '{"a": {"b": [1, {"c": null}]}}', "NaN", "1e999", "-1", "9" * 40, "[" * 300, "true", "")


def vocabulary() -> list[str]:
    """Keys that some dialect knows: those of all case files, and all marks."""
    keys = {mark.replace("*", "x") for dialect in DIALECTS for mark in dialect.marks}
    for path in CASES.glob("*/*.json"):
        case = json.loads(path.read_text())
        keys |= set(case["attrs"])
        for more in (*case.get("events", []), *case.get("logs", [])):
            keys |= set(more.get("attrs", {}))
    return sorted(keys)


def names() -> list[str]:
    """Names of events and log records that some dialect knows."""
    found = {"exception", "gen_ai.evaluation.result", "score", "something else"}
    for path in CASES.glob("*/*.json"):
        case = json.loads(path.read_text())
        found |= {more["name"] for more in (*case.get("events", []), *case.get("logs", []))}
    return sorted(found)


KEYS = st.sampled_from(vocabulary()) | st.text(max_size=20)
TEXTS = st.text(max_size=30) | st.sampled_from(BROKEN)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXTS | st.binary(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
JSON_TEXT = VALUES.map(lambda raw: json.dumps(raw, default=repr))
ATTRIBUTES = st.dictionaries(KEYS, VALUES | JSON_TEXT, max_size=8)
SAID = st.tuples(st.sampled_from(names()), ATTRIBUTES)
SCOPES = st.sampled_from(
    sorted({scope.replace("*", ".x") for dialect in DIALECTS for scope in dialect.scopes} | {"", "unknown"})
)


def any_value(raw: Any) -> AnyValue:
    match raw:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=raw)
        case int():
            return AnyValue(int_value=raw)
        case float():
            return AnyValue(double_value=raw)
        case str():
            return AnyValue(string_value=raw.encode("utf-8", "replace").decode())
        case bytes():
            return AnyValue(bytes_value=raw)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in raw]))
        case _:
            return AnyValue(kvlist_value=KeyValueList(values=pairs(raw)))


def pairs(attrs: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key.encode("utf-8", "replace").decode(), value=any_value(item)) for key, item in attrs.items()]


def trace_of(
    spans: Sequence[tuple[str, dict[str, Any], Sequence[tuple[str, dict[str, Any]]]]],
    logs: Sequence[tuple[str, dict[str, Any]]] = (),
) -> Trace:
    """A chain of spans, each below the one before; the log records go to the first, to none, and to one not here."""
    records = []
    for number, (scope, attrs, events) in enumerate(spans, 1):
        span = Span(
            trace_id=TRACE_ID,
            span_id=number.to_bytes(8, "big"),
            parent_span_id=(number - 1).to_bytes(8, "big") if number > 1 else b"",
            name=f"span {number}",
            start_time_unix_nano=10**18 + number,
            end_time_unix_nano=10**18 + 10**9 - number,
            attributes=pairs(attrs),
        )
        for name, said in events:
            span.events.add(name=name, time_unix_nano=10**18 + 100, attributes=pairs(said))
        records.append(SpanRecord(span, InstrumentationScope(name=scope), Resource()))
    entries = []
    for place, (name, said) in enumerate(logs):
        record = LogRecord(trace_id=TRACE_ID, event_name=name, time_unix_nano=10**18 + place, attributes=pairs(said))
        record.span_id = (b"", (1).to_bytes(8, "big"), (99).to_bytes(8, "big"))[place % 3]
        entries.append(LogEntry(record, InstrumentationScope(name="logger"), Resource()))
    return Trace(key=TRACE_ID.hex(), spans=records, logs=entries)


TRACES = st.builds(
    trace_of,
    st.lists(st.tuples(SCOPES, ATTRIBUTES, st.lists(SAID, max_size=2)), min_size=1, max_size=4),
    st.lists(SAID, max_size=3),
)


def printed(translation: Translation) -> bytes:
    return orjson.dumps(to_json(translation), option=orjson.OPT_SORT_KEYS)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(TRACES)
def test_whatever_a_span_holds_it_becomes_one_sound_observation(trace: Trace) -> None:
    translation = translate(trace)

    ids = [seen.id for seen in translation.observations]
    assert len(set(ids)) == len(ids)
    assert {record.span.span_id.hex() for record in trace.spans} <= set(ids)
    assert printed(translation) == printed(translate(trace))
    for seen in translation.observations:
        assert seen.name
        assert isinstance(seen.status_message, str | None)
        assert seen.model is None or isinstance(seen.model, str)
        for usage in filter(None, [seen.usage]):
            assert all(type(count) is int and count >= 0 for count in usage.values())
            assert usage["total"] == sum(count for bucket, count in usage.items() if bucket != "total")
        for cost in filter(None, [seen.cost]):
            assert "total" in cost
            assert all(math.isfinite(dollars) and dollars >= 0 for dollars in cost.values())
        if seen.completion_start_ns is not None:
            assert seen.start_ns <= seen.completion_start_ns <= seen.end_ns


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    SCOPES,
    st.lists(st.sampled_from(vocabulary()), unique=True, max_size=8),
    st.lists(st.tuples(st.sampled_from(names()), st.lists(KEYS, unique=True, max_size=3)), max_size=2),
    st.sampled_from(("{}", '"{}"', '["{}"]', '{{"a": "{}"}}', '[{{"role": "user", "content": "{}"}}]')),
)
def test_nothing_that_was_said_is_lost(
    scope: str, keys: list[str], events: list[tuple[str, list[str]]], form: str
) -> None:
    said = {key: form.format(f"token number {place}") for place, key in enumerate(keys)}
    happened = [
        (name, {key: f"token in event {place}.{inner}" for inner, key in enumerate(inside)})
        for place, (name, inside) in enumerate(events)
    ]

    shown = printed(translate(trace_of([(scope, said, happened)]))).decode()

    missing = [key for place, key in enumerate(keys) if f"token number {place}" not in shown]
    missing += [
        f"{name}: {key}"
        for place, (name, inside) in enumerate(events)
        for inner, key in enumerate(inside)
        if f"token in event {place}.{inner}" not in shown
    ]
    assert not missing


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_dialect_says_what_it_was_checked_against(dialect: Dialect) -> None:
    assert dialect.name.replace("_", "").isalnum()
    assert dialect.checked
    assert dialect.marks or dialect.scopes


def test_no_two_dialects_claim_one_scope_or_name() -> None:
    scopes = [scope for dialect in DIALECTS for scope in dialect.scopes]
    assert len(set(scopes)) == len(scopes)
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(TRACES)
def test_every_source_is_explained_once(trace: Trace) -> None:
    """Each attribute went into fields, stands in the metadata, or said nothing new."""
    for explanation, record in zip(explain(trace), trace.spans, strict=True):
        placed = set(explanation.metadata) | set(explanation.shadowed)
        placed |= {source for sources in explanation.fields.values() for source in sources}
        assert {pair.key for pair in record.span.attributes} <= placed
