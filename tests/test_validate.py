"""Bad spans are rejected alone, what can be mended is, and a batch with nothing to mend is not touched."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otel_bridge.sdk
from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import MalformedError, RetryableError
from otel_bridge.model import Omitted
from otel_bridge.telemetry import Counters
from otel_bridge.validate import SAID_BY_SDK, admit, summary, validate

SDK = Path(otel_bridge.sdk.__file__).parent
NO_ATTRIBUTES = {"otel_bridge.embedded.engine", "otel_bridge.span.started", "otel_bridge.span.heartbeat"}
NOW_NS = 1_800_000_000_000_000_000
DAY_NS = 24 * 3600 * 10**9
MIB = 1 << 20


def span(**changes: Any) -> Span:
    fields: dict[str, Any] = {
        "trace_id": b"t" * 16,
        "span_id": b"s" * 8,
        "name": "one",
        "start_time_unix_nano": 10,
        "end_time_unix_nano": 20,
    }
    return Span(**fields | changes)


def attribute(key: str, text: str = "v") -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=text))


def spans(*made: Span, resource: list[KeyValue] | None = None) -> Batch:
    block = {"resource": {"attributes": resource or []}, "scope_spans": [{"spans": made}]}
    wire = ExportTraceServiceRequest(resource_spans=[block]).SerializeToString()
    return Batch.from_wire(Signal.TRACES, wire, tenant="acme")


def logs(*made: LogRecord) -> Batch:
    request = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": made}]}])
    return Batch.from_wire(Signal.LOGS, request.SerializeToString(), tenant="acme")


class Checked:
    """What `validate` made of a batch."""

    def __init__(self, batch: Batch) -> None:
        self.counters = Counters()
        before = batch.wire
        self.batch, self.rejected = validate(batch, NOW_NS, self.counters)
        self.untouched = self.batch is batch
        assert batch.wire == before, "others hold the same batch"
        assert self.batch.tenant == batch.tenant

    @property
    def spans(self) -> list[Span]:
        request = ExportTraceServiceRequest.FromString(self.batch.wire)
        return [one for block in request.resource_spans for scoped in block.scope_spans for one in scoped.spans]

    @property
    def log(self) -> LogRecord:
        return ExportLogsServiceRequest.FromString(self.batch.wire).resource_logs[0].scope_logs[0].log_records[0]

    def repaired(self, what: str) -> int:
        return self.counters.value("repaired", what=what)


@pytest.mark.parametrize(
    "batch",
    [
        spans(),
        spans(span()),
        spans(span(), span(span_id=b"2" * 8, parent_span_id=b"s" * 8), resource=[attribute("service.name")]),
        spans(span(kind=99, flags=0xFFFF, status={"code": 77}, attributes=[attribute("")])),
        spans(span(name="the words otel_bridge.tenant in a prompt", attributes=[attribute("k", "otel_bridge.tenant")])),
        spans(*(span(span_id=n.to_bytes(8, "big"), attributes=[attribute("k", "v" * 5000)]) for n in range(1, 300))),
        spans(span(attributes=[attribute(str(n), "v" * 5000) for n in range(300)])),
        logs(LogRecord(time_unix_nano=1)),
        logs(LogRecord(observed_time_unix_nano=1, trace_id=b"t" * 16, span_id=b"s" * 8)),
        logs(LogRecord(time_unix_nano=1, event_name="otel_bridge.span.started")),
        Batch.from_wire(Signal.METRICS, ExportMetricsServiceRequest(resource_metrics=[{}]).SerializeToString()),
    ],
)
def test_a_sound_batch_is_handed_on_as_it_is(batch: Batch) -> None:
    checked = Checked(batch)
    assert checked.untouched
    assert checked.rejected == []
    assert checked.counters.snapshot() == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": b""}, "no_trace_id"),
        ({"trace_id": b"t" * 15}, "bad_trace_id"),
        ({"trace_id": bytes(16)}, "bad_trace_id"),
        ({"span_id": b""}, "no_span_id"),
        ({"span_id": b"s" * 9}, "bad_span_id"),
        ({"span_id": bytes(8)}, "bad_span_id"),
    ],
)
def test_a_span_without_a_good_id_is_rejected_alone(changes: dict[str, Any], reason: str) -> None:
    bad = span(**changes)
    checked = Checked(spans(span(span_id=b"1" * 8), bad, span(span_id=b"2" * 8)))

    assert [one.span_id for one in checked.spans] == [b"1" * 8, b"2" * 8]
    assert checked.batch.item_count == 2
    assert checked.rejected == [Omitted(bad.span_id.hex(), bad.trace_id.hex(), reason)]
    assert checked.counters.value("rejected", reason=reason) == 1
    assert summary(checked.rejected) == f"1 {reason}"


@pytest.mark.parametrize("parent", [b"p" * 7, b"p" * 16, b"s" * 8, bytes(8)])
def test_an_impossible_parent_is_cleared(parent: bytes) -> None:
    checked = Checked(spans(span(parent_span_id=parent)))
    assert checked.spans[0].parent_span_id == b""
    assert checked.repaired("parent") == 1


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "expected"),
    [(0, 20, (20, 20)), (10, 0, (10, 10)), (0, 0, (NOW_NS, NOW_NS))],
)
def test_a_missing_time_is_set_once_and_marked(start_ns: int, end_ns: int, expected: tuple[int, int]) -> None:
    checked = Checked(spans(span(start_time_unix_nano=start_ns, end_time_unix_nano=end_ns)))
    mended = checked.spans[0]

    assert (mended.start_time_unix_nano, mended.end_time_unix_nano) == expected
    assert [one.key for one in mended.attributes] == ["otel_bridge.time_repaired"]
    assert checked.repaired("time") == 1


@pytest.mark.parametrize(("start_ns", "end_ns"), [(20, 10), (1, 31 * DAY_NS)])
def test_an_odd_time_is_counted_and_kept(start_ns: int, end_ns: int) -> None:
    checked = Checked(spans(span(start_time_unix_nano=start_ns, end_time_unix_nano=end_ns)))
    assert checked.untouched
    assert checked.counters.value("time_anomaly") == 1


def test_the_same_span_twice_is_kept_once() -> None:
    checked = Checked(spans(span(), span(span_id=b"2" * 8), span()))
    assert [one.span_id for one in checked.spans] == [b"s" * 8, b"2" * 8]
    assert checked.counters.value("dedup_identical") == 1
    assert checked.rejected == []


def test_two_spans_under_one_id_are_both_kept() -> None:
    checked = Checked(spans(span(name="a"), span(name="b")))
    assert checked.untouched
    assert checked.counters.value("span_id_conflict") == 1


def test_large_values_are_cut_between_characters_and_named() -> None:
    checked = Checked(
        spans(span(attributes=[attribute("small", "kept"), attribute("large", "é" * MIB)]), span(span_id=b"2" * 8))
    )
    small, large, marked = checked.spans[0].attributes

    assert small.value.string_value == "kept"
    assert large.value.string_value == "é" * (MIB // 2)
    assert (marked.key, [value.string_value for value in marked.value.array_value.values]) == (
        "otel_bridge.truncated_attrs",
        ["large"],
    )
    assert checked.repaired("attribute_value") == 1
    assert not checked.spans[1].attributes


@pytest.mark.parametrize(
    ("value", "begins"),
    [
        (AnyValue(bytes_value=bytes(2 * MIB)), None),
        (AnyValue(array_value={"values": [{"int_value": 7}, {}, {"string_value": "x" * 2 * MIB}]}), '[7,null,"xxx'),
        (AnyValue(kvlist_value={"values": [{"key": "k", "value": {"bytes_value": bytes(2 * MIB)}}]}), '{"k":"000'),
    ],
)
def test_large_values_of_other_kinds_are_cut_too(value: AnyValue, begins: str | None) -> None:
    cut = Checked(spans(span(attributes=[KeyValue(key="k", value=value)]))).spans[0].attributes[0].value
    if begins is None:
        assert len(cut.bytes_value) == MIB
    else:
        assert len(cut.string_value) == MIB
        assert cut.string_value.startswith(begins)


def test_attributes_are_bounded_in_number_and_key() -> None:
    many = [attribute(str(number)) for number in range(1030)]
    checked = Checked(spans(span(attributes=many, dropped_attributes_count=1)))
    assert len(checked.spans[0].attributes) == 1024
    assert checked.spans[0].dropped_attributes_count == 7
    assert checked.repaired("attributes") == 6

    checked = Checked(spans(span(attributes=[attribute("k" * 100_000)])))
    assert [one.key for one in checked.spans[0].attributes] == ["k" * 256]
    assert checked.repaired("attribute_key") == 1


def test_scopes_are_bounded_as_all_others() -> None:
    scope = {"name": "s", "attributes": [attribute(str(number)) for number in range(1030)]}
    request = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"scope": scope, "spans": [span()]}]}])
    checked = Checked(Batch.from_request(request, tenant="acme"))

    mended = ExportTraceServiceRequest.FromString(checked.batch.wire).resource_spans[0].scope_spans[0].scope
    assert (len(mended.attributes), mended.dropped_attributes_count) == (1024, 6)


def test_a_large_log_body_is_cut_and_marked() -> None:
    checked = Checked(logs(LogRecord(time_unix_nano=1, body={"string_value": "é" * MIB})))

    assert checked.log.body.string_value == "é" * (MIB // 2)
    assert [one.key for one in checked.log.attributes] == ["otel_bridge.truncated"]
    assert checked.repaired("log_body") == 1


def test_keys_that_act_in_javascript_are_counted_and_kept() -> None:
    odd = [attribute("a.__proto__.b"), attribute("constructor.prototype"), attribute("fine", "__proto__")]
    checked = Checked(spans(span(attributes=odd, events=[{"attributes": odd[:1]}]), resource=odd[:2]))

    assert checked.untouched
    assert checked.counters.value("unsafe_key") == 5


def test_the_last_of_two_attributes_of_one_name_wins() -> None:
    checked = Checked(spans(span(attributes=[attribute("a", "1"), attribute("b"), attribute("a", "2")])))
    assert [(one.key, one.value.string_value) for one in checked.spans[0].attributes] == [("a", "2"), ("b", "v")]
    assert checked.repaired("duplicate_attribute") == 1


def test_events_and_links_are_bounded_and_mended() -> None:
    floods = {"events": [{"name": ""}] * 200, "links": [{"trace_id": b"t" * 16}] * 130}
    checked = Checked(spans(span(**floods)))
    mended = checked.spans[0]
    assert (len(mended.events), mended.dropped_events_count, checked.repaired("events")) == (128, 72, 72)
    assert (len(mended.links), mended.dropped_links_count, checked.repaired("links")) == (128, 2, 2)

    checked = Checked(spans(span(events=[{"attributes": [attribute("k" * 300)]}])))
    assert len(checked.spans[0].events[0].attributes[0].key) == 256


def test_trace_state_is_cut_between_its_members() -> None:
    checked = Checked(spans(span(trace_state=",".join(f"vendor{n}=value" for n in range(100)))))
    state = checked.spans[0].trace_state
    assert 490 < len(state) <= 512
    assert state.endswith("=value")


def test_reserved_attributes_of_senders_are_taken_out() -> None:
    reserved = [attribute("otel_bridge.tenant", "somebody else"), attribute("otel_bridge.of_a_later_version")]
    checked = Checked(spans(span(attributes=[*reserved, attribute("otel_bridge.outcome", "mine")]), resource=reserved))

    assert [one.key for one in checked.spans[0].attributes] == ["otel_bridge.outcome"]
    request = ExportTraceServiceRequest.FromString(checked.batch.wire)
    assert not request.resource_spans[0].resource.attributes
    assert checked.repaired("reserved_attribute") == 4


@pytest.mark.parametrize("key", sorted(SAID_BY_SDK))
def test_a_key_that_only_begins_as_one_of_our_sdk_is_reserved(key: str) -> None:
    checked = Checked(spans(span(attributes=[attribute(f"{key}_x"), attribute(f"{key}.x"), attribute("mine")])))

    assert [one.key for one in checked.spans[0].attributes] == ["mine"]


def test_what_our_own_sdk_says_to_the_bridge_is_kept() -> None:
    """Each key that is set in the SDK, found in its source: a new one has to be allowed here too."""
    lines = [line for file in SDK.glob("*.py") for line in file.read_text().splitlines() if "getLogger" not in line]
    keys = set(re.findall(r'"(otel_bridge\.[a-z_.]+)"', "\n".join(lines))) - NO_ATTRIBUTES

    assert keys == SAID_BY_SDK
    batch = Checked(spans(span(attributes=[attribute(key) for key in sorted(keys)])))
    assert {one.key for one in batch.spans[0].attributes} == keys


@pytest.mark.parametrize("bad", [b"x", bytes(16), bytes(8)])
def test_bad_ids_of_log_records_are_cleared(bad: bytes) -> None:
    checked = Checked(logs(LogRecord(time_unix_nano=1, trace_id=bad, span_id=bad)))
    assert (checked.log.trace_id, checked.log.span_id) == (b"", b"")
    assert (checked.repaired("log_trace_id"), checked.repaired("log_span_id")) == (1, 1)
    assert checked.rejected == []


def test_a_log_record_without_a_time_gets_the_time_it_came() -> None:
    checked = Checked(logs(LogRecord(body={"string_value": "line"}, attributes=[attribute("otel_bridge.tenant")])))
    assert checked.log.observed_time_unix_nano == NOW_NS
    assert [one.key for one in checked.log.attributes] == ["otel_bridge.time_repaired"]


IDS = st.sampled_from([b"", b"x", bytes(8), bytes(16), b"s" * 8, b"S" * 8, b"t" * 16, b"T" * 16])
ATTRIBUTES = st.lists(
    st.builds(attribute, st.sampled_from(["", "a", "b", "k" * 300, "otel_bridge.tenant"]), st.text(max_size=3)),
    max_size=4,
)
SPANS = st.builds(
    Span,
    trace_id=IDS,
    span_id=IDS,
    parent_span_id=IDS,
    start_time_unix_nano=st.integers(0, 3),
    end_time_unix_nano=st.integers(0, 3),
    attributes=ATTRIBUTES,
)


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(SPANS, max_size=6), ATTRIBUTES)
def test_nothing_vanishes_and_what_comes_out_is_sound(made: list[Span], resource: list[KeyValue]) -> None:
    checked = Checked(spans(*made, resource=resource))

    repeats = checked.counters.value("dedup_identical")
    assert checked.batch.item_count + len(checked.rejected) + repeats == len(made)
    marked = {"otel_bridge.time_repaired"}
    clean = [one for one in checked.spans if marked.isdisjoint(attribute.key for attribute in one.attributes)]
    again, rejected = validate(spans(*clean), NOW_NS, counters := Counters())
    assert rejected == []
    assert counters.value("repaired") == 0
    assert again.wire == spans(*clean).wire


async def test_admitting_counts_validates_and_hands_on() -> None:
    taken: list[Batch] = []

    async def consume(batch: Batch) -> None:
        taken.append(batch)

    counters = Counters()
    rejected = await admit(spans(span(), span(span_id=b"")), "in_process", consume, counters)

    assert [one.reason for one in rejected] == ["no_span_id"]
    assert [batch.item_count for batch in taken] == [1]
    assert counters.value("received", signal="traces", transport="in_process") == 2


async def test_nothing_is_handed_on_when_all_is_rejected() -> None:
    async def consume(_batch: Batch) -> None:
        raise RetryableError("never asked")

    assert len(await admit(spans(span(trace_id=b"")), "in_process", consume, Counters())) == 1


def test_malformed_bytes_are_refused() -> None:
    with pytest.raises(MalformedError):
        validate(Batch.from_wire(Signal.TRACES, b"\xff"), NOW_NS, Counters())
