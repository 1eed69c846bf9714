"""Odd text, numbers, times and keys: what is kept, what is mended, and what is shown."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.exporters.langfuse.otlp import encode
from tests.receivers.payloads.world import (
    INVALID,
    MANY,
    OK,
    Answer,
    World,
    attribute,
    each_binary_door,
    each_door,
    json_span,
    request,
    span,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@each_binary_door
@MANY
@given(bad=st.binary(min_size=4, max_size=4))
async def test_text_that_is_no_utf8_is_repaired(world: World, door: str, bad: bytes) -> None:
    world.begin()
    made = request(span(name="NAME", attributes=[attribute("k", string_value="TEXT")])).SerializeToString()
    assert await world.send(door, made.replace(b"NAME", bad).replace(b"TEXT", bad[::-1])) == Answer(OK)

    read = (await world.spans())[0]
    assert read.name == bad.decode(errors="replace")
    assert read.attributes[0].value.string_value == bad[::-1].decode(errors="replace")
    is_text = "\ufffd" not in read.name + read.attributes[0].value.string_value or "\ufffd".encode() in bad
    assert is_text or world.count("repaired", what="utf8") == 1


@each_door
async def test_odd_numbers_pass_to_the_bit_and_are_shown_as_valid_json(world: World, door: str) -> None:
    doubles = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]
    whole = [2**63 - 1, -(2**63)]
    attributes = [attribute(f"d{n}", double_value=value) for n, value in enumerate(doubles)]
    attributes += [attribute(f"i{n}", int_value=value) for n, value in enumerate(whole)]
    made = span(attributes=attributes)
    assert await world.send(door, request(made)) == Answer(OK)

    assert (await world.spans())[0].SerializeToString() == made.SerializeToString()
    shown = (await world.observations())[0].metadata
    assert [shown[f"d{n}"] for n in range(3)] == ["NaN", "Infinity", "-Infinity"]
    assert [shown[f"i{n}"] for n in range(2)] == whole


@pytest.mark.parametrize("bare", [b"NaN", b"Infinity", b"-Infinity"])
async def test_bare_names_of_numbers_are_no_json(world: World, bare: bytes) -> None:
    body = json_span(attributes=[{"key": "d", "value": {"doubleValue": "HERE"}}])

    assert (await world.send("json", body.replace(b'"HERE"', bare))).code == INVALID
    assert await world.send("json", body.replace(b"HERE", bare)) == Answer(OK)


@each_door
async def test_negative_token_counts_are_kept_and_not_counted(world: World, door: str) -> None:
    said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "SECRET"}
    attributes = [attribute(key, string_value=value) for key, value in said.items()]
    attributes += [
        attribute("gen_ai.usage.input_tokens", int_value=-5),
        attribute("gen_ai.usage.output_tokens", int_value=7),
    ]
    assert await world.send(door, request(span(attributes=attributes))) == Answer(OK)

    seen = (await world.observations())[0]
    assert seen.usage == {"output": 7, "total": 7}
    assert seen.metadata["gen_ai.usage.input_tokens"] == -5


@each_door
@pytest.mark.parametrize(("start", "end"), [(0, 10**18), (10**18, 0), (0, 0)])
async def test_a_missing_time_is_set_once_at_the_door(world: World, door: str, start: int, end: int) -> None:
    made = span(start_time_unix_nano=start, end_time_unix_nano=end)
    assert await world.send(door, request(made)) == Answer(OK)

    read = (await world.spans())[0]
    assert read.start_time_unix_nano == read.end_time_unix_nano >= 10**18
    assert [one.key for one in read.attributes] == ["otel_bridge.time_repaired"]
    assert world.count("repaired", what="time") == 1
    seen = (await world.observations())[0]
    assert (seen.start_ns, seen.end_ns) == (read.start_time_unix_nano, read.end_time_unix_nano), (
        "as it was written down"
    )


@each_door
@pytest.mark.parametrize(("start", "end"), [(10**18, 1), (1, 10**18), (1, 2**64 - 1), (2**64 - 1, 1)])
async def test_an_odd_time_is_kept_counted_and_shown(world: World, door: str, start: int, end: int) -> None:
    made = span(start_time_unix_nano=start, end_time_unix_nano=end)
    assert await world.send(door, request(made)) == Answer(OK)

    assert await world.spans() == [made]
    assert world.count("time_anomaly") == 1
    seen = (await world.observations())[0]
    assert (seen.start_ns, seen.end_ns) == (start, max(start, end))


@each_door
async def test_unknown_numbers_are_kept_and_a_long_trace_state_is_cut(world: World, door: str) -> None:
    state = ",".join(f"vendor{number}=SECRET" for number in range(700))
    made = span(kind=99, status={"code": 77}, flags=0xFFFFFFFF, trace_state=state)
    assert await world.send(door, request(made)) == Answer(OK)

    read = (await world.spans())[0]
    assert (read.kind, read.status.code, read.flags) == (99, 77, 0xFFFFFFFF)
    assert 400 < len(read.trace_state) <= 512
    assert state.startswith(read.trace_state + ",")
    assert world.count("repaired", what="trace_state") == 1
    assert len(await world.observations()) == 1


@each_door
async def test_keys_that_act_in_javascript_are_text_here_and_harmless_there(world: World, door: str) -> None:
    keys = ["__proto__", "constructor.prototype.x", "gen_ai.prompt.__proto__.a", "gen_ai.prompt.99999999.content"]
    keys += [f"langfuse.experiment.{key}" for key in keys]
    attributes = [attribute(key) for key in keys]
    block = {"resource": {"attributes": attributes}, "scope_spans": [{"spans": [span(attributes=attributes)]}]}
    assert await world.send(door, ExportTraceServiceRequest(resource_spans=[block])) == Answer(OK)

    assert [one.key for one in (await world.spans())[0].attributes] == keys
    assert world.count("unsafe_key") == 12
    await world.observations()
    sent = encode(world.translations[0]).resource_spans[0]
    written = [*sent.resource.attributes, *sent.scope_spans[0].spans[0].attributes]
    shown = [json.loads(one.value.string_value) for one in written if one.key.endswith(".metadata")]
    segments = {segment for key in [one.key for one in written] + list(shown[0]) for segment in key.split(".")}
    assert "___proto__" in segments
    assert "_99999999" in segments
    assert segments.isdisjoint({"__proto__", "prototype", "constructor", "99999999"})


@each_door
async def test_reserved_attributes_of_senders_are_taken_out(world: World, door: str) -> None:
    """Those that our own SDK says are kept; an environment that Langfuse keeps for itself becomes another."""
    reserved = [attribute("otel_bridge.tenant"), attribute("otel_bridge.truncated_attrs")]
    theirs = [attribute("otel_bridge.outcome"), attribute("langfuse.environment", string_value="langfuse-x")]
    block = {"resource": {"attributes": reserved}, "scope_spans": [{"spans": [span(attributes=reserved + theirs)]}]}
    assert await world.send(door, ExportTraceServiceRequest(resource_spans=[block])) == Answer(OK)

    assert [one.key for one in (await world.spans())[0].attributes] == ["otel_bridge.outcome", "langfuse.environment"]
    assert world.count("repaired", what="reserved_attribute") == 4
    await world.observations()
    sent = encode(world.translations[0]).resource_spans[0]
    assert not sent.resource.attributes
    environment = {one.key: one.value.string_value for one in sent.scope_spans[0].spans[0].attributes}
    assert environment["langfuse.environment"] == "x"
