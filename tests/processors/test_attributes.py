"""Attributes are changed as it was said, in that order, and nothing else is."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from otel_bridge.batch import Batch, Signal
from otel_bridge.component import Host
from otel_bridge.processors.attributes import AttributesConfig, attributes
from otel_bridge.translate import traces_of, translate
from otel_bridge.translate.span import attributes as plain
from tests.processors.passing import passed, recorded, spans
from tests.processors.requests import pair

VALUES = {
    "user": AnyValue(string_value="ada@example.com"),
    "count": AnyValue(int_value=7),
    "ratio": AnyValue(double_value=0.5),
    "on": AnyValue(bool_value=True),
    "raw": AnyValue(bytes_value=b"\x00\xff"),
    "list": AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="long text"), AnyValue(int_value=1)])),
    "map": AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=AnyValue(string_value="long text"))])),
}


def batch(**resource: str) -> Batch:
    """One span that has one value of each kind."""
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    for key, text in resource.items():
        block.resource.attributes.add(key=key.replace("_", ".")).value.string_value = text
    scoped = block.scope_spans.add()
    scoped.scope.name = "acme.sdk"
    scoped.scope.attributes.add(key="flavor").value.string_value = "sour"
    span = scoped.spans.add(name="GET /a", trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=1)
    span.attributes.extend(KeyValue(key=f"acme.{key}", value=value) for key, value in VALUES.items())
    return Batch.from_request(request)


async def span_after(*actions: dict[str, Any], given: Batch | None = None, **config: Any) -> Span:
    [span] = spans(await passed(attributes, {"spans": list(actions), **config}, given or batch(app_user="grace")))
    return span


async def after(*actions: dict[str, Any], given: Batch | None = None, **config: Any) -> dict[str, Any]:
    return plain((await span_after(*actions, given=given, **config)).attributes)


@pytest.mark.parametrize("value", ["blue", 7, 0.5, True, ["a", "b"], [1, 2]])
async def test_a_value_keeps_the_type_that_it_was_written_with(value: object) -> None:
    said = (await after({"action": "set", "key": "team", "value": value}))["team"]

    assert said == value
    assert type(said) is type(value)


async def test_set_takes_the_place_of_what_was_there() -> None:
    said = await after({"action": "set", "key": "acme.count", "value": "many"})

    assert said["acme.count"] == "many"
    assert list(said)[1] == "acme.count"


@pytest.mark.parametrize("action", ["copy", "rename"])
@pytest.mark.parametrize("kind", VALUES)
async def test_what_is_copied_or_renamed_keeps_its_type(action: str, kind: str) -> None:
    span = await span_after({"action": action, "key": f"acme.{kind}", "to": "new"})
    found = {pair.key: pair.value for pair in span.attributes}

    assert found["new"] == VALUES[kind]
    assert (f"acme.{kind}" in found) is (action == "copy")


async def test_a_pattern_renames_all_that_fit_it() -> None:
    said = await after({"action": "rename", "key": "acme.*", "to": "app.*.acme"})

    assert set(said) == {f"app.{kind}.acme" for kind in VALUES}


async def test_a_pattern_deletes_all_that_fit_it() -> None:
    said = await after({"action": "delete", "key": "acme.*t*"})

    assert set(said) == {"acme.user", "acme.on", "acme.raw", "acme.map"}


@pytest.mark.parametrize(
    ("kind", "hashed"),
    [
        ("user", b"ada@example.com"),
        ("count", b"7"),
        ("on", b"true"),
        ("raw", b"\x00\xff"),
        ("list", b'["long text",1]'),
        ("map", b'{"a":"long text"}'),
    ],
)
async def test_a_hash_can_be_made_again_by_who_has_the_key(kind: str, hashed: bytes) -> None:
    action = {"action": "hash", "key": f"acme.{kind}"}

    assert (await after(action))[f"acme.{kind}"] == hashlib.sha256(hashed).hexdigest()
    keyed = await after(action, hash_key="canary")
    assert keyed[f"acme.{kind}"] == hmac.digest(b"canary", hashed, hashlib.sha256).hex()


async def test_texts_are_truncated_wherever_they_stand() -> None:
    said = await after({"action": "truncate", "key": "acme.*", "length": 4})

    assert said["acme.user"] == "ada@"
    assert said["acme.list"] == ["long", 1]
    assert said["acme.map"] == {"a": "long"}
    assert said["acme.count"] == 7


async def test_actions_see_what_those_before_them_left() -> None:
    said = await after(
        {"action": "rename", "key": "acme.user", "to": "enduser.id"},
        {"action": "hash", "key": "enduser.id"},
        {"action": "truncate", "key": "enduser.id", "length": 8},
        {"action": "set", "key": "short", "value": True, "when": 'size(attributes["enduser.id"]) == 8'},
        {"action": "delete", "key": "acme.*", "when": "attributes.short"},
    )

    assert said == {"enduser.id": hashlib.sha256(b"ada@example.com").hexdigest()[:8], "short": True}


async def test_a_condition_decides_span_by_span() -> None:
    given = recorded()
    action = {"action": "set", "key": "llm", "value": True, "when": 'attributes["gen_ai.operation.name"] == "chat"'}

    result = await passed(attributes, {"spans": [action]}, given)

    marked = [span.name for span in spans(result) if "llm" in plain(span.attributes)]
    assert marked == ["chat gpt-4o-mini", "chat gpt-4o-mini"]


async def test_what_no_action_touches_is_as_it_was_to_the_byte() -> None:
    given = recorded()

    result = await passed(attributes, {"spans": [{"action": "delete", "key": "http.url"}]}, given)

    for before, now in zip(spans(given), spans(result), strict=True):
        if "http.url" not in plain(before.attributes):
            assert now.SerializeToString() == before.SerializeToString()
        else:
            assert [pair for pair in before.attributes if pair.key != "http.url"] == list(now.attributes)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"spans": [{"action": "delete", "key": "no.such"}]},
        {"spans": [{"action": "set", "key": "x", "value": 1, "when": 'name == "no such"'}]},
        {"spans": [{"action": "name", "value": "x", "when": 'name == "no such"'}]},
        {"spans": [{"action": "set", "key": "acme.count", "value": 7}]},
        {"spans": [{"action": "truncate", "key": "acme.*", "length": 100}]},
        {"logs": [{"action": "delete", "key": "acme.*"}]},
        {"resources": [{"action": "hash", "key": "acme.user"}]},
    ],
)
async def test_a_batch_in_which_nothing_changes_passes_as_the_same_object(config: dict[str, Any]) -> None:
    given = batch()

    assert await passed(attributes, config, given) is given


async def test_parts_in_which_nothing_changes_are_the_same_objects(tmp_path: Path) -> None:
    parts = [recorded(number=1), recorded(number=2)]
    host = Host("attributes", tmp_path)

    result = await passed(
        attributes,
        {"spans": [{"action": "delete", "key": "http.scheme"}]},
        Batch.of_parts(parts, like=parts[0]),
        host,
    )

    assert [part is old for part, old in zip(result.parts, parts, strict=True)] == [True, False]
    assert host.counters.value("changed", processor="attributes", signal="traces") == 1


async def test_spans_take_over_what_their_resource_and_scope_say() -> None:
    said = await after(
        {"action": "copy", "key": "app.user", "of": "resource", "to": "user.id"},
        {"action": "copy", "key": "flavor", "of": "scope", "to": "flavor"},
    )

    assert (said["user.id"], said["flavor"]) == ("grace", "sour")


async def test_resources_and_scopes_have_actions_of_their_own() -> None:
    config = {
        "resources": [
            {"action": "delete", "key": "host.*", "when": 'resource["service.name"] == "api"'},
            {"action": "set", "key": "deployment.environment.name", "value": "prod"},
        ],
        "scopes": [{"action": "delete", "key": "flavor", "when": 'scope == "acme.sdk"'}],
    }

    result = await passed(attributes, config, batch(service_name="api", host_name="h", host_id="1"))

    assert isinstance(result.request, ExportTraceServiceRequest)
    [block] = result.request.resource_spans
    assert plain(block.resource.attributes) == {"service.name": "api", "deployment.environment.name": "prod"}
    assert list(block.scope_spans[0].scope.attributes) == []


async def test_spans_are_named_anew() -> None:
    named = await span_after({"action": "name", "value": "fetch", "when": 'name.startsWith("GET ")'})
    by_attribute = await span_after({"action": "name", "key": "app.user", "of": "resource"})
    not_text = await span_after({"action": "name", "key": "acme.count"})

    assert (named.name, by_attribute.name, not_text.name) == ("fetch", "grace", "GET /a")


async def test_what_is_promoted_is_metadata_that_langfuse_filters_by() -> None:
    result = await passed(
        attributes,
        {
            "spans": [
                {"action": "promote", "key": "app.user", "of": "resource", "to": "app_user"},
                {"action": "promote", "key": "acme.count", "level": "observation"},
            ]
        },
        batch(app_user="grace"),
    )

    [trace] = traces_of([result])
    [observation] = translate(trace).observations
    assert observation.trace.metadata == {"app_user": "grace"}
    assert observation.metadata["acme.count"] == 7


async def test_log_records_and_metrics_are_changed_where_it_is_said() -> None:
    logs = ExportLogsServiceRequest()
    block = logs.resource_logs.add()
    block.resource.attributes.add(key="host.name").value.string_value = "h"
    record = block.scope_logs.add().log_records.add(time_unix_nano=1, severity_number=9)
    record.attributes.add(key="user.email").value.string_value = "ada@example.com"
    metrics = ExportMetricsServiceRequest()
    metrics.resource_metrics.add().resource.CopyFrom(block.resource)
    config = {
        "resources": [{"action": "delete", "key": "host.name"}],
        "logs": [{"action": "hash", "key": "user.email", "when": "severity > 5"}],
    }

    changed = (await passed(attributes, config, Batch.from_request(logs))).request
    measured = (await passed(attributes, config, Batch.from_request(metrics))).request

    assert isinstance(changed, ExportLogsServiceRequest)
    assert len(plain(changed.resource_logs[0].scope_logs[0].log_records[0].attributes)["user.email"]) == 64
    assert list(changed.resource_logs[0].resource.attributes) == []
    assert isinstance(measured, ExportMetricsServiceRequest)
    assert list(measured.resource_metrics[0].resource.attributes) == []


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"action": "drop", "key": "a"}, "'set', 'copy'"),
        ({"action": "set", "key": "a"}, "'set' needs 'value'"),
        ({"action": "set", "key": "a.*", "value": 1}, "'set' needs a name, not a pattern"),
        ({"action": "set", "key": "a", "value": {"b": 1}}, "must be text, a number"),
        ({"action": "set", "key": "a", "value": 2**63}, "must be text, a number"),
        ({"action": "copy", "key": "a"}, "'copy' needs 'to'"),
        ({"action": "rename", "key": "a", "to": "b.*"}, "both have one *"),
        ({"action": "rename", "key": "a.*.*", "to": "b.*"}, "both have one *"),
        ({"action": "rename", "key": "a", "to": "otel_bridge.tenant"}, "the bridge's own"),
        ({"action": "rename", "key": "a", "to": "b", "of": "resource"}, "'rename' has no 'of'"),
        ({"action": "delete", "key": "a", "value": 1}, "'delete' has no 'value'"),
        ({"action": "truncate", "key": "a"}, "'truncate' needs 'length'"),
        ({"action": "name"}, "needs either 'value' or 'key'"),
        ({"action": "name", "value": 7}, "a name is text"),
        ({"action": "delete", "key": "a", "when": "nam == 1"}, "'nam' is not known here"),
    ],
)
def test_an_action_that_can_not_be_meant_is_refused(action: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AttributesConfig.model_validate({"spans": [action]})

    assert said in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"resources": [{"action": "delete", "key": "a", "when": 'name == "x"'}]},
        {"scopes": [{"action": "promote", "key": "a"}]},
        {"logs": [{"action": "delete", "key": "a", "when": 'kind == "server"'}]},
    ],
)
def test_an_action_knows_what_its_place_has(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AttributesConfig.model_validate(config)


def nested(depth: int) -> AnyValue:
    value = AnyValue(string_value="x")
    for _ in range(depth):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


@pytest.mark.parametrize(
    "value",
    [AnyValue(), nested(47), AnyValue(double_value=float("nan")), AnyValue(string_value="\U0001f600" * 9)],
    ids=["nothing", "deep", "nan", "emoji"],
)
async def test_no_value_is_too_odd_for_an_action(value: AnyValue) -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add().attributes.add(key="odd", value=value)
    actions = [
        {"action": "copy", "key": "odd", "to": "copied"},
        {"action": "truncate", "key": "odd", "length": 3, "when": '"odd" in attributes'},
        {"action": "promote", "key": "*"},
        {"action": "name", "key": "odd"},
        {"action": "hash", "key": "odd"},
    ]

    said = await after(*actions, given=Batch.from_wire(Signal.TRACES, request.SerializeToString()))

    assert len(said["odd"]) == 64
    assert set(said) == {"odd", "copied", "langfuse.trace.metadata.odd", "langfuse.trace.metadata.copied"}


async def test_what_a_span_takes_over_can_be_decoded_again() -> None:
    """Values may be nested as deep as protobuf reads them, and lie one deeper in a span than in its resource."""
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.scope_spans.add().spans.add()
    for key, depth in (("deep", 47), ("deeper", 48), ("flat", 1)):
        block.resource.attributes.add(key=key, value=nested(depth))
    given = Batch.from_wire(Signal.TRACES, request.SerializeToString())
    copy = {"action": "copy", "key": "*", "to": "from.*", "of": "resource"}

    result = await passed(attributes, {"spans": [copy]}, given)

    [span] = spans(Batch.from_wire(Signal.TRACES, result.wire))
    assert plain(span.attributes) == {"from.flat": ["x"]}


async def test_a_large_attribute_of_a_resource_is_not_copied_into_each_of_many_spans(tmp_path: Path) -> None:
    """Two hundred kilobytes would become four hundred megabytes."""
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.extend((pair("large", "x" * 200_000), pair("small", "y")))
    block.scope_spans.add().spans.extend([Span()] * 2000)
    given = Batch.from_wire(Signal.TRACES, request.SerializeToString())
    promote = [{"action": "promote", "key": key, "of": "resource"} for key in ("large", "small")]
    host = Host("attributes", tmp_path)

    result = await passed(attributes, {"spans": promote}, given, host)

    assert len(result.wire) < 3 << 20
    assert host.counters.value("not_copied", processor="attributes", signal="traces") > 1900
    assert all("langfuse.trace.metadata.small" in plain(span.attributes) for span in spans(result))


KEYS = st.sampled_from(["acme.user", "acme.list", "acme.c*", "*", "no.such", "new"])
ACTIONS = st.one_of(
    st.fixed_dictionaries(
        {"action": st.just("set"), "key": st.sampled_from(["new", "acme.on"]), "value": st.integers(0, 9)}
    ),
    st.fixed_dictionaries({"action": st.sampled_from(["delete", "hash"]), "key": KEYS}),
    st.fixed_dictionaries(
        {"action": st.sampled_from(["copy", "rename", "promote"]), "key": KEYS, "to": st.just("new")}
    ),
    st.fixed_dictionaries({"action": st.just("rename"), "key": st.sampled_from(["*", "acme.*"]), "to": st.just("a.*")}),
    st.fixed_dictionaries({"action": st.just("truncate"), "key": KEYS, "length": st.integers(0, 9)}),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(ACTIONS, max_size=4))
async def test_the_same_actions_do_the_same(actions: list[dict[str, Any]]) -> None:
    """No key comes twice, and a batch that is given on as another is another."""
    given = batch(app_user="grace")

    first, second = [await passed(attributes, {"spans": actions}, given) for _ in range(2)]

    assert first.wire == second.wire
    assert first is not given or first.wire == given.wire
    [span] = spans(first)
    keys = [pair.key for pair in span.attributes]
    assert len(keys) == len(set(keys))
