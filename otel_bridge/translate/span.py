"""A span as dialects see it: attributes, events and joined log records as plain Python, to be taken apart.

A view belongs to one translation. Dialects pop what they understand; what is left becomes metadata.
"""

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.model import Json

MAX_DEPTH = 64  # deeper values cannot come over the wire (protobuf stops at 100 messages), and JSON writers refuse them
TOO_DEEP = "[nested too deeply]"
NOT_IN_JSON = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}  # as OTLP/JSON writes them

KINDS = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}  # INTERNAL says nothing
ERROR_CODE = 2
OK_CODE = 1


def plain(value: AnyValue, depth: int = 0) -> Json:
    """An AnyValue as JSON: bytes as base64, numbers that JSON does not have (NaN, infinity) as text."""
    return value.string_value or value.int_value or _rarer(value, depth)  # as `attributes` does


def _rarer(value: AnyValue, depth: int = 0) -> Json:
    match value.WhichOneof("value"):
        case "int_value":
            return 0
        case "double_value":
            number = value.double_value
            return number if math.isfinite(number) else NOT_IN_JSON[str(number)]
        case "bool_value":
            return value.bool_value
        case "array_value":
            if depth >= MAX_DEPTH:
                return TOO_DEEP
            return [plain(item, depth + 1) for item in value.array_value.values]
        case "kvlist_value":
            if depth >= MAX_DEPTH:
                return TOO_DEEP
            return {pair.key: plain(pair.value, depth + 1) for pair in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "string_value":
            return ""
    return None


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """OTLP attributes as a dictionary of plain JSON."""
    read: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        read[pair.key] = value.string_value or value.int_value or _rarer(value)  # most are one of two: skip WhichOneof
    return read


@dataclass(slots=True)
class Event:
    """A span event; `attrs` are to be popped like a span's."""

    name: str
    time_ns: int
    attrs: dict[str, Any]


@dataclass(slots=True)
class LogView:
    """A log record. `name` is its event name, wherever that was said; `body` and `attrs` are plain JSON.

    given: the attributes as they came, for who must say the same of a record with its span and without.
    """

    name: str
    time_ns: int
    body: Json
    attrs: dict[str, Any]
    trace_id: str = ""
    span_id: str = ""
    severity: str = ""
    scope_name: str = ""
    scope_version: str = ""
    resource: dict[str, Any] = field(default_factory=dict)
    observed_ns: int = 0
    size: int = 0
    given: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, record: LogRecord, scope: InstrumentationScope, resource: dict[str, Any], *, size: int = 0
    ) -> "LogView":
        """Take a record apart; `size` is what it takes on the wire, where that matters."""
        attrs = attributes(record.attributes)
        name = record.event_name
        for key in ("event.name", "event_name"):
            said = attrs.get(key)
            if isinstance(said, str) and said and (not name or name == said):
                name = said
                del attrs[key]
        return cls(
            name=name,
            time_ns=record.time_unix_nano or record.observed_time_unix_nano,
            body=plain(record.body),
            attrs=attrs,
            trace_id=record.trace_id.hex() if any(record.trace_id) else "",
            span_id=record.span_id.hex() if any(record.span_id) else "",
            severity=record.severity_text,
            scope_name=scope.name,
            scope_version=scope.version,
            resource=resource,
            observed_ns=record.observed_time_unix_nano,
            size=size,
            given=attrs,
        )

    def left(self) -> dict[str, Any]:
        """What is left of it, for metadata."""
        said = {"name": self.name, "severity": self.severity, "body": self.body, "attributes": self.attrs}
        return {"time_ns": self.time_ns} | {key: value for key, value in said.items() if value not in (None, "", {})}


@dataclass(slots=True)
class SpanView:
    """A span with its log records. Ids are lower-case hex, `parent_id` is "" where there is none.

    Dialects pop from `attrs`, and take what they used out of `events` and `logs`; all else is to be left as it is.
    A dialect that reads spans out of log records makes views of its own: ids, times and attributes are enough.
    """

    id: str
    trace_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attrs: dict[str, Any]
    events: list[Event] = field(default_factory=list)
    logs: list[LogView] = field(default_factory=list)
    kind: str = ""
    status_code: int = 0
    status_message: str = ""
    scope_name: str = ""
    scope_version: str = ""
    resource: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  # links, trace state, dropped counts: straight to metadata
    size: int = 0

    @classmethod
    def of(cls, span: Span, scope: InstrumentationScope, resource: dict[str, Any], *, size: int = 0) -> "SpanView":
        """Take a span apart; an end that is missing or before the start becomes the start."""
        end_ns = span.end_time_unix_nano
        start_ns = span.start_time_unix_nano or end_ns
        view = cls(
            span.span_id.hex(),
            span.trace_id.hex(),
            span.parent_span_id.hex(),
            span.name,
            start_ns,
            max(start_ns, end_ns),
            attributes(span.attributes),
            [Event(event.name, event.time_unix_nano, attributes(event.attributes)) for event in span.events],
            kind=KINDS.get(span.kind, ""),
            scope_name=scope.name,
            scope_version=scope.version,
            resource=resource,
            size=size,
        )
        if span.HasField("status"):
            status = span.status
            view.status_code, view.status_message = status.code, status.message
        if span.links or span.trace_state or span.dropped_attributes_count or span.dropped_events_count:
            view.extra = _extra(span)
        if scope.attributes:
            view.extra["otel.scope_attributes"] = attributes(scope.attributes)
        return view


def _extra(span: Span) -> dict[str, Any]:
    links = [
        {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()}
        | ({"attributes": attributes(link.attributes)} if link.attributes else {})
        | ({"trace_state": link.trace_state} if link.trace_state else {})
        for link in span.links
    ]
    said = {
        "otel.links": links,
        "otel.trace_state": span.trace_state,
        "otel.dropped_attributes_count": span.dropped_attributes_count,
        "otel.dropped_events_count": span.dropped_events_count,
    }
    return {key: value for key, value in said.items() if value}
