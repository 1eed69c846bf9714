"""Sessions: those that traces name, the most recent first, and one with its traces."""

from collections.abc import Collection

import orjson

from otel_bridge.errors import UsageError
from otel_bridge.query.answer import ID_CHARACTERS, Answer, cut, milliseconds, moment, name, usd
from otel_bridge.query.cursor import read_cursor, write_cursor
from otel_bridge.query.filter import ERROR_COUNT, Condition
from otel_bridge.query.find import NotFoundError, check_tenant
from otel_bridge.query.names import storable
from otel_bridge.query.traces import page
from otel_bridge.query.transcript import calls_tools, messages_of
from otel_bridge.store.reader import Reader, Row
from otel_bridge.store.statements import statements

SQL = statements("otel_bridge.query", "sessions.sql")
PAGE = SQL["page"].format(error_count=ERROR_COUNT)

MAX_SESSIONS = 200
MAX_USERS = 20

TURN_CHARACTERS = 20_000
"""Of what was said to a trace of a session, and of its answer; a page of them stays below 8 MB."""

ANSWERING = ("assistant", "ai", "model")
"""Who a message may come from that a trace before has given."""
STANDING = ("system", "developer")
"""Who says the same in every turn."""


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
    reader: Reader,
    session_id: str,
    limit: int = 50,
    cursor: str | None = None,
    *,
    tenant: str | None = None,
    sort: str = "-start",
    turns: bool = False,
) -> Answer:
    """A session's summary with a page of its traces, in an order of `list_traces`; of one tenant's, or of all who use
    its id.

    turns: each trace comes with its `input`, of messages those since the last answer, and its `output`; both are null
        until it has settled, and cut where they are long.

    Raises:
        NotFoundError: no trace names it.
        UsageError: the limit, sort or cursor can not be used.
    """
    session_id = storable(session_id)
    named = {"only": session_id, "tenant": tenant, "latest_ns": None, "session_id": None, "limit": 1}
    row = reader.row(PAGE, named)
    if row is None:
        of = "" if tenant is None else f" of the tenant {tenant[:50]!r}"
        raise NotFoundError(
            f"the store holds no session {session_id!r}{of}: `otel-bridge sessions` lists those it holds"
        )
    condition = Condition("t.session_id = ?", (session_id,))
    if tenant is not None:
        condition = Condition(f"{condition.sql} AND t.tenant = ?", (*condition.values, tenant))
    found = page(reader, condition, sort, limit, cursor)
    if turns:
        found["traces"] = [{**trace, **_turn(reader, trace)} for trace in found["traces"]]
    return {**_summary(row), **found}


def _turn(reader: Reader, trace: Answer) -> Answer:
    """What was said to a trace, and its answer."""
    [content] = reader.rows(SQL["content"], {"trace_id": trace["id"], "tenant": trace["tenant"]})
    said, answered = (content[key] and orjson.loads(content[key]) for key in ("input", "output"))
    if messages := messages_of(said):
        answers = (i for i, each in enumerate(messages) if each["role"] in ANSWERING and not calls_tools(each))
        last = max(answers, default=-1)
        new = messages[last + 1 :] or messages[last:]
        said = [each for each in new if each["role"] not in STANDING] or new
    return {
        "input": None if said is None else cut(said, TURN_CHARACTERS),
        "output": None if answered is None else cut(answered, TURN_CHARACTERS),
    }


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
        "userIds": sorted(name(user) or "" for user in orjson.loads(row["users"]) if user)[:MAX_USERS],
    }
