"""OTLP files are read whatever their form, and what is wrong in them is named with file and place."""

import json
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Request, Signal
from otel_bridge.errors import FilesError, MalformedError
from otel_bridge.model import Omitted
from otel_bridge.otlp_files import read_batches
from otel_bridge.otlp_json import dump
from otel_bridge.telemetry import Counters

SPAN = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "name": "one", "attributes": [{"key": "k", "value": {}}]}
RECORD = {"time_unix_nano": 5, "trace_id": b"t" * 16, "span_id": b"s" * 8, "body": {"string_value": "line"}}
METRIC = {"name": "calls", "gauge": {"data_points": [{"as_int": 5}]}}
REQUESTS: dict[Signal, Request] = {
    Signal.TRACES: ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [SPAN]}]}]),
    Signal.LOGS: ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [RECORD]}]}]),
    Signal.METRICS: ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [METRIC]}]}]),
}
TRACES = REQUESTS[Signal.TRACES]


def prefixed(*wires: bytes) -> bytes:
    return b"".join(len(wire).to_bytes(4, "big") + wire for wire in wires)


def pretty(request: Request) -> bytes:
    return b"\n " + json.dumps(json.loads(dump(request)), indent=2).encode()


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("name", ["001.{signal}.bin", "plain"])
@pytest.mark.parametrize(
    "form",
    ["protobuf", "prefixed", "json", "pretty json", "json lines"],
)
def test_every_form_is_read(tmp_path: Path, signal: Signal, name: str, form: str) -> None:
    request = REQUESTS[signal]
    wire = request.SerializeToString()
    content, times = {
        "protobuf": (wire, 1),
        "prefixed": (prefixed(wire, wire, wire), 3),
        "json": (dump(request), 1),
        "pretty json": (pretty(request), 1),
        "json lines": (dump(request) + b"\n\n" + dump(request) + b"\n", 2),
    }[form]
    path = tmp_path / name.format(signal=signal)
    path.write_bytes(content)

    assert [(batch.signal, batch.request) for batch in read_batches(path)] == [(signal, request)] * times


def test_the_name_decides_where_protobuf_could_be_two_things(tmp_path: Path) -> None:
    empty = ExportLogsServiceRequest(resource_logs=[{}]).SerializeToString()
    (tmp_path / "a.logs.pb").write_bytes(empty)
    assert [batch.signal for batch in read_batches(tmp_path / "a.logs.pb")] == [Signal.LOGS]


def test_json_says_itself_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mixed.traces.json"
    path.write_bytes(b"\n".join(dump(request) for request in REQUESTS.values()))
    assert [batch.signal for batch in read_batches(path)] == list(REQUESTS)


@pytest.mark.parametrize("name", ["a.traces.pb", "a.traces.json"])
def test_what_was_read_before_is_passed_over(tmp_path: Path, name: str) -> None:
    """It is not decoded again, so nothing of it is counted again either."""
    broken = TRACES.SerializeToString().replace(b"one", b"o\xffe")
    bad = dump(TRACES).replace(b"74" * 16, b"no hex")
    (tmp_path / name).write_bytes(
        prefixed(broken, TRACES.SerializeToString()) if name.endswith("pb") else bad + b"\n\n" + dump(TRACES)
    )
    counters, rejected = Counters(), list[Omitted]()

    assert [batch.request for batch in read_batches(tmp_path / name, counters, rejected, skip=1)] == [TRACES]
    assert (counters.snapshot(), rejected) == ({}, [])
    assert list(read_batches(tmp_path / name, skip=2)) == []


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.traces.pb").touch()
    assert list(read_batches(tmp_path / "empty.traces.pb")) == []


def test_what_comes_before_the_damage_is_read(tmp_path: Path) -> None:
    path = tmp_path / "torn.traces.pb"
    wire = TRACES.SerializeToString()
    path.write_bytes(prefixed(wire, wire)[:-1])
    batches = read_batches(path)

    assert next(batches).request == TRACES
    with pytest.raises(MalformedError, match=f"torn.traces.pb, the record at byte {4 + len(wire)}: it is cut off"):
        next(batches)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.traces.pb", b"\n\xff\xff", "a.traces.pb, the request: not an OTLP traces request"),
        ("a.pb", b"\n\xff\xff", "a.pb, the request: it is no OTLP, or its signal can not be told"),
        ("a.pb", b"nonsense", "a.pb, the record at byte 0: it is cut off, or this is no OTLP"),
        ("a.pb", b"\x00\x00", "the record at byte 0"),
        ("a.json", b'{"a": 1}', "a.json, line 1: there is no resourceSpans, resourceLogs or resourceMetrics in it"),
        ("a.json", dump(TRACES) + b"\n{", "a.json, line 2: "),
        ("a.json", b'{\n"resourceSpans": 5}', "a.json, the document: resourceSpans must be an array"),
    ],
)
def test_the_place_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MalformedError) as raised:
        list(read_batches(tmp_path / name))
    assert said in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match=r"none.json can not be read: No such file"):
        list(read_batches(tmp_path / "none.json"))


def test_repairs_are_counted_and_spoilt_items_handed_out(tmp_path: Path) -> None:
    broken, spoilt = tmp_path / "broken.traces.pb", tmp_path / "spoilt.json"
    broken.write_bytes(TRACES.SerializeToString().replace(b"one", b"o\xffe"))
    spoilt.write_bytes(dump(TRACES).replace(b"74" * 16, b"no hex"))
    counters, rejected = Counters(), list[Omitted]()

    assert [batch.item_count for batch in read_batches(broken, counters)] == [1]
    assert [batch.item_count for batch in read_batches(spoilt, counters, rejected)] == [0]
    assert counters.value("repaired", what="utf8") == 1
    assert [omitted.reason for omitted in rejected] == ["bad_id"]
