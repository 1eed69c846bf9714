"""Text that is no UTF-8 costs its bad bytes, and nothing else changes."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Signal
from otel_bridge.errors import MalformedError
from otel_bridge.otlp_repair import MAX_BYTES, decode, repair_utf8
from otel_bridge.telemetry import Counters

WIRE = ExportTraceServiceRequest(
    resource_spans=[
        {
            "scope_spans": [
                {
                    "spans": [
                        {
                            "trace_id": b"\xff" * 16,
                            "span_id": b"s" * 8,
                            "name": "NAME",
                            "start_time_unix_nano": 2**64 - 1,
                            "flags": 0x300,
                            "kind": 3,
                            "attributes": [{"key": "TEXT", "value": {"kvlist_value": {"values": [{"key": "DEEP"}]}}}],
                        }
                    ]
                }
            ]
        }
    ]
).SerializeToString()


@pytest.mark.parametrize(
    ("text", "broken"), [(b"NAME", b"N\xff\xfeE"), (b"TEXT", b"T\xc3XT"), (b"DEEP", b"\xe2\x82EP")]
)
def test_bad_bytes_become_replacement_characters(text: bytes, broken: bytes) -> None:
    counters = Counters()
    batch = decode(Signal.TRACES, WIRE.replace(text, broken), counters)

    mended = broken.decode(errors="replace").encode()
    assert batch.wire == repair_utf8(Signal.TRACES, WIRE.replace(text, broken))
    assert mended in batch.wire
    assert counters.value("repaired", what="utf8") == 1
    span = batch.request.resource_spans[0].scope_spans[0].spans[0]
    assert (span.trace_id, span.start_time_unix_nano, span.flags, span.kind) == (b"\xff" * 16, 2**64 - 1, 0x300, 3)


def test_sound_bytes_are_not_touched() -> None:
    counters = Counters()
    assert decode(Signal.TRACES, WIRE, counters).wire is WIRE
    assert counters.snapshot() == {}
    assert repair_utf8(Signal.TRACES, WIRE) == WIRE


@pytest.mark.parametrize(
    "wire", [b"\xff", b"\x0a\x05abc", b"\x0b", b"\x0a" * 9, b"\x09abc", b"\x0a\x02\x12\xff", bytes(3), b"\x80" * 12]
)
def test_what_is_no_protobuf_is_refused(wire: bytes) -> None:
    with pytest.raises(MalformedError, match="not an OTLP traces request"):
        decode(Signal.TRACES, wire, Counters())


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(wire: bytes) -> None:
    read_or_refused(wire)


@given(st.integers(0, len(WIRE) - 1), st.integers(0, 255))
def test_with_one_wrong_byte_anywhere_it_is_read_or_refused(at: int, byte: int) -> None:
    read_or_refused(WIRE[:at] + bytes([byte]) + WIRE[at + 1 :])


def read_or_refused(wire: bytes) -> None:
    """What is read is what its bytes say, which are those that came but where text was repaired."""
    counters = Counters()
    try:
        batch = decode(Signal.TRACES, wire, counters)
    except MalformedError:
        return
    assert batch.request == ExportTraceServiceRequest.FromString(batch.wire)
    assert batch.wire == wire or counters.value("repaired", what="utf8") == 1


@pytest.mark.parametrize(
    ("signal", "other", "wire"),
    [
        (Signal.LOGS, "traces", WIRE),
        (
            Signal.TRACES,
            "logs",
            ExportLogsServiceRequest(
                resource_logs=[{"scope_logs": [{"log_records": [{"trace_id": b"t" * 16}]}]}]
            ).SerializeToString(),
        ),
    ],
)
def test_what_is_for_another_door_is_told_so(signal: Signal, other: str, wire: bytes) -> None:
    """All three signals have the same field numbers, so an exporter's wrong address looks like damage."""
    with pytest.raises(MalformedError, match=f"; it looks like {other}, which have a door of their own"):
        decode(signal, wire, Counters())


@pytest.mark.parametrize("file", sorted((Path(__file__).parent / "corpus").glob("plain-*/00[12].traces.pb")), ids=str)
@given(data=st.data())
def test_cut_off_anywhere_it_never_holds_more(file: Path, data: st.DataObject) -> None:
    """A beginning may be a whole request, as protobuf has it."""
    wire = file.read_bytes()
    items = decode(Signal.TRACES, wire, Counters()).item_count
    with contextlib.suppress(MalformedError):
        assert decode(Signal.TRACES, wire[: data.draw(st.integers(0, len(wire)))], Counters()).item_count <= items


def test_more_than_the_limit_is_not_repaired() -> None:
    """Looking at every value takes Python's time; what is no protobuf at all is found out without that."""
    padding = b"\xa2\x06" + _length(bytes(MAX_BYTES)) + bytes(MAX_BYTES)

    assert decode(Signal.TRACES, WIRE + padding, Counters()).item_count == 1
    with pytest.raises(MalformedError, match="send smaller batches, or valid UTF-8"):
        decode(Signal.TRACES, WIRE.replace(b"NAME", b"N\xffME") + padding, Counters())
    with pytest.raises(MalformedError, match="not an OTLP traces request: Error parsing"):
        decode(Signal.TRACES, WIRE[:-1] + padding, Counters())


def test_lists_of_text_and_unknown_fields_pass_through() -> None:
    request = ExportTraceServiceRequest(
        resource_spans=[{"resource": {"entity_refs": [{"type": "TYPE", "id_keys": ["one", "KEYS", "three"]}]}}]
    )
    wire = request.SerializeToString() + b"\xa2\x06\x03\xff\xfe\xfd"
    repaired = repair_utf8(Signal.TRACES, wire.replace(b"KEYS", b"\xffEYS"))

    entity = ExportTraceServiceRequest.FromString(repaired).resource_spans[0].resource.entity_refs[0]
    assert (entity.type, list(entity.id_keys)) == ("TYPE", ["one", "\ufffdEYS", "three"])
    assert repaired.endswith(b"\xa2\x06\x03\xff\xfe\xfd")


def test_endless_nesting_is_refused() -> None:
    value = b"\x0a\x01\xff"  # a string that is no UTF-8, so that the walk begins
    for _ in range(200):
        value = b"\x0a" + _length(value) + value
        value = b"\x2a" + _length(value) + value
    with pytest.raises(MalformedError):
        decode(Signal.TRACES, _in_a_span(value), Counters())


def _in_a_span(any_value: bytes) -> bytes:
    wire = b"\x12" + _length(any_value) + any_value
    for tag in (0x4A, 0x12, 0x12, 0x0A):
        wire = bytes([tag]) + _length(wire) + wire
    return wire


def _length(of: bytes) -> bytes:
    size, out = len(of), b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size])
