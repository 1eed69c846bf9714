"""One observation: as a row of a tree, and with all that it holds."""

from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.query.answer import SHOWN_CHARACTERS, Answer, cut, milliseconds, moment, name, usd
from otel_bridge.query.find import find_observation, find_trace, other_tenants
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements
from otel_bridge.translate.choose import read
from otel_bridge.translate.span import SpanView, attributes, plain

SQL = statements("otel_bridge.query", "observations.sql")

MAX_OCCURRENCES = 200
"""Events, and log records, of one observation: streaming agents send one for each token."""

OCCURRENCE_CHARACTERS = 5000
"""Of what one event or log record says; of all together it is about 2 MB."""

SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


def one_observation(reader: Reader, trace_id: str, observation: str, *, tenant: str | None = None) -> Answer:
    """One observation, as `find_observation` finds it, with all it holds; long content is cut.

    `events` and `logs` are those of its span that became nothing else; `eventCount` and `logCount` count all of them,
    where only the first are shown. `otherTenants` have a trace of the same id.

    Raises:
        NotFoundError: there is none.
        UsageError: several traces begin so, or several observations are meant.
    """
    whole_id, its_tenant = find_trace(reader, trace_id, tenant)
    found = whole(reader, whole_id, its_tenant, find_observation(reader, whole_id, its_tenant, observation))
    return {**found, "tenant": its_tenant, "otherTenants": other_tenants(reader, whole_id, its_tenant)}


def whole(reader: Reader, trace_id: str, tenant: str, observation_id: str) -> Answer:
    """`one_observation` where the ids are known, of an observation that there is."""
    named = {"trace_id": trace_id, "tenant": tenant, "id": observation_id}
    if row := reader.row(SQL["observation"], named):
        content = _settled_content(row)
    else:
        row = reader.rows(SQL["span"], named)[0]
        content = _span_content(row, reader.rows(SQL["logs"], {**named, "most": MAX_OCCURRENCES}))
    return {**light(row), "name": name(row["name"], OCCURRENCE_CHARACTERS), "traceId": trace_id, **content}


def light(row: Row) -> Answer:
    """An observation without its content."""
    return {
        "id": row["id"],
        "parentObservationId": row["parent_id"],
        "type": row["type"],
        "name": name(row["name"]),
        "startTime": moment(row["start_ns"]),
        "endTime": moment(row["end_ns"]),
        "durationMs": milliseconds(row["start_ns"], row["end_ns"]),
        "level": row["level"],
        "statusMessage": name(row["status_message"]),
        "model": name(row["model"]),
        "totalTokens": row["tokens"],
        "totalCost": usd(row["cost"]),
        "settled": bool(row["settled"]),
        "open": bool(row["open"]),
        "omitted": row["omitted"],
    }


def _settled_content(row: Row) -> Answer:
    detail = orjson.loads(row["detail"])
    completion_start_ns = detail.pop("completionStartNs", None)
    if costs := detail.get("costDetails"):
        detail["costDetails"] = _by_bucket(costs)
    events, logs = (_taken(detail.get("metadata", {}), key) for key in ("otel.events", "otel.logs"))
    return {
        "statusMessage": name(row["status_message"], SHOWN_CHARACTERS),
        "completionStartTime": completion_start_ns and moment(completion_start_ns),
        **{key: cut(value) for key, value in detail.items()},
        "resource": cut(orjson.loads(row["resource"])),
        "events": [_event(event) for event in events[:MAX_OCCURRENCES]],
        "eventCount": len(events),
        "logs": [_log(log) for log in logs[:MAX_OCCURRENCES]],
        "logCount": len(logs),
    }


def _by_bucket(costs: dict[str, float]) -> Answer:
    return {bucket: usd(cost) for bucket, cost in costs.items()}


def _taken(metadata: Answer, key: str) -> list[Answer]:
    """What translation left of a span's events or log records, out of the metadata; attributes so called stay there."""
    found = metadata.get(key)
    if not (isinstance(found, list) and all(isinstance(each, dict) for each in found)):
        return []
    return metadata.pop(key) if all(isinstance(each.get("time_ns"), int) for each in found) else []


def _span_content(row: Row, logs: list[Row]) -> Answer:
    """What a span says by itself: of its trace and of log records translation knows more."""
    resource = attributes(Resource.FromString(row["resource"] or b"").attributes)
    view = SpanView.of(Span.FromString(row["span"]), InstrumentationScope(name=row["scope"]), resource)
    message = view.status_message
    reading = read(view)
    said = {
        "modelParameters": reading.model_parameters,
        "input": reading.input,
        "output": reading.output,
        "usageDetails": reading.usage,
        "costDetails": reading.cost and _by_bucket(reading.cost),
    }
    known = {"type": reading.type, "level": reading.level, "model": reading.model and name(reading.model)}
    return {
        **{key: value for key, value in known.items() if value is not None},
        "statusMessage": name(reading.status_message or message, SHOWN_CHARACTERS) or None,
        **{key: cut(value) for key, value in said.items() if value is not None},
        "metadata": cut(view.attrs | reading.metadata),
        "resource": cut(resource),
        "scope": {"name": row["scope"]} if row["scope"] else None,
        "events": [
            _event({"time_ns": event.time_ns, "name": event.name, "attributes": event.attrs})
            for event in view.events[:MAX_OCCURRENCES]
        ],
        "eventCount": len(view.events),
        "logs": [log_record(log) for log in logs],
        "logCount": logs[0]["log_count"] if logs else 0,
    }


def log_record(row: Row) -> Answer:
    """A record of the store (`record`, `time_ns`, `event_name`) as answers show it, cut where it is long."""
    record = LogRecord.FromString(row["record"])
    return _log(
        {
            "time_ns": row["time_ns"],
            "name": row["event_name"],
            "severity": record.severity_text or _severity(record.severity_number),
            "body": plain(record.body),
            "attributes": attributes(record.attributes),
        }
    )


def _severity(number: int) -> str | None:
    """OTLP's numbers come in fours: 9 to 12 are INFO."""
    return SEVERITIES[(number - 1) // 4] if 0 < number <= 4 * len(SEVERITIES) else None


def _event(event: Answer) -> Answer:
    """An event, or what translation made of many like it: then with their `count` and `lastTime`."""
    many = isinstance(event.get("count"), int) and isinstance(event.get("last_time_ns"), int)
    return {
        "time": moment(event["time_ns"]),
        **({"lastTime": moment(event["last_time_ns"]), "count": event["count"]} if many else {}),
        "name": name(str(event.get("name") or "")),
        "attributes": _brief(event.get("attributes", {})),
    }


def _log(log: Answer) -> Answer:
    event = _event(log)
    return {
        **event,
        "name": event["name"] or None,
        "severity": log.get("severity") or None,
        "body": _brief(log.get("body")),
    }


def _brief(value: Any) -> Any:
    return cut(value, OCCURRENCE_CHARACTERS)
