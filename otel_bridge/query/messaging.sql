-- Rows are numbered as they come: a trace that began long ago may tell of a message of today.
-- name: spans
SELECT
    s.tenant, s.trace_id, s.id, s.parent_id, s.name, s.start_ns, s.end_ns, s.status, s.span, r.resource,
    s.rowid > newest.row - :half AS is_new
FROM (SELECT ifnull(max(rowid), 0) AS row FROM spans) newest
CROSS JOIN spans s LEFT JOIN resources r ON r.id = s.resource_id
WHERE s.rowid > newest.row - :whole AND (:tenant IS NULL OR s.tenant = :tenant)
AND instr(s.span, CAST('messaging.operation' AS BLOB))
ORDER BY s.rowid;

-- name: logs
SELECT
    l.tenant, l.trace_id, l.span_id AS id, l.event_name AS name, l.time_ns, l.record, r.resource,
    l.rowid > newest.row - :half AS is_new
FROM (SELECT ifnull(max(rowid), 0) AS row FROM logs) newest
CROSS JOIN logs l LEFT JOIN resources r ON r.id = l.resource_id
WHERE l.rowid > newest.row - :whole AND (:tenant IS NULL OR l.tenant = :tenant)
AND l.event_name NOT LIKE 'otel\_bridge.span.%' ESCAPE '\'
AND instr(l.record, CAST('messaging.operation' AS BLOB))
ORDER BY l.rowid;
