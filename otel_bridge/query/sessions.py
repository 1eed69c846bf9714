"""Sessions: those that traces name, the most recent first, and one with its traces."""

from otel_bridge.errors import UsageError
from otel_bridge.query.answer import ID_CHARACTERS, Answer, iso, milliseconds, name, usd
from otel_bridge.query.cursor import read_cursor, write_cursor
from otel_bridge.query.filter import Condition
from otel_bridge.query.find import NotFoundError
from otel_bridge.query.traces import page
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements

SQL = statements("otel_bridge.query", "sessions.sql")

MAX_SESSIONS = 200


def list_sessions(reader: Reader, limit: int = 50, cursor: str | None = None) -> Answer:
    """`{"sessions": [...], "nextCursor": ...}`, by the start of their latest trace.

    Raises:
        UsageError: the limit or cursor can not be used.
    """
    if not 1 <= limit <= MAX_SESSIONS:
        raise UsageError(f"limit is {limit}, it may be 1 to {MAX_SESSIONS}")
    latest_ns, session_id = (None, None) if cursor is None else read_cursor(cursor, 1)
    rows = reader.rows(
        SQL["page"], {"only": None, "latest_ns": latest_ns, "session_id": session_id, "limit": limit + 1}
    )
    following = rows[limit - 1] if len(rows) > limit else None
    return {
        "sessions": [_summary(row) for row in rows[:limit]],
        "nextCursor": following and write_cursor(following["latest_ns"], following["session_id"]),
    }


def one_session(reader: Reader, session_id: str, limit: int = 50, cursor: str | None = None) -> Answer:
    """A session's summary with a page of its traces, the newest first.

    Raises:
        NotFoundError: no trace names it.
        UsageError: the limit or cursor can not be used.
    """
    row = reader.row(SQL["page"], {"only": session_id, "latest_ns": None, "session_id": None, "limit": 1})
    if row is None:
        raise NotFoundError(f"the store holds no session {session_id!r}")
    return {**_summary(row), **page(reader, Condition("t.session_id = ?", (session_id,)), "-start", limit, cursor)}


def _summary(row: Row) -> Answer:
    return {
        "id": name(row["session_id"], ID_CHARACTERS),
        "traceCount": row["trace_count"],
        "startTime": iso(row["start_ns"]),
        "endTime": iso(row["end_ns"]),
        "durationMs": milliseconds(row["start_ns"], row["end_ns"]),
        "errorCount": row["error_count"],
        "totalTokens": row["total_tokens"],
        "totalCost": usd(row["total_cost"]),
        "userId": name(row["user_id"]),
    }
