-- name: page
SELECT
    t.tenant, t.trace_id, t.settled, t.start_ns, t.end_ns, t.total_tokens, t.total_cost,
    t.name, t.user_id, t.session_id, t.environment, t.release, t.version, t.tags,
    {observation_count} AS observation_count, {error_count} AS error_count, {partial} AS partial,
    {key} AS sort_key, left_out.decision, left_out.reason
FROM traces t LEFT JOIN omitted left_out
    ON NOT t.settled AND left_out.trace_id = t.trace_id AND left_out.id = '' AND left_out.tenant = t.tenant
WHERE {condition}
ORDER BY {key} {direction}, t.trace_id {direction}, t.tenant {direction}
LIMIT ?;

-- name: content
SELECT public, metadata, input, output FROM traces WHERE trace_id = ? AND tenant = ?;

-- What has settled, and spans that have not or that no observation stands for. What settled before its parent came has
-- none, as is told elsewhere; here it stands below that once it is known.
-- name: observations
SELECT
    id, coalesce(parent_id, (
        SELECT s.parent_id FROM spans s
        WHERE s.trace_id = :trace_id AND s.id = observations.id AND s.tenant = :tenant AND (
            EXISTS (
                SELECT 1 FROM spans p
                WHERE p.trace_id = :trace_id AND p.id = s.parent_id AND p.tenant = :tenant AND p.status = -1
            ) OR EXISTS (
                SELECT 1 FROM observations p WHERE p.trace_id = :trace_id AND p.id = s.parent_id AND p.tenant = :tenant
            )
        )
    )) AS parent_id, type, name, start_ns, end_ns, level, model, tokens, cost, status_message, 1 AS settled, 0 AS open,
    NULL AS omitted
FROM observations WHERE trace_id = :trace_id AND tenant = :tenant
UNION ALL
SELECT
    s.id, s.parent_id, coalesce(said.type, 'SPAN'), s.name, s.start_ns, s.end_ns,
    coalesce(said.level, CASE s.status WHEN 2 THEN 'ERROR' ELSE 'DEFAULT' END), said.model, NULL, NULL, NULL, 0,
    s.status = -1,
    (SELECT reason FROM omitted o WHERE o.trace_id = s.trace_id AND o.id = s.id AND o.tenant = s.tenant)
FROM spans s LEFT JOIN readings said ON said.trace_id = s.trace_id AND said.id = s.id AND said.tenant = s.tenant
WHERE s.trace_id = :trace_id AND s.tenant = :tenant AND NOT EXISTS (
    SELECT 1 FROM observations o WHERE o.trace_id = s.trace_id AND o.id = s.id AND o.tenant = s.tenant
)
ORDER BY start_ns, end_ns DESC, id;
