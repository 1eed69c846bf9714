-- Traces of which something has not ended and that are silent, or in which nothing moves: when one of these spans was
-- told of last, and when anything of them began, ended or was logged last. Those that do not move for longest first.
-- name: open
WITH open AS (
    SELECT trace_id, tenant, max(end_ns) AS told_ns, max(start_ns) AS began_ns, count(*) AS open_count
    FROM spans INDEXED BY spans_open
    WHERE status = -1 AND (:tenant IS NULL OR tenant = :tenant)
    GROUP BY trace_id, tenant HAVING max(end_ns) >= :since AND (max(end_ns) < :silent OR max(start_ns) < :still)
), moved AS (
    SELECT open.*, max(
        began_ns,
        ifnull((
            SELECT max(end_ns) FROM spans s
            WHERE s.trace_id = open.trace_id AND s.tenant = open.tenant AND s.status <> -1
        ), 0),
        ifnull((
            SELECT max(time_ns) FROM logs l WHERE l.trace_id = open.trace_id AND l.tenant = open.tenant
            AND l.event_name NOT LIKE 'otel\_bridge.span.%' ESCAPE '\'
        ), 0)
    ) AS moved_ns
    FROM open
)
SELECT moved.*, t.name
FROM moved LEFT JOIN traces t ON t.trace_id = moved.trace_id AND t.tenant = moved.tenant
WHERE told_ns < :silent OR moved_ns < :still
ORDER BY moved_ns, moved.trace_id, moved.tenant LIMIT :most;

-- name: spans
SELECT id, parent_id, substr(name, 1, 200) AS name, start_ns FROM spans INDEXED BY spans_open
WHERE trace_id = :trace_id AND tenant = :tenant AND status = -1 ORDER BY start_ns DESC, id LIMIT :most;

-- name: span
SELECT span FROM spans WHERE trace_id = :trace_id AND tenant = :tenant AND id = :id;
