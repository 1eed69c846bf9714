-- Of many rows ids alone are asked for, as spans can be large and one may stand above thousands.
-- name: span
SELECT span FROM spans WHERE trace_id = :trace_id AND id = :id AND tenant = :tenant AND length(span) <= :bytes;

-- Spans that began after what stands above them in their own program had ended.
-- name: late
SELECT c.tenant, c.trace_id, c.id, substr(c.name, 1, 200) AS name, p.id AS above_id, substr(p.name, 1, 200) AS above
FROM json_each(:traces) w
CROSS JOIN spans c INDEXED BY spans_by_trace ON c.trace_id = w.value ->> 0 AND c.tenant = w.value ->> 1
JOIN spans p ON p.trace_id = c.trace_id AND p.id = c.parent_id AND p.tenant = c.tenant
WHERE c.parent_place <> :remote AND c.resource_id = p.resource_id AND c.id <> p.id
AND p.status <> -1 AND p.end_ns BETWEEN p.start_ns AND c.start_ns - :tolerance
ORDER BY w.key, c.start_ns, c.id LIMIT :most;

-- Spans whose parent is in their own program and has not come, in a trace whose root has not come either, and of which
-- nothing has come for long: see `lacks_parent` in the store's schema.
-- name: orphans
SELECT c.tenant, c.trace_id, c.id, substr(c.name, 1, 200) AS name
FROM json_each(:traces) w
CROSS JOIN traces t ON t.trace_id = w.value ->> 0 AND t.tenant = w.value ->> 1
CROSS JOIN spans c INDEXED BY spans_by_trace ON c.trace_id = t.trace_id AND c.tenant = t.tenant
WHERE t.settled AND t.lacks_parent AND t.end_ns < :quiet AND c.parent_place = :told AND c.parent_id IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM spans o WHERE o.trace_id = t.trace_id AND o.tenant = t.tenant AND o.status = -1)
AND NOT EXISTS (SELECT 1 FROM spans p WHERE p.trace_id = c.trace_id AND p.id = c.parent_id AND p.tenant = c.tenant)
AND NOT EXISTS (
    SELECT 1 FROM observations p WHERE p.trace_id = c.trace_id AND p.id = c.parent_id AND p.tenant = c.tenant
)
ORDER BY w.key, c.start_ns, c.id LIMIT :most;

-- Traces that say of which run they are a part.
-- name: runs
SELECT t.tenant, t.trace_id, substr(t.name, 1, 200) AS name, t.start_ns, t.end_ns, t.metadata ->> '$."run.id"' AS run
FROM json_each(:traces) w CROSS JOIN traces t ON t.trace_id = w.value ->> 0 AND t.tenant = w.value ->> 1
WHERE instr(t.metadata, '"run.id"') AND t.settled AND length(run) <= 200
ORDER BY t.tenant, run, t.start_ns, t.trace_id;

-- Whether a span of one trace has a link to another trace.
-- name: linked
SELECT 1 FROM spans INDEXED BY spans_by_trace
WHERE trace_id = :trace_id AND tenant = :tenant AND instr(span, unhex(:other)) LIMIT 1;

-- Calls of models that took no time and have nothing to show for it; and whatever gave a coroutine back.
-- name: at_once
SELECT o.tenant, o.trace_id, o.id, substr(o.name, 1, 200) AS name, o.end_ns - o.start_ns AS took_ns
FROM json_each(:traces) w
CROSS JOIN spans s INDEXED BY spans_by_trace ON s.trace_id = w.value ->> 0 AND s.tenant = w.value ->> 1
JOIN observations o ON o.trace_id = s.trace_id AND o.id = s.id AND o.tenant = s.tenant
WHERE s.status <> -1 AND o.level <> 'ERROR' AND (
    (
        o.type = 'GENERATION' AND o.end_ns - o.start_ns BETWEEN 0 AND :moment AND o.tokens IS NULL
        AND o.detail ->> '$.output' IS NULL AND (s.trace_id, s.tenant, s.id) NOT IN (
            SELECT c.trace_id, c.tenant, c.parent_id
            FROM json_each(:traces) v
            CROSS JOIN spans c INDEXED BY spans_by_trace ON c.trace_id = v.value ->> 0 AND c.tenant = v.value ->> 1
            WHERE c.parent_id IS NOT NULL
        )
    )
    OR (instr(o.detail, '<coroutine object ') AND o.detail ->> '$.output' GLOB '<coroutine object * at 0x*>')
    OR (instr(o.detail, '<async_generator object ') AND o.detail ->> '$.output' GLOB '<async_generator object * at 0x*>')
)
ORDER BY w.key, o.start_ns, o.id LIMIT :most;

-- Spans that did not fail and say a word of a cancellation.
-- name: marked
SELECT s.tenant, s.trace_id, s.id, substr(s.name, 1, 200) AS name
FROM json_each(:traces) w
CROSS JOIN spans s INDEXED BY spans_by_trace ON s.trace_id = w.value ->> 0 AND s.tenant = w.value ->> 1
WHERE s.status IN (0, 1) AND length(s.span) <= :bytes
AND (instr(s.span, CAST('Cancelled' AS BLOB)) OR instr(s.span, CAST('otel_bridge.outcome' AS BLOB)))
ORDER BY w.key, s.start_ns, s.id LIMIT :most;

-- Spans that failed and say a word of a cancellation, a timeout or a group of tasks.
-- name: failed
SELECT s.tenant, s.trace_id, s.id
FROM json_each(:traces) w
CROSS JOIN spans s INDEXED BY spans_by_trace ON s.trace_id = w.value ->> 0 AND s.tenant = w.value ->> 1
WHERE s.status = 2 AND length(s.span) <= :bytes AND (
    instr(s.span, CAST('CancelledError' AS BLOB)) OR instr(s.span, CAST('TaskGroup' AS BLOB))
    OR instr(s.span, CAST('otel_bridge.outcome' AS BLOB))
)
ORDER BY w.key, s.start_ns, s.id LIMIT :most;

-- What stands below some that failed, a JSON list of (trace id, tenant, id); status 0: it says nothing of itself,
-- 2: it failed.
-- name: below
SELECT
    c.tenant, c.trace_id, c.id, substr(c.name, 1, 200) AS name, c.start_ns, c.end_ns, c.status,
    p.id AS above_id, substr(p.name, 1, 200) AS above, p.end_ns AS above_end_ns
FROM json_each(:traces) w
CROSS JOIN spans c INDEXED BY spans_by_trace ON c.trace_id = w.value ->> 0 AND c.tenant = w.value ->> 1
JOIN spans p ON p.trace_id = c.trace_id AND p.id = c.parent_id AND p.tenant = c.tenant
WHERE c.status IN (0, 2) AND c.resource_id = p.resource_id AND c.id <> p.id
AND (c.trace_id, c.tenant, c.parent_id) IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(:failed))
AND c.start_ns >= p.start_ns AND c.end_ns <= p.end_ns
ORDER BY w.key, c.start_ns, c.id LIMIT :most;
