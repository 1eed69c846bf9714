-- What is known of the journal's entries. Items are spans, log records or metrics as they were accepted.

CREATE TABLE exporter (              -- every exporter that ever read a pipeline
    pipeline  TEXT NOT NULL,
    exporter  TEXT NOT NULL,
    settled   INTEGER NOT NULL,      -- 1: takes settled parts of traces, 0: takes entries as they come
    PRIMARY KEY (pipeline, exporter)
) STRICT, WITHOUT ROWID;

CREATE TABLE absence (               -- what came while it was not configured is none of its business
    pipeline  TEXT NOT NULL,
    exporter  TEXT NOT NULL,
    from_seq  INTEGER NOT NULL,      -- 0: before it was ever configured
    until_seq INTEGER NOT NULL,      -- the first that is its business again; the highest integer: it is still away
    PRIMARY KEY (pipeline, exporter, from_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE base (                  -- what had been accepted whenever it came, less what had been whenever it went
    pipeline TEXT NOT NULL,
    exporter TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    signal   TEXT NOT NULL,
    items    INTEGER NOT NULL,
    PRIMARY KEY (pipeline, exporter, tenant, signal)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (                -- everything up to and with this entry (or part) is confirmed
    pipeline TEXT NOT NULL,
    exporter TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (pipeline, exporter, tenant)
) STRICT, WITHOUT ROWID;

CREATE TABLE postponed (             -- a stretch before the cursor's position that is not confirmed: it always failed
    pipeline TEXT NOT NULL,
    exporter TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    low      INTEGER NOT NULL,       -- up to and with this one all of it is confirmed
    high     INTEGER NOT NULL,       -- the last of it
    PRIMARY KEY (pipeline, exporter, tenant, high)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (                -- what became of accepted items
    pipeline TEXT NOT NULL,
    exporter TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    signal   TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    reason   TEXT NOT NULL,
    items    INTEGER NOT NULL,
    PRIMARY KEY (pipeline, exporter, tenant, signal, outcome, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE assembly (              -- how far a pipeline's assembly has come
    pipeline    TEXT PRIMARY KEY,
    low_seq     INTEGER NOT NULL,    -- everything below lies in a recorded part, or is accounted for
    scanned_seq INTEGER NOT NULL     -- up to and with this entry, what belongs to no trace is accounted for
) STRICT, WITHOUT ROWID;

CREATE TABLE apart (                 -- how many items of an entry from low_seq on are accounted for without a part
    pipeline TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    items    INTEGER NOT NULL,
    PRIMARY KEY (pipeline, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE part (                  -- parts of traces that have settled
    id          INTEGER PRIMARY KEY,
    pipeline    TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    key         TEXT NOT NULL,
    number      INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    last_seq    INTEGER NOT NULL,
    entries     TEXT NOT NULL,       -- JSON: [[seq, signal, items], ...]
    bytes       INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    settled     TEXT NOT NULL,
    decision    TEXT NOT NULL,
    known       TEXT                 -- JSON: what the parts before it left
) STRICT;
CREATE INDEX part_of_tenant ON part (pipeline, tenant, id);
CREATE INDEX part_by_first_seq ON part (pipeline, first_seq);
CREATE INDEX part_by_last_seq ON part (pipeline, last_seq);

CREATE TABLE remembered (            -- what a late span of a trace must know
    pipeline   TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    key        TEXT NOT NULL,
    parts      INTEGER NOT NULL,
    decision   TEXT NOT NULL,
    known      TEXT NOT NULL,        -- JSON
    expires_ns INTEGER NOT NULL,
    PRIMARY KEY (pipeline, tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX remembered_until ON remembered (pipeline, expires_ns);

CREATE TABLE answer (                -- what tells of a provider's response, for who knows no more than its id
    pipeline       TEXT NOT NULL,
    tenant         TEXT NOT NULL,
    response_id    TEXT NOT NULL,
    trace_id       TEXT NOT NULL,
    observation_id TEXT NOT NULL,
    scope          TEXT NOT NULL,
    start_ns       INTEGER NOT NULL,
    end_ns         INTEGER NOT NULL,
    environment    TEXT,
    counted        INTEGER NOT NULL, -- 1: its usage counts
    expires_ns     INTEGER NOT NULL,
    PRIMARY KEY (pipeline, tenant, response_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX answer_until ON answer (expires_ns);

CREATE TABLE spent (                 -- what of its budgets a tenant has spent; of whom a budget is, its name says
    pipeline   TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    budget     TEXT NOT NULL,
    amount     INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL,     -- nobody asks for it any more
    PRIMARY KEY (pipeline, tenant, budget)
) STRICT, WITHOUT ROWID;

CREATE TABLE paused (                -- exporters that nothing is sent to until somebody says so
    exporter TEXT NOT NULL,
    tenant   TEXT NOT NULL,          -- of whom; empty: of all
    PRIMARY KEY (exporter, tenant)
) STRICT, WITHOUT ROWID;

CREATE TABLE redeemed (              -- dead letters that another outcome has been counted for, and that may still lie there
    letter TEXT PRIMARY KEY,
    at_ns  INTEGER NOT NULL          -- when it was set aside: one that was set aside later is another
) STRICT, WITHOUT ROWID;

CREATE TABLE replay (                -- what is to be sent again, and how far that has come
    id           INTEGER PRIMARY KEY,
    pipeline     TEXT NOT NULL,
    exporter     TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    since_ns     INTEGER NOT NULL,
    until_ns     INTEGER NOT NULL,
    position     INTEGER NOT NULL,   -- as that of a cursor
    end_position INTEGER NOT NULL
) STRICT;

CREATE TABLE replayed (              -- what became of items that were sent again; they are not accepted again
    pipeline TEXT NOT NULL,
    exporter TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    signal   TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    reason   TEXT NOT NULL,
    items    INTEGER NOT NULL,
    PRIMARY KEY (pipeline, exporter, tenant, signal, outcome, reason)
) STRICT, WITHOUT ROWID;
