"""What holds for every dialect, by being registered: total, deterministic, sound in its numbers, and nothing lost.

What is sent for it is valid, too, whatever the spans held.
"""

import ast
import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.exporters.langfuse.ingestion import events as ingestion_events
from otel_bridge.exporters.langfuse.otlp import encode
from otel_bridge.model import MAX_COUNT, Translation
from otel_bridge.testing import langfuse_rules as rules
from otel_bridge.trace import LogEntry, SpanRecord, Trace
from otel_bridge.translate import dialects, explain, to_json, translate
from otel_bridge.translate.dialect import Dialect
from otel_bridge.translate.values import from_json, whole
from tests.values import pairs

TRACE_ID = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
TESTS = Path(__file__).parents[1]
CASES = TESTS / "translate" / "cases"
DIALECTS = dialects()
ODD = (
    *(
        [],
        {},
        [[{}]],
        {"a": [None]},
        None,
        True,
        -1,
        2**62,
        1e308,
        -1e308,
        float("nan"),
        "",
        "{",
        "[1]",
        '{"a": 1}',
        "-1",
    ),
    '[{"function": 5, "blocks": [{"tool_call_id": {}}], "additional_kwargs": {"tool_calls": [{"id": []}]}}]',
    "ToolCall(tool_name='a', tool_kwargs={{}: 1}, tool_id='b')",
    "ToolCall(tool_name='a', tool_kwargs={'a': b'x', (1, 2): {3}}, tool_id='b')",
    "{'user_id': '\\ud800', 'session_id': '\\ud801'}",
    "{'user_id': b'x', 1: {2}, 'session_id': 1j}",
)
BROKEN = ("[1, 2", "{", '"', '{"a": {"b": [1, {"c": null}]}}', "NaN", "1e999", "-1", "9" * 40, "[" * 300, "true", "")


PATHS = sorted(CASES.glob("*/*.json"))
SAMPLES = [json.loads(path.read_text()) for path in PATHS]
"""Real spans, to be changed: what reads them gets as far as it would, and meets the odd value there."""


def vocabulary() -> list[str]:
    """Keys that some dialect knows: those of all samples, and all marks."""
    keys = {mark.replace("*", "x") for dialect in DIALECTS for mark in dialect.marks}
    for case in SAMPLES:
        keys |= set(case["attrs"])
        for more in (*case.get("events", []), *case.get("logs", [])):
            keys |= set(more.get("attrs", {}))
    return sorted(keys)


def names() -> list[str]:
    """Names of events and log records that some dialect knows."""
    found = {"exception", "gen_ai.evaluation.result", "score", "something else"}
    for case in SAMPLES:
        found |= {more["name"] for more in (*case.get("events", []), *case.get("logs", []))}
    return sorted(found)


KEYS = st.sampled_from(vocabulary()) | st.text(max_size=20)
TEXTS = st.text(max_size=30) | st.sampled_from(BROKEN)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXTS | st.binary(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=4
)
JSON_TEXT = VALUES.map(lambda raw: json.dumps(raw, default=repr))
ATTRIBUTES = st.dictionaries(KEYS, VALUES | JSON_TEXT, max_size=5)
SAID = st.tuples(st.sampled_from(names()), ATTRIBUTES)
SCOPES = st.sampled_from(
    sorted({scope.replace("*", ".x") for dialect in DIALECTS for scope in dialect.scopes} | {"", "unknown"})
)
Said = tuple[str, dict[str, Any], Sequence[tuple[str, dict[str, Any]]]]


@st.composite
def changed_samples(draw: st.DrawFn) -> Said:
    """A real span of which some values are others, and some attributes more."""
    case = draw(st.sampled_from(SAMPLES))
    attrs = dict(case["attrs"])
    for key in draw(st.lists(st.sampled_from(sorted(attrs)), max_size=3)) if attrs else ():
        attrs[key] = draw(VALUES | JSON_TEXT)
    happened = [(more["name"], more.get("attrs", {})) for more in (*case.get("events", []), *case.get("logs", []))]
    return case.get("scope", ""), attrs | draw(ATTRIBUTES), happened


SPANS = st.tuples(SCOPES, ATTRIBUTES, st.lists(SAID, max_size=2)) | changed_samples()


def trace_of(spans: Sequence[Said], logs: Sequence[tuple[str, dict[str, Any]]] = ()) -> Trace:
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


TRACES = st.builds(trace_of, st.lists(SPANS, min_size=1, max_size=3), st.lists(SAID, max_size=2))


def thoroughly(test: Callable[..., None]) -> Callable[..., None]:
    """With many examples; that the machine is busy is no failure."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    many: Callable[..., None] = settings(max_examples=100, deadline=None, suppress_health_check=checks)(test)
    return pytest.mark.slow(many)


each_sample = pytest.mark.parametrize("case", SAMPLES, ids=[f"{path.parent.name}/{path.stem}" for path in PATHS])


def printed(translation: Translation) -> bytes:
    return orjson.dumps(to_json(translation), option=orjson.OPT_SORT_KEYS)


@thoroughly
@given(TRACES)
def test_whatever_a_span_holds_it_becomes_one_sound_observation(trace: Trace) -> None:
    translation = translate(trace)

    sound(translation)
    assert {record.span.span_id.hex() for record in trace.spans} <= {seen.id for seen in translation.observations}
    assert printed(translation) == printed(translate(trace))


def sound(translation: Translation) -> None:
    """Of the types that the model says, and within its bounds; JSON has a word for all of it."""
    assert printed(translation)
    ids = [seen.id for seen in translation.observations]
    assert len(set(ids)) == len(ids)
    for seen in translation.observations:
        trace = seen.trace
        assert seen.name
        for text in (seen.name, seen.status_message, seen.model, seen.prompt_name, seen.version):
            assert isinstance(text, str | None)
        for text in (trace.name, trace.session_id, trace.user_id, trace.environment, trace.release, trace.version):
            assert isinstance(text, str | None)
        assert all(isinstance(tag, str) for tag in trace.tags)
        assert isinstance(seen.model_parameters, dict | None)
        assert (seen.prompt_name is None) is (seen.prompt_version is None)
        for usage in filter(None, [seen.usage]):
            assert all(type(count) is int and 0 <= count <= MAX_COUNT for count in usage.values())
            assert usage["total"] == sum(count for bucket, count in usage.items() if bucket != "total")
        for cost in filter(None, [seen.cost]):
            assert "total" in cost
            assert all(math.isfinite(dollars) and dollars >= 0 for dollars in cost.values())
        if seen.completion_start_ns is not None:
            assert seen.start_ns <= seen.completion_start_ns <= seen.end_ns


@thoroughly
@given(TRACES)
def test_whatever_a_span_holds_what_is_sent_is_valid(trace: Trace) -> None:
    translation = translate(trace)
    ids = sorted(seen.id for seen in translation.observations)

    new, old = (list(rules.rows(encode(translation, version=version))) for version in ((4, 61, 0), (3, 160, 0)))
    assert sorted(row.id for row in new) == sorted(row.id for row in old) == ids
    assert [fault for row in new for fault in rules.contract_faults(row)] == []
    assert [gone for row in old for gone in rules.show(row, direct=False).dropped] == []
    events = ingestion_events(translation)
    assert {event["body"]["id"] for event in events} >= set(ids)
    assert [fault for event in events for fault in rules.event_faults(event)] == []


FORMS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "quoted": json.dumps,
    "list": lambda token: json.dumps([token]),
    "object": lambda token: json.dumps({"a": token}),
    "messages": lambda token: json.dumps([{"role": "user", "content": token}]),
    "parts": lambda token: json.dumps([{"role": "tool", "parts": [{"type": "text", "content": token}]}]),
    "structured": lambda token: [{"role": "assistant", "content": token}],
}


@each_sample
def test_nothing_of_a_real_span_is_lost_whatever_its_values_are(case: dict[str, Any]) -> None:
    """A log record and an event repeat each key with another value."""
    keys = list(case["attrs"])
    for give in FORMS.values():
        span, log, event = (
            {key: give(f"token {place} {number};") for number, key in enumerate(keys)} for place in ("S", "L", "E")
        )

        shown = printed(translate(trace_of([(case.get("scope", ""), span, [("e", event)])], [("", {}), ("l", log)])))

        wanted = {f"token {place} {number};".encode(): key for place in "SLE" for number, key in enumerate(keys)}
        assert {token: key for token, key in wanted.items() if token not in shown} == {}


@each_sample
def test_no_odd_value_in_a_real_span_is_too_much(case: dict[str, Any]) -> None:
    happened = [(more["name"], more.get("attrs", {})) for more in (*case.get("events", []), *case.get("logs", []))]
    for key in case["attrs"]:
        for odd in ODD:
            sound(translate(trace_of([(case.get("scope", ""), case["attrs"] | {key: odd}, happened)])))


SAMPLE_KEYS = st.sampled_from([(case.get("scope", ""), sorted(case["attrs"])) for case in SAMPLES])
SOME_KEYS = st.lists(st.sampled_from(vocabulary()), unique=True, max_size=6)
SOME_SAID = st.lists(st.tuples(st.sampled_from(names()), st.lists(KEYS, unique=True, max_size=3)), max_size=2)


@thoroughly
@given(SAMPLE_KEYS, SOME_KEYS, SOME_KEYS, SOME_SAID, SOME_SAID, st.sampled_from(sorted(FORMS)))
def test_nothing_that_was_said_is_lost(
    sample: tuple[str, list[str]],
    more: list[str],
    inner: list[str],
    happened: list[tuple[str, list[str]]],
    logged: list[tuple[str, list[str]]],
    form: str,
) -> None:
    """By a span, by one below it, by events, by log records: each value is a token of its own, to be found again."""
    tokens: dict[str, str] = {}

    def said(place: str, keys: list[str], give: Callable[[str], Any] = str) -> dict[str, Any]:
        for number, key in enumerate(keys):
            tokens[f"token {place} {number};"] = key
        return {key: give(f"token {place} {number};") for number, key in enumerate(keys)}

    events = [(name, said(f"event {place}", keys)) for place, (name, keys) in enumerate(happened)]
    logs = [(name, said(f"log {place}", keys)) for place, (name, keys) in enumerate(logged)]
    scope, keys = sample
    outer = said("outer", sorted({*keys, *more}), FORMS[form])
    spans: list[Said] = [(scope, outer, events), ("", said("inner", inner, FORMS[form]), [])]

    shown = printed(translate(trace_of(spans, logs))).decode()

    assert {token: key for token, key in tokens.items() if token not in shown} == {}


@cache
def words_of(dialect: Dialect) -> list[str]:
    """What stands in quotes in a dialect's file: its keys of attributes, and of objects within them."""
    source = Path(str(sys.modules[dialect.read.__module__].__file__)).read_text()
    found = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return sorted(word for word in found if isinstance(word, str) and re.fullmatch(r"\S{1,60}", word))


class Nonsense:
    """Values out of some words, each text in them a token of its own; the same in each run."""

    def __init__(self, chance: random.Random, words: list[str]) -> None:
        self._chance, self._words = chance, words
        self.tokens: list[str] = []

    def value(self, depth: int = 3) -> Any:
        drawn = self._chance.random()
        if depth == 0 or drawn < 0.35:
            self.tokens.append(f"token {len(self.tokens)};")
            return self.tokens[-1]
        if drawn < 0.75:
            return {key: self.value(depth - 1) for key in self._some(3)}
        return [self.value(depth - 1) for _ in range(self._chance.randint(1, 2))]

    def attributes(self) -> dict[str, Any]:
        give = self._chance.choice([json.dumps, lambda said: said])
        said = {key: self.value() for key in self._some(3)}
        return {key: item if isinstance(item, str) else give(item) for key, item in said.items()}

    def _some(self, most: int) -> list[str]:
        return self._chance.sample(self._words, min(len(self._words), self._chance.randint(1, most)))


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_nothing_is_lost_of_what_is_said_in_a_dialects_own_words(dialect: Dialect) -> None:
    """Wherever it stands, in a span that says nothing else or beside what a real one says."""
    chance = random.Random(dialect.name)
    bare = {"scope": next(iter(dialect.scopes), "").replace("*", ".x"), "attrs": {}}
    real = [case for path, case in zip(PATHS, SAMPLES, strict=True) if path.parent.name == dialect.name]
    lost = []
    for _ in range(100):
        nonsense = Nonsense(chance, words_of(dialect))
        said, case = nonsense.attributes(), chance.choice([bare, *real])
        trace = trace_of([(case.get("scope", ""), case["attrs"] | said, [])])
        trace.spans[0].span.name = chance.choice([case.get("name", "a span"), chance.choice(words_of(dialect))])

        shown = printed(translate(trace)).decode()

        if any(token not in shown for token in nonsense.tokens):
            lost.append(said)
    assert lost == []


COUNTS = st.integers(0, 10**6) | st.integers(-5, 5) | st.floats(0, 100) | st.integers(0, 10**5).map(str) | SCALARS


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Scope and attributes of a real span of which the token counts are others, or missing."""
    case = draw(st.sampled_from([case for case in SAMPLES if case["expect"].get("usage")]))
    attrs = {key: item for key, item in case["attrs"].items() if not is_count(key) or draw(st.booleans())}
    attrs |= {key: draw(COUNTS) for key in attrs if is_count(key)}
    return case.get("scope", ""), attrs | draw(st.dictionaries(st.sampled_from(COUNT_KEYS), COUNTS, max_size=3))


def is_count(key: str) -> bool:
    return "token" in key.lower()


COUNT_KEYS = [key for key in vocabulary() if is_count(key)]


def numbers(said: Any) -> int:
    """All counts in a value, also those in JSON, and in Python's own writing."""
    match from_json(said):
        case dict() as inner:
            return sum(map(numbers, inner.values()))
        case list() as inner:
            return sum(map(numbers, inner))
        case str() as text if is_count(text):
            return sum(map(int, re.findall(r"\d+", text)))
        case leaf:
            return whole(leaf) or 0


def counted(*spans: tuple[str, dict[str, Any]]) -> int:
    """All tokens of a chain of spans, as the buckets without the totals add up."""
    usages = [seen.usage or {} for seen in translate(trace_of([(*span, []) for span in spans])).observations]
    assert all(type(count) is int and count >= 0 for usage in usages for count in usage.values())
    return sum(count for usage in usages for bucket, count in usage.items() if bucket != "total")


@thoroughly
@given(calls())
def test_usage_is_never_more_than_was_said(call: tuple[str, dict[str, Any]]) -> None:
    assert counted(call) <= numbers(call[1])


@thoroughly
@given(calls(), st.integers(2, 4))
def test_usage_that_several_levels_repeat_counts_once(call: tuple[str, dict[str, Any]], levels: int) -> None:
    assert counted(*[call] * levels) == counted(call)


@pytest.mark.slow
def test_another_process_says_the_same_in_the_same_order() -> None:
    """What is sent again after a restart is the same, to the byte: nothing depends on the order of a set."""
    program = (
        "import sys, hashlib, orjson\n"
        "from pathlib import Path\n"
        "from otel_bridge.otlp_files import read_batches\n"
        "from otel_bridge.translate import to_json, traces_of, translate\n"
        "for path in sorted(Path(sys.argv[1]).glob('*/*.pb')):\n"
        "    if '.metrics.' not in path.name:\n"
        "        said = [to_json(translate(trace)) for trace in traces_of(read_batches(path))]\n"
        "        print(path, hashlib.sha256(orjson.dumps(said)).hexdigest())\n"
    )
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program, TESTS / "corpus"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )

    assert first == second
    assert len(first.splitlines()) > 50


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
    explained = explain(trace, translate(trace))[: len(trace.spans)]  # what log records became stands behind the spans
    for explanation, record in zip(explained, trace.spans, strict=True):
        placed = set(explanation.metadata) | set(explanation.shadowed)
        placed |= {source for sources in explanation.fields.values() for source in sources}
        assert {pair.key for pair in record.span.attributes} <= placed
