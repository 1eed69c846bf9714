"""Spans to be judged, as seconds after the start."""

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_bridge.batch import Batch
from otel_bridge.query.detect import detect
from otel_bridge.store.reader import Reader
from otel_bridge.store.writer import Writer
from otel_bridge.trace import Trace
from otel_bridge.translate import traces_of, translate
from tests.query.conftest import START

SECOND = 10**9
LOCAL, REMOTE = 0x100, 0x300


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def pairs(said: Mapping[str, Any]) -> list[KeyValue]:
    found = []
    for key, value in said.items():
        found.append(KeyValue(key=key))
        if isinstance(value, int):
            found[-1].value.int_value = value
        else:
            found[-1].value.string_value = value
    return found


def span(
    number: int,
    parent: int = 0,
    start: float = 0,
    end: float = 1,
    *,
    trace: int = 1,
    name: str = "",
    status: int = 0,
    message: str = "",
    flags: int = LOCAL,
    kind: int = 1,
    exception: str = "",
    links: Iterable[tuple[int, int]] = (),
    **said: Any,
) -> Span:
    """said: attributes, dots written as two underscores. links: (number of a trace, of a span)."""
    made = Span(
        trace_id=trace.to_bytes(16), span_id=number.to_bytes(8), parent_span_id=parent.to_bytes(8) if parent else b"",
        name=name or f"span {number}", start_time_unix_nano=at(start), end_time_unix_nano=at(end), flags=flags,
        kind=kind, status=Status(code=status, message=message),
        attributes=pairs({key.replace("__", "."): value for key, value in said.items()}),
        links=[Span.Link(trace_id=one.to_bytes(16), span_id=other.to_bytes(8)) for one, other in links],
    )  # fmt: skip
    if exception:
        made.events.add(name="exception", attributes=pairs({"exception.type": exception}))
    return made


def came(writer: Writer, *spans: Span, service: str = "agents", tenant: str = "default", settled: bool = True) -> None:
    """They come in one request, and settle."""
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.extend(pairs({"service.name": service}))
    block.scope_spans.add().spans.extend(spans)
    batch = Batch.from_request(request, tenant=tenant)
    writer.batch(batch)
    if settled:
        settle(writer, traces_of([batch]))


def settle(writer: Writer, traces: Iterable[Trace]) -> None:
    for trace in traces:
        writer.settled(translate(trace))


def beat(
    writer: Writer, number: int, parent: int = 0, *, start: float = 0, told: float = 60, trace: int = 1, **said: Any
) -> None:
    """A span that has not ended is told of, as heartbeats do."""
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(
        time_unix_nano=at(told), trace_id=trace.to_bytes(16), span_id=number.to_bytes(8),
        event_name="otel_bridge.span.heartbeat",
    )  # fmt: skip
    above = {"otel_bridge.span.parent_id": f"{parent:016x}"} if parent else {}
    named = {"otel_bridge.span.name": said.pop("name", f"span {number}")}
    told_of = {**named, **above, "otel_bridge.span.start_time_unix_nano": at(start)}
    record.attributes.extend(pairs({**told_of, **{key.replace("__", "."): value for key, value in said.items()}}))
    writer.batch(Batch.from_request(logs))


def found(reader: Reader, *names: str, now: float = 3600, last: str = "1d", **said: Any) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = detect(reader, names, last, now_ns=at(now), **said)["findings"]
    return findings
