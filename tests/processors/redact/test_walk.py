"""No place of a request where text can stand is left out, and nothing else is touched."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from otel_bridge.batch import Batch
from otel_bridge.processors.redact import walk as walking
from tests.processors.planted import core, secrets_of
from tests.processors.redact.through import Through
from tests.processors.requests import SURFACES, pair, spans_of, trace_request, with_text_anywhere


@pytest.mark.parametrize("surface", SURFACES)
async def test_no_secret_of_any_format_is_left_at_any_place(surface: str) -> None:
    through = Through()
    for number, (name, secret) in enumerate(secrets_of(7).items()):
        batch = Batch.from_request(SURFACES[surface](number, secret))
        assert core(name, secret).encode() in batch.wire

        made = await through(batch)

        assert core(name, secret).encode() not in made.wire, (name, surface)
        assert made.item_count == batch.item_count
    assert through.counters.value("redacted", processor="redact") >= len(secrets_of(7))


async def test_ids_times_and_numbers_are_never_touched() -> None:
    request, span = trace_request(1)
    span.trace_id, span.span_id = b"4111111111111111", b"sk_live_"
    span.attributes.append(KeyValue(key="gen_ai.usage.input_tokens", value=AnyValue(int_value=4111111111111111)))
    batch = Batch.from_request(request)

    assert await Through()(batch) is batch


async def test_schema_addresses_and_fields_that_nobody_knows_hide_nothing() -> None:
    request, span = trace_request(1)
    secret = "sk-ant-" + "a1B2c3D4" * 4
    request.resource_spans[0].schema_url = f"https://x/{secret}"
    unknown = span.SerializeToString() + b"\xfa\x3e" + bytes([len(secret)]) + secret.encode()  # field 1007
    request.resource_spans[0].scope_spans[0].spans[0].MergeFromString(unknown)
    batch = Batch.from_request(request)
    assert batch.wire.count(secret.encode()) == 2

    assert secret.encode() not in (await Through()(batch)).wire


async def test_what_can_not_be_redacted_is_emptied_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails closed for a span, and never for a batch."""
    original = walking.Walk._span

    def fail_for_one(self: walking.Walk, span: Any) -> None:
        if span.span_id[-1] == 1:
            raise RuntimeError("a bug, with sk-live content in it")
        original(self, span)

    monkeypatch.setattr(walking.Walk, "_span", fail_for_one)
    request, bad = trace_request(0)
    bad.attributes.append(pair("note", "mail ada@example.org"))
    _, good = trace_request(1)
    request.resource_spans[0].scope_spans[0].spans.append(good)
    through = Through()

    first, second = spans_of((await through(Batch.from_request(request))).request)

    assert (first.name, list(first.attributes)) == ("redaction failed", [])
    assert (first.trace_id, first.start_time_unix_nano) == (bad.trace_id, bad.start_time_unix_nano)
    assert second == good
    assert through.counters.value("redacted", rule="failed") == 1


SECRET = "sk-ant-" + "a1B2c3D4" * 4
TOO_DEEP_TO_WRITE = '{"password": ' + "[" * 300 + f'"{SECRET}"' + "]" * 300 + "}"


@pytest.mark.parametrize(("text", "failed"), [(f"my {SECRET}", 0), (TOO_DEEP_TO_WRITE, 1)], ids=["found", "failing"])
async def test_wherever_otlp_knows_a_text_it_is_redacted_or_emptied(text: str, failed: int) -> None:
    """Nothing is answered with an error, or its sender would repeat it for ever."""
    given = dict(with_text_anywhere(text))
    assert len(given) > 60
    through = Through()

    made = await through.all(*map(Batch.from_request, given.values()))

    assert [path for path, one in zip(given, made, strict=True) if SECRET.encode() in one.wire] == []
    assert through.counters.value("redacted", rule="failed") == failed * len(given)


EVERY_RULE = Through()
leaves = st.text(max_size=20) | st.sampled_from(["x", '{"a": 1}', "2026-11-28", "café"])
trees = st.recursive(
    leaves.map(lambda text: AnyValue(string_value=text)) | st.integers(0, 2**40).map(lambda n: AnyValue(int_value=n)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: AnyValue(array_value=ArrayValue(values=items)))
        | st.dictionaries(st.text(max_size=5), inner, max_size=3).map(
            lambda members: AnyValue(
                kvlist_value=KeyValueList(values=[KeyValue(key=key, value=item) for key, item in members.items()])
            )
        )
    ),
    max_leaves=8,
)


def _plant(value: AnyValue, text: str) -> None:
    """At the deepest place on the left."""
    match value.WhichOneof("value"):
        case "array_value" if value.array_value.values:
            _plant(value.array_value.values[0], text)
        case "kvlist_value" if value.kvlist_value.values:
            _plant(value.kvlist_value.values[0].value, text)
        case _:
            value.string_value = text


@given(trees, st.sampled_from(sorted(secrets_of(3).items())), st.text(alphabet=" .,;:!?\n", max_size=3))
async def test_a_secret_anywhere_in_any_value_does_not_survive(
    tree: AnyValue, named: tuple[str, str], around: str
) -> None:
    name, secret = named
    _plant(tree, f"{around} {secret} {around}")
    request, span = trace_request(1)
    span.attributes.append(KeyValue(key="any", value=tree))
    through = EVERY_RULE

    made = await through(Batch.from_request(request))

    assert core(name, secret).encode() not in made.wire
    assert (await through(Batch.from_request(request))).wire == made.wire
    assert await through(made) is made  # what is redacted has nothing more to redact


@given(trees)
async def test_what_has_no_secret_in_it_is_unchanged_byte_for_byte(tree: AnyValue) -> None:
    request, span = trace_request(1)
    span.attributes.append(KeyValue(key="any", value=tree))
    batch = Batch.from_request(request)
    before = batch.wire

    assert (await EVERY_RULE(batch)).wire == before
