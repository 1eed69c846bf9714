"""Tenants that interleave, pretend, change their keys and lose them: no span is ever in another's lane."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_bridge.batch import Batch
from otel_bridge.component import Component, Consume, Host, exporter
from otel_bridge.config import Config
from otel_bridge.pipeline import RunningBridge, running
from otel_bridge.plan import Plan, Planned, ServiceConfig
from otel_bridge.receivers.otlp import OtlpConfig, otlp, senders
from otel_bridge.tenants import TenantConfig
from tests.receivers.http1 import Client

TENANTS = ("acme", "beta", "gamma")
NAMES = st.sampled_from((*TENANTS, "nobody", "default", "ACME", ""))
PLACES = st.sampled_from((None, "header", "resource", "attribute"))


class Empty(Config):
    """Nothing to say."""


def lanes(seen: list[tuple[str, str]]) -> Component[Empty]:
    """An exporter that writes down the tenant and the name of every span that it is given."""

    @exporter(Empty)
    async def sink(_config: Empty, _host: Host) -> AsyncIterator[Consume]:
        async def consume(batch: Batch) -> None:
            assert isinstance(batch.request, ExportTraceServiceRequest)
            for block in batch.request.resource_spans:
                for scoped in block.scope_spans:
                    seen.extend((span.name, batch.tenant) for span in scoped.spans)

        yield consume

    return sink


class Apart(RuleBasedStateMachine):
    """A bridge with its doors and its journal, and a model that knows whose every span is."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.seen: list[tuple[str, str]] = []
        self.whose: dict[str, str] = {}  # span name → tenant, of all that were accepted
        self.issued = {f"{name}-key-number-0000": name for name in TENANTS}
        self.configs = {name: {"keys": [key]} for key, name in self.issued.items()}
        self.spans = 0

    @initialize(place=PLACES)
    def start(self, place: str | None) -> None:
        self.place = place
        key = "x-tenant" if place == "header" else "tenant.id"
        where = None if place is None else {place: key}
        receiver = OtlpConfig.model_validate({"grpc": None, "http": "127.0.0.1:0", "tenant_from": where})
        sink = lanes(self.seen)
        self.plan = Plan(
            "test",
            receivers={"otlp": Planned("otlp", otlp, receiver)},
            processors={},
            exporters={"sink": Planned("sink", sink, Empty())},
            extensions={},
            service=ServiceConfig.model_validate(
                {
                    "data_dir": self.folder.name,
                    "deliver": {"max_batch_age": "1ms"},
                    "journal": {"durability": "os"},
                    "tenants": self.configs,
                    "pipelines": {"main": {"receivers": ["otlp"], "exporters": ["sink"]}},
                }
            ),
        )
        self.stop = asyncio.Event()
        self.up = asyncio.Event()
        self.life = self.run(self._begin())

    async def _begin(self) -> "asyncio.Task[None]":
        async def live() -> None:
            async with running(self.plan) as self.bridge:
                self.up.set()
                await self.stop.wait()

        life = asyncio.get_running_loop().create_task(live())
        await asyncio.wait({life, asyncio.ensure_future(self.up.wait())}, return_when=asyncio.FIRST_COMPLETED)
        return life

    bridge: RunningBridge

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def reload(self) -> None:
        self.bridge.tenants.replace({name: TenantConfig.model_validate(of) for name, of in self.configs.items()})

    def owner(self, sender: str | None, named: str | None) -> str | None:
        """Whose something is; the model's own words for it."""
        if sender is None:
            return None
        if named is None or named == sender:
            return sender
        return named if named in self.configs and named in self.configs[sender].get("sends_for", ()) else None

    @rule(
        data=st.data(),
        blocks=st.lists(st.tuples(st.none() | NAMES, st.lists(st.none() | NAMES, max_size=3)), min_size=1, max_size=3),
        header=st.none() | NAMES,
    )
    def send(self, data: st.DataObject, blocks: list[tuple[str | None, list[str | None]]], header: str | None) -> None:
        """With any key that there ever was, or one that never was; naming whomever it likes, wherever it likes."""
        shown = data.draw(st.sampled_from((*self.issued, "never-was-a-key-0000", "acme", "")))
        sender = next((name for name, of in self.configs.items() if shown in of["keys"]), None)
        request = ExportTraceServiceRequest()
        expected: dict[str, str | None] = {}
        for named, spans in blocks:
            block = request.resource_spans.add()
            if named is not None:
                block.resource.attributes.add(key="tenant.id").value.string_value = named
            block.resource.attributes.add(key="otel_bridge.tenant").value.string_value = "beta"
            scoped = block.scope_spans.add()
            for its_name in spans:
                self.spans += 1
                span = scoped.spans.add(
                    name=f"span {self.spans}", trace_id=b"t" * 16, span_id=self.spans.to_bytes(8, "big")
                )
                span.start_time_unix_nano, span.end_time_unix_nano = 1, 2
                if its_name is not None:
                    span.attributes.add(key="tenant.id").value.string_value = its_name
                said = {None: None, "header": header, "resource": named, "attribute": its_name}[self.place]
                expected[span.name] = self.owner(sender, said)
        status, rejected = self.run(self._post(request, shown, header))
        if sender is None:
            assert status == 401
            return
        assert (status, rejected) == (200, sum(owner is None for owner in expected.values()))
        self.whose |= {name: owner for name, owner in expected.items() if owner is not None}

    async def _post(self, request: ExportTraceServiceRequest, key: str, header: str | None) -> tuple[int, int]:
        host, _, port = self.bridge.endpoints["otlp"]["http"].removeprefix("http://").rpartition(":")
        named = {} if header is None else {"x_tenant": header or " "}
        async with Client((host, int(port))) as client:
            answer = await client.post(request.SerializeToString(), authorization=f"Bearer {key}", **named)
        if answer.status != 200:
            return answer.status, 0
        return 200, ExportTraceServiceResponse.FromString(answer.body).partial_success.rejected_spans

    @rule(tenant=st.sampled_from(TENANTS), keep_old=st.booleans())
    def rotate(self, tenant: str, keep_old: bool) -> None:
        key = f"{tenant}-key-number-{len(self.issued):04}"
        self.issued[key] = tenant
        before = self.configs.setdefault(tenant, {"keys": []})
        before["keys"] = [*(before["keys"] if keep_old else []), key]
        self.reload()

    @rule(tenant=st.sampled_from(TENANTS))
    def lose_all_keys(self, tenant: str) -> None:
        self.configs.setdefault(tenant, {"keys": []})["keys"] = []
        self.reload()

    @rule(tenant=st.sampled_from(TENANTS))
    def leave(self, tenant: str) -> None:
        if len(self.configs) > 1:  # with nobody left nobody would be asked
            self.configs.pop(tenant, None)
            self.reload()

    @rule(tenant=st.sampled_from(TENANTS), others=st.lists(st.sampled_from(TENANTS), unique=True))
    def may_send_for(self, tenant: str, others: list[str]) -> None:
        self.configs.setdefault(tenant, {"keys": []})["sends_for"] = others
        self.reload()

    def teardown(self) -> None:
        try:
            if hasattr(self, "life"):
                self.run(self._end())
        finally:
            self.runner.close()
            self.folder.cleanup()

    async def _end(self) -> None:
        self.stop.set()
        await self.life
        assert dict(self.seen) == self.whose
        assert set(self.seen) == set(self.whose.items())  # nothing twice, in two lanes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_span_is_ever_in_another_s_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "FAILURES_PER_S", 1e9)  # or the right answer would depend on the time
    run_state_machine_as_test(
        Apart,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
