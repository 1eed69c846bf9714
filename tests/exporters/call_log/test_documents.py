"""What is written of a call: by level, and the same in every format."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from otel_bridge.exporters.call_log.documents import document, encoded
from otel_bridge.model import Level, Observation, TraceAttributes
from tests.exporters.call_log.made import seen

MINIMAL = """\
call: 1
run_id: r-1
agent: planner
name: chat gpt-5.2
type: GENERATION
trace_id: t1
observation_id: c1
parent_observation_id: a1
started: "2026-09-21T14:13:20.000Z"
ended: "2026-09-21T14:13:20.250Z"
latency_ms: 250.0
first_token_ms: 100.0
ok: false
model: gpt-5.2
tokens:
  input: 12
  output: 5
  total: 17
cost:
  total: 0.002
"""
STANDARD = """\
error: too many requests
model_parameters:
  temperature: 0.2
prompt:
  name: plan
  version: 3
input:
- role: user
  content: |-
    Lisbon
      or Oslo?
output: "yes"
"""
FULL = """\
trace_name: plan a week
session_id: s-1
user_id: ada
tags:
- beta
environment: production
version: "1.2"
metadata:
  http.retries: 2
  otel.events:
  - name: first_chunk
scope:
  name: acme
  version: "0.1"
resource:
  service.name: agent
"""


def a_call() -> Observation:
    trace = TraceAttributes(
        "t1", name="plan a week", session_id="s-1", user_id="ada", tags=["beta"], environment="production"
    )
    call = seen(
        "c1", parent_id="a1", trace=trace, model="gpt-5.2", level=Level.ERROR, status_message="too many requests"
    )
    call.completion_start_ns = call.start_ns + 100_000_000
    call.usage, call.cost = {"input": 12, "output": 5, "total": 17}, {"total": 0.002}
    call.model_parameters, call.prompt_name, call.prompt_version = {"temperature": 0.2}, "plan", 3
    call.input, call.output = [{"role": "user", "content": "Lisbon\n  or Oslo?"}], "yes"
    call.version, call.scope_name, call.scope_version = "1.2", "acme", "0.1"
    call.metadata = {"http.retries": 2, "otel.events": [{"name": "first_chunk"}]}
    call.resource = {"service.name": "agent"}
    return call


@pytest.mark.parametrize(
    ("level", "text"),
    [("minimal", MINIMAL), ("standard", MINIMAL + STANDARD), ("full", MINIMAL + STANDARD + FULL)],
)
def test_a_level_shows_what_it_says(level: Any, text: str) -> None:
    told = document(a_call(), number=1, agent="planner", run_id="r-1", level=level)

    assert encoded(told, "yaml").decode() == text


def read(text: bytes) -> Any:
    return YAML(typ="safe", pure=True).load(text.decode())


HOSTILE = st.text(
    "ab \n\t\r:#-'\"|>%@`{}[],&*!?\x00\x1b\x85\u2028\u202e\ufeff\x7f\xa0\u3000\u200d\U000e0041日🙂\\~=<0.e", max_size=14
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_the_formats_say_the_same(content: Any) -> None:
    """Of whatever a prompt may hold; and no file has a character that a terminal or an editor acts on."""
    told = {"input": content}
    as_yaml, as_json, as_line = (encoded(told, suffix) for suffix in ("yaml", "json", "jsonl"))

    assert read(as_yaml) == json.loads(as_json) == json.loads(as_line) == told
    assert as_line.count(b"\n") == 1
    assert set("\x1b\x85\u2028\u202e\ufeff\x7f\U000e0041").isdisjoint((as_yaml + as_json + as_line).decode())


def test_other_readers_of_yaml_take_nothing_for_something_else() -> None:
    """Those of YAML 1.1, as Python's most common one, know more words that are no text, and fewer numbers."""
    told = {"small": 1e-05, "large": 1e300, "said": "on", "octal": "0o17", "sixty": "12:30:45", "no": "~"}

    assert encoded(told, "yaml").decode().splitlines() == [
        "small: 1.0e-05",
        "large: 1.0e+300",
        'said: "on"',
        'octal: "0o17"',
        'sixty: "12:30:45"',
        '"no": "~"',
    ]


def test_what_neither_format_has_a_word_for_is_written_as_near_as_may_be() -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    told = {"nan": float("nan"), "half": "\ud83d", "deep": deep}

    assert read(encoded(told, "yaml")) == json.loads(encoded(told, "json"))
    assert json.loads(encoded(told, "json"))["nan"] is None
