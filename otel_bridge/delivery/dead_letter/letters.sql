CREATE TABLE letter (                -- items that a destination will never take
    id       TEXT PRIMARY KEY,       -- derived from whose it is and its content: twice is once
    pipeline TEXT NOT NULL,
    exporter TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    kind     TEXT NOT NULL,          -- the signal of an OTLP request, or 'translation'
    reason   TEXT NOT NULL,
    answer   TEXT NOT NULL,          -- what the destination said, cut
    at_ns    INTEGER NOT NULL,
    items    INTEGER NOT NULL,       -- how many of the ledger's it stands for; 0 where it was set aside by a replay
    content  BLOB NOT NULL           -- an OTLP request with one item, or a translation with one as JSON
) STRICT;
CREATE INDEX letter_by_time ON letter (at_ns);
