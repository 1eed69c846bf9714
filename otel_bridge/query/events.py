"""Log records: events by name, and plain lines of a log; the newest first, by when they came."""

from collections.abc import Collection
from itertools import accumulate
from time import time_ns
from typing import Any

from otel_bridge.errors import UsageError
from otel_bridge.query.answer import Answer, moment, name
from otel_bridge.query.cursor import read_cursor, write_cursor
from otel_bridge.query.find import HEX, check_tenant, find_trace
from otel_bridge.query.names import as_glob, checked
from otel_bridge.query.observations import log_record
from otel_bridge.query.quantities import since_ns
from otel_bridge.query.resources import services
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements

SQL = statements("otel_bridge.query", "events.sql")

MAX_EVENTS = 200

MAX_NAMES = 50
"""That fit a pattern and are looked for one by one; where there are more, all records are gone through."""

PAGE_BYTES = 8_000_000
"""Of records on one page; the page ends with the one that passes this."""

NEWEST = (1 << 63) - 1
ANY = "1"
OF_TRACE = "trace_id = :trace"
OF_NAME = "event_name = :name AND event_name <> ''"
OF_NAMES = "event_name GLOB :name AND event_name <> ''"


def list_events(
    reader: Reader,
    pattern: str = "",
    limit: int = 50,
    cursor: str | None = None,
    *,
    trace: str | None = None,
    last: str | None = None,
    tenant: str | None = None,
    tenants: Collection[str] = (),
) -> Answer:
    """`{"events": [...], "nextCursor": ...}`: log records, those without a trace too, but no heartbeats of spans.

    pattern: the name of an event, or names with `*` in them, as `file.*`; `*` is every event that has a name, nothing
        every record.
    trace: an id, the beginning of one, or `last`.
    last: what came in that time, as `1h`.
    tenant: whose; None is everybody's. tenants: those that are configured.

    Raises:
        UsageError: something can not be used as it is, several traces begin so, or there is no such tenant.
        NotFoundError: there is no such trace.
    """
    if not 1 <= limit <= MAX_EVENTS:
        raise UsageError(f"limit is {limit}, it may be 1 to {MAX_EVENTS}")
    pattern = checked(pattern)
    seen_ns, row = (NEWEST, NEWEST) if cursor is None else _position(cursor)
    named = {
        "name": as_glob(pattern),
        "trace": None if trace is None else _trace(reader, trace, tenant),
        "since_ns": 0 if last is None else since_ns(last, time_ns()),
        "tenant": tenant,
        "seen_ns": seen_ns,
        "row": row,
        "limit": limit + 1,
    }
    found = _rows(reader, pattern, named)
    if not found:
        check_tenant(reader, tenant, tenants)
    held = accumulate(row["size"] for row in found[:limit])
    shown = found[: sum(size < PAGE_BYTES for size in held) + 1][:limit]
    of = services(reader, (row["resource_id"] for row in shown))
    return {
        "events": [_event(reader, row, of) for row in shown],
        "nextCursor": write_cursor(shown[-1]["seen_ns"], str(shown[-1]["row"])) if len(found) > len(shown) else None,
    }


def _rows(reader: Reader, pattern: str, named: dict[str, Any]) -> list[Row]:
    """The newest by an index that leads to them: of the trace, of each name, or of all."""
    if named["trace"] is not None:
        fits = f"{OF_TRACE} AND {OF_NAMES}" if pattern else OF_TRACE
        return reader.rows(SQL["page"].format(condition=fits), named)
    if not pattern:
        return reader.rows(SQL["page"].format(condition=ANY), named)
    names = [pattern]
    if "*" in pattern:
        asked = {"pattern": named["name"], "most": MAX_NAMES + 1}
        names = [row["name"] for row in reader.rows(SQL["names"], asked)]
    if len(names) > MAX_NAMES:
        return reader.rows(SQL["page"].format(condition=OF_NAMES), named)
    one = SQL["page"].format(condition=OF_NAME)
    found = [row for each in names for row in reader.rows(one, {**named, "name": each})]
    return sorted(found, key=lambda row: (row["seen_ns"], row["row"]), reverse=True)[: named["limit"]]


def _position(cursor: str) -> tuple[int, int]:
    seen_ns, row = read_cursor(cursor, 1)
    if not (isinstance(seen_ns, int) and row.isdecimal() and len(row) < len(str(NEWEST))):
        raise UsageError("the cursor is of another list: begin again without one")
    return seen_ns, int(row)


def _trace(reader: Reader, said: str, tenant: str | None) -> str:
    """The whole id; a trace may have records and no span that came."""
    beginning = said.lower()
    if said != "last" and HEX.fullmatch(beginning):
        [row] = reader.rows(SQL["traces"], {"id": beginning, "tenant": tenant})
        if row["first"] != row["last"]:
            raise UsageError(f"several traces begin with {said!r}: give more of the id")
        if row["first"] is not None:
            return str(row["first"])
    return find_trace(reader, said, tenant)[0]


def _event(reader: Reader, row: Row, of: dict[bytes, str | None]) -> Answer:
    [content] = reader.rows(SQL["record"], (row["row"],))
    time = row["time_ns"] or row["seen_ns"]
    said = log_record({**content, "time_ns": time, "event_name": row["event_name"]})
    return {
        "name": said["name"],
        "time": moment(time),
        "seenTime": moment(row["seen_ns"]),
        "severity": name(said["severity"]),
        "tenant": row["tenant"],
        "traceId": row["trace_id"],
        "observationId": row["span_id"],
        "scope": name(row["scope"]) or None,
        "service": of[row["resource_id"]],
        "body": said["body"],
        "attributes": said["attributes"],
    }
