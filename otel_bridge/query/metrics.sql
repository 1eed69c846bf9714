-- Names, series and tenants are each found from the one before, whatever stands between.

-- name: tenants
WITH RECURSIVE each (tenant) AS (
    SELECT min(tenant) FROM points
    UNION ALL
    SELECT (SELECT min(tenant) FROM points WHERE tenant > each.tenant) FROM each WHERE tenant IS NOT NULL
)
SELECT tenant FROM each WHERE tenant IS NOT NULL;

-- name: names
WITH RECURSIVE each (name) AS (
    SELECT min(name) FROM points WHERE tenant = :tenant AND name > :after
    UNION ALL
    SELECT (SELECT min(name) FROM points WHERE tenant = :tenant AND name > each.name) FROM each WHERE name IS NOT NULL
)
SELECT name FROM each WHERE name GLOB :pattern LIMIT :limit;

-- Of the series that have a point until then, so many at most: how many of them there are since when (all of them where
-- that is 0), the newest first.
-- name: series
WITH RECURSIVE each (series, n) AS (
    SELECT min(series), 1 FROM points WHERE tenant = :tenant AND name = :name
    UNION ALL
    SELECT (SELECT min(series) FROM points WHERE tenant = :tenant AND name = :name AND series > each.series), n + 1
    FROM each WHERE series IS NOT NULL AND n < :most
), latest AS (
    SELECT series, (
        SELECT max(time_ns) FROM points p
        WHERE p.tenant = :tenant AND p.name = :name AND p.series = each.series AND p.time_ns <= :until_ns
    ) AS time_ns
    FROM each WHERE series IS NOT NULL
)
SELECT series, time_ns, count(*) OVER () AS of FROM latest WHERE time_ns >= :since_ns
ORDER BY time_ns DESC, series LIMIT :limit;

-- name: count
SELECT count(*) AS n FROM (SELECT 1 FROM points WHERE tenant = :tenant AND name = :name LIMIT :most);

-- What it measures is of a length that nobody knows: read where it is not over 1 MB.
-- name: point
SELECT
    kind, unit, is_monotonic, is_delta, time_ns, value, count, scope, resource_id,
    CASE WHEN length(point) <= 1048576 THEN point END AS point
FROM points WHERE tenant = :tenant AND name = :name AND series = :series AND time_ns = :time_ns;

-- One series: `value` is what it says itself, `rate` how much more it was per second than at the point before, `mean`
-- what was added to a histogram's sum by how many. What begins anew (its program was restarted) counts from 0; of the
-- first point there is only what was added since its start, where that is in the time asked for.
-- name: points
WITH said AS (
    SELECT
        time_ns, start_ns, value, count, lag(time_ns) OVER w AS before_ns,
        CASE WHEN coalesce(count, value) >= lag(coalesce(count, value)) OVER w AND start_ns < lag(time_ns) OVER w
            THEN lag(value) OVER w ELSE 0 END AS value_before,
        CASE WHEN coalesce(count, value) >= lag(coalesce(count, value)) OVER w AND start_ns < lag(time_ns) OVER w
            THEN lag(count) OVER w ELSE 0 END AS count_before
    FROM points
    WHERE tenant = :tenant AND name = :name AND series = :series AND time_ns <= :until_ns
        AND time_ns >= ifnull((
            SELECT max(time_ns) FROM points
            WHERE tenant = :tenant AND name = :name AND series = :series AND time_ns < :since_ns
        ), :since_ns)
        AND kind = :kind AND is_delta = :is_delta AND value BETWEEN -1e100 AND 1e100 -- nothing measures more
    WINDOW w AS (ORDER BY time_ns)
), added AS (
    SELECT
        time_ns, value,
        CASE WHEN :is_delta THEN value ELSE value - value_before END AS more,
        CASE WHEN :is_delta THEN count ELSE count - count_before END AS more_count,
        (time_ns - CASE WHEN before_ns IS NULL OR (:is_delta AND start_ns > 0) THEN start_ns ELSE before_ns END) / 1e9
            AS seconds
    FROM said
    WHERE time_ns >= :since_ns
        AND (
            :stat = 'value' OR before_ns IS NOT NULL OR (:is_delta AND :stat = 'mean')
            OR (start_ns > 0 AND (:is_delta OR start_ns >= :since_ns))
        )
), parts AS (
    SELECT
        time_ns,
        CASE :stat WHEN 'value' THEN value ELSE more END AS part,
        CASE :stat WHEN 'value' THEN 1.0 WHEN 'rate' THEN seconds ELSE more_count END AS whole
    FROM added
), measured AS (
    SELECT
        time_ns, part, whole, ntile(:most) OVER (ORDER BY time_ns) AS bucket,
        lead(time_ns) OVER (ORDER BY time_ns) IS NULL AS is_last
    FROM parts WHERE whole > 0
)
SELECT
    (min(time_ns) + (max(time_ns) - min(time_ns)) / 2) AS time_ns, count(*) AS n, sum(part) AS part, sum(whole) AS whole,
    min(part / whole) AS low, max(part / whole) AS high, max(CASE WHEN is_last THEN part / whole END) AS last
FROM measured GROUP BY bucket ORDER BY bucket;
