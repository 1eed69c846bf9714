-- Spans that began after what stands above them in their own program had ended.
-- name: late
SELECT
    c.tenant, c.trace_id, c.id, c.name, p.name AS above, c.start_ns - p.end_ns AS late_ns, c.span, p.span AS above_span
FROM json_each(:traces) w
CROSS JOIN spans c INDEXED BY spans_by_trace ON c.trace_id = w.value ->> 0 AND c.tenant = w.value ->> 1
JOIN spans p ON p.trace_id = c.trace_id AND p.id = c.parent_id AND p.tenant = c.tenant
WHERE c.parent_place <> :remote AND c.resource_id = p.resource_id AND c.id <> p.id
AND p.status <> -1 AND p.end_ns BETWEEN p.start_ns AND c.start_ns - :tolerance
ORDER BY w.key, c.start_ns, c.id LIMIT :most;

-- Spans whose parent is in their own program and has not come, in a trace whose root has not come either, and of which
-- nothing has come for long: see `lacks_parent` in the store's schema.
-- name: orphans
SELECT c.tenant, c.trace_id, c.id, c.name
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
SELECT t.tenant, t.trace_id, t.name, t.start_ns, t.end_ns, t.metadata ->> '$."run.id"' AS run
FROM json_each(:traces) w CROSS JOIN traces t ON t.trace_id = w.value ->> 0 AND t.tenant = w.value ->> 1
WHERE instr(t.metadata, '"run.id"') AND t.settled AND run IS NOT NULL
ORDER BY t.tenant, run, t.start_ns, t.trace_id;

-- Whether a span of one trace has a link to another trace.
-- name: linked
SELECT 1 FROM spans INDEXED BY spans_by_trace
WHERE trace_id = :trace_id AND tenant = :tenant AND instr(span, unhex(:other)) LIMIT 1;

-- Calls of models that took no time and have nothing to show for it; and whatever gave a coroutine back.
-- name: at_once
SELECT o.tenant, o.trace_id, o.id, o.name, o.end_ns - o.start_ns AS took_ns
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
SELECT s.tenant, s.trace_id, s.id, s.name, s.span
FROM json_each(:traces) w
CROSS JOIN spans s INDEXED BY spans_by_trace ON s.trace_id = w.value ->> 0 AND s.tenant = w.value ->> 1
WHERE s.status IN (0, 1)
AND (instr(s.span, CAST('Cancelled' AS BLOB)) OR instr(s.span, CAST('otel_bridge.outcome' AS BLOB)))
ORDER BY w.key, s.start_ns, s.id LIMIT :most;

-- What stands below a span that failed by a cancellation, a timeout or a failure in a group of tasks; status 0: it says
-- nothing of itself, 2: it failed.
-- name: below_failed
SELECT
    c.tenant, c.trace_id, c.id, c.name, c.start_ns, c.end_ns, c.status,
    p.id AS above_id, p.name AS above, p.end_ns AS above_end_ns, p.span AS above_span
FROM json_each(:traces) w
CROSS JOIN spans c INDEXED BY spans_by_trace ON c.trace_id = w.value ->> 0 AND c.tenant = w.value ->> 1
JOIN spans p ON p.trace_id = c.trace_id AND p.id = c.parent_id AND p.tenant = c.tenant
WHERE p.status = 2 AND c.status IN (0, 2) AND c.resource_id = p.resource_id AND c.id <> p.id
AND c.start_ns >= p.start_ns AND c.end_ns <= p.end_ns AND (
    instr(p.span, CAST('CancelledError' AS BLOB)) OR instr(p.span, CAST('TaskGroup' AS BLOB))
    OR instr(p.span, CAST('otel_bridge.outcome' AS BLOB))
)
ORDER BY w.key, c.start_ns, c.id LIMIT :most;
