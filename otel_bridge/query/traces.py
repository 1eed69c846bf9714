"""Traces: a list to page through, and one as a tree."""

from collections.abc import Collection
from contextlib import suppress

import orjson

from otel_bridge.errors import UsageError
from otel_bridge.query.answer import ID_CHARACTERS, Answer, loaded, milliseconds, moment, name, usd
from otel_bridge.query.cursor import read_cursor, write_cursor
from otel_bridge.query.filter import ALL, ERROR_COUNT, OBSERVATION_COUNT, PARTIAL, Condition, compile_filter
from otel_bridge.query.find import check_tenant, find_trace, other_tenants
from otel_bridge.query.observations import light, whole
from otel_bridge.query.scores import score_count, scores_of_trace
from otel_bridge.query.tree import in_tree_order
from otel_bridge.query.unfinished import unfinished
from otel_bridge.store.reader import Reader, Row, SlowQuestionError
from otel_bridge.store.statements import statements

SQL = statements("otel_bridge.query", "traces.sql")

SORTS = {
    "start": "t.start_ns",
    "duration": "(t.end_ns - t.start_ns)",
    "tokens": "coalesce(t.total_tokens, 0)",
    "cost": "coalesce(t.total_cost, 0)",
    "errors": ERROR_COUNT,
}
MAX_TRACES = 200
MAX_TAGS = 50
MAX_OBSERVATIONS = 2500
"""On one page of a tree; with names cut, that stays below 2 MB."""

FULL_BYTES = 8_000_000
"""Of content on one page of a tree; the page ends with the observation that passes this."""


def list_traces(
    reader: Reader,
    filter_text: str = "",
    sort: str = "-start",
    limit: int = 50,
    cursor: str | None = None,
    *,
    tenant: str | None = None,
    tenants: Collection[str] = (),
) -> Answer:
    """`{"traces": [...], "nextCursor": ...}`: summaries of the traces that a filter holds for.

    sort: start, duration, tokens, cost or errors, descending with a `-` before it.
    tenant: whose, letter for letter; None is everybody's. tenants: those that are configured.
    cursor: the `nextCursor` of the page before, asked with the same sort; None on the last page.

    Raises:
        UsageError: the filter, sort, limit or cursor can not be used, or there is no such tenant.
    """
    condition = compile_filter(filter_text)
    if tenant is not None:
        condition = Condition(f"({condition.sql}) AND t.tenant = ?", (*condition.values, tenant))
    found = page(reader, condition, sort, limit, cursor)
    if not found["traces"]:
        check_tenant(reader, tenant, tenants)
    return found


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
        observation_count=OBSERVATION_COUNT,
        error_count=ERROR_COUNT,
        partial=PARTIAL,
        key=key,
        condition=f"{condition.sql} AND {after.sql}",
        direction="DESC" if descending else "ASC",
    )
    rows = reader.rows(sql, (*condition.values, *after.values, limit + 1))
    following = rows[limit - 1] if len(rows) > limit else None
    return {
        "traces": [_summary(row) for row in rows[:limit]],
        "nextCursor": following and write_cursor(following["sort_key"], following["trace_id"], following["tenant"]),
    }


def _summary(row: Row) -> Answer:
    done = "ok" if row["settled"] else row["decision"] or "open"
    return {
        "id": row["trace_id"],
        "tenant": row["tenant"],
        "name": name(row["name"]),
        "status": "error" if row["error_count"] else done,
        "settled": bool(row["settled"]),
        "partial": bool(row["partial"]),
        "omitted": row["decision"] and f"{row['decision']}:{row['reason']}",
        "startTime": moment(row["start_ns"]),
        "endTime": moment(row["end_ns"]),
        "durationMs": milliseconds(row["start_ns"], row["end_ns"]),
        "observationCount": row["observation_count"],
        "errorCount": row["error_count"],
        "totalTokens": row["total_tokens"],
        "totalCost": usd(row["total_cost"]),
        "userId": name(row["user_id"], ID_CHARACTERS),
        "sessionId": name(row["session_id"], ID_CHARACTERS),
        "environment": name(row["environment"]),
        "release": name(row["release"]),
        "version": name(row["version"]),
        "tags": [name(str(tag)) for tag in orjson.loads(row["tags"] or "[]")[:MAX_TAGS]],
    }


def one_trace(
    reader: Reader,
    trace_id: str,
    *,
    tenant: str | None = None,
    limit: int = MAX_OBSERVATIONS,
    cursor: str | None = None,
    full: bool = False,
) -> Answer:
    """One trace: its summary, input, output, metadata and scores, and its observations.

    tenant: whose; where it is not said and several have one of this id, it is that of `default`, else of the first by
        name. `otherTenants` has the others.
    full: observations come with all they hold, as `one_observation` answers, and not without their content.

    `partial`: it has settled, and something of it has not ended; or neither its root nor another span's parent has
    come. Observations come in tree order with their `depth`, below a parent that came later, too; a span that has
    not settled, or that no observation stands for, is among them with `settled` false, and `open` if it has not
    ended: its end is then when it was told of last. `omitted` says why, where nothing will become of it;
    `unfinished` what is waited for. `scoreCount` counts all scores, where only the first are shown. These two are
    told on the first page, and None where there is no time left for them. `links` are for who knows of any.
    `nextCursor` is None on the last page.

    Raises:
        NotFoundError: there is none.
        UsageError: several begin so, or the limit or cursor can not be used.
    """
    passed, last_id = (0, None) if cursor is None else read_cursor(cursor, 1)
    if not 1 <= limit <= MAX_OBSERVATIONS:
        raise UsageError(f"limit is {limit}, it may be 1 to {MAX_OBSERVATIONS}")
    whole_id, its_tenant = find_trace(reader, trace_id, tenant)
    named = {"trace_id": whole_id, "tenant": its_tenant}
    condition = Condition("t.trace_id = ? AND t.tenant = ?", (whole_id, its_tenant))
    summary: Answer = page(reader, condition, "-start", 1, None)["traces"][0]
    content = reader.row(SQL["content"], (whole_id, its_tenant)) or {}
    rows = {row["id"]: row for row in reader.rows(SQL["observations"], named)}
    ordered = in_tree_order((row["id"], row["parent_id"]) for row in rows.values())
    # After the last that was shown, though others may have come before it since; where that is gone, after as many.
    offset = next((i + 1 for i, (node, _) in enumerate(ordered) if node == last_id), max(0, int(passed)))
    observations: list[Answer] = []
    room = FULL_BYTES
    for node, depth in ordered[offset : offset + limit]:
        held = whole(reader, whole_id, its_tenant, node) if full else light(rows[node])
        parent_id = rows[node]["parent_id"]
        above = None if depth == 0 and parent_id in rows else parent_id  # that closed a circle
        observations.append({**held, "parentObservationId": above, "depth": depth})
        room -= len(orjson.dumps(held)) if full else 0
        if room < 0:
            break
    end = offset + len(observations)
    found: Answer = {
        **summary,
        "unfinished": None,
        "otherTenants": other_tenants(reader, whole_id, its_tenant),
        "public": None if content.get("public") is None else bool(content["public"]),
        "metadata": loaded(content.get("metadata")) or {},
        "input": loaded(content.get("input")),
        "output": loaded(content.get("output")),
        "scores": scores_of_trace(reader, whole_id, its_tenant),
        "scoreCount": None,
        "links": [],
        "observations": observations,
        "nextCursor": write_cursor(end, ordered[end - 1][0]) if len(ordered) > end else None,
    }
    if cursor is None:
        with suppress(SlowQuestionError):  # a trace is worth showing without them
            found["scoreCount"] = score_count(reader, whole_id, its_tenant)
            found["unfinished"] = unfinished(reader, whole_id, its_tenant, summary)
    return found
