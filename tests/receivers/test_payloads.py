"""Hostile payloads over real sockets, by every door: what is answered, what is kept, and that nothing else happens.

One bridge for all cases. After each of them it is as well as before: a good request gets OK by both doors, the accounts
balance, and the log has no traceback and nothing of the content (payloads say SECRET where they can).
"""

import asyncio
import io
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge import otlp_json
from otel_bridge.batch import RESPONSES, Batch, Signal
from otel_bridge.component import Consume, Host, Settle, Takes, exporter
from otel_bridge.config import Config
from otel_bridge.delivery import audit
from otel_bridge.exporters.langfuse.otlp import encode
from otel_bridge.model import Observation, Translation
from otel_bridge.pipeline import running
from otel_bridge.plan import Plan, Planned, ServiceConfig
from otel_bridge.receivers.otlp import OtlpConfig, otlp
from otel_bridge.translate import to_json

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MIB = 1 << 20
OK, INVALID, NOT_FOUND, UNIMPLEMENTED = 0, 3, 5, 12  # of google.rpc.Code
HTTP_STATUS = {OK: 200, INVALID: 400, NOT_FOUND: 404}
SERVICES = {Signal.TRACES: "trace.v1.TraceService", Signal.LOGS: "logs.v1.LogsService"}
SERVICES[Signal.METRICS] = "metrics.v1.MetricsService"
NUMBERS = count(1)
each_door = pytest.mark.parametrize("door", ["grpc", "http", "json"])
each_binary_door = pytest.mark.parametrize("door", ["grpc", "http"])


@dataclass
class Answer:
    """What a sender is told; `code` is that of google.rpc.Status, by whatever door."""

    code: int
    rejected: int = 0
    message: str = ""


class Empty(Config):
    """Nothing to say."""


@dataclass
class World:
    """A running bridge, and what came out of it since the last case: spans as they came, and observations."""

    data_dir: Path
    batches: list[Batch] = field(default_factory=list)
    translations: list[Translation] = field(default_factory=list)
    before: dict[Any, int] = field(default_factory=dict)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["World"]:
        @exporter(Empty)
        async def sink(_config: Empty, _host: Host) -> AsyncIterator[Consume]:
            async def consume(batch: Batch) -> None:
                self.batches.append(batch)

            yield consume

        @exporter(Empty, takes=Takes.SETTLED)
        async def whole(_config: Empty, _host: Host) -> AsyncIterator[Settle]:
            async def settle(translation: Translation) -> None:
                self.translations.append(translation)

            yield settle

        soon = "10ms"
        service = {
            "data_dir": str(self.data_dir),
            "deliver": {"max_batch_age": soon},
            "assemble": {"grace": soon, "remote_grace": soon, "idle": soon},
            "pipelines": {"main": {"receivers": ["otlp"], "exporters": ["sink", "whole"]}},
        }
        config = OtlpConfig(grpc="127.0.0.1:0", http="127.0.0.1:0")
        plan = Plan(
            "test",
            receivers={"otlp": Planned("otlp", otlp, config)},
            processors={},
            exporters={"sink": Planned("sink", sink, Empty()), "whole": Planned("whole", whole, Empty())},
            extensions={},
            service=ServiceConfig.model_validate(service),
        )
        async with running(plan) as self.bridge, aiohttp.ClientSession() as self.http:
            self.urls = self.bridge.endpoints["otlp"]
            async with grpc.aio.insecure_channel(self.urls["grpc"].removeprefix("http://")) as self.channel:
                yield self

    async def send(self, door: str, payload: Message | bytes, signal: Signal = Signal.TRACES) -> Answer:
        """Send a message, or bytes as they are, and read the answer."""
        if isinstance(payload, Message):
            payload = otlp_json.dump(payload) if door == "json" else payload.SerializeToString()
        if door == "grpc":
            return await self._call(f"/opentelemetry.proto.collector.{SERVICES[signal]}/Export", payload, signal)
        return await self._post(f"/v1/{signal}", payload, JSON if door == "json" else PROTOBUF, signal)

    async def _call(self, method: str, payload: bytes, signal: Signal) -> Answer:
        try:
            body = await self.channel.unary_unary(method)(payload)
        except grpc.aio.AioRpcError as error:
            return Answer(error.code().value[0], message=error.details() or "")
        return _answer(RESPONSES[signal][0].FromString(body), signal)

    async def _post(self, path: str, payload: bytes, content_type: str, signal: Signal) -> Answer:
        headers = {"Content-Type": content_type}
        async with self.http.post(self.urls["http"] + path, data=io.BytesIO(payload), headers=headers) as answer:
            body = await answer.read()
            assert answer.content_type == content_type
        if answer.status == 200:
            response = RESPONSES[signal][0]()
            if content_type == JSON:
                said = json.loads(body).get("partialSuccess", {})
                rejected = next((int(value) for key, value in said.items() if key.startswith("rejected")), 0)
                return Answer(OK, rejected, said.get("errorMessage", ""))
            response.MergeFromString(body)
            return _answer(response, signal)
        if content_type == JSON:
            status = json.loads(body)
            refused = Answer(status["code"], message=status["message"])
        else:
            status = Status.FromString(body)
            refused = Answer(status.code, message=status.message)
        assert answer.status == HTTP_STATUS[refused.code]
        return refused

    def counters(self) -> dict[Any, int]:
        return {
            tuple(sorted((key, value) for key, value in one.items() if key != "value")): one["value"]
            for one in self.bridge.status()["counters"]
        }

    def count(self, name: str, **labels: str) -> int:
        """How often something was counted in this case."""
        wanted = {("name", name), *labels.items()}
        return sum(
            value - self.before.get(labelled, 0)
            for labelled, value in self.counters().items()
            if wanted <= set(labelled)
        )

    def begin(self) -> None:
        self.before = self.counters()
        self.batches.clear()
        self.translations.clear()

    async def settled(self) -> None:
        """Return when nothing waits any more."""
        async with asyncio.timeout(20):
            while any(  # noqa: ASYNC110 - it happens on threads that tell nobody
                tenant["waiting"]
                for exporters in self.bridge.status()["exporters"].values()
                for tenant in exporters.values()
            ):
                await asyncio.sleep(0.005)

    async def spans(self) -> list[Span]:
        """What the exporter of batches was given."""
        await self.settled()
        requests = [batch.request for batch in self.batches if batch.signal is Signal.TRACES]
        return [
            one
            for request in requests
            for block in request.resource_spans
            for s in block.scope_spans
            for one in s.spans
        ]

    async def records(self) -> list[LogRecord]:
        await self.settled()
        requests = [batch.request for batch in self.batches if batch.signal is Signal.LOGS]
        return [one for r in requests for block in r.resource_logs for s in block.scope_logs for one in s.log_records]

    async def observations(self) -> list[Observation]:
        """What the exporter of settled traces was given; it can be sent, and shown as JSON."""
        await self.settled()
        for translation in self.translations:
            encode(translation)
            json.dumps(to_json(translation), allow_nan=False)
        return [seen for translation in self.translations for seen in translation.observations]

    async def is_well(self) -> None:
        """What holds after every case."""
        for door in ("grpc", "http"):
            assert await self.send(door, request(span())) == Answer(OK)
        await self.settled()
        assert (await asyncio.to_thread(audit, self.data_dir)).balanced
        assert self.count("connection_failures") == 0


def _answer(response: Any, signal: Signal) -> Answer:
    partial = response.partial_success
    return Answer(OK, getattr(partial, RESPONSES[signal][1]), partial.error_message)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World(tmp_path_factory.mktemp("payloads")).open() as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(opened: World, capfd: pytest.CaptureFixture[str]) -> AsyncIterator[World]:
    await opened.settled()
    opened.begin()
    yield opened
    await opened.is_well()
    written = "".join(capfd.readouterr())
    assert "Traceback" not in written
    assert "SECRET" not in written


def span(**changes: Any) -> Span:
    """A span of a trace of its own."""
    number = next(NUMBERS)
    fields: dict[str, Any] = {
        "trace_id": number.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "name": f"span {number}",
        "start_time_unix_nano": 10**18,
        "end_time_unix_nano": 10**18 + 1000,
    }
    return Span(**fields | changes)


def request(*spans: Span) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": spans}]}])


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value or {"string_value": "SECRET"}}


def json_span(**fields: Any) -> bytes:
    """A request of a good span, and one with these fields too; as JSON."""
    one = json.loads(otlp_json.dump(request(span(), span())))
    one["resourceSpans"][0]["scopeSpans"][0]["spans"][1].update(fields)
    return json.dumps(one).encode()


# --- bytes that are no request, or only the beginning of one

MANY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@each_binary_door
@MANY
@given(noise=st.binary(min_size=1, max_size=200))
async def test_random_bytes_are_refused(world: World, door: str, noise: bytes) -> None:
    """Or, as a few are protobuf all the same, taken for a request in which nothing is."""
    refused, used = world.count("refused", reason="malformed"), world.bridge.status()["journal"]["used_bytes"]
    answer = await world.send(door, noise)

    assert answer.code in (OK, INVALID)
    assert world.count("refused", reason="malformed") - refused == (answer.code == INVALID)
    assert world.bridge.status()["journal"]["used_bytes"] == used


@each_door
async def test_cut_off_anywhere_it_never_holds_more_than_it_did(world: World, door: str) -> None:
    made = request(span(name="SECRET", attributes=[attribute("k")]), span())
    whole = otlp_json.dump(made) if door == "json" else made.SerializeToString()
    for size in range(1, len(whole)):
        answer = await world.send(door, whole[:size])
        assert answer.code == INVALID if door == "json" else answer.code in (OK, INVALID)

    assert len(await world.spans()) == 0, "the outermost length stands first"


@each_binary_door
async def test_unknown_fields_go_on_to_the_destination(world: World, door: str) -> None:
    """Also where something else in the request was mended."""
    unknown = b"\xc2\xb8\x02\x05later"  # field 5000
    for made in (span(), span(parent_span_id=b"short")):
        wire = made.SerializeToString() + unknown
        assert await world.send(door, request(Span.FromString(wire)).SerializeToString() + unknown) == Answer(OK)

    assert [one.SerializeToString().endswith(unknown) for one in await world.spans()] == [True, True]
    assert b"".join(batch.wire for batch in world.batches).count(unknown) == 4


@pytest.mark.parametrize(
    "body", [b"{", b'{"resourceSpans": []} SECRET', b"\xef\xbb\xbf{}", b"[]", b"null", b"5", b'"SECRET"', b"{'a': 1}"]
)
async def test_what_is_no_json_object_is_refused(world: World, body: bytes) -> None:
    answer = await world.send("json", body)

    assert answer.code == INVALID
    assert "SECRET" not in answer.message
    assert world.count("refused", reason="malformed") == 1


async def test_unknown_keys_are_passed_over_and_names_with_underscores_are_unknown(world: World) -> None:
    assert await world.send("json", json_span(future={"SECRET": [1]})) == Answer(OK)

    one = json.loads(json_span())
    of = one["resourceSpans"][0]["scopeSpans"][0]["spans"][1]
    of["span_id"] = of.pop("spanId")
    answer = await world.send("json", json.dumps(one).encode())

    assert (answer.code, answer.rejected) == (OK, 1)
    assert "no_span_id" in answer.message
    assert world.count("rejected", reason="no_span_id") == 1
    assert len(await world.spans()) == 3


async def test_the_name_of_an_enum_is_refused_with_its_place(world: World) -> None:
    answer = await world.send("json", json_span(kind="SPAN_KIND_SERVER"))

    assert answer.code == INVALID
    assert "spans[1].kind must be the integer" in answer.message


WIDE = st.integers(-(2**70), 2**70)


@MANY
@given(
    number=WIDE | WIDE.map(str) | st.sampled_from(["1e3", "0x10", "", " 5", "5.0", "+5", 1e3, "٣", 2**64, 2**64 - 1]),
    place=st.sampled_from(["startTimeUnixNano", "intValue"]),
)
async def test_integers_are_read_exactly_or_cost_their_span(world: World, number: float | str, place: str) -> None:
    fields = {place: number} if place != "intValue" else {"attributes": [{"key": "n", "value": {"intValue": number}}]}
    world.begin()
    answer = await world.send("json", json_span(endTimeUnixNano=2**64 - 1, **fields))

    is_plain = isinstance(number, int) or (
        isinstance(number, str) and number.isascii() and number.lstrip("-").isdigit()
    )
    low, high = (0, 2**64) if place != "intValue" else (-(2**63), 2**63)
    if is_plain and low <= int(number) < high:
        assert answer == Answer(OK)
        read = (await world.spans())[-1]
        found = read.attributes[0].value.int_value if place == "intValue" else read.start_time_unix_nano
        assert found == int(number) or (place != "intValue" and int(number) == 0)
    else:
        assert (answer.code, answer.rejected) == (OK, 1)
        assert world.count("rejected", reason="out_of_range") == 1
        assert len(await world.spans()) == 1


# --- what a span must have


@each_door
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": b""}, "no_trace_id"),
        ({"trace_id": b"t" * 15}, "bad_trace_id"),
        ({"trace_id": bytes(16)}, "bad_trace_id"),
        ({"span_id": b""}, "no_span_id"),
        ({"span_id": b"s" * 16}, "bad_span_id"),
        ({"span_id": bytes(8)}, "bad_span_id"),
    ],
)
async def test_a_span_without_good_ids_is_rejected_alone(
    world: World, door: str, changes: dict[str, Any], reason: str
) -> None:
    answer = await world.send(door, request(span(), span(name="SECRET", **changes), span()))

    assert (answer.code, answer.rejected) == (OK, 1)
    assert reason in answer.message
    assert world.count("rejected", reason=reason) == 1
    assert len(await world.spans()) == 2


@each_door
async def test_where_all_are_rejected_nothing_is_written(world: World, door: str) -> None:
    used = world.bridge.status()["journal"]["used_bytes"]
    answer = await world.send(door, request(*(span(trace_id=b"") for _ in range(3))))

    assert (answer.code, answer.rejected) == (OK, 3)
    assert world.bridge.status()["journal"]["used_bytes"] == used


@each_door
async def test_impossible_parents_are_cleared_and_odd_ones_kept(world: World, door: str) -> None:
    """A circle and a parent that never comes end nowhere in a loop: all are shown."""
    trace_id, one, two = b"c" * 15 + door[:1].encode(), b"1" * 8, b"2" * 8
    made = [
        span(parent_span_id=b"short"),
        span(span_id=b"self" * 2, parent_span_id=b"self" * 2),
        span(parent_span_id=b"unknown!"),
        span(trace_id=trace_id, span_id=one, parent_span_id=two),
        span(trace_id=trace_id, span_id=two, parent_span_id=one),
    ]
    assert await world.send(door, request(*made)) == Answer(OK)

    assert [read.parent_span_id for read in await world.spans()] == [b"", b"", b"unknown!", two, one]
    assert world.count("repaired", what="parent") == 2
    assert len(await world.observations()) == 5


@each_door
async def test_a_span_that_comes_twice(world: World, door: str) -> None:
    """In one request it is kept once; what comes in another is kept too, as what is sent again is the same."""
    made = span()
    assert await world.send(door, request(made, made)) == Answer(OK)
    assert await world.send(door, request(made)) == Answer(OK)

    assert [read.span_id for read in await world.spans()] == [made.span_id] * 2
    assert world.count("dedup_identical") == 1


@each_door
async def test_two_spans_under_one_id_are_both_kept(world: World, door: str) -> None:
    first, second = span(name="first"), span(name="second")
    second.trace_id, second.span_id = first.trace_id, first.span_id
    assert await world.send(door, request(first, second)) == Answer(OK)

    assert [read.name for read in await world.spans()] == ["first", "second"]
    assert world.count("span_id_conflict") == 1


@each_door
@pytest.mark.parametrize("trace_id", [b"", b"t" * 16])
async def test_logs_at_the_door_of_spans_are_told_where_to_go(world: World, door: str, trace_id: bytes) -> None:
    record = LogRecord(time_unix_nano=1, severity_text="INFO", body={"string_value": "SECRET"}, trace_id=trace_id)
    logs = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}])
    used = world.bridge.status()["journal"]["used_bytes"]
    answer = await world.send(door, logs)

    assert world.bridge.status()["journal"]["used_bytes"] == used
    if door != "json":  # there it has another key, and is nothing at all
        assert answer.rejected or answer.code == INVALID
        assert "log" in answer.message


@each_binary_door
async def test_spans_at_the_door_of_logs_are_told_where_to_go(world: World, door: str) -> None:
    answer = await world.send(door, request(span()), Signal.LOGS)

    assert answer.code == INVALID
    assert "it looks like traces" in answer.message


@each_door
@pytest.mark.parametrize("blocks", [[], [{}], [{"scope_spans": [{}]}]])
async def test_nothing_is_fine(world: World, door: str, blocks: list[dict[str, Any]]) -> None:
    used = world.bridge.status()["journal"]["used_bytes"]

    assert await world.send(door, ExportTraceServiceRequest(resource_spans=blocks)) == Answer(OK)
    assert await world.send(door, b"") == Answer(OK)
    assert world.bridge.status()["journal"]["used_bytes"] == used


# --- too much of something


@each_door
@pytest.mark.parametrize("size", [1, MIB - 100, 2 * MIB, 9 * MIB])
async def test_a_large_value_is_cut_and_never_rejected(world: World, door: str, size: int) -> None:
    made = span(attributes=[attribute("kept"), attribute("large", string_value="é" * (size // 2) or "e")])
    assert await world.send(door, request(made)) == Answer(OK)

    kept, large, *marks = (await world.spans())[0].attributes
    assert kept.value.string_value == "SECRET"
    assert len(large.value.string_value.encode()) == min(size, MIB)
    if size > MIB:
        assert [mark.key for mark in marks] == ["otel_bridge.truncated_attrs"]
        assert [value.string_value for value in marks[0].value.array_value.values] == ["large"]
    assert world.count("repaired", what="attribute_value") == (size > MIB)


@each_door
async def test_a_large_log_body_is_cut(world: World, door: str) -> None:
    record = LogRecord(time_unix_nano=1, body={"string_value": "x" * 2 * MIB})
    logs = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}])
    assert await world.send(door, logs, Signal.LOGS) == Answer(OK)

    read = (await world.records())[0]
    assert len(read.body.string_value) == MIB
    assert [one.key for one in read.attributes] == ["otel_bridge.truncated"]
    assert world.count("repaired", what="log_body") == 1


@each_door
async def test_a_flood_of_attributes_is_bounded(world: World, door: str) -> None:
    many = [attribute(f"key {number}") for number in range(10_000)]
    odd = [attribute("k" * 100_000), attribute(""), attribute("a", int_value=1), attribute("a", int_value=2)]
    assert await world.send(door, request(span(attributes=many), span(attributes=odd))) == Answer(OK)

    flooded, mended = await world.spans()
    assert (len(flooded.attributes), flooded.dropped_attributes_count) == (1024, 8976)
    assert [(one.key, one.value.int_value) for one in mended.attributes] == [("k" * 256, 0), ("", 0), ("a", 2)]
    assert world.count("repaired", what="attributes") == 8976
    assert world.count("repaired", what="attribute_key") == 1
    assert world.count("repaired", what="duplicate_attribute") == 1


@each_door
async def test_a_flood_of_events_and_links_is_bounded(world: World, door: str) -> None:
    made = span(events=[{"name": ""}] * 10_000, links=[{"trace_id": b"t" * 16, "span_id": b"s" * 8}] * 10_000)
    assert await world.send(door, request(made)) == Answer(OK)

    read = (await world.spans())[0]
    assert (len(read.events), read.dropped_events_count) == (128, 9872)
    assert (len(read.links), read.dropped_links_count) == (128, 9872)
    assert (world.count("repaired", what="events"), world.count("repaired", what="links")) == (9872, 9872)
    assert len(await world.observations()) == 1


def deep(door: str, depth: int, kind: str) -> bytes:
    """A request of one span with an attribute of lists in lists, or of maps in maps."""
    if door == "json":
        opening, closing = {
            "list": (b'{"arrayValue":{"values":[', b"]}}"),
            "map": (b'{"kvlistValue":{"values":[{"value":', b"}]}}"),
        }[kind]
        value = opening * depth + b'{"stringValue":"SECRET"}' + closing * depth
        body = otlp_json.dump(request(span(attributes=[attribute("deep", string_value="HERE")])))
        return body.replace(b'{"stringValue":"HERE"}', value)
    value = b"\x0a\x06SECRET"
    for _ in range(depth):
        for tag in (b"\x0a", b"\x2a") if kind == "list" else (b"\x12", b"\x0a", b"\x32"):
            value = tag + _varint(len(value)) + value
    attributes = b"\x12" + _varint(len(value)) + value
    one = span().SerializeToString() + b"\x4a" + _varint(len(attributes)) + attributes
    for tag in (b"\x12", b"\x12", b"\x0a"):
        one = tag + _varint(len(one)) + one
    return one


@each_door
@MANY
@given(depth=st.integers(0, 60) | st.sampled_from([31, 32, 47, 48, 100]), kind=st.sampled_from(["list", "map"]))
async def test_nesting_is_kept_as_deep_as_protobuf_reads_it(world: World, door: str, depth: int, kind: str) -> None:
    """And comes out at the end, however deep it is; deeper it is refused."""
    world.begin()
    answer = await world.send(door, deep(door, depth, kind))

    if depth <= {"list": 47, "map": 31}[kind]:
        assert answer == Answer(OK)
        value = (await world.spans())[0].attributes[0].value
        for _ in range(depth):
            value = value.array_value.values[0] if kind == "list" else value.kvlist_value.values[0].value
        assert value.string_value == "SECRET"
        assert len(await world.observations()) == 1
    else:
        assert answer.code == INVALID


@each_door
@pytest.mark.parametrize("kind", ["list", "map"])
async def test_endless_nesting_is_refused(world: World, door: str, kind: str) -> None:
    assert (await world.send(door, deep(door, 10_000, kind))).code == INVALID


def _varint(size: int) -> bytes:
    out = b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size])


# --- odd text, numbers and times


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


# --- keys that mean something to somebody


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


# --- signals


async def test_profiles_have_no_door(world: World) -> None:
    """So senders know that trying again is of no use; metrics and logs have one."""
    answer = await world._post("/v1development/profiles", b"", PROTOBUF, Signal.TRACES)
    assert answer.code == NOT_FOUND
    assert world.count("refused", reason="not_found") == 1
    method = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
    assert (await world._call(method, b"", Signal.TRACES)).code == UNIMPLEMENTED


@each_door
async def test_metrics_are_taken_and_accounted_for(world: World, door: str) -> None:
    metric = {"name": "calls", "gauge": {"data_points": [{"as_double": math.nan}]}}
    metrics = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [metric]}]}])

    assert await world.send(door, metrics, Signal.METRICS) == Answer(OK)
    await world.settled()
    assert [batch.signal for batch in world.batches] == [Signal.METRICS]
