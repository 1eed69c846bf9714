"""Scores: of one trace, or the newest of all."""

from otel_bridge.errors import UsageError
from otel_bridge.query.answer import Answer, loaded, moment, name
from otel_bridge.store.reader import Reader, Row

MAX_SCORES = 200

COMMENT_CHARACTERS = 5000
"""Of what a judge writes, of a label and of metadata: of all scores that are shown it is about 3 MB."""

COLUMNS = (
    "SELECT id, trace_id, observation_id, session_id, name, value, label, data_type, time_ns, environment, comment, "
    "metadata FROM scores"
)


def scores_of_trace(reader: Reader, trace_id: str, tenant: str) -> list[Answer]:
    """The scores of a trace and its observations, oldest first, `MAX_SCORES` at most."""
    where = "WHERE trace_id = ? AND tenant = ? ORDER BY time_ns, id LIMIT ?"
    return [_score(row) for row in reader.rows(f"{COLUMNS} {where}", (trace_id, tenant, MAX_SCORES))]


def score_count(reader: Reader, trace_id: str, tenant: str) -> int:
    """How many scores a trace and its observations have."""
    [row] = reader.rows("SELECT count(*) AS n FROM scores WHERE trace_id = ? AND tenant = ?", (trace_id, tenant))
    return int(row["n"])


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
        "value": name(row["label"], COMMENT_CHARACTERS) if row["value"] is None else row["value"],
        "dataType": row["data_type"],
        "comment": name(row["comment"], COMMENT_CHARACTERS),
        "timestamp": moment(row["time_ns"]),
        "environment": row["environment"],
        "metadata": loaded(row["metadata"], COMMENT_CHARACTERS),
    }
