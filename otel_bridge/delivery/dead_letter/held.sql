-- How many letters there are and how long they are together, kept by whoever writes: to count them takes as long as
-- there are many.

CREATE TEMP TABLE held (
    exporter TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    letters  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (exporter, tenant, reason)
) STRICT, WITHOUT ROWID;

CREATE TEMP TABLE counted (
    data_version INTEGER NOT NULL    -- SQLite's number for what others have written, when they were counted last
) STRICT;

CREATE TEMP TRIGGER letter_came AFTER INSERT ON main.letter BEGIN
    INSERT INTO held VALUES (new.exporter, new.tenant, new.reason, 1, length(new.content))
    ON CONFLICT DO UPDATE SET letters = letters + 1, bytes = bytes + excluded.bytes;
END;

CREATE TEMP TRIGGER letter_went AFTER DELETE ON main.letter BEGIN
    UPDATE held SET letters = letters - 1, bytes = bytes - length(old.content)
    WHERE exporter = old.exporter AND tenant = old.tenant AND reason = old.reason;
END;

CREATE TEMP TRIGGER letter_changed AFTER UPDATE OF reason ON main.letter WHEN new.reason <> old.reason BEGIN
    UPDATE held SET letters = letters - 1, bytes = bytes - length(old.content)
    WHERE exporter = old.exporter AND tenant = old.tenant AND reason = old.reason;
    INSERT INTO held VALUES (new.exporter, new.tenant, new.reason, 1, length(new.content))
    ON CONFLICT DO UPDATE SET letters = letters + 1, bytes = bytes + excluded.bytes;
END;
