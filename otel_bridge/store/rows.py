"""What came and what it became, as rows for the statements of `write.sql`."""

import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, TypeAlias

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_bridge.assemble import OPEN_SPAN
from otel_bridge.batch import Request
from otel_bridge.model import Observation, Score, TraceAttributes, Translation
from otel_bridge.store.database import REMOTE, TOLD
from otel_bridge.store.provisional import Said, Words

Rows: TypeAlias = dict[str, list[tuple[Any, ...]] | list[dict[str, Any]]]
"""Rows by the name of the statement that writes them."""

MAX_INTEGER = (1 << 63) - 1
"""SQLite's largest; OTLP's times and counts may be larger."""

UNREAD_NS = 3 * 10**9
"""What comes of a trace is read after so long, if that has not settled."""
SETTLING_NS = 10 * 10**9
"""The same where its root has come: then it mostly settles within `grace`, and nothing of it is read twice."""

COUNTED = ("sum", "histogram", "exponential_histogram")
"""Kinds that say whether they count since the program began."""
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA

ERROR = Status.STATUS_CODE_ERROR
OPEN = -1  # in the place of the status of a span that has not ended


def came(request: Request, tenant: str, seen_ns: int) -> Rows:
    """The rows of a request as it came; `seen_ns` is now, for retention."""
    if isinstance(request, ExportTraceServiceRequest):
        return _spans(request, tenant, seen_ns)
    if isinstance(request, ExportLogsServiceRequest):
        return _logs(request, tenant, seen_ns)
    return _points(request, tenant, seen_ns)


def _resource(resource: Resource, seen_ns: int) -> tuple[bytes, int, bytes]:
    wire = resource.SerializeToString()
    return blake2b(wire, digest_size=8).digest(), seen_ns, wire


def _spans(request: ExportTraceServiceRequest, tenant: str, seen_ns: int) -> Rows:
    resources, spans = [], []
    traces: dict[str, tuple[int, int, int, str | None]] = {}
    for block in request.resource_spans:
        resources.append(_resource(block.resource, seen_ns))
        resource_id = resources[-1][0]
        for scoped in block.scope_spans:
            scope = scoped.scope.name
            for span in scoped.spans:
                trace_id, span_id = span.trace_id.hex(), span.span_id.hex()
                parent_id = span.parent_span_id.hex() or None
                start_ns = min(span.start_time_unix_nano, MAX_INTEGER)
                end_ns = min(span.end_time_unix_nano, MAX_INTEGER)
                status, name = max(span.status.code, 0), span.name  # one below 0 would be OPEN
                spans.append(
                    (
                        tenant, trace_id, span_id, parent_id, span.flags & REMOTE, name, start_ns, end_ns, status,
                        scope, resource_id, span.SerializeToString(),
                    )
                )  # fmt: skip
                first, last, errors, root = traces.get(trace_id, (start_ns, end_ns, 0, None))
                traces[trace_id] = (
                    min(first, start_ns),
                    max(last, end_ns),
                    errors or int(status == ERROR),
                    root if parent_id else name,
                )
    provisional = [
        (tenant, trace_id, seen_ns, first, last, errors, root, seen_ns + (UNREAD_NS if root is None else SETTLING_NS))
        for trace_id, (first, last, errors, root) in traces.items()
    ]
    ended = [span[:3] for span in spans]
    return {"resource": resources, "ended": ended, "provisional_trace": provisional, "span": spans}


def _logs(request: ExportLogsServiceRequest, tenant: str, seen_ns: int) -> Rows:
    resources, logs, open_spans, open_traces, readings, words = [], [], [], [], [], []
    for block in request.resource_logs:
        resources.append(_resource(block.resource, seen_ns))
        resource_id = resources[-1][0]
        said: Said | None = None  # asked for by few, and dear
        for scoped in block.scope_logs:
            for record in scoped.log_records:
                if record.event_name.startswith(OPEN_SPAN) and record.trace_id and record.span_id:
                    span = _open_span(record)
                    trace_id, parent_id = span.trace_id.hex(), span.parent_span_id.hex() or None
                    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
                    open_spans.append(
                        (
                            tenant, trace_id, span.span_id.hex(), parent_id, 0, span.name, start_ns, end_ns, OPEN,
                            scoped.scope.name, resource_id, span.SerializeToString(),
                        )
                    )  # fmt: skip
                    name = None if parent_id else span.name
                    open_traces.append((tenant, trace_id, seen_ns, start_ns, end_ns, 0, name, None))
                    said = said or Said(block.resource)
                    heard = Words()
                    reading = heard.hear(span, scoped.scope.name, said)
                    readings.append((tenant, trace_id, span.span_id.hex(), *reading, bool(span.attributes)))
                    words.append({"tenant": tenant, "trace_id": trace_id, **heard.of_trace()})
                wire = record.SerializeToString()
                logs.append(
                    (
                        blake2b(resource_id + wire, digest_size=16).digest(),
                        tenant,
                        record.trace_id.hex() or None,
                        record.span_id.hex() or None,
                        min(record.time_unix_nano or record.observed_time_unix_nano, MAX_INTEGER),
                        seen_ns,
                        record.severity_number,
                        record.event_name or _called(record),
                        scoped.scope.name,
                        resource_id,
                        wire,
                    )
                )
    return {
        "resource": resources,
        "log": logs,
        "open_span": open_spans,
        "provisional_trace": open_traces,
        "open_reading": readings,
        "words": words,
    }


def _called(record: LogRecord) -> str:
    """What a record says by an attribute that it is an event of, as programs do that know no field for it."""
    return next((pair.value.string_value for pair in record.attributes if pair.key == "event.name"), "")


def _open_span(record: LogRecord) -> Span:
    """What a record tells of a span that has not ended; its end is when that was told."""
    said = {pair.key: pair.value for pair in record.attributes}
    told_ns = min(record.time_unix_nano or record.observed_time_unix_nano, MAX_INTEGER)
    start_ns = said.get(f"{OPEN_SPAN}start_time_unix_nano", AnyValue()).int_value
    parent = said.get(f"{OPEN_SPAN}parent_id", AnyValue()).string_value
    return Span(
        trace_id=record.trace_id,
        span_id=record.span_id,
        parent_span_id=bytes.fromhex(parent) if re.fullmatch("[0-9a-f]{16}", parent) else b"",
        name=said.get(f"{OPEN_SPAN}name", AnyValue()).string_value,
        start_time_unix_nano=start_ns if 0 < start_ns <= told_ns else told_ns,
        end_time_unix_nano=told_ns,
        attributes=[pair for pair in record.attributes if not pair.key.startswith(OPEN_SPAN)],
    )


def _points(request: ExportMetricsServiceRequest, tenant: str, seen_ns: int) -> Rows:
    resources, points = [], []
    for block in request.resource_metrics:
        resources.append(_resource(block.resource, seen_ns))
        resource_id = resources[-1][0]
        for scoped in block.scope_metrics:
            scope = scoped.scope.name
            for metric in scoped.metrics:
                what = _kind(metric)
                for (time_ns, *said), attributes, wire in _measured(metric, what[0]):
                    series = blake2b(resource_id + scope.encode() + b"\0" + attributes, digest_size=16).digest()
                    points.append(
                        (tenant, metric.name, series, time_ns, seen_ns, *what, *said, scope, resource_id, wire)
                    )
    return {"resource": resources, "point": points}


def _kind(metric: Metric) -> tuple[str, str, bool, bool]:
    """Its kind and unit, whether it only grows, and whether each point is of the time since the one before alone."""
    kind = metric.WhichOneof("data") or ""
    is_delta = kind in COUNTED and getattr(metric, kind).aggregation_temporality == DELTA
    return kind, metric.unit, kind == "sum" and metric.sum.is_monotonic, is_delta


def _measured(metric: Metric, kind: str) -> Iterator[tuple[tuple[int, int, float | None, int | None], bytes, bytes]]:
    """Of each point its time, start, value and count; its attributes, and all of it."""
    for point in getattr(metric, kind).data_points if kind else ():
        value: float | None
        if kind in ("gauge", "sum"):
            which = point.WhichOneof("value")
            value, count = None if which is None else float(getattr(point, which)), None
        else:
            has_sum = kind == "summary" or point.HasField("sum")  # a summary's sum is always there
            value, count = point.sum if has_sum else None, min(point.count, MAX_INTEGER)
        attributes = b"".join(pair.SerializeToString() for pair in point.attributes)
        time_ns, start_ns = (min(ns, MAX_INTEGER) for ns in (point.time_unix_nano, point.start_time_unix_nano))
        yield (time_ns, start_ns, value, count), attributes, point.SerializeToString()


def became(translation: Translation, seen_ns: int) -> Rows:
    """The rows of settled observations and scores, and of what was left out.

    Raises:
        ValueError: a value can not be written as JSON.
    """
    tenant = translation.tenant
    # Written once for all observations under it: it may be as large as they are.
    said: dict[int, tuple[bytes, str]] = {}
    for resource in {id(one.resource): one.resource for one in translation.observations}.values():
        text = to_json(resource)
        said[id(resource)] = blake2b(text.encode(), digest_size=8).digest(), text
    under = {(one.trace_id, id(one.resource)) for one in translation.observations}
    return {
        "observed_resource": [(tenant, trace_id, *said[resource]) for trace_id, resource in under],
        "observation": [_observation(one, tenant, said[id(one.resource)][0]) for one in translation.observations],
        "score": [_score(score, tenant, seen_ns) for score in translation.scores],
        "omitted": [
            (tenant, left.trace_id, left.span_id, left.decision, left.reason, seen_ns)
            for left in (*translation.rejected, *translation.dropped)
            if left.trace_id
        ],
    }


def settled_traces(translation: Translation, seen_ns: int) -> list[dict[str, Any]]:
    """Named values for `settled_trace`, one for each trace that the translation has something of.

    Raises:
        ValueError: a value can not be written as JSON.
    """
    known = {observation.trace_id: observation.trace for observation in translation.observations}
    known |= {attributes.trace_id: attributes for attributes in translation.traces}
    return [_trace(trace_id, trace, translation.tenant, seen_ns) for trace_id, trace in known.items()]


def _trace(trace_id: str, trace: TraceAttributes, tenant: str, seen_ns: int) -> dict[str, Any]:
    return {
        "told": TOLD,
        "tenant": tenant,
        "trace_id": trace_id,
        "seen_ns": seen_ns,
        "name": trace.name,
        "user_id": trace.user_id,
        "session_id": trace.session_id,
        "environment": trace.environment,
        "release": trace.release,
        "version": trace.version,
        "public": trace.public,
        "tags": to_json(trace.tags) if trace.tags else None,
        "metadata": to_json(trace.metadata) if trace.metadata else None,
        "input": None if trace.input is None else to_json(trace.input),
        "output": None if trace.output is None else to_json(trace.output),
    }


def _observation(observation: Observation, tenant: str, resource_id: bytes) -> tuple[Any, ...]:
    o = observation
    scope = {"name": o.scope_name, **({"version": o.scope_version} if o.scope_version else {})}
    detail = {
        "completionStartNs": o.completion_start_ns,
        "modelParameters": o.model_parameters,
        "input": o.input,
        "output": o.output,
        "usageDetails": o.usage,
        "costDetails": o.cost,
        "promptName": o.prompt_name,
        "promptVersion": o.prompt_version,
        "version": o.version,
        "metadata": o.metadata,
        "scope": scope if o.scope_name else None,
    }
    return (
        tenant,
        o.trace_id,
        o.id,
        o.parent_id,
        o.type,
        o.name,
        min(o.start_ns, MAX_INTEGER),
        min(o.end_ns, MAX_INTEGER),
        o.level,
        o.model,
        None if o.usage is None else min(_total(o.usage), MAX_INTEGER),
        None if o.cost is None else _total(o.cost),
        o.status_message,
        resource_id,
        to_json({key: value for key, value in detail.items() if value is not None}),
    )


def _total(buckets: dict[str, Any]) -> Any:
    return buckets["total"] if "total" in buckets else sum(buckets.values())


def _score(score: Score, tenant: str, seen_ns: int) -> tuple[Any, ...]:
    is_label = isinstance(score.value, str)
    label = score.value if is_label else score.metadata.get("label")
    return (
        tenant,
        score.id,
        score.trace_id,
        score.observation_id,
        score.session_id,
        score.name,
        None if is_label else score.value,
        label if isinstance(label, str | None) else to_json(label),
        score.data_type,
        min(score.timestamp_ns, MAX_INTEGER),
        seen_ns,
        score.environment,
        score.comment,
        to_json(score.metadata),
    )


def to_json(value: Any) -> str:
    """JSON text that every reader can read: integers over 64 bits as floats, half surrogates as question marks.

    Raises:
        ValueError: it can not be written, as when nested over 250 levels deep.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # the slow way round is for what orjson refuses
        try:
            repaired = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            return orjson.dumps(orjson.loads(repaired)).decode()
        except (TypeError, RecursionError) as error:
            raise ValueError(f"no JSON: {error}") from error
