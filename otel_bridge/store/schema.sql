-- What came is kept as OTLP bytes, decoded when somebody looks; what it became is kept as Langfuse's words.
-- The two never share a row, so what is provisional can not overwrite what has settled.
-- Large columns stand last: a row is then read only as far as it is needed.

-- settled = 0: only spans have come; then the words are what these said, observation_count, sums and content are
-- unknown (errors: none, or some).
-- lacks_parent: settled without its root, and without a span that another one of its own program names as its parent.
-- (Where its root has ended, all below it mostly has: what is missing there was left out at the door, or lost.)
-- hearsay: which of its words may be of spans that have not settled, as no part that has settled said them: the sum of
-- 1 user_id, 2 session_id, 4 environment, 8 release, 16 version, 32 tags. 0 once it has settled with nothing left.
-- seen_ns: when the bridge first saw it; retention goes by this, as the times of spans may be anything.
-- due_ns: when what its spans say is to be read, if it has not settled by then; NULL: there is nothing new to read.
-- unread_ns: when the first of that came.
-- read_to: the row of the last span that was read.
CREATE TABLE traces (
    tenant TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    settled INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    error_count INTEGER NOT NULL,
    lacks_parent INTEGER NOT NULL,
    hearsay INTEGER NOT NULL,
    due_ns INTEGER,
    unread_ns INTEGER,
    read_to INTEGER NOT NULL DEFAULT 0,
    observation_count INTEGER,
    total_tokens INTEGER,
    total_cost REAL,
    name TEXT,
    user_id TEXT,
    session_id TEXT,
    environment TEXT,
    release TEXT,
    version TEXT,
    public INTEGER,
    tags TEXT,
    metadata TEXT,
    input TEXT,
    output TEXT,
    PRIMARY KEY (trace_id, tenant)
);
CREATE INDEX traces_by_start ON traces (start_ns, trace_id, tenant);
CREATE INDEX traces_by_seen ON traces (seen_ns);
CREATE INDEX traces_due ON traces (due_ns) WHERE due_ns IS NOT NULL;
CREATE INDEX traces_by_session ON traces (session_id, start_ns) WHERE session_id IS NOT NULL;

CREATE TABLE observations (
    tenant TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    id TEXT NOT NULL,
    parent_id TEXT,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    level TEXT NOT NULL,
    model TEXT,
    tokens INTEGER,
    cost REAL,
    status_message TEXT,
    resource_id BLOB NOT NULL,
    detail TEXT NOT NULL,
    UNIQUE (trace_id, id, tenant)
);

-- What the observations of a trace came under, as JSON: once for all of them, and gone with them.
CREATE TABLE observed_resources (
    tenant TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    id BLOB NOT NULL,
    resource TEXT NOT NULL,
    UNIQUE (trace_id, id, tenant)
);

-- parent_place: of its flags, those that tell whether its parent is in its own program.
CREATE TABLE spans (
    tenant TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    id TEXT NOT NULL,
    parent_id TEXT,
    parent_place INTEGER NOT NULL,
    name TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    status INTEGER NOT NULL,
    scope TEXT NOT NULL,
    resource_id BLOB NOT NULL,
    span BLOB NOT NULL,
    UNIQUE (trace_id, id, tenant)
);
CREATE INDEX spans_by_trace ON spans (trace_id, tenant); -- in the order in which they came
CREATE INDEX spans_open ON spans (trace_id, tenant) WHERE status = -1;

-- What spans say of themselves, where it was read before their trace had settled. Not in `spans`, as a column that
-- changes there has all of the span written again.
CREATE TABLE readings (
    tenant TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    level TEXT NOT NULL,
    model TEXT,
    PRIMARY KEY (trace_id, id, tenant)
) WITHOUT ROWID;

-- Spans that no observation stands for, and traces that are not kept (their `id` is ''), and why. What came of them
-- stays as it came.
CREATE TABLE omitted (
    tenant TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    id TEXT NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT NOT NULL,
    seen_ns INTEGER NOT NULL,
    PRIMARY KEY (trace_id, id, tenant)
) WITHOUT ROWID;
CREATE INDEX omitted_by_seen ON omitted (seen_ns);

CREATE TABLE scores (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    trace_id TEXT,
    observation_id TEXT,
    session_id TEXT,
    name TEXT NOT NULL,
    value REAL,
    label TEXT,
    data_type TEXT NOT NULL,
    time_ns INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL,
    environment TEXT,
    comment TEXT,
    metadata TEXT NOT NULL,
    PRIMARY KEY (id, tenant)
);
CREATE INDEX scores_by_trace ON scores (trace_id);
CREATE INDEX scores_by_time ON scores (time_ns);
CREATE INDEX scores_by_seen ON scores (seen_ns);

-- Log records have no id: their key is a digest of their bytes, so that the same record twice is one row.
-- event_name: of the record, else of its attribute `event.name`, as older programs say it; '' where it is no event.
CREATE TABLE logs (
    key BLOB NOT NULL,
    tenant TEXT NOT NULL,
    trace_id TEXT,
    span_id TEXT,
    time_ns INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    event_name TEXT NOT NULL,
    scope TEXT NOT NULL,
    resource_id BLOB NOT NULL,
    record BLOB NOT NULL,
    UNIQUE (key, tenant)
);
CREATE INDEX logs_by_trace ON logs (trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX logs_by_seen ON logs (seen_ns);
CREATE INDEX logs_by_name ON logs (event_name, seen_ns) WHERE event_name <> '';

-- series: a digest of resource, scope and attributes. value: the number, or a histogram's sum.
-- is_monotonic: a sum that only grows. is_delta: value and count are of the time since start_ns, or since the point
-- before; else (0) since the program began, or, of a gauge, at this time.
CREATE TABLE points (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    series BLOB NOT NULL,
    time_ns INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    is_monotonic INTEGER NOT NULL,
    is_delta INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    value REAL,
    count INTEGER,
    scope TEXT NOT NULL,
    resource_id BLOB NOT NULL,
    point BLOB NOT NULL,
    UNIQUE (tenant, name, series, time_ns)
);
CREATE INDEX points_by_seen ON points (seen_ns);

-- seen_ns: when it was last seen.
CREATE TABLE resources (
    id BLOB PRIMARY KEY,
    seen_ns INTEGER NOT NULL,
    resource BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX resources_by_seen ON resources (seen_ns);
