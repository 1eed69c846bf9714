"""What falls under a rule does not come in, is counted by it, and takes nothing else with it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import ValidationError

from otel_bridge.batch import INLINE_BYTES, Batch
from otel_bridge.component import Host
from otel_bridge.processors.filter import FilterConfig, filter  # noqa: A004 - its name
from tests.processors.passing import passed, recorded, spans


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host("filter/noise", tmp_path)


async def test_spans_under_a_rule_are_dropped_and_counted_by_it(host: Host) -> None:
    rules = {
        "asgi": 'attributes["asgi.event.type"] in ["http.request", "http.response.start", "http.response.body"]',
        "httpx": 'scope == "opentelemetry.instrumentation.httpx"',
    }

    kept = await passed(filter, {"drop": {"spans": rules}}, recorded(), host)

    assert [span.name for span in spans(kept)] == [
        "chat gpt-4o-mini",
        "execute_tool get_weather",
        "chat gpt-4o-mini",
        "invoke_agent weather_agent",
    ]
    assert host.counters.value("dropped", processor="filter/noise", reason="asgi", signal="traces") == 3
    assert host.counters.value("dropped", processor="filter/noise", reason="httpx") == 3
    assert kept.item_count == 4


async def test_what_stays_is_as_it_was_to_the_byte() -> None:
    batch = recorded()
    rules = {"chat": 'name.startsWith("chat ")'}

    kept = await passed(filter, {"drop": {"spans": rules}}, batch)

    before = [span.SerializeToString() for span in spans(batch) if not span.name.startswith("chat ")]
    assert [span.SerializeToString() for span in spans(kept)] == before
    again = ExportTraceServiceRequest.FromString(kept.wire)
    assert [block.resource for block in again.resource_spans] == [
        block.resource for block in batch.request.resource_spans
    ]


@pytest.mark.parametrize("drop", [{}, {"spans": {"none": 'name == "no such span"'}}, {"logs": {"all": "true"}}])
async def test_a_batch_of_which_nothing_is_dropped_passes_as_the_same_object(drop: dict[str, object]) -> None:
    batch = recorded()

    assert await passed(filter, {"drop": drop}, batch) is batch


async def test_a_batch_of_which_nothing_is_left_goes_nowhere(host: Host) -> None:
    kept = await passed(filter, {"drop": {"spans": {"all": "true"}}}, recorded(), host)

    assert kept.item_count == 0
    assert host.counters.value("dropped", reason="all") == 10


async def test_scopes_and_resources_go_with_their_last_span() -> None:
    kept = await passed(filter, {"drop": {"spans": {"web": 'scope.startsWith("opentelemetry.")'}}}, recorded())

    assert isinstance(kept.request, ExportTraceServiceRequest)
    [block] = kept.request.resource_spans
    assert [scoped.scope.name for scoped in block.scope_spans] == ["my.agent"]


async def test_a_large_part_is_looked_through_beside_the_loop(host: Host) -> None:
    """Conditions, which were made in the loop, hold in a thread as well."""
    request = ExportTraceServiceRequest()
    request.CopyFrom(recorded().request)
    few = request.resource_spans[0].scope_spans[0].spans
    few.add(name="GET large", attributes=[{"key": "x", "value": {"string_value": "x" * INLINE_BYTES}}])
    rules = {"gets": 'name.startsWith("GET") && size(attributes["x"]) > 10'}

    kept = await passed(filter, {"drop": {"spans": rules}}, Batch.from_request(request), host)

    assert kept.item_count == recorded().item_count
    assert host.counters.value("dropped", processor="filter/noise", reason="gets", signal="traces") == 1


async def test_a_large_batch_stays_in_its_parts() -> None:
    first, last = recorded(number=1), recorded(number=2)
    gone = recorded(number=3)
    batch = Batch.of_parts([first, gone, last], like=first)

    kept = await passed(
        filter, {"drop": {"spans": {"gets": 'name.startsWith("GET")', "chat": 'name.startsWith("chat")'}}}, batch
    )

    assert [part.item_count for part in kept.parts] == [8, 1]
    assert kept.parts[1] is last
    assert kept.item_count == 9


async def test_log_records_are_dropped_by_what_they_say(host: Host) -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for severity, body in ((5, "polling"), (9, "hello"), (17, "polling failed")):
        records.add(severity_number=severity, time_unix_nano=1).body.string_value = body

    rules = {"debug": "severity < 9", "polling": 'body == "hello"'}
    kept = await passed(filter, {"drop": {"logs": rules}}, Batch.from_request(request, tenant="acme"), host)

    assert isinstance(kept.request, ExportLogsServiceRequest)
    [left] = kept.request.resource_logs[0].scope_logs[0].log_records
    assert left.body.string_value == "polling failed"
    assert host.counters.value("dropped", reason="debug", signal="logs") == 1
    assert host.counters.value("dropped", reason="polling", signal="logs") == 1


async def test_metrics_are_dropped_by_name(host: Host) -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for name in ("process.cpu.time", "process.memory", "gen_ai.client.token.usage", "http.server.duration"):
        metrics.add(name=name)

    drop = {"metrics": ["process.*", "http.server.duration"]}
    kept = await passed(filter, {"drop": drop}, Batch.from_request(request), host)

    assert isinstance(kept.request, ExportMetricsServiceRequest)
    [left] = kept.request.resource_metrics[0].scope_metrics[0].metrics
    assert left.name == "gen_ai.client.token.usage"
    assert host.counters.value("dropped", reason="process.*", signal="metrics") == 2


async def test_a_tenant_is_known_to_rules() -> None:
    acme = Batch.from_wire(recorded().signal, recorded().wire, tenant="acme")
    drop = {"spans": {"acme": 'tenant == "acme"'}}

    assert (await passed(filter, {"drop": drop}, acme)).item_count == 0
    assert (await passed(filter, {"drop": drop}, recorded())).item_count == 10


@pytest.mark.parametrize(
    "drop",
    [
        {"spans": {"a name": "true"}},
        {"spans": {"x": 'nam == "a"'}},
        {"spans": ["true"]},
        {"logs": {"x": 'kind == "server"'}},
        {"metrics": [""]},
        {"traces": {}},
    ],
)
def test_a_rule_that_can_not_be_meant_is_refused(drop: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FilterConfig.model_validate({"drop": drop})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(("name == 'a'", "attributes['k'] == 1", "scope == 's'", "duration_s < 1")), max_size=3))
async def test_every_span_is_kept_or_counted(texts: list[str]) -> None:
    request = ExportTraceServiceRequest()
    for scope in ("s", "t"):
        scoped = request.resource_spans.add().scope_spans.add()
        scoped.scope.name = scope
        for number in range(4):
            span = scoped.spans.add(name="ab"[number % 2], end_time_unix_nano=number * 10**9)
            span.attributes.add(key="k").value.int_value = number % 3
    host = Host("filter", Path("unused"))

    kept = await passed(
        filter, {"drop": {"spans": {f"r{n}": text for n, text in enumerate(texts)}}}, Batch.from_request(request), host
    )

    assert kept.item_count + host.counters.value("dropped") == 8
