"""Scores: of one trace, or the newest of all."""

import orjson

from otel_bridge.errors import UsageError
from otel_bridge.query.answer import Answer, iso, name
from otel_bridge.store.reader import Reader, Row

MAX_SCORES = 200

COLUMNS = (
    "SELECT id, trace_id, observation_id, session_id, name, value, label, data_type, time_ns, environment, comment, "
    "metadata FROM scores"
)


def scores_of_trace(reader: Reader, trace_id: str, tenant: str) -> list[Answer]:
    """The scores of a trace and its observations, oldest first, `MAX_SCORES` at most."""
    where = "WHERE trace_id = ? AND tenant = ? ORDER BY time_ns, id LIMIT ?"
    return [_score(row) for row in reader.rows(f"{COLUMNS} {where}", (trace_id, tenant, MAX_SCORES))]


def list_scores(reader: Reader, limit: int = 50) -> Answer:
    """`{"scores": [...]}`: the newest.

    Raises:
        UsageError: the limit can not be used.
    """
    if not 1 <= limit <= MAX_SCORES:
        raise UsageError(f"limit is {limit}, it may be 1 to {MAX_SCORES}")
    rows = reader.rows(f"{COLUMNS} ORDER BY time_ns DESC, id LIMIT ?", (limit,))
    return {"scores": [_score(row) for row in rows]}


def _score(row: Row) -> Answer:
    return {
        "id": row["id"],
        "traceId": row["trace_id"],
        "observationId": row["observation_id"],
        "sessionId": row["session_id"],
        "name": name(row["name"]),
        "value": row["label"] if row["value"] is None else row["value"],
        "dataType": row["data_type"],
        "comment": name(row["comment"]),
        "timestamp": iso(row["time_ns"]),
        "environment": row["environment"],
        "metadata": orjson.loads(row["metadata"]),
    }
