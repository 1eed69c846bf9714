"""Places in JSON: how they are written, and what is taken away there."""

import json

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from pydantic import ValidationError

from otel_bridge.batch import Batch
from otel_bridge.processors.redact import RedactConfig
from tests.processors.redact.through import Through
from tests.processors.requests import pair, trace_request


async def test_where_a_path_can_not_be_followed_all_of_it_goes() -> None:
    through = Through(paths={"gen_ai.input.messages": ["[*].content"]})

    made = await through.attribute("gen_ai.input.messages", '[{"role": "user", "content": "my diagnosis is')
    assert made == "[REDACTED:path]"


async def test_paths_name_places_in_json_and_in_structured_values() -> None:
    through = Through(paths={"gen_ai.input.messages": ["[*].parts[*].content"]}, actions={"path": "drop"})
    said = '[{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]'

    made = await through.attribute("gen_ai.input.messages", said)

    assert json.loads(made or "") == [{"role": "user", "parts": [{"type": "text"}]}]
    request, span = trace_request(1)
    part = KeyValueList(values=[pair("type", "text"), pair("content", "hi")])
    parts = KeyValue(key="parts", value=AnyValue(array_value=ArrayValue(values=[AnyValue(kvlist_value=part)])))
    message = AnyValue(kvlist_value=KeyValueList(values=[pair("role", "user"), parts]))
    span.attributes.append(
        KeyValue(key="gen_ai.input.messages", value=AnyValue(array_value=ArrayValue(values=[message])))
    )
    wire = (await through(Batch.from_request(request))).wire
    assert b"hi" not in wire
    assert b"user" in wire


@pytest.mark.parametrize(
    ("path", "at"),
    [
        *(("mess*[*].content", 1), ("[*]content", 1), (".a", 1), ("a]", 1), ("['a']", 1), ("a..b", 2), ("a.*b", 2)),
        *(("a[0]b", 2), ("a[*]*", 2), ("a[-1]", 2), ("a.", 2), ("a[b]", 2), ("a[*", 2), ("a[0:2]", 2)),
    ],
)
def test_what_is_no_path_is_refused_with_where(path: str, at: int) -> None:
    """What it meant would stay as it is, and nobody would know."""
    with pytest.raises(ValidationError, match=f"no path from its character {at} on"):
        RedactConfig.model_validate({"paths": {"x": [path]}})


@pytest.mark.parametrize(
    "path", ["a.b", "a.*", "*.b", "*[1].b", "a.1.b", "a[1].b", "a[*][0]", "[*].b", "*", "x y.b-c_d"]
)
def test_what_is_a_path_is_read(path: str) -> None:
    assert [one.text for one in RedactConfig.model_validate({"paths": {"x": [path]}}).paths["x"]] == [path]
