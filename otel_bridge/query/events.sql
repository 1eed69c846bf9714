-- Those that tell of spans which have not ended are no events of anybody's: left out everywhere.

-- Newest first by when they came. Without their content, which is read of those alone that are shown.
-- name: page
SELECT
    rowid AS row, tenant, trace_id, span_id, time_ns, seen_ns, severity, event_name, scope, resource_id,
    length(record) AS size
FROM logs
WHERE {condition} AND seen_ns >= :since_ns AND (:tenant IS NULL OR tenant = :tenant)
    AND (seen_ns, rowid) < (:seen_ns, :row) AND event_name NOT GLOB 'otel_bridge.span.*'
ORDER BY seen_ns DESC, rowid DESC LIMIT :limit;

-- name: record
SELECT record FROM logs WHERE rowid = ?;

-- Which names there are; each is found from the one before, whatever stands between.
-- name: names
WITH RECURSIVE named (name) AS (
    SELECT min(event_name) FROM logs WHERE event_name <> ''
    UNION ALL
    SELECT (SELECT min(event_name) FROM logs WHERE event_name > named.name AND event_name <> '')
    FROM named WHERE name IS NOT NULL
)
SELECT name FROM named WHERE name GLOB :pattern AND name NOT GLOB 'otel_bridge.span.*' LIMIT :most;

-- The first and the last trace that has records and an id like this.
-- name: traces
SELECT
    (SELECT trace_id FROM logs WHERE trace_id >= :id AND trace_id < :id || 'g'
        AND (:tenant IS NULL OR tenant = :tenant) ORDER BY trace_id LIMIT 1) AS first,
    (SELECT trace_id FROM logs WHERE trace_id >= :id AND trace_id < :id || 'g'
        AND (:tenant IS NULL OR tenant = :tenant) ORDER BY trace_id DESC LIMIT 1) AS last;
