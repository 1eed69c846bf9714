-- name: observation
SELECT
    o.id, o.parent_id, o.type, o.name, o.start_ns, o.end_ns, o.level, o.model, o.tokens, o.cost, o.status_message,
    1 AS settled, 0 AS open, NULL AS omitted, r.resource, o.detail
FROM observations o
JOIN observed_resources r ON r.trace_id = o.trace_id AND r.id = o.resource_id AND r.tenant = o.tenant
WHERE o.trace_id = :trace_id AND o.tenant = :tenant AND o.id = :id;

-- name: span
SELECT
    s.id, s.parent_id, 'SPAN' AS type, s.name, s.start_ns, s.end_ns,
    CASE s.status WHEN 2 THEN 'ERROR' ELSE 'DEFAULT' END AS level, NULL AS model, NULL AS tokens, NULL AS cost,
    NULL AS status_message, 0 AS settled, s.status = -1 AS open, s.scope, s.span, r.resource,
    (SELECT reason FROM omitted o WHERE o.trace_id = s.trace_id AND o.id = s.id AND o.tenant = s.tenant) AS omitted
FROM spans s LEFT JOIN resources r ON r.id = s.resource_id
WHERE s.trace_id = :trace_id AND s.tenant = :tenant AND s.id = :id;

-- Without those that only say that it has not ended.
-- name: logs
SELECT time_ns, event_name, record, count(*) OVER () AS log_count FROM logs
WHERE trace_id = :trace_id AND tenant = :tenant AND span_id = :id AND event_name NOT LIKE 'otel\_bridge.span.%' ESCAPE '\'
ORDER BY time_ns LIMIT :most;
