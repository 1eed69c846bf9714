"""Who sends is known before anything of a request is read: by key or certificate, through both doors, or not at all."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_bridge.batch import Signal
from otel_bridge.component import Host
from otel_bridge.errors import JournalFullError
from otel_bridge.receivers.otlp import senders
from otel_bridge.receivers.otlp.grpc import SERVICES
from otel_bridge.receivers.otlp.http import PATHS
from otel_bridge.receivers.otlp.senders import Bucket, RateError, Sender, Senders, address_of
from otel_bridge.tenants import TenantConfig, Tenants
from tests.receivers.conftest import Taken, export_one
from tests.receivers.http1 import ONE, Client, request, spans

ACME, OLD, PAIR = "acme-key-0123456789", "acme-old-key-01234567", "pk-lf-acme:sk-lf-0123456789"
BETA = "beta-key-0123456789"
TWO = spans("one", "two").SerializeToString()
TENANTS = {"acme": {"keys": [ACME, OLD, PAIR]}, "beta": {"keys": [BETA]}}


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


GOOD = {
    "bearer": {"authorization": f"Bearer {ACME}"},
    "bearer, written small": {"authorization": f"bearer {ACME}"},
    "an older key": {"authorization": f"Bearer {OLD}"},
    "basic, of the tenant": {"authorization": basic(f"acme:{ACME}")},
    "basic, as for Langfuse": {"authorization": basic(PAIR)},
    "x-api-key": {"x-api-key": ACME},
    "both, of one tenant": {"authorization": f"Bearer {ACME}", "x-api-key": OLD},
}
WRONG: dict[str, dict[str, str]] = {
    "nothing": {},
    "unknown key": {"authorization": "Bearer nobody-s-key-0123456789"},
    "nearly": {"authorization": f"Bearer {ACME}x"},
    "half of it": {"authorization": f"Bearer {ACME[:-1]}"},
    "empty": {"authorization": "Bearer"},
    "another scheme": {"authorization": f"Digest {ACME}"},
    "no scheme": {"authorization": ACME},
    "two in one header": {"authorization": f"Bearer {ACME}, Bearer {BETA}"},
    "basic, of another tenant": {"authorization": basic(f"beta:{ACME}")},
    "basic, of nobody": {"authorization": basic(f":{ACME}")},
    "basic, a colon in the secret": {"authorization": basic(f"acme:x:{ACME}")},
    "basic, no base64": {"authorization": "Basic %%%"},
    "basic, no text": {"authorization": "Basic " + base64.b64encode(b"\xff\xfe:\x00").decode()},
    "two keys of two tenants": {"authorization": f"Bearer {ACME}", "x-api-key": BETA},
    "a good key and a bad one": {"authorization": f"Bearer {ACME}", "x-api-key": "nobody-s-key-0123456789"},
    "the tenant's name": {"x-api-key": "acme"},
    "a name in a header": {"x-tenant": "acme", "x-scope-orgid": "acme"},
}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are not counted against the address."""
    monkeypatch.setattr(senders, "FAILURES_PER_S", 1e9)


def send(door: str, url: str, headers: Mapping[str, str], **how: Any) -> SpanExportResult:
    """A span, by the stock exporter."""
    exporter: Any
    if door == "grpc":
        exporter = GrpcSpans(endpoint=url, insecure=True, headers=dict(headers), timeout=5)
    else:
        exporter = HttpSpans(endpoint=f"{url}/v1/traces", headers=dict(headers), timeout=5)
    return export_one(exporter)


async def call(taken: Taken, signal: Signal = Signal.TRACES, **metadata: str) -> grpc.aio.AioRpcError | None:
    """By gRPC; None for OK."""
    host, port = taken.address("grpc")
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        export = channel.unary_unary(f"/{SERVICES[signal]}/Export")
        try:
            await export(ONE, metadata=[(name.replace("_", "-"), value) for name, value in metadata.items()])
        except grpc.aio.AioRpcError as error:
            return error
    return None


def retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    """What a RetryInfo in it says."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = RetryInfo()
            if any(detail.Unpack(info) for detail in Status.FromString(value).details):
                return info.retry_delay.ToTimedelta().total_seconds()
    return None


@pytest.mark.parametrize("door", ["grpc", "http"])
async def test_the_stock_exporters_show_a_key(receiving: Any, door: str) -> None:
    async with receiving(tenants=TENANTS) as taken:
        for shown in GOOD.values():
            assert await asyncio.to_thread(send, door, taken.host.endpoints[door], shown) is SpanExportResult.SUCCESS
        other = {"authorization": f"Bearer {BETA}"}
        assert await asyncio.to_thread(send, door, taken.host.endpoints[door], other) is SpanExportResult.SUCCESS
        bad = {"authorization": "Bearer nobody-s-key-0123456789"}
        assert await asyncio.to_thread(send, door, taken.host.endpoints[door], bad) is SpanExportResult.FAILURE

    assert [batch.tenant for batch in taken.batches] == ["acme"] * len(GOOD) + ["beta"]


async def test_without_tenants_a_key_is_not_looked_at(receiving: Any) -> None:
    """So what is set up for Langfuse can be pointed at a bridge on one's own machine."""
    async with receiving() as taken, Client(taken.address("http")) as client:
        assert (await client.post(ONE, authorization=basic("pk-lf-1:sk-lf-1"))).status == 200
    assert [batch.tenant for batch in taken.batches] == ["default"]


@pytest.mark.usefixtures("patient")
async def test_whatever_is_wrong_the_answer_is_the_same_and_nothing_is_read(
    receiving: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head alone is sent by HTTP, and it is answered: the body was not waited for."""
    async with receiving(tenants=TENANTS) as taken:
        http, by_grpc = [], []
        for shown in WRONG.values():
            async with Client(taken.address("http")) as client:
                headers = {name.replace("-", "_"): value for name, value in shown.items()}
                client.say(request(b"", content_length="1000", **headers))
                answer = await client.answer()
                http.append((answer.status, answer.headers["www-authenticate"], answer.body))
            error = await call(taken, **{name.replace("-", "_"): value for name, value in shown.items()})
            assert error is not None
            by_grpc.append((error.code(), error.details(), retry_after_s(error)))

        assert set(http) == {(401, 'Bearer realm="otel-bridge", Basic realm="otel-bridge"', http[0][2])}
        assert set(by_grpc) == {
            (grpc.StatusCode.UNAUTHENTICATED, "a valid key or client certificate is required", None)
        }
        assert taken.count("refused", reason="unauthenticated") == 2 * len(WRONG)
        assert taken.count("received") == 0
        assert taken.batches == []
        said = capsys.readouterr()
        shown_in = said.out + said.err + repr(taken.host.tenants.configs) + repr(taken.host.counters.snapshot())
        assert not [key for key in (ACME, OLD, BETA, "sk-lf", "nobody-s-key") if key in shown_in]


@pytest.mark.usefixtures("patient")
async def test_every_way_in_asks_who_it_is(receiving: Any) -> None:
    """All paths and services that there are, every method, and what is not there."""
    async with receiving(tenants=TENANTS) as taken:
        for path in (*(path.decode() for path in PATHS), "/", "/v1/none", "/healthz"):
            for method in ("POST", "GET", "PUT", "OPTIONS"):
                async with Client(taken.address("http")) as client:
                    assert (await client.post(ONE, path, method)).status == 401, (method, path)
        for signal in SERVICES:
            error = await call(taken, signal)
            assert error is not None
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert taken.batches == []


async def test_a_page_asks_whether_it_may_send_without_a_key_and_sends_with_one(receiving: Any) -> None:
    page = "https://app.example"
    async with receiving(tenants=TENANTS, allowed_origins=[page]) as taken:
        for method, key, status in (("OPTIONS", "", 200), ("POST", "", 401), ("POST", f"Bearer {ACME}", 200)):
            async with Client(taken.address("http")) as client:
                body = b"" if method == "OPTIONS" else ONE
                answer = await client.post(body, method=method, origin=page, authorization=key)
                assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, page)


@pytest.mark.parametrize("path", [f"/v1/traces?token={ACME}", f"/v1/traces?api_key={ACME}", "/v1/traces?"])
async def test_a_key_in_the_address_is_refused_with_a_hint(
    receiving: Any, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even beside a good one: proxies write addresses down."""
    async with receiving(tenants=TENANTS) as taken, Client(taken.address("http")) as client:
        answer = await client.post(ONE, path, authorization=f"Bearer {ACME}")
        assert answer.status == 401
        assert "show the key in the header `Authorization: Bearer`" in answer.message
        assert taken.count("refused", reason="query_string") == 1
    said = capsys.readouterr()
    assert ACME not in said.out + said.err + answer.message


async def test_who_fails_more_than_five_times_a_second_is_told_to_wait(receiving: Any) -> None:
    """A right key is taken all the same: an agent with an old one silences nobody beside it."""
    async with receiving(tenants=TENANTS) as taken:
        answers = []
        for _ in range(8):
            async with Client(taken.address("http")) as client:
                answers.append(await client.post(ONE, authorization="Bearer nobody-s-key-0123456789"))
        statuses = [answer.status for answer in answers]
        assert statuses[:5] == [401] * 5
        assert 429 in statuses[5:]
        assert answers[statuses.index(429)].headers["retry-after"] == "1"
        by_grpc = [error for _ in range(8) if (error := await call(taken))]
        limited = [error for error in by_grpc if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert limited
        assert retry_after_s(limited[0]) == 1
        assert taken.count("refused", reason="too_many_failures") >= 2
        async with Client(taken.address("http")) as client:
            assert (await client.post(ONE, authorization=f"Bearer {ACME}")).status == 200


async def test_keys_are_changed_while_it_runs(receiving: Any) -> None:
    """The old and the new one together, then the new one alone; a connection that is open is asked again each time."""
    async with receiving(tenants={"acme": {"keys": [OLD]}}) as taken, Client(taken.address("http")) as client:

        async def answers(key: str) -> int:
            return (await client.post(ONE, authorization=f"Bearer {key}")).status

        def now(*keys: str) -> None:
            taken.host.tenants.replace({"acme": TenantConfig.model_validate({"keys": keys})})

        assert await answers(OLD) == 200
        now(OLD, ACME)
        assert [await answers(OLD), await answers(ACME)] == [200, 200]
        now(ACME)
        assert [await answers(ACME), await answers(OLD)] == [200, 401]


# Quotas


def test_a_bucket_gives_one_second_s_worth_at_once_and_lets_what_is_larger_wait_after_it() -> None:
    bucket = Bucket(100, now_s=0.0)
    bucket.take(60)
    assert bucket.wait_s(0.0) == 0
    bucket.take(540)  # is taken, as it could never be otherwise
    assert bucket.wait_s(0.0) == 5.0
    assert bucket.wait_s(4.0) == 1.0
    assert bucket.wait_s(5.1) == 0
    bucket.take(10)
    assert bucket.wait_s(1000.0) == 0
    bucket.take(100)
    assert bucket.wait_s(1000.0) > 0  # what was not used is not kept for longer than a second


@pytest.mark.parametrize("quota", [{"max_items_per_s": 1}, {"max_bytes_per_s": len(TWO) // 2}])
async def test_who_is_above_its_quota_is_told_when_to_come_again_and_others_are_not(
    receiving: Any, quota: dict[str, int]
) -> None:
    tenants = {"acme": {"keys": [ACME], **quota}, "beta": {"keys": [BETA]}}
    async with receiving(tenants=tenants) as taken:
        async with Client(taken.address("http")) as client:
            assert (await client.post(TWO, authorization=f"Bearer {ACME}")).status == 200
            client.say(
                request(b"", content_length="1000", authorization=f"Bearer {ACME}")
            )  # the body is not waited for
            answer = await client.answer()
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        error = await call(taken, authorization=f"Bearer {ACME}")
        assert error is not None
        assert (error.code(), retry_after_s(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 1)
        assert await call(taken, authorization=f"Bearer {BETA}") is None
        assert taken.count("rate_limited", tenant="acme") == 2
        assert taken.count("refused", reason="rate_limited") == 2
    assert [batch.tenant for batch in taken.batches] == ["acme", "beta"]


async def test_what_could_not_be_taken_in_does_not_count(receiving: Any) -> None:
    """Or who sends it again, as it is told to, would then be above its quota."""
    tenants = {"acme": {"keys": [ACME], "max_items_per_s": 1}}
    async with receiving(tenants=tenants) as taken, Client(taken.address("http")) as client:
        taken.refuse = JournalFullError("full")
        answers = [(await client.post(TWO, authorization=f"Bearer {ACME}")).status for _ in range(3)]
        taken.refuse = None
        answers += [(await client.post(TWO, authorization=f"Bearer {ACME}")).status for _ in range(2)]
    assert answers == [503, 503, 503, 200, 429]


async def test_above_the_quota_a_request_of_two_tenants_is_taken_whole_or_not(receiving: Any) -> None:
    """What the gateway sends for others counts for itself alone, and at once."""
    gateway = {"keys": [ACME], "sends_for": ["beta"], "max_items_per_s": 1}
    mixed = spans("mine", "beta's")
    mixed.resource_spans[0].scope_spans[0].spans[1].attributes.add(key="tenant").value.string_value = "beta"
    async with (
        receiving(
            tenants={"gateway": gateway, "beta": {"max_items_per_s": 1}}, tenant_from={"attribute": "tenant"}
        ) as taken,
        Client(taken.address("http")) as client,
    ):
        both = [client.post(mixed.SerializeToString(), authorization=f"Bearer {ACME}") for _ in range(2)]
        assert [(await one).status for one in both] == [200, 429]
    assert [batch.tenant for batch in taken.batches] == ["gateway", "beta"]


def test_a_quota_of_a_new_configuration_counts_at_once() -> None:
    tenants = Tenants({"acme": TenantConfig(max_items_per_s=1)})
    entry = Senders(Host("otlp", None, tenants=tenants))  # type: ignore[arg-type]  # no files are needed
    acme = Sender("acme")
    entry.take(acme, 1000, "items")
    with pytest.raises(RateError):
        entry.check(acme)
    tenants.replace({"acme": TenantConfig(max_items_per_s=2)})
    entry.check(acme)


@pytest.mark.parametrize("peer", ["192.0.2.1", "ipv4:192.0.2.1:50000", "2001:db8::1", "ipv6:%5B2001:db8::1%5D:50000"])
def test_one_address_is_limited_whatever_its_tenants_and_the_own_machine_is_not(peer: str) -> None:
    entry = Senders(Host("otlp", None), max_bytes_per_s=100)  # type: ignore[arg-type]  # no files are needed
    entry.take(Sender("acme", peer), 1000, "bytes")
    with pytest.raises(RateError):
        entry.check(Sender("beta", peer))
    for other in ("192.0.2.2", "127.0.0.1", "unix:"):
        entry.take(Sender("acme", other), 50, "bytes")
        entry.check(Sender("beta", other))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:50000", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:50000", "2001:db8::1"),
        ("ipv6:[::1]:50000", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("unix:/tmp/socket", "127.0.0.1"),
    ],
)
def test_the_address_in_what_grpc_calls_a_peer(peer: str, address: str) -> None:
    assert address_of(peer) == address
