-- name: resource
INSERT INTO resources (id, seen_ns, resource) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET seen_ns = excluded.seen_ns;

-- One that has ended now is a new row, so that it is read again.
-- name: ended
DELETE FROM spans WHERE tenant = ? AND trace_id = ? AND id = ? AND status = -1;

-- name: span
INSERT INTO spans
    (tenant, trace_id, id, parent_id, parent_place, name, start_ns, end_ns, status, scope, resource_id, span)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace_id, id, tenant) DO UPDATE SET
    parent_id = excluded.parent_id,
    parent_place = excluded.parent_place,
    name = excluded.name,
    start_ns = excluded.start_ns,
    end_ns = excluded.end_ns,
    status = excluded.status,
    scope = excluded.scope,
    resource_id = excluded.resource_id,
    span = excluded.span;

-- One that has not ended: when it was told of last stands as its end, until it comes itself.
-- name: open_span
INSERT INTO spans
    (tenant, trace_id, id, parent_id, parent_place, name, start_ns, end_ns, status, scope, resource_id, span)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace_id, id, tenant) DO UPDATE SET
    end_ns = max(end_ns, excluded.end_ns),
    span = iif(length(excluded.span) > length(span), excluded.span, span) -- with attributes, which heartbeats lack
WHERE status = -1;

-- What comes next is read with what waits already; a root, whose name this is, postpones both, to so long after the
-- first of what waits came as it says for itself: of a trace whose roots go on coming nothing would ever be read.
-- SQLite gives the number of the last row again where that is gone, as that of a span which ended now. So this stands
-- between `ended` and `span`: what comes then is above all that was read.
-- name: provisional_trace
INSERT INTO traces
    (tenant, trace_id, settled, seen_ns, start_ns, end_ns, error_count, lacks_parent, hearsay, name, due_ns,
    unread_ns)
VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, 0, 63, ?7, ?8, ?3)
ON CONFLICT (trace_id, tenant) DO UPDATE SET
    start_ns = min(start_ns, excluded.start_ns),
    end_ns = max(end_ns, excluded.end_ns),
    error_count = max(error_count, excluded.error_count),
    name = coalesce(excluded.name, name),
    read_to = min(read_to, ifnull((SELECT max(rowid) FROM spans), 0)),
    due_ns = CASE
        WHEN excluded.due_ns IS NULL THEN due_ns
        WHEN due_ns IS NULL THEN excluded.due_ns
        WHEN excluded.name IS NULL THEN due_ns
        ELSE unread_ns + excluded.due_ns - excluded.seen_ns
    END,
    unread_ns = CASE WHEN due_ns IS NULL THEN excluded.seen_ns ELSE unread_ns END
WHERE settled = 0;

-- name: due
SELECT tenant, trace_id, read_to FROM traces WHERE due_ns <= ? ORDER BY due_ns LIMIT 1;

-- name: not_due
UPDATE traces SET due_ns = NULL WHERE tenant = ? AND trace_id = ?;

-- name: unread
SELECT rowid FROM spans INDEXED BY spans_by_trace
WHERE trace_id = :trace_id AND tenant = :tenant AND rowid > :read_to ORDER BY rowid LIMIT :at_most;

-- name: unread_span
SELECT s.id, s.scope, s.span, s.resource_id, r.resource
FROM spans s LEFT JOIN resources r ON r.id = s.resource_id WHERE s.rowid = ?;

-- name: reading
INSERT OR REPLACE INTO readings (tenant, trace_id, id, type, level, model) VALUES (?, ?, ?, ?, ?, ?);

-- Of one that has not ended, unless its end came first, which says more. Who tells of it without an attribute, as
-- heartbeats do, takes nothing back of what was told, whichever comes first.
-- name: open_reading
INSERT INTO readings (tenant, trace_id, id, type, level, model)
SELECT tenant, trace_id, id, ?4, ?5, ?6 FROM spans WHERE tenant = ?1 AND trace_id = ?2 AND id = ?3 AND status = -1
ON CONFLICT DO UPDATE SET type = excluded.type, level = excluded.level, model = excluded.model WHERE ?7;

-- The first who says something is heard.
-- name: words
UPDATE traces SET
    user_id = coalesce(user_id, :user_id),
    session_id = coalesce(session_id, :session_id),
    environment = coalesce(environment, :environment),
    release = coalesce(release, :release),
    version = coalesce(version, :version),
    tags = merged(tags, :tags)
WHERE trace_id = :trace_id AND tenant = :tenant AND settled = 0;

-- name: read
UPDATE traces SET read_to = :read_to, due_ns = :due_ns WHERE trace_id = :trace_id AND tenant = :tenant;

-- name: log
INSERT INTO logs
    (key, tenant, trace_id, span_id, time_ns, seen_ns, severity, event_name, scope, resource_id, record)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: point
INSERT INTO points
    (tenant, name, series, time_ns, seen_ns, kind, unit, is_monotonic, is_delta, start_ns, value, count, scope,
    resource_id, point)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: observation
INSERT INTO observations
    (tenant, trace_id, id, parent_id, type, name, start_ns, end_ns, level, model, tokens, cost, status_message,
    resource_id, detail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace_id, id, tenant) DO UPDATE SET
    parent_id = excluded.parent_id,
    type = excluded.type,
    name = excluded.name,
    start_ns = excluded.start_ns,
    end_ns = excluded.end_ns,
    level = excluded.level,
    model = excluded.model,
    tokens = excluded.tokens,
    cost = excluded.cost,
    status_message = excluded.status_message,
    resource_id = excluded.resource_id,
    detail = excluded.detail;

-- name: observed_resource
INSERT INTO observed_resources (tenant, trace_id, id, resource) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: omitted
INSERT INTO omitted (tenant, trace_id, id, decision, reason, seen_ns) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (trace_id, id, tenant) DO UPDATE SET decision = excluded.decision, reason = excluded.reason;

-- name: score
INSERT INTO scores
    (tenant, id, trace_id, observation_id, session_id, name, value, label, data_type, time_ns, seen_ns, environment,
    comment, metadata)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id, tenant) DO UPDATE SET
    trace_id = excluded.trace_id,
    observation_id = excluded.observation_id,
    session_id = excluded.session_id,
    name = excluded.name,
    value = excluded.value,
    label = excluded.label,
    data_type = excluded.data_type,
    time_ns = excluded.time_ns,
    environment = excluded.environment,
    comment = excluded.comment,
    metadata = excluded.metadata;

-- Rolled up from all observations of the trace that are here, so a part that comes twice counts once.
-- What a later part does not know (coalesce, merged) stays as an earlier part said it. What only spans have said stays
-- while something of it is open, as that may have said it.
-- One that has not ended is known by its name only: where it is the root, the trace is called by it, and not by what
-- ended first below it, until it comes or somebody says another name.
-- name: settled_trace
INSERT INTO traces
    (tenant, trace_id, settled, seen_ns, start_ns, end_ns, error_count, lacks_parent, hearsay, observation_count,
    total_tokens, total_cost, name, user_id, session_id, environment, release, version, public, tags, metadata, input,
    output)
SELECT
    :tenant, :trace_id, 1, :seen_ns, min(start_ns), max(end_ns), sum(level = 'ERROR'),
    rest.is_missing,
    CASE WHEN rest.is_missing OR rest.is_open THEN
        (:user_id IS NULL) + 2 * (:session_id IS NULL) + 4 * (:environment IS NULL) + 8 * (:release IS NULL)
        + 16 * (:version IS NULL) + 32 * (:tags IS NULL)
    ELSE 0 END,
    count(*), CASE WHEN count(tokens) THEN CAST(total(tokens) AS INTEGER) END, sum(cost),
    coalesce((
        SELECT s.name FROM spans s WHERE s.trace_id = :trace_id AND s.tenant = :tenant AND s.status = -1
        AND s.parent_id IS NULL AND s.name <> '' AND EXISTS (
            SELECT 1 FROM observations o
            WHERE o.trace_id = :trace_id AND o.tenant = :tenant AND o.name = :name AND NOT EXISTS (
                SELECT 1 FROM observations p WHERE p.trace_id = :trace_id AND p.id = o.parent_id AND p.tenant = :tenant
            )
        )
    ), :name),
    :user_id, :session_id, :environment, :release, :version, :public, :tags, :metadata, :input, :output
FROM observations, (
    SELECT
        NOT EXISTS (
            SELECT 1 FROM spans r WHERE r.trace_id = :trace_id AND r.tenant = :tenant AND r.parent_id IS NULL
            AND r.status <> -1
        ) AND EXISTS (
            SELECT 1 FROM spans s WHERE s.trace_id = :trace_id AND s.tenant = :tenant AND s.parent_place = :told
            AND s.parent_id IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM spans p WHERE p.trace_id = :trace_id AND p.id = s.parent_id AND p.tenant = :tenant)
            AND NOT EXISTS (
                SELECT 1 FROM observations p WHERE p.trace_id = :trace_id AND p.id = s.parent_id AND p.tenant = :tenant
            )
        ) AS is_missing,
        EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = :trace_id AND s.tenant = :tenant AND s.status = -1) AS is_open
) rest
WHERE trace_id = :trace_id AND tenant = :tenant
HAVING count(*) > 0
ON CONFLICT (trace_id, tenant) DO UPDATE SET
    settled = 1,
    due_ns = NULL,
    start_ns = excluded.start_ns,
    end_ns = excluded.end_ns,
    error_count = excluded.error_count,
    lacks_parent = excluded.lacks_parent,
    hearsay = hearsay & excluded.hearsay,
    observation_count = excluded.observation_count,
    total_tokens = excluded.total_tokens,
    total_cost = excluded.total_cost,
    name = coalesce(excluded.name, name),
    user_id = coalesce(excluded.user_id, CASE WHEN excluded.hearsay & 1 >= hearsay & 1 THEN user_id END),
    session_id = coalesce(excluded.session_id, CASE WHEN excluded.hearsay & 2 >= hearsay & 2 THEN session_id END),
    environment = coalesce(excluded.environment, CASE WHEN excluded.hearsay & 4 >= hearsay & 4 THEN environment END),
    release = coalesce(excluded.release, CASE WHEN excluded.hearsay & 8 >= hearsay & 8 THEN release END),
    version = coalesce(excluded.version, CASE WHEN excluded.hearsay & 16 >= hearsay & 16 THEN version END),
    public = coalesce(excluded.public, public),
    tags = coalesce(excluded.tags, CASE WHEN excluded.hearsay & 32 >= hearsay & 32 THEN tags END),
    metadata = merged(metadata, excluded.metadata),
    input = coalesce(excluded.input, input),
    output = coalesce(excluded.output, output);

-- name: oldest_traces
SELECT tenant, trace_id FROM traces ORDER BY seen_ns LIMIT max(1, (SELECT count(*) / 10 FROM traces));

-- name: traces_seen_before
SELECT tenant, trace_id FROM traces WHERE seen_ns < ? LIMIT 1000;

-- name: forget_trace
DELETE FROM spans WHERE trace_id = :trace_id AND tenant = :tenant;
DELETE FROM readings WHERE trace_id = :trace_id AND tenant = :tenant;
DELETE FROM observations WHERE trace_id = :trace_id AND tenant = :tenant;
DELETE FROM observed_resources WHERE trace_id = :trace_id AND tenant = :tenant;
DELETE FROM omitted WHERE trace_id = :trace_id AND tenant = :tenant;
DELETE FROM scores WHERE trace_id = :trace_id AND tenant = :tenant;
DELETE FROM logs WHERE trace_id = :trace_id AND tenant = :tenant;
DELETE FROM traces WHERE trace_id = :trace_id AND tenant = :tenant;

-- name: forget_loose_before
DELETE FROM logs WHERE seen_ns < :before_ns;
DELETE FROM points WHERE seen_ns < :before_ns;
DELETE FROM scores WHERE seen_ns < :before_ns;
DELETE FROM omitted WHERE seen_ns < :before_ns AND (trace_id, tenant) NOT IN (SELECT trace_id, tenant FROM traces);

-- The first tenth; rows are numbered as they come. What is told of a trace that is here goes with it.
-- name: forget_oldest_loose
DELETE FROM logs WHERE rowid <= (SELECT min(rowid) + (max(rowid) - min(rowid)) / 10 FROM logs);
DELETE FROM points WHERE rowid <= (SELECT min(rowid) + (max(rowid) - min(rowid)) / 10 FROM points);
DELETE FROM scores WHERE rowid <= (SELECT min(rowid) + (max(rowid) - min(rowid)) / 10 FROM scores)
    AND (trace_id IS NULL OR (trace_id, tenant) NOT IN (SELECT trace_id, tenant FROM traces));
DELETE FROM omitted WHERE seen_ns <= (SELECT min(seen_ns) + (max(seen_ns) - min(seen_ns)) / 10 FROM omitted)
    AND (trace_id, tenant) NOT IN (SELECT trace_id, tenant FROM traces);

-- What was last seen before anything that is still here came: nothing of that can be its.
-- name: forget_unused_resources
DELETE FROM resources WHERE seen_ns < min(
    ifnull((SELECT min(seen_ns) FROM traces), :now_ns),
    ifnull((SELECT min(seen_ns) FROM logs), :now_ns),
    ifnull((SELECT min(seen_ns) FROM points), :now_ns)
);
