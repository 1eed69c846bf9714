-- name: spans
SELECT
    s.tenant, s.trace_id, s.id, s.parent_id, substr(s.name, 1, 200) AS name, s.start_ns, s.end_ns, s.status,
    coalesce(o.type, said.type) AS type
FROM json_each(:traces) w
CROSS JOIN spans s INDEXED BY spans_by_trace ON s.trace_id = w.value ->> 0 AND s.tenant = w.value ->> 1
LEFT JOIN observations o ON o.trace_id = s.trace_id AND o.id = s.id AND o.tenant = s.tenant
LEFT JOIN readings said ON said.trace_id = s.trace_id AND said.id = s.id AND said.tenant = s.tenant
WHERE s.status <> -1 AND s.end_ns >= s.start_ns
ORDER BY w.key, s.start_ns, s.id;

-- name: said
SELECT id, detail ->> '$.input' AS input, detail ->> '$.output' AS output
FROM observations
WHERE trace_id = :trace_id AND tenant = :tenant AND id IN (SELECT value FROM json_each(:ids)) AND length(detail) < :most;
