"""What Langfuse makes of the spans it is sent, by the rules of its OtelIngestionProcessor (server 4.16).

Two paths, as in the server: `direct` (server 4: one immutable row for each span, hardly validated) and `legacy`
(server 3, and 4 where it still writes the old tables: strict, and one bad field drops the observation silently).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

TYPES = frozenset(
    {
        "span",
        "generation",
        "event",
        "embedding",
        "agent",
        "tool",
        "chain",
        "retriever",
        "guardrail",
        "evaluator",
    }
)
FIRST_TYPES = frozenset({"span", "generation", "event"})  # before 3.98.2
LEVELS = {
    "debug": "DEBUG",
    "trace": "DEBUG",
    "verbose": "DEBUG",
    "default": "DEFAULT",
    "info": "DEFAULT",
    "log": "DEFAULT",
    "notice": "DEFAULT",
    "ok": "DEFAULT",
    "success": "DEFAULT",
    "warn": "WARNING",
    "warning": "WARNING",
    "error": "ERROR",
    "fatal": "ERROR",
    "critical": "ERROR",
}
STRICT_LEVELS = frozenset({"DEBUG", "DEFAULT", "WARNING", "ERROR"})
ISO_WITH_ZONE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
MAX_NAME = 1000
MAX_EVENT_ID = 800
EVENTS = frozenset({"trace-create", "span-create", "generation-create", "event-create", "score-create"})
EVENT_TIMES = ("startTime", "endTime", "completionStartTime", "timestamp")
ENVIRONMENT = re.compile(r"(?!langfuse)[a-z0-9_-]{1,40}")
OWN_METADATA = ("attributes", "resourceAttributes", "scope", "tools")
TRACE_ATTRIBUTES = (
    "langfuse.trace.name",
    "user.id",
    "langfuse.user.id",
    "session.id",
    "langfuse.session.id",
    "langfuse.trace.tags",
    "langfuse.trace.public",
    "langfuse.trace.metadata",
    "langfuse.trace.input",
    "langfuse.trace.output",
)


@dataclass(slots=True)
class SpanRow:
    """A span as it came: ids in hex, times in nanoseconds, attributes as plain values.

    bad_ids: servers from 4.4 on refuse the whole request for such a span, those before lose it.
    """

    trace_id: str
    id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope_name: str
    scope_version: str
    error: bool
    status_message: str
    bad_ids: bool


@dataclass(slots=True)
class Shown:
    """An observation in the field names of the public API; `dropped` says why the strict path would not store it."""

    fields: dict[str, Any]
    dropped: list[str] = field(default_factory=list)

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]


def rows(request: ExportTraceServiceRequest) -> Iterator[SpanRow]:
    """The spans of a request."""
    for block in request.resource_spans:
        resource = _plain(block.resource.attributes)
        for scoped in block.scope_spans:
            for span in scoped.spans:
                yield SpanRow(
                    trace_id=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_plain(span.attributes),
                    resource=resource,
                    scope_name=scoped.scope.name,
                    scope_version=scoped.scope.version,
                    error=span.status.code == Status.STATUS_CODE_ERROR,
                    status_message=span.status.message,
                    bad_ids=(len(span.trace_id), len(span.span_id)) != (16, 8),
                )


def rows_of_json(body: Mapping[str, Any]) -> Iterator[SpanRow]:
    """The spans of a JSON body; snake_case keys are not seen, and ids are taken as they stand."""
    for block in body.get("resourceSpans") or ():
        resource = _plain_json(block.get("resource", {}).get("attributes") or ())
        for scoped in block.get("scopeSpans") or ():
            scope = scoped.get("scope") or {}
            for span in scoped.get("spans") or ():
                status = span.get("status") or {}
                yield SpanRow(
                    trace_id=str(span.get("traceId") or ""),
                    id=str(span.get("spanId") or ""),
                    parent_id=str(span.get("parentSpanId") or ""),
                    name=str(span.get("name") or ""),
                    start_ns=int(span.get("startTimeUnixNano") or 0),
                    end_ns=int(span.get("endTimeUnixNano") or 0),
                    attributes=_plain_json(span.get("attributes") or ()),
                    resource=resource,
                    scope_name=str(scope.get("name") or ""),
                    scope_version=str(scope.get("version") or ""),
                    error=status.get("code") == Status.STATUS_CODE_ERROR,  # a string enum is not understood
                    status_message=str(status.get("message") or ""),
                    bad_ids=not (span.get("traceId") and span.get("spanId")),
                )


def show(row: SpanRow, *, direct: bool, types: frozenset[str] = TYPES) -> Shown:
    """The observation that the server stores for a span, as far as the span says it in `langfuse.*` words."""
    attrs = row.attributes
    dropped: list[str] = []
    usage = _json_object(attrs.get("langfuse.observation.usage_details"))
    cost = _json_object(attrs.get("langfuse.observation.cost_details"))
    kind = _type(attrs, types)
    fields: dict[str, Any] = {
        "id": row.id,
        "traceId": row.trace_id,
        "parentObservationId": row.parent_id or None,
        "name": row.name,
        "type": kind.upper(),
        "startTime": row.start_ns // 10**6,
        "endTime": (row.end_ns or row.start_ns) // 10**6,
        "completionStartTime": attrs.get("langfuse.observation.completion_start_time"),
        "level": _level(row, direct=direct),
        "statusMessage": attrs.get("langfuse.observation.status_message") or row.status_message or None,
        "version": attrs.get("langfuse.version") or row.resource.get("service.version"),
        "environment": _environment(row),
        "model": attrs.get("langfuse.observation.model.name"),
        "modelParameters": _json(attrs.get("langfuse.observation.model.parameters")),
        "input": _json(attrs.get("langfuse.observation.input")) if attrs.get("langfuse.observation.input") else None,
        "output": _json(attrs.get("langfuse.observation.output")) if attrs.get("langfuse.observation.output") else None,
        "usageDetails": {k: n for k, n in usage.items() if isinstance(n, int) and not isinstance(n, bool) and n >= 0},
        "costDetails": cost,
        "promptName": attrs.get("langfuse.observation.prompt.name") if kind == "generation" else None,
        "promptVersion": attrs.get("langfuse.observation.prompt.version") if kind == "generation" else None,
        "metadata": _metadata(row, direct=direct),
        "traceName": attrs.get("langfuse.trace.name"),
        "userId": attrs.get("langfuse.user.id") or attrs.get("user.id"),
        "sessionId": attrs.get("langfuse.session.id") or attrs.get("session.id"),
        "tags": _tags(attrs.get("langfuse.trace.tags")),
        "release": attrs.get("langfuse.release") or row.resource.get("langfuse.release"),
        "public": attrs.get("langfuse.trace.public") in (True, "true"),
        "isAppRoot": attrs.get("langfuse.internal.is_app_root") in (True, "true"),
    }
    if not direct:
        dropped += strict_faults(row, usage, cost)
    return Shown(fields, dropped)


def strict_faults(row: SpanRow, usage: Mapping[str, Any], cost: Mapping[str, Any]) -> list[str]:
    """Why the legacy path would drop the observation, silently; empty where it would not."""
    attrs = row.attributes
    faults = []
    if len(row.name) > MAX_NAME:
        faults.append("name is longer than 1000 characters")
    when = attrs.get("langfuse.observation.completion_start_time")
    if when is not None and not (isinstance(when, str) and ISO_WITH_ZONE.fullmatch(when)):
        faults.append("completionStartTime is not ISO 8601 with a zone")
    given = attrs.get("langfuse.observation.model.parameters")
    if given is not None and not _flat(_json(given)):
        faults.append("modelParameters is not an object of plain values")
    name, version = (attrs.get(f"langfuse.observation.prompt.{word}") for word in ("name", "version"))
    if (name is None) != (version is None) or not isinstance(version, int | None):
        faults.append("prompt name and integer version stand together or not at all")
    if not all(isinstance(n, int | float) and math.isfinite(n) and n >= 0 for n in cost.values()):
        faults.append("costDetails holds what is no amount")
    if not all(isinstance(n, int) and n >= 0 for n in usage.values()):
        faults.append("usageDetails holds what is no count")
    level = attrs.get("langfuse.observation.level")
    if level is not None and level not in STRICT_LEVELS:
        faults.append("level is none of the four")
    return faults


def contract_faults(row: SpanRow) -> list[str]:
    """What server 4 would have to guess, could not count, or would show raw: each span has to say all of it itself."""
    attrs = row.attributes
    faults = _number_faults(row)
    if row.bad_ids or not row.trace_id.strip("0") or not row.id.strip("0"):
        faults.append("an id is none")
    if not 0 < row.start_ns <= row.end_ns:
        faults.append("it ends before it starts, or has no time")
    if attrs.get("langfuse.observation.type") not in TYPES:
        faults.append("the type is none of Langfuse's")
    if "langfuse.observation.level" not in attrs:
        faults.append("no level")
    if ("langfuse.observation.input" in attrs) != ("langfuse.observation.output" in attrs):
        faults.append("input without output, or output without input")
    if not attrs.get("langfuse.trace.name"):
        faults.append("no trace name")
    where = attrs.get("langfuse.environment")
    if where is not None and not ENVIRONMENT.fullmatch(where):
        faults.append("the environment would become another")
    if not set(_json_object(attrs.get("langfuse.observation.metadata"))).isdisjoint(OWN_METADATA):
        faults.append("metadata under the server's own keys")
    for key, value in attrs.items():
        if not key.startswith("langfuse.") and key not in ("user.id", "session.id"):
            faults.append(f"{key}: left for the server to read")
        if isinstance(value, dict):
            faults.append(f"{key}: of a kind that is shown raw")
    return faults


def _number_faults(row: SpanRow) -> list[str]:
    usage = _json_object(row.attributes.get("langfuse.observation.usage_details"))
    cost = _json_object(row.attributes.get("langfuse.observation.cost_details"))
    faults = strict_faults(row, usage, cost)
    if not faults and usage and sum(usage.values()) != 2 * usage.get("total", 0):
        faults.append("usageDetails do not add up to their total")
    if cost and "total" not in cost:
        faults.append("costDetails without a total")
    return faults


def event_faults(event: Mapping[str, Any]) -> list[str]:
    """Why server 2 would refuse an event at its ingestion endpoint; empty where it would not."""
    body = event["body"]
    usage, parameters = body.get("usage") or {}, body.get("modelParameters")
    times = [event["timestamp"], *(body[key] for key in EVENT_TIMES if body.get(key) is not None)]
    faults = []
    if not isinstance(event["id"], str) or not 0 < len(event["id"]) <= MAX_EVENT_ID or not body.get("id"):
        faults.append("no id, or too long a one")
    if event["type"] not in EVENTS:
        faults.append("an event that it does not know")
    if not all(isinstance(when, str) and ISO_WITH_ZONE.fullmatch(when) for when in times):
        faults.append("a time is not ISO 8601 with a zone")
    if len(body.get("name") or "") > MAX_NAME:
        faults.append("name is longer than 1000 characters")
    if body.get("level", "DEFAULT") not in STRICT_LEVELS:
        faults.append("level is none of the four")
    if parameters is not None and not _flat(parameters):
        faults.append("modelParameters is not an object of plain values")
    if not all(type(usage.get(side, 0)) is int and usage.get(side, 0) >= 0 for side in ("input", "output", "total")):
        faults.append("usage holds what is no count")
    if not all(math.isfinite(usage.get(side, 0)) for side in ("inputCost", "outputCost", "totalCost")):
        faults.append("usage holds what is no amount")
    texts = (body.get(key) for key in ("name", "userId", "sessionId", "release", "version", "statusMessage", "model"))
    if not all(isinstance(said, str | None) for said in texts):
        faults.append("a text is none")
    if not all(isinstance(tag, str) for tag in body.get("tags") or ()):
        faults.append("a tag is no text")
    return faults


def bears_trace(row: SpanRow) -> bool:
    """The legacy path writes the trace once more for such a span."""
    return not row.parent_id or any(key in row.attributes for key in TRACE_ATTRIBUTES)


def _type(attrs: Mapping[str, Any], types: frozenset[str]) -> str:
    said = attrs.get("langfuse.observation.type")
    if said in types:
        return str(said)
    return "generation" if attrs.get("langfuse.observation.model.name") else "span"


def _level(row: SpanRow, *, direct: bool) -> str:
    said = row.attributes.get("langfuse.observation.level")
    if isinstance(said, str) and (direct or said in STRICT_LEVELS) and said.lower() in LEVELS:
        return LEVELS[said.lower()]
    return "ERROR" if row.error else "DEFAULT"


def _environment(row: SpanRow) -> str:
    for key in ("langfuse.environment", "deployment.environment.name", "deployment.environment"):
        for source in (row.attributes, row.resource):
            if source.get(key):
                name = re.sub(r"^langfuse[-_]", "", str(source[key]).lower())[:40]
                return name if re.fullmatch(r"[a-z0-9_-]+", name) else "default"
    return "default"


def _metadata(row: SpanRow, *, direct: bool) -> dict[str, Any]:
    left = {
        key: value for key, value in row.attributes.items() if not key.startswith(("langfuse.", "user.", "session."))
    }
    metadata: dict[str, Any] = {
        "resourceAttributes": row.resource,
        "scope": {"name": row.scope_name, "version": row.scope_version},
    }
    if left:
        metadata["attributes"] = left
    metadata |= _json_object(row.attributes.get("langfuse.observation.metadata"))
    if direct:
        metadata |= _json_object(row.attributes.get("langfuse.trace.metadata"))
    return metadata


def _tags(said: Any) -> list[str]:
    if isinstance(said, list):
        return [str(tag) for tag in said]
    return [tag.strip() for tag in said.split(",")] if isinstance(said, str) and said else []


def _flat(given: Any) -> bool:
    return isinstance(given, dict) and all(
        isinstance(value, str | int | float) or (isinstance(value, list) and all(isinstance(i, str) for i in value))
        for value in given.values()
    )


def _json(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json_object(text: Any) -> dict[str, Any]:
    found = _json(text) if isinstance(text, str) else None
    return found if isinstance(found, dict) else {}


def _plain(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value" and value.array_value.values:
        return [_value(item) for item in value.array_value.values]
    if kind in ("string_value", "bool_value", "int_value", "double_value"):
        return getattr(value, kind)
    return {"raw": str(value)}  # kvlist, bytes, empty: the server shows the OTLP value itself


def _plain_json(attributes: Any) -> dict[str, Any]:
    return {str(pair.get("key")): _json_value(pair.get("value") or {}) for pair in attributes}


def _json_value(value: Mapping[str, Any]) -> Any:
    if "intValue" in value:
        return int(value["intValue"])
    for kind in ("stringValue", "boolValue", "doubleValue"):
        if kind in value:
            return value[kind]
    items = (value.get("arrayValue") or {}).get("values")
    return [_json_value(item) for item in items] if items else {"raw": json.dumps(value)}
