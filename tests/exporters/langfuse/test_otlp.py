"""What is written for each observation, seen with the eyes of the server."""

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.errors import RefusedError
from otel_bridge.exporters.langfuse.otlp import encode
from otel_bridge.model import Level, Observation, ObservationType, TraceAttributes, Translation
from otel_bridge.testing import langfuse_rules as rules
from tests.exporters.langfuse.conftest import Make

V3 = (3, 120, 0)
V4 = (4, 61, 0)


def sent(*observations: Observation, version: tuple[int, int, int] = V4, **kwargs: Any) -> list[rules.SpanRow]:
    wire = encode(Translation(observations=list(observations)), version=version, **kwargs).SerializeToString()
    return list(rules.rows(ExportTraceServiceRequest.FromString(wire)))


def shown(observation: Observation, version: tuple[int, int, int] = V4) -> rules.Shown:
    return rules.show(sent(observation, version=version)[0], direct=version >= (4, 0, 0))


@pytest.mark.parametrize("version", [V3, V4])
def test_langfuse_shows_what_the_observation_says(observation: Make, version: tuple[int, int, int]) -> None:
    generation = observation(
        type=ObservationType.GENERATION,
        level=Level.WARNING,
        status_message="slow",
        model="gpt-x",
        model_parameters={"temperature": 0.2, "stop": ["a"], "tool_choice": {"type": "auto"}, "seed": None},
        input=[{"role": "user", "content": "hi"}],
        output="hello",
        usage={"input": 40, "input_cached_tokens": 60, "output": 5, "total": 105},
        cost={"input": 0.1, "total": 0.3},
        completion_start_ns=1_795_000_001_234_567_890,
        prompt_name="greet",
        prompt_version=3,
        metadata={"team": "blue", "nested": {"a": [1, None]}},
    )

    fields = shown(generation, version).fields

    assert fields["type"] == "GENERATION"
    assert fields["level"] == "WARNING"
    assert fields["statusMessage"] == "slow"
    assert fields["model"] == "gpt-x"
    assert fields["modelParameters"] == {"temperature": 0.2, "stop": ["a"], "tool_choice": '{"type":"auto"}'}
    assert fields["input"] == [{"role": "user", "content": "hi"}]
    assert fields["output"] == "hello"
    assert fields["usageDetails"] == {"input": 40, "input_cached_tokens": 60, "output": 5, "total": 105}
    assert fields["costDetails"] == {"input": 0.1, "total": 0.3}
    assert fields["completionStartTime"] == "2026-11-18T11:06:41.234Z"
    assert (fields["promptName"], fields["promptVersion"]) == ("greet", 3)
    assert fields["metadata"]["nested"] == {"a": [1, None]}
    assert fields["metadata"]["scope"] == {"name": "acme.sdk", "version": ""}
    assert fields["metadata"]["resourceAttributes"] == {"service.name": "agent"}


@pytest.mark.parametrize("kind", list(ObservationType))
def test_every_type_is_understood(observation: Make, kind: ObservationType) -> None:
    assert shown(observation(type=kind, model="m"))["type"] == kind


def test_times_and_ids_are_exact(observation: Make) -> None:
    one = observation(2)
    row = sent(one)[0]
    assert (row.trace_id, row.id, row.parent_id) == (one.trace_id, one.id, one.parent_id)
    assert (row.start_ns, row.end_ns) == (one.start_ns, one.end_ns)


def test_server_4_is_told_of_the_trace_on_every_span(observation: Make) -> None:
    rows = sent(observation(1), observation(2), observation(3))
    assert len(rows) == 3
    for row in rows:
        fields = rules.show(row, direct=True).fields
        assert fields["traceName"] == "answer"
        assert (fields["userId"], fields["sessionId"]) == ("ada", "s-1")
        assert fields["tags"] == ["a, b", "c"]
        assert (fields["environment"], fields["release"], fields["version"]) == ("prod", "r1", "v1")
        assert fields["metadata"]["team"] == "blue"


def test_server_3_is_told_of_the_trace_once(observation: Make) -> None:
    rows = sent(observation(2), observation(1), observation(3), version=V3)
    assert [row.name for row in rows if rules.bears_trace(row)] == ["step 1"]
    assert all(row.attributes["langfuse.environment"] == "prod" for row in rows)


def test_server_3_is_told_of_the_trace_by_the_first_span_of_a_part_without_root(observation: Make) -> None:
    rows = sent(observation(2), observation(3), observation(2, trace_id="f" * 32, trace=None), version=V3)
    assert [rules.bears_trace(row) for row in rows] == [True, False, True]


def test_an_experiment_is_linked_by_attributes_of_its_own(observation: Make) -> None:
    """In the metadata alone the server would not know the run."""
    said = {"langfuse.experiment.id": "run-1", "langfuse.experiment.item.id": "item-1", "team": "blue"}

    (span,) = sent(observation(metadata=said))

    assert span.attributes["langfuse.experiment.id"] == "run-1"
    assert span.attributes["langfuse.experiment.item.id"] == "item-1"
    assert json.loads(span.attributes["langfuse.observation.metadata"]) == {"team": "blue"}


def test_a_promoted_root_is_marked(observation: Make) -> None:
    promoted = observation(2, app_root=True)
    assert shown(promoted)["isAppRoot"] is True
    assert "langfuse.internal.is_app_root" not in sent(observation(2))[0].attributes
    assert sent(promoted, version=V3)[0].attributes["langfuse.internal.as_root"] == "true"


def test_input_and_output_of_the_trace_go_where_the_server_looks(observation: Make) -> None:
    trace = TraceAttributes(trace_id="a" * 32, input={"q": 1}, output="done")
    bare = observation(1, trace=trace)
    assert (shown(bare)["input"], shown(bare)["output"]) == ({"q": 1}, "done")
    assert sent(bare, version=V3)[0].attributes["langfuse.trace.output"] == "done"
    own = shown(observation(1, trace=trace, input="mine"))
    assert own["input"] == "mine"
    assert own["metadata"]["trace_input"] == {"q": 1}
    assert shown(observation(2, trace=trace))["input"] is None


def test_one_of_input_and_output_makes_both_final_on_server_4(observation: Make) -> None:
    attributes = sent(observation(1, input="only"))[0].attributes
    assert attributes["langfuse.observation.output"] == ""
    assert "langfuse.observation.input" not in sent(observation(1))[0].attributes


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Prod EU", "prod-eu"),
        ("langfuse-x", "x"),
        ("langfuse-langfuse_x", "x"),
        ("- Prod!", "prod"),
        ("x" * 50, "x" * 40),
        ("münchen", "m-nchen"),
        ("", "default"),
        (None, "default"),
        ("langfuse", "default"),
    ],
)
def test_environments_are_written_as_langfuse_accepts_them(observation: Make, said: str | None, kept: str) -> None:
    one = observation(1, trace=TraceAttributes(trace_id="a" * 32, environment=said))
    assert shown(one)["environment"] == kept


def test_the_configured_environment_overrules(observation: Make) -> None:
    one = observation(1)
    assert sent(one, environment="stage")[0].attributes["langfuse.environment"] == "stage"
    assert one.trace.environment == "prod"


def test_metadata_keeps_clear_of_the_servers_own_keys(observation: Make) -> None:
    given = {"scope": 1, "_scope": 2, "tools": [], "attributes": {"a": 1}, "resourceAttributes": 3, "fine": 4}
    metadata = shown(observation(1, metadata=given))["metadata"]
    assert metadata["scope"] == {"name": "acme.sdk", "version": ""}
    assert sorted(value for key, value in metadata.items() if key.strip("_") == "scope" and key != "scope") == [1, 2]
    assert (metadata["_tools"], metadata["_attributes"], metadata["fine"]) == ([], {"a": 1}, 4)


def test_keys_that_would_act_when_unflattened_are_defused(observation: Make) -> None:
    given = {"a": {"__proto__": {"x": 1}}, "b.constructor.prototype.c": 2}
    written = sent(observation(1, metadata=given))[0].attributes["langfuse.observation.metadata"]
    assert json.loads(written)["a"] == {"___proto__": {"x": 1}}
    assert json.loads(written)["b._constructor._prototype.c"] == 2


def test_keys_of_attributes_are_defused_too(observation: Make) -> None:
    """Those of the resource, and those of experiments, which go as they are."""
    keys = ["a.__proto__.b", "gen_ai.prompt.99999999.content", "gen_ai.prompt.7.content"]
    odd = observation(
        1,
        resource=dict.fromkeys(keys, "x"),
        metadata={f"langfuse.experiment.{key}": "x" for key in keys} | {keys[1]: "x"},
    )
    block = encode(Translation(observations=[odd])).resource_spans[0]

    safe = ["a.___proto__.b", "gen_ai.prompt._99999999.content", "gen_ai.prompt.7.content"]
    assert [one.key for one in block.resource.attributes] == safe
    written = {one.key: one.value.string_value for one in block.scope_spans[0].spans[0].attributes}
    assert {f"langfuse.experiment.{key}" for key in safe} <= written.keys()
    assert safe[1] in json.loads(written["langfuse.observation.metadata"])


def test_a_total_too_large_to_count_counts_nothing(observation: Make) -> None:
    """Its parts alone would not add up to what the server shows."""
    counts = {"input": 1, "output": 2**63 - 1, "total": 2**63}
    row = sent(observation(1, type=ObservationType.GENERATION, usage=counts))[0]

    assert "langfuse.observation.usage_details" not in row.attributes
    assert json.loads(row.attributes["langfuse.observation.metadata"])["usage_details"]["output"] == 2**63 - 1


def test_a_prompt_is_linked_by_name_and_version_together_or_kept_as_metadata(observation: Make) -> None:
    half = observation(1, type=ObservationType.GENERATION, prompt_name="greet")
    assert not [key for key in sent(half)[0].attributes if "prompt" in key]
    assert shown(half)["metadata"]["prompt_name"] == "greet"


def test_an_error_is_an_error_for_otlp_too(observation: Make) -> None:
    row = sent(observation(1, level=Level.ERROR, status_message="ValueError: no"))[0]
    assert row.error
    assert row.status_message == "ValueError: no"
    assert rules.show(row, direct=True)["level"] == "ERROR"


def test_a_server_that_knows_three_types_gets_only_those(observation: Make) -> None:
    agent = observation(1, type=ObservationType.AGENT, usage={"input": 1, "total": 1})
    tool = observation(2, type=ObservationType.TOOL)
    rows = sent(agent, tool, version=(3, 60, 0))
    assert [row.attributes["langfuse.observation.type"] for row in rows] == ["generation", "span"]
    assert rules.show(rows[1], direct=False)["metadata"]["type"] == "TOOL"


@pytest.mark.parametrize(
    "ids",
    [{"id": "zz"}, {"id": "0" * 16}, {"trace_id": "ab"}, {"parent_id": "1"}, {"id": "é" * 16}, {"id": "\x1b[2J" * 4}],
)
def test_an_id_that_would_poison_the_request_is_refused_here(observation: Make, ids: dict[str, str]) -> None:
    with pytest.raises(RefusedError, match="not an id") as refused:
        sent(observation(1, **ids))
    assert str(refused.value).isprintable()


def test_resources_and_scopes_are_grouped(observation: Make) -> None:
    other = {"service.name": "other", "list": ["a", "b"], "odd": {"deep": True}, "big": 2**70}
    request = encode(
        Translation(
            observations=[
                observation(1),
                observation(2, scope_name="b"),
                observation(3, resource=other),
                observation(4),
            ]
        )
    )
    assert [[len(s.spans) for s in block.scope_spans] for block in request.resource_spans] == [[2, 1], [1]]
    assert sent(observation(1, resource=other))[0].resource == other | {"odd": '{"deep":true}', "big": str(2**70)}


# --- over anything an observation may hold

texts = st.text(max_size=30)
odd_texts = st.text(max_size=30) | st.sampled_from(["", "\ud800", "a\udfff\x00b"])  # lone surrogates too
leaves = st.none() | st.booleans() | st.integers() | st.floats() | odd_texts
jsons = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=10
)
objects = st.dictionaries(
    odd_texts | st.sampled_from(["__proto__", "scope", "tools", "a.prototype"]), jsons, max_size=4
)
hex_ids = st.binary(min_size=8, max_size=8).filter(any).map(bytes.hex)
trace_ids = st.binary(min_size=16, max_size=16).filter(any).map(bytes.hex)
times = st.integers(0, 2**64 - 1)
traces = st.builds(
    TraceAttributes,
    trace_id=trace_ids,
    name=st.none() | odd_texts | st.just("n" * 2000),
    user_id=st.none() | odd_texts,
    session_id=st.none() | odd_texts,
    tags=st.lists(odd_texts, max_size=3),
    environment=st.none() | odd_texts,
    release=st.none() | odd_texts,
    version=st.none() | odd_texts,
    public=st.none() | st.booleans(),
    metadata=objects,
    input=jsons,
    output=jsons,
)
observations = traces.flatmap(
    lambda trace: st.builds(
        Observation,
        id=hex_ids,
        trace_id=st.just(trace.trace_id),
        parent_id=st.none() | hex_ids,
        type=st.sampled_from(ObservationType),
        name=odd_texts | st.just("n" * 2000),
        start_ns=times,
        end_ns=times,
        trace=st.just(trace),
        completion_start_ns=st.none() | st.integers(),
        level=st.sampled_from(Level),
        status_message=st.none() | odd_texts,
        model=st.none() | odd_texts,
        model_parameters=st.none() | objects,
        input=jsons,
        output=jsons,
        usage=st.none() | st.dictionaries(texts, st.integers(), max_size=3),
        cost=st.none() | st.dictionaries(texts, st.floats(), max_size=3),
        prompt_name=st.none() | odd_texts,
        prompt_version=st.none() | st.integers(1, 100),
        version=st.none() | odd_texts,
        metadata=objects,
        resource=objects,
        scope_name=odd_texts,
        scope_version=odd_texts,
        app_root=st.booleans(),
    )
)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(st.lists(observations, max_size=3), st.sampled_from([(3, 22, 0), V3, (4, 0, 0), V4]))
def test_whatever_is_sent_keeps_the_contract(many: list[Observation], version: tuple[int, int, int]) -> None:
    """Never raises, twice the same bytes, every span there, no value of a kind the server shows raw, and the strict
    path of server 3 drops none."""
    translation = Translation(observations=many)
    request = encode(translation, version=version)

    assert encode(translation, version=version).SerializeToString() == request.SerializeToString()
    rows = list(rules.rows(request))
    assert sorted(row.id for row in rows) == sorted(observation.id for observation in many)
    for row in rows:
        assert not row.bad_ids
        assert row.end_ns or not row.start_ns
        assert not [value for value in row.attributes.values() if isinstance(value, dict)]
        direct = version >= (4, 0, 0)
        one = rules.show(row, direct=direct)
        assert rules.show(row, direct=False).dropped == []
        assert all(math.isfinite(amount) for amount in one["costDetails"].values())
        if direct:
            edges = [f"langfuse.observation.{edge}" in row.attributes for edge in ("input", "output")]
            assert edges[0] == edges[1]


def test_json_too_deep_for_the_encoder_is_cut_not_raised(observation: Make) -> None:
    deep: Any = "bottom"
    for _ in range(5000):
        deep = [deep]
    row = sent(observation(1, input=deep, metadata={"deep": deep, "__proto__": deep}))[0]
    assert "nested too deeply" in row.attributes["langfuse.observation.input"]
