"""Traces: a list to page through, one as a tree, and one observation with all that it holds."""

import re

import orjson
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.errors import BridgeError, UsageError
from otel_bridge.query.answer import ID_CHARACTERS, Answer, cut, iso, loaded, milliseconds, name
from otel_bridge.query.cursor import read_cursor, write_cursor
from otel_bridge.query.filter import ALL, Condition, compile_filter
from otel_bridge.query.scores import scores_of_trace
from otel_bridge.query.tree import in_tree_order
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements
from otel_bridge.translate.span import attributes, plain

SQL = statements("otel_bridge.query", "traces.sql")

HEX = re.compile(r"[0-9a-f]{1,64}")

SORTS = {
    "start": "t.start_ns",
    "duration": "(t.end_ns - t.start_ns)",
    "tokens": "coalesce(t.total_tokens, 0)",
    "cost": "coalesce(t.total_cost, 0)",
    "errors": "t.error_count",
}
MAX_TRACES = 200
MAX_TAGS = 50
MAX_OBSERVATIONS = 2500
"""On one page of a tree; with names cut, that stays below 2 MB."""


class NotFoundError(BridgeError):
    """The store holds nothing under this id."""


def list_traces(
    reader: Reader, filter_text: str = "", sort: str = "-start", limit: int = 50, cursor: str | None = None
) -> Answer:
    """`{"traces": [...], "nextCursor": ...}`: summaries of the traces that a filter holds for.

    sort: start, duration, tokens, cost or errors, descending with a `-` before it.
    cursor: the `nextCursor` of the page before, asked with the same sort; None on the last page.

    Raises:
        UsageError: the filter, sort, limit or cursor can not be used.
    """
    return page(reader, compile_filter(filter_text), sort, limit, cursor)


def page(reader: Reader, condition: Condition, sort: str, limit: int, cursor: str | None) -> Answer:
    """`list_traces` with its filter compiled."""
    if sort.removeprefix("-") not in SORTS:
        raise UsageError(f"no order {sort!r}, there are {', '.join(SORTS)}, descending with a - before it")
    if not 1 <= limit <= MAX_TRACES:
        raise UsageError(f"limit is {limit}, it may be 1 to {MAX_TRACES}")
    descending, key = sort.startswith("-"), SORTS[sort.removeprefix("-")]
    after = ALL
    if cursor is not None:
        order = "<" if descending else ">"
        after = Condition(f"({key}, t.trace_id, t.tenant) {order} (?, ?, ?)", read_cursor(cursor, 2))
    sql = SQL["page"].format(
        key=key, condition=f"{condition.sql} AND {after.sql}", direction="DESC" if descending else "ASC"
    )
    rows = reader.rows(sql, (*condition.values, *after.values, limit + 1))
    following = rows[limit - 1] if len(rows) > limit else None
    return {
        "traces": [_summary(row) for row in rows[:limit]],
        "nextCursor": following and write_cursor(following["sort_key"], following["trace_id"], following["tenant"]),
    }


def _summary(row: Row) -> Answer:
    done = "ok" if row["settled"] else "open"
    return {
        "id": row["trace_id"],
        "tenant": row["tenant"],
        "name": name(row["name"]),
        "status": "error" if row["error_count"] else done,
        "settled": bool(row["settled"]),
        "startTime": iso(row["start_ns"]),
        "endTime": iso(row["end_ns"]),
        "durationMs": milliseconds(row["start_ns"], row["end_ns"]),
        "observationCount": row["observation_count"],
        "errorCount": row["error_count"],
        "totalTokens": row["total_tokens"],
        "totalCost": row["total_cost"],
        "userId": name(row["user_id"]),
        "sessionId": name(row["session_id"], ID_CHARACTERS),
        "environment": name(row["environment"]),
        "release": name(row["release"]),
        "version": name(row["version"]),
        "tags": [name(str(tag)) for tag in orjson.loads(row["tags"] or "[]")[:MAX_TAGS]],
    }


def find_trace(reader: Reader, trace_id: str, tenant: str | None = None) -> tuple[str, str]:
    """The whole (trace id, tenant) for an id, the beginning of one, or `last`.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several that begin so.
    """
    if trace_id == "last":
        row = reader.row(SQL["last"])
        if row is None:
            raise NotFoundError("the store holds no trace yet: send one, or try `otel-bridge demo`")
        return row["trace_id"], row["tenant"]
    beginning = trace_id.lower()
    rows = reader.rows(SQL["found"], {"id": beginning, "tenant": tenant}) if HEX.fullmatch(beginning) else []
    if not rows:
        raise NotFoundError(f"the store holds no trace {trace_id!r}: `otel-bridge traces` lists those it holds")
    if rows[0]["trace_id"] != rows[-1]["trace_id"]:
        raise UsageError(f"several traces begin with {trace_id!r}: give more of the id")
    return rows[0]["trace_id"], rows[0]["tenant"]


def one_trace(
    reader: Reader,
    trace_id: str,
    *,
    tenant: str | None = None,
    limit: int = MAX_OBSERVATIONS,
    cursor: str | None = None,
) -> Answer:
    """One trace: its summary, input, output, metadata and scores, and its observations without their content.

    Observations come in tree order with their `depth`; a span that has not settled, or that no observation stands
    for, is among them with `settled` false. `nextCursor` is None on the last page.

    Raises:
        NotFoundError: there is none.
        UsageError: several begin so, or the limit or cursor can not be used.
    """
    offset = 0 if cursor is None else max(0, int(read_cursor(cursor, 0)[0]))
    if not 1 <= limit <= MAX_OBSERVATIONS:
        raise UsageError(f"limit is {limit}, it may be 1 to {MAX_OBSERVATIONS}")
    whole_id, its_tenant = find_trace(reader, trace_id, tenant)
    named = {"trace_id": whole_id, "tenant": its_tenant}
    condition = Condition("t.trace_id = ? AND t.tenant = ?", (whole_id, its_tenant))
    summary: Answer = page(reader, condition, "-start", 1, None)["traces"][0]
    content = reader.row(SQL["content"], (whole_id, its_tenant)) or {}
    rows = {row["id"]: row for row in reader.rows(SQL["observations"], named)}
    ordered = in_tree_order((row["id"], row["parent_id"]) for row in rows.values())
    return {
        **summary,
        "public": None if content.get("public") is None else bool(content["public"]),
        "metadata": loaded(content.get("metadata")) or {},
        "input": loaded(content.get("input")),
        "output": loaded(content.get("output")),
        "scores": scores_of_trace(reader, whole_id, its_tenant),
        "observations": [{**_light(rows[node]), "depth": depth} for node, depth in ordered[offset : offset + limit]],
        "nextCursor": write_cursor(offset + limit) if len(ordered) > offset + limit else None,
    }


def _light(row: Row) -> Answer:
    return {
        "id": row["id"],
        "parentObservationId": row["parent_id"],
        "type": row["type"],
        "name": name(row["name"]),
        "startTime": iso(row["start_ns"]),
        "endTime": iso(row["end_ns"]),
        "durationMs": milliseconds(row["start_ns"], row["end_ns"]),
        "level": row["level"],
        "statusMessage": name(row["status_message"]),
        "model": name(row["model"]),
        "totalTokens": row["tokens"],
        "totalCost": row["cost"],
        "settled": bool(row["settled"]),
    }


def one_observation(reader: Reader, trace_id: str, observation_id: str, *, tenant: str | None = None) -> Answer:
    """One observation with all it holds, and the events and log records of its span; long content is cut.

    Raises:
        NotFoundError: there is none.
        UsageError: several traces begin so.
    """
    whole_id, its_tenant = find_trace(reader, trace_id, tenant)
    named = {"trace_id": whole_id, "tenant": its_tenant, "id": observation_id}
    if row := reader.row(SQL["observation"], named):
        content = _settled_content(row)
    elif row := reader.row(SQL["span"], named):
        content = _span_content(row)
    else:
        raise NotFoundError(f"trace {whole_id} has no observation {observation_id!r}")
    return {
        **_light(row),
        "name": row["name"],
        "traceId": whole_id,
        **content,
        "events": [
            {
                "time": iso(event["time_ns"]),
                "name": name(event["name"]),
                "attributes": cut(attributes(Span.Event.FromString(event["event"]).attributes)),
            }
            for event in reader.rows(SQL["events"], named)
        ],
        "logs": [_log(log) for log in reader.rows(SQL["logs"], named)],
    }


def _settled_content(row: Row) -> Answer:
    detail = orjson.loads(row["detail"])
    completion_start_ns = detail.pop("completionStartNs", None)
    return {
        "statusMessage": row["status_message"],
        "completionStartTime": completion_start_ns and iso(completion_start_ns),
        **{key: cut(value) for key, value in detail.items()},
    }


def _span_content(row: Row) -> Answer:
    span = Span.FromString(row["span"])
    return {
        "statusMessage": span.status.message or None,
        "metadata": cut(attributes(span.attributes)),
        "resource": attributes(Resource.FromString(row["resource"] or b"").attributes),
        "scope": {"name": row["scope"]} if row["scope"] else None,
    }


def _log(row: Row) -> Answer:
    record = LogRecord.FromString(row["record"])
    return {
        "time": iso(row["time_ns"]),
        "name": name(row["event_name"]) or None,
        "severity": record.severity_text or None,
        "body": cut(plain(record.body)),
        "attributes": cut(attributes(record.attributes)),
    }
