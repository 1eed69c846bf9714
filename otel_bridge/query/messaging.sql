-- Rows are numbered as they come: a trace that began long ago may tell of a message of today.
-- The newest come first, as who asks may have enough; without a join, so that no whole spans are sorted.
-- name: spans
SELECT
    s.tenant, s.trace_id, s.id, s.parent_id, substr(s.name, 1, 200) AS name, s.start_ns, s.end_ns, s.status, s.span,
    s.resource_id,
    s.rowid > (SELECT max(rowid) FROM spans) - :half AS is_new
FROM spans s
WHERE s.rowid > (SELECT max(rowid) FROM spans) - :whole AND (:tenant IS NULL OR s.tenant = :tenant)
AND length(s.span) <= :bytes AND instr(s.span, CAST('messaging.operation' AS BLOB))
ORDER BY s.rowid DESC;

-- name: logs
SELECT
    l.tenant, l.trace_id, l.span_id AS id, substr(l.event_name, 1, 200) AS name, l.time_ns, l.record, l.resource_id,
    l.rowid > (SELECT max(rowid) FROM logs) - :half AS is_new
FROM logs l
WHERE l.rowid > (SELECT max(rowid) FROM logs) - :whole AND (:tenant IS NULL OR l.tenant = :tenant)
AND l.event_name NOT LIKE 'otel\_bridge.span.%' ESCAPE '\'
AND length(l.record) <= :bytes AND instr(l.record, CAST('messaging.operation' AS BLOB))
ORDER BY l.rowid DESC;

-- name: resource
SELECT resource FROM resources WHERE id = :id AND length(resource) <= :bytes;
