"""Sessions: those that traces name, the most recent first, and one with its traces."""

from collections.abc import Collection

import orjson

from otel_bridge.errors import UsageError
from otel_bridge.query.answer import ID_CHARACTERS, Answer, milliseconds, moment, name, usd
from otel_bridge.query.cursor import read_cursor, write_cursor
from otel_bridge.query.filter import ERROR_COUNT, Condition
from otel_bridge.query.find import NotFoundError, check_tenant
from otel_bridge.query.traces import page
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements

PAGE = statements("otel_bridge.query", "sessions.sql")["page"].format(error_count=ERROR_COUNT)

MAX_SESSIONS = 200


def list_sessions(
    reader: Reader,
    limit: int = 50,
    cursor: str | None = None,
    *,
    tenant: str | None = None,
    tenants: Collection[str] = (),
) -> Answer:
    """`{"sessions": [...], "nextCursor": ...}`, by the start of their latest trace.

    tenant: of whose traces alone; without it a session is one, whoever uses its id, and `tenants` of it says who.
    tenants: those that are configured.

    Raises:
        UsageError: the limit or cursor can not be used, or there is no such tenant.
    """
    if not 1 <= limit <= MAX_SESSIONS:
        raise UsageError(f"limit is {limit}, it may be 1 to {MAX_SESSIONS}")
    latest_ns, session_id = (None, None) if cursor is None else read_cursor(cursor, 1)
    named = {"only": None, "tenant": tenant, "latest_ns": latest_ns, "session_id": session_id, "limit": limit + 1}
    rows = reader.rows(PAGE, named)
    if not rows:
        check_tenant(reader, tenant, tenants)
    following = rows[limit - 1] if len(rows) > limit else None
    return {
        "sessions": [_summary(row) for row in rows[:limit]],
        "nextCursor": following and write_cursor(following["latest_ns"], following["session_id"]),
    }


def one_session(
    reader: Reader, session_id: str, limit: int = 50, cursor: str | None = None, *, tenant: str | None = None
) -> Answer:
    """A session's summary with a page of its traces, the newest first; of one tenant's, or of all who use its id.

    Raises:
        NotFoundError: no trace names it.
        UsageError: the limit or cursor can not be used.
    """
    named = {"only": session_id, "tenant": tenant, "latest_ns": None, "session_id": None, "limit": 1}
    row = reader.row(PAGE, named)
    if row is None:
        of = "" if tenant is None else f" of the tenant {tenant[:50]!r}"
        raise NotFoundError(f"the store holds no session {session_id!r}{of}")
    condition = Condition("t.session_id = ?", (session_id,))
    if tenant is not None:
        condition = Condition(f"{condition.sql} AND t.tenant = ?", (*condition.values, tenant))
    return {**_summary(row), **page(reader, condition, "-start", limit, cursor)}


def _summary(row: Row) -> Answer:
    return {
        "id": name(row["session_id"], ID_CHARACTERS),
        "tenants": sorted(orjson.loads(row["tenants"])),
        "traceCount": row["trace_count"],
        "startTime": moment(row["start_ns"]),
        "endTime": moment(row["end_ns"]),
        "durationMs": milliseconds(row["start_ns"], row["end_ns"]),
        "errorCount": row["error_count"],
        "totalTokens": row["total_tokens"],
        "totalCost": usd(row["total_cost"]),
        "userId": name(row["user_id"]),
    }
