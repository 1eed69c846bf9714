"""Whose it is that came in: what a sender names counts only where it is looked for, and only if it may send for it."""

import re
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from pydantic import ValidationError

from otel_bridge.batch import BLOCKS, REQUESTS, RESPONSES, Batch, Request, Signal, count_items
from otel_bridge.otlp_json import dump
from otel_bridge.receivers.otlp.grpc import SERVICES
from otel_bridge.receivers.otlp.routing import Routing, TenantFromConfig
from otel_bridge.receivers.otlp.senders import Sender
from otel_bridge.telemetry import Counters
from otel_bridge.tenants import TenantConfig, Tenants
from tests.receivers.http1 import JSON, Client

ACME, GATEWAY = "acme-key-0123456789", "gateway-key-0123456789"
TENANTS: dict[str, Any] = {
    "acme": {"keys": [ACME]},
    "beta": {"keys": ["beta-key-0123456789"]},
    "gamma": {"public_traces": True},
    "gateway": {"keys": [GATEWAY], "sends_for": ["acme", "gamma"]},
}
READ = Tenants({name: TenantConfig.model_validate(of) for name, of in TENANTS.items()})
KEY = "tenant.id"


def attribute(key: str, value: str | AnyValue) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value) if isinstance(value, str) else value)


def spans(*blocks: dict[str, Any]) -> ExportTraceServiceRequest:
    """A ResourceSpans for each: `tenant` of the resource, and `spans` by name, each with its own tenant or None."""
    request = ExportTraceServiceRequest()
    for number, block in enumerate(blocks):
        made = request.resource_spans.add()
        if block.get("tenant") is not None:
            made.resource.attributes.append(attribute(KEY, block["tenant"]))
        scoped = made.scope_spans.add()
        for at, (name, tenant) in enumerate(block["spans"].items()):
            span = scoped.spans.add(name=name, trace_id=b"t" * 16, span_id=bytes([number + 1] * 7 + [at + 1]))
            span.start_time_unix_nano, span.end_time_unix_nano = 1, 2
            if tenant is not None:
                span.attributes.append(attribute(KEY, tenant))
    return request


def names(batch: Batch) -> list[str]:
    assert isinstance(batch.request, ExportTraceServiceRequest)
    return [
        span.name for block in batch.request.resource_spans for scoped in block.scope_spans for span in scoped.spans
    ]


def routed(
    where: TenantFromConfig | None, request: Request, sender: str = "gateway"
) -> tuple[dict[str, list[str]], int]:
    """Span names by tenant, and how many spans were rejected."""
    batches, rejected = Routing(where, READ, Counters()).route(Batch.from_request(request), Sender(sender))
    assert {one.reason for one in rejected} <= {"foreign_tenant"}
    return {batch.tenant: names(batch) for batch in batches}, len(rejected)


RESOURCE, ATTRIBUTE, HEADER = (
    TenantFromConfig(resource=KEY),
    TenantFromConfig(attribute=KEY),
    TenantFromConfig(header="X-Tenant"),
)


def test_by_resource() -> None:
    mixed = spans(
        {"tenant": "acme", "spans": {"a1": None, "a2": None}},
        {"tenant": "gamma", "spans": {"g": None}},
        {"spans": {"mine": None}},
        {"tenant": "gateway", "spans": {"mine too": None}},
        {"tenant": "beta", "spans": {"b": None}},
        {"tenant": "nobody", "spans": {"n": None}},
        {"tenant": "", "spans": {"e": None}},
    )
    found, rejected = routed(RESOURCE, mixed)

    assert found == {"acme": ["a1", "a2"], "gamma": ["g"], "gateway": ["mine", "mine too"]}
    assert rejected == 3


def test_by_attribute_of_each_span() -> None:
    found, rejected = routed(
        ATTRIBUTE, spans({"tenant": "beta", "spans": {"a": "acme", "g": "gamma", "mine": None, "b": "beta"}})
    )

    assert found == {"acme": ["a"], "gamma": ["g"], "gateway": ["mine"]}  # what the resource says was not asked for
    assert rejected == 1


@pytest.mark.parametrize("where", [RESOURCE, ATTRIBUTE])
def test_what_is_no_name_or_two_is_nobody_s(where: TenantFromConfig) -> None:
    odd: tuple[AnyValue, ...] = (AnyValue(int_value=1), AnyValue(), AnyValue(bytes_value=b"acme"))
    for value in odd:
        request = spans({"spans": {"odd": None}})
        block = request.resource_spans[0]
        owner = block.resource if where is RESOURCE else block.scope_spans[0].spans[0]
        owner.attributes.append(attribute(KEY, value))
        assert routed(where, request) == ({}, 1)
    request = spans({"tenant": "acme", "spans": {"two": "acme"}})
    request.resource_spans[0].resource.attributes.append(attribute(KEY, "gamma"))
    request.resource_spans[0].scope_spans[0].spans[0].attributes.append(attribute(KEY, "gamma"))
    assert routed(where, request) == ({}, 1)


@pytest.mark.parametrize("where", [None, HEADER, RESOURCE, ATTRIBUTE])
def test_who_may_send_for_nobody_sends_for_itself_alone(where: TenantFromConfig | None) -> None:
    request = spans({"tenant": "gamma", "spans": {"one": "gamma"}})
    if where in (None, HEADER):  # nobody looks there
        assert routed(where, request, "acme") == ({"acme": ["one"]}, 0)
    else:
        assert routed(where, request, "acme") == ({}, 1)
        assert routed(where, spans({"tenant": "acme", "spans": {"one": "acme"}}), "acme") == ({"acme": ["one"]}, 0)


def test_a_tenant_that_is_gone_can_not_be_named() -> None:
    tenants = Tenants({"gateway": TenantConfig(sends_for=("acme",))})
    request = Batch.from_request(spans({"tenant": "acme", "spans": {"one": None}}))

    assert Routing(RESOURCE, tenants, Counters()).route(request, Sender("gateway"))[0] == []


def test_what_is_one_tenant_s_is_not_copied_and_parts_stay_parts() -> None:
    parts = [Batch.from_request(spans({"tenant": "acme", "spans": {name: None}})) for name in ("one", "two")]
    [batch], _ = Routing(RESOURCE, READ, Counters()).route(Batch.of_parts(parts, like=parts[0]), Sender("gateway"))

    assert batch.tenant == "acme"
    assert [part.tenant for part in batch.parts] == ["acme", "acme"]
    assert [part.request for part in batch.parts] == [part.request for part in parts]
    assert all(made.request is part.request for made, part in zip(batch.parts, parts, strict=True))
    assert batch.item_count == 2


def test_log_records_and_metrics_are_told_apart_as_well() -> None:
    logs = ExportLogsServiceRequest()
    for tenant in ("acme", "gamma", "beta"):
        record = logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1)
        record.attributes.append(attribute(KEY, tenant))
    metrics = ExportMetricsServiceRequest()
    for tenants in (("acme",), ("gamma", "gamma"), ("acme", "gamma"), ()):
        metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="calls")
        for tenant in tenants:
            metric.sum.data_points.add(as_int=1).attributes.append(attribute(KEY, tenant))

    for request, expected, foreign in (
        (logs, {"acme": 1, "gamma": 1}, 1),
        (metrics, {"acme": 1, "gamma": 1, "gateway": 1}, 1),
    ):
        batches, rejected = Routing(ATTRIBUTE, READ, Counters()).route(Batch.from_request(request), Sender("gateway"))
        assert {batch.tenant: count_items(batch.request) for batch in batches} == expected
        assert len(rejected) == foreign


@pytest.mark.parametrize("signal", list(Signal))
def test_what_others_items_came_under_is_theirs_as_well(signal: Signal) -> None:
    """Nor does anybody get what nothing is left of, as where the door rejected a span: nobody knows whose that is."""
    request = REQUESTS[signal]()
    resources, scopes, items = BLOCKS[signal]
    whose = {"of a": ["acme"], "of g": ["gamma"], "of both": ["acme", "gamma"], "of beta": ["beta"], "of none": []}
    for where, tenants in whose.items():
        block = getattr(request, resources).add()
        block.resource.attributes.append(attribute("host", f"host {where}."))
        for tenant in tenants:
            scoped = getattr(block, scopes).add()
            scoped.scope.name = f"scope of {tenant}."
            item = getattr(scoped, items).add()
            owner = item.gauge.data_points.add() if signal is Signal.METRICS else item
            owner.attributes.append(attribute(KEY, tenant))
        getattr(block, scopes).add().scope.name = "scope of none."

    def told(request: Request) -> dict[str, set[str]]:
        batches, _ = Routing(ATTRIBUTE, READ, Counters()).route(Batch.from_request(request), Sender("gateway"))
        return {batch.tenant: set(re.findall("(?:host|scope) of [^.]+", str(batch.wire))) for batch in batches}

    expected = {
        "acme": {"host of a", "host of both", "scope of acme"},
        "gamma": {"host of g", "host of both", "scope of gamma"},
    }
    assert told(request) == expected
    del getattr(request, resources)[1:4]
    assert told(request) == {"acme": {"host of a", "scope of acme"}}


# Through the doors


async def test_one_request_of_two_tenants_is_split_and_the_rest_told_of(receiving: Any) -> None:
    request = spans(
        {"tenant": "acme", "spans": {"a": None}},
        {"tenant": "gamma", "spans": {"g": None}},
        {"tenant": "beta", "spans": {"b1": None, "b2": None}},
    )
    async with receiving(tenants=TENANTS, tenant_from={"resource": KEY}) as taken:
        async with Client(taken.address("http")) as client:
            answers = [
                await client.post(request.SerializeToString(), authorization=f"Bearer {GATEWAY}"),
                await client.post(dump(request), authorization=f"Bearer {GATEWAY}", content_type=JSON),
            ]
        host, port = taken.address("grpc")
        async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
            by_grpc = await channel.unary_unary(f"/{SERVICES[Signal.TRACES]}/Export")(
                request.SerializeToString(), metadata=[("x-api-key", GATEWAY)]
            )
        for body in (answers[0].body, by_grpc):
            told = ExportTraceServiceResponse.FromString(body).partial_success
            assert (told.rejected_spans, told.error_message) == (2, "rejected: 2 foreign_tenant")
        assert b'"rejectedSpans":"2"' in answers[1].body.replace(b" ", b"")
        assert taken.count("rejected", reason="foreign_tenant") == 6
    assert {batch.tenant: names(batch) for batch in taken.batches} == {"acme": ["a"], "gamma": ["g"]}
    assert len(taken.batches) == 6


@pytest.mark.parametrize("signal", Signal)
async def test_by_header_a_request_is_one_tenant_s_as_a_whole(receiving: Any, signal: Signal) -> None:
    body = {
        Signal.TRACES: spans({"spans": {"one": None}}),
        Signal.LOGS: ExportLogsServiceRequest(
            resource_logs=[{"scope_logs": [{"log_records": [{"time_unix_nano": 1}]}]}]
        ),
        Signal.METRICS: ExportMetricsServiceRequest(
            resource_metrics=[{"scope_metrics": [{"metrics": [{"name": "m"}]}]}]
        ),
    }[signal].SerializeToString()
    kind, rejected = RESPONSES[signal]
    async with receiving(tenants=TENANTS, tenant_from={"header": "X-Tenant"}) as taken:
        told = []
        async with Client(taken.address("http")) as client:
            for name in ("acme", "gateway", "beta", "nobody", " ", "acme, gamma"):
                answer = await client.post(body, f"/v1/{signal}", authorization=f"Bearer {GATEWAY}", x_tenant=name)
                assert answer.status == 200
                told.append(getattr(kind.FromString(answer.body).partial_success, rejected))
        host, port = taken.address("grpc")
        async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
            export = channel.unary_unary(f"/{SERVICES[signal]}/Export")
            key = ("authorization", f"Bearer {GATEWAY}")
            for given in ([("x-tenant", "gamma")], [], [("x-tenant", "beta")], [("x-tenant", "acme")] * 2):
                answer = await export(body, metadata=[key, *given])
                told.append(getattr(kind.FromString(answer).partial_success, rejected))
        assert told == [0, 0, 1, 1, 1, 1, 0, 0, 1, 1]
    assert [batch.tenant for batch in taken.batches] == ["acme", "gateway", "gamma", "gateway"]


async def test_no_attribute_makes_a_sender_somebody_else(receiving: Any) -> None:
    """Without `tenant_from` nothing that is said counts."""
    request = spans({"tenant": "gamma", "spans": {"one": "gamma"}})
    for key in ("otel_bridge.tenant", "tenant", "tenant.id", "langfuse.project"):
        request.resource_spans[0].resource.attributes.append(attribute(key, "gamma"))
    async with receiving(tenants=TENANTS) as taken, Client(taken.address("http")) as client:
        headers = {"authorization": f"Bearer {GATEWAY}", "x_tenant": "gamma", "x_scope_orgid": "gamma"}
        assert (await client.post(request.SerializeToString(), **headers)).status == 200
    assert [batch.tenant for batch in taken.batches] == ["gateway"]
    [block] = taken.batches[0].request.resource_spans
    assert "otel_bridge.tenant" not in [one.key for one in block.resource.attributes]


@pytest.mark.parametrize("key", ["langfuse.trace.public", "langfuse.public"])
async def test_only_who_may_publishes_traces(receiving: Any, key: str) -> None:
    """On spans and resources; without tenants, as on one's own machine, everybody may."""
    request = spans({"tenant": "acme", "spans": {"a": None}}, {"tenant": "gamma", "spans": {"g": None}})
    for block in request.resource_spans:
        for owner in (block.resource, block.scope_spans[0].spans[0]):
            owner.attributes.append(attribute(key, AnyValue(bool_value=True)))

    def published(batches: list[Batch]) -> dict[str, int]:
        return {batch.tenant: batch.wire.count(key.encode()) for batch in batches}

    async with (
        receiving(tenants=TENANTS, tenant_from={"resource": KEY}) as taken,
        Client(taken.address("http")) as client,
    ):
        await client.post(request.SerializeToString(), authorization=f"Bearer {GATEWAY}")
        assert taken.count("repaired", what="public_trace") == 2
    assert published(taken.batches) == {"acme": 0, "gamma": 2}
    async with receiving() as taken, Client(taken.address("http")) as client:
        await client.post(request.SerializeToString())
    assert published(taken.batches) == {"default": 4}


async def test_what_speaks_of_publishing_is_not_touched(receiving: Any) -> None:
    request = spans({"spans": {"tell me of langfuse.trace.public": None}})
    async with receiving(tenants=TENANTS) as taken, Client(taken.address("http")) as client:
        await client.post(request.SerializeToString(), authorization=f"Bearer {ACME}")
    assert names(taken.batches[0]) == ["tell me of langfuse.trace.public"]


@pytest.mark.parametrize(
    "where", [{}, {"header": "x-a", "resource": "b"}, {"header": "not a header"}, {"resource": ""}]
)
def test_a_name_is_looked_for_in_one_place(where: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TenantFromConfig.model_validate(where)
