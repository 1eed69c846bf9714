-- name: page
SELECT
    session_id, count(*) AS trace_count, min(start_ns) AS start_ns, max(end_ns) AS end_ns, max(start_ns) AS latest_ns,
    sum({error_count}) AS error_count, sum(total_tokens) AS total_tokens, sum(total_cost) AS total_cost,
    json_group_array(DISTINCT user_id) AS users, json_group_array(DISTINCT tenant) AS tenants
FROM traces t
WHERE session_id IS NOT NULL AND (:only IS NULL OR session_id = :only) AND (:tenant IS NULL OR tenant = :tenant)
GROUP BY session_id
HAVING :latest_ns IS NULL OR (max(start_ns), session_id) < (:latest_ns, :session_id)
ORDER BY latest_ns DESC, session_id DESC
LIMIT :limit;

-- name: content
SELECT input, output FROM traces WHERE trace_id = :trace_id AND tenant = :tenant;
