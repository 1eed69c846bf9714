-- name: traces
SELECT
    trace_id, tenant,
    (SELECT count(*) FROM spans s WHERE s.trace_id = t.trace_id AND s.tenant = t.tenant) AS spans
FROM traces t INDEXED BY traces_by_seen
WHERE seen_ns >= :since AND (:tenant IS NULL OR tenant = :tenant)
ORDER BY seen_ns DESC, trace_id, tenant
LIMIT :most;
