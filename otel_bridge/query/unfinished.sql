-- name: spans
SELECT id, name, start_ns, end_ns, count(*) OVER () AS of FROM spans
WHERE trace_id = :trace_id AND tenant = :tenant AND status = -1 ORDER BY start_ns, id LIMIT :most;

-- Spans that others name as what stands above them, and that have not come; each with the first of those others, and
-- where that says it is. Of a settled trace only those in the program of the other. Large columns are read at the end.
-- name: parents
WITH named AS (
    SELECT parent_id AS id, min(start_ns) AS start_ns, count(*) AS children, rowid AS first FROM spans
    WHERE trace_id = :trace_id AND tenant = :tenant AND parent_id IS NOT NULL GROUP BY parent_id
), missing AS (
    SELECT * FROM named WHERE NOT EXISTS (
        SELECT 1 FROM spans p WHERE p.trace_id = :trace_id AND p.id = named.id AND p.tenant = :tenant
    ) AND NOT EXISTS (
        SELECT 1 FROM observations o WHERE o.trace_id = :trace_id AND o.id = named.id AND o.tenant = :tenant
    ) AND (NOT :settled OR (SELECT span_flags(span) & :remote = :told FROM spans WHERE rowid = named.first))
    ORDER BY start_ns, id LIMIT :most
)
SELECT missing.id, missing.children, s.name AS child, span_flags(s.span) & :remote AS place
FROM missing JOIN spans s ON s.rowid = missing.first ORDER BY missing.start_ns, missing.id;
