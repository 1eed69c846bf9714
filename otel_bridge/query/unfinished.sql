-- name: spans
SELECT id, name, start_ns, end_ns, count(*) OVER () AS of FROM spans
WHERE trace_id = :trace_id AND tenant = :tenant AND status = -1 ORDER BY start_ns, id LIMIT :most;

-- Spans that others name as what stands above them, and that have not come; each with the first of those others, and
-- where that says it is. Of a settled trace only those in the program of the other, and only
-- where its root has not come: see `lacks_parent` in the store's schema.
-- name: parents
WITH named AS (
    SELECT parent_id AS id, min(start_ns) AS start_ns, count(*) AS children, name AS child, parent_place AS place
    FROM spans
    WHERE trace_id = :trace_id AND tenant = :tenant AND parent_id IS NOT NULL GROUP BY parent_id
), missing AS (
    SELECT * FROM named WHERE NOT EXISTS (
        SELECT 1 FROM spans p WHERE p.trace_id = :trace_id AND p.id = named.id AND p.tenant = :tenant
    ) AND NOT EXISTS (
        SELECT 1 FROM observations o WHERE o.trace_id = :trace_id AND o.id = named.id AND o.tenant = :tenant
    ) AND (NOT :settled OR (place = :told AND NOT EXISTS (
        SELECT 1 FROM spans r WHERE r.trace_id = :trace_id AND r.tenant = :tenant AND r.parent_id IS NULL
        AND r.status <> -1
    )))
    ORDER BY start_ns, id LIMIT :most
)
SELECT id, children, child, place FROM missing ORDER BY start_ns, id;
