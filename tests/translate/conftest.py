"""Spans and log records in a line each, for the tests of translation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.trace import LogEntry, SpanRecord, Trace
from tests.values import any_value, pairs

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


@dataclass
class Otlp:
    """Makes spans, log records and traces; ids are small numbers, times are milliseconds after a start."""

    trace_id: str = TRACE_ID
    start_ns: int = START_NS

    def span(
        self,
        number: int = 1,
        parent: int = 0,
        *,
        name: str = "a span",
        scope: str = "test",
        at_ms: tuple[float, float] = (0, 100),
        attrs: Mapping[str, Any] | None = None,
        events: list[tuple[str, Mapping[str, Any]]] | None = None,
        status: tuple[int, str] = (0, ""),
        resource: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> SpanRecord:
        span = Span(
            trace_id=bytes.fromhex(self.trace_id),
            span_id=number.to_bytes(8, "big"),
            parent_span_id=parent.to_bytes(8, "big") if parent else b"",
            name=name,
            start_time_unix_nano=self.start_ns + int(at_ms[0] * MS),
            end_time_unix_nano=self.start_ns + int(at_ms[1] * MS),
            attributes=pairs(attrs or {}),
            **fields,
        )
        for event, said in events or []:
            span.events.add(name=event, time_unix_nano=self.start_ns + 10 * MS, attributes=pairs(said))
        if status != (0, ""):
            span.status.code, span.status.message = status
        return SpanRecord(span, InstrumentationScope(name=scope), Resource(attributes=pairs(resource or {})))

    def log(
        self,
        number: int = 1,
        *,
        name: str = "",
        body: Any = None,
        attrs: Mapping[str, Any] | None = None,
        scope: str = "test",
        at_ms: float = 1,
        traced: bool = True,
    ) -> LogEntry:
        record = LogRecord(
            trace_id=bytes.fromhex(self.trace_id) if traced else b"",
            span_id=number.to_bytes(8, "big") if number else b"",
            event_name=name,
            time_unix_nano=self.start_ns + int(at_ms * MS),
            attributes=pairs(attrs or {}),
        )
        if body is not None:
            record.body.CopyFrom(any_value(body))
        return LogEntry(record, InstrumentationScope(name=scope), Resource())

    def trace(self, *parts: SpanRecord | LogEntry, **fields: Any) -> Trace:
        return Trace(
            key=self.trace_id,
            spans=[part for part in parts if isinstance(part, SpanRecord)],
            logs=[part for part in parts if isinstance(part, LogEntry)],
            **fields,
        )


@pytest.fixture
def otlp() -> Otlp:
    return Otlp()


@pytest.fixture(scope="session")
def id_of() -> Callable[[int], str]:
    """The observation's id of a span made as this number."""
    return lambda number: f"{number:016x}"
