"""Plain values as OTLP's."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList


def any_value(raw: Any) -> AnyValue:
    """What is no Unicode text is made one, as protobuf takes no other."""
    match raw:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=raw)
        case int():
            return AnyValue(int_value=raw)
        case float():
            return AnyValue(double_value=raw)
        case str():
            return AnyValue(string_value=_unicode(raw))
        case bytes():
            return AnyValue(bytes_value=raw)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in raw]))
        case _:
            return AnyValue(kvlist_value=KeyValueList(values=pairs(raw)))


def pairs(said: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=_unicode(key), value=any_value(item)) for key, item in said.items()]


def _unicode(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
