"""One observation with all it holds: settled, or as its span came."""

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.errors import UsageError
from otel_bridge.query.find import NotFoundError
from otel_bridge.query.observations import one_observation
from otel_bridge.query.traces import list_traces
from otel_bridge.query.transcript import transcript
from otel_bridge.store.writer import Writer
from tests.query.conftest import START, Opened, Settled
from tests.query.spans import ONE, came


def test_what_has_not_settled_is_read_as_its_dialect_says_it(writer: Writer, reader: Opened) -> None:
    """Messages, counts, parameters of a call, for who looks on while its agent runs; what nobody understands stays."""
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=(1).to_bytes(16), span_id=b"\1" * 8, name="chat gpt-9", start_time_unix_nano=START)
    )
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]',
        "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "hello"}]}]',
        "team": "blue",
    }
    for key, value in said.items():
        span.attributes.add(key=key).value.string_value = value
    span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 3
    span.attributes.add(key="gen_ai.request.temperature").value.double_value = 0.5
    writer.batch(Batch.from_request(request))

    shown = one_observation(reader(), ONE, "chat")
    assert (shown["type"], shown["settled"]) == ("GENERATION", False)
    assert [each["role"] for each in (*shown["input"], *shown["output"])] == ["user", "assistant"]
    assert (shown["usageDetails"]["input"], shown["modelParameters"]) == (3, {"temperature": 0.5})
    assert (shown["metadata"]["team"], "gen_ai.input.messages" in shown["metadata"]) == ("blue", False)
    assert "hello" in str(transcript(shown))


def test_an_observation_holds_all_it_said(settled: Settled, writer: Writer, reader: Opened) -> None:
    """Events and log records come once: what translation made of them is not shown again, what it left is."""
    left = {
        "otel.events": [
            {"name": "retry", "time_ns": START, "attributes": {"attempt": 2}},
            {"name": "token", "time_ns": START, "last_time_ns": START + 10**9, "count": 3000},
        ],
        "otel.logs": [{"time_ns": START, "severity": "INFO", "body": "hello"}],
    }
    settled(1, observation={"input": {"q": 1}, "metadata": {"a": "b", **left}, "usage": {"total": 3}, "model": "m"})
    came(writer, span=1, parent=0)

    found = one_observation(reader(), ONE, f"{1:016x}")
    assert (found["input"], found["metadata"], found["usageDetails"], found["model"]) == (
        {"q": 1}, {"a": "b"}, {"total": 3}, "m",
    )  # fmt: skip
    time = "2023-11-14T22:13:20.000000Z"
    last = "2023-11-14T22:13:21.000000Z"
    assert found["events"] == [
        {"time": time, "name": "retry", "attributes": {"attempt": 2}},
        {"time": time, "lastTime": last, "count": 3000, "name": "token", "attributes": {}},
    ]
    assert (f"{time} · token · 3000 until {last}", "") in dict(transcript(found))["Events"]
    assert found["logs"] == [{"time": time, "name": None, "severity": "INFO", "body": "hello", "attributes": {}}]
    assert (found["eventCount"], found["logCount"]) == (2, 1)


def test_an_event_for_each_token_leaves_the_metadata_readable(settled: Settled, reader: Opened) -> None:
    tokens = [{"name": "token", "time_ns": START + i, "attributes": {"text": "x" * 10_000}} for i in range(300)]
    settled(1, observation={"metadata": {"a": "b", "otel.events": tokens}})

    found = one_observation(reader(), ONE, f"{1:016x}")
    assert found["metadata"] == {"a": "b"}
    assert (len(found["events"]), found["eventCount"]) == (200, 300)
    assert len(orjson.dumps(found)) < 2_000_000


@pytest.mark.parametrize("odd", ["text", [1], [{"name": "x"}], [{"time_ns": "now"}], {"time_ns": 1}])
def test_an_attribute_that_is_called_as_events_are_stays_metadata(
    settled: Settled, reader: Opened, odd: object
) -> None:
    settled(1, observation={"metadata": {"otel.events": odd}})

    found = one_observation(reader(), ONE, f"{1:016x}")
    assert (found["metadata"], found["events"]) == ({"otel.events": odd}, [])


def test_an_observation_may_be_called_by_its_name(settled: Settled, writer: Writer, reader: Opened) -> None:
    """By what the tree calls it, or by what its span is called; an id in full is never ambiguous."""
    settled(1, ((1, 0), (0x10 << 56, 1), (0x11 << 56, 1), (0x1 << 60, 1)))
    came(writer, span=0x11 << 56, parent=1)

    called = {
        said: one_observation(reader(), ONE, said)["id"][:2] for said in ("observation 1", "11", "running", "unni")
    }
    assert called == {"observation 1": "00", "11": "11", "running": "11", "unni": "11"}
    with pytest.raises(UsageError, match=f"give the id of one, as {0x11 << 56:x}, {0x10 << 56:x}"):
        one_observation(reader(), ONE, "1")
    with pytest.raises(UsageError, match="answer to 'observation'"):
        one_observation(reader(), ONE, "observation")
    for nothing in ("ff", "observations", "%", "\ud800"):
        with pytest.raises(NotFoundError):
            one_observation(reader(), ONE, nothing)


def test_an_observation_shows_its_resource_and_is_found_by_it(settled: Settled, reader: Opened) -> None:
    settled(1, observation={"resource": {"service.name": "ägents", "host": "of one"}})

    assert one_observation(reader(), ONE, f"{1:016x}")["resource"] == {"service.name": "ägents", "host": "of one"}
    assert [trace["id"] for trace in list_traces(reader(), "ägents")["traces"]] == [ONE]
    assert list_traces(reader(), "nobody")["traces"] == []


def test_a_span_shows_its_attributes_until_it_settles(writer: Writer, reader: Opened) -> None:
    """JSON has no NaN; it is shown as text."""
    came(writer)

    found = one_observation(reader(), ONE, f"{9:016x}")
    assert (found["metadata"], found["resource"], found["scope"], found["statusMessage"]) == (
        {"ratio": "NaN"}, {"service.name": "agents"}, {"name": "acme"}, "broke",
    )  # fmt: skip
