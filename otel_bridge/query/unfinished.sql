-- name: spans
SELECT id, name, start_ns, end_ns, count(*) OVER () AS of FROM spans
WHERE trace_id = :trace_id AND tenant = :tenant AND status = -1 ORDER BY start_ns, id LIMIT :most;

-- Spans that others name as what stands above them, and that have not come; each with the first of those others.
-- name: parents
SELECT s.parent_id AS id, s.name AS child, s.span, min(s.start_ns) AS start_ns, count(*) AS children FROM spans s
WHERE s.trace_id = :trace_id AND s.tenant = :tenant AND s.parent_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM spans p WHERE p.trace_id = s.trace_id AND p.id = s.parent_id AND p.tenant = s.tenant
) AND NOT EXISTS (
    SELECT 1 FROM observations o WHERE o.trace_id = s.trace_id AND o.id = s.parent_id AND o.tenant = s.tenant
)
GROUP BY s.parent_id ORDER BY min(s.start_ns), s.parent_id LIMIT :most;
