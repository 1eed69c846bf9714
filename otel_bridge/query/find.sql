-- name: last
SELECT trace_id, tenant FROM traces
WHERE (:tenant IS NULL OR tenant = :tenant) AND seen_ns = (
    SELECT seen_ns FROM traces WHERE :tenant IS NULL OR tenant = :tenant ORDER BY seen_ns DESC LIMIT 1
)
ORDER BY start_ns DESC LIMIT 1;

-- name: tenants
SELECT DISTINCT tenant FROM traces ORDER BY tenant;

-- By its id or the beginning of it.
-- name: trace
SELECT
    trace_id, coalesce(max(CASE tenant WHEN 'default' THEN tenant END), min(tenant)) AS tenant,
    group_concat(tenant, ', ') AS tenants, count(*) AS of_tenants
FROM traces WHERE trace_id >= :id AND trace_id < :id || 'g' AND (:tenant IS NULL OR tenant = :tenant)
GROUP BY trace_id ORDER BY trace_id LIMIT 2;

-- name: others
SELECT tenant FROM traces WHERE trace_id = :trace_id AND tenant <> :tenant ORDER BY tenant;

-- By its id, else by the beginning of it or its name, else by a part of its name: closeness 0, 1, 2.
-- name: observation
SELECT
    id, min(start_ns) AS start_ns,
    min(CASE
        WHEN id = :said THEN 0
        WHEN name = :said OR substr(id, 1, length(:said)) = lower(:said) THEN 1
        ELSE 2
    END) AS closeness
FROM (
    SELECT id, name, start_ns FROM observations WHERE trace_id = :trace_id AND tenant = :tenant
    UNION ALL
    SELECT id, name, start_ns FROM spans WHERE trace_id = :trace_id AND tenant = :tenant
)
WHERE instr(name, :said) OR substr(id, 1, length(:said)) = lower(:said)
GROUP BY id ORDER BY closeness, start_ns, id LIMIT 5;

-- name: omitted
SELECT o.decision || ':' || o.reason AS omitted FROM omitted o JOIN traces t
    ON t.trace_id = o.trace_id AND t.tenant = o.tenant AND NOT t.settled
WHERE o.trace_id = :trace_id AND o.tenant = :tenant AND o.id = '';
