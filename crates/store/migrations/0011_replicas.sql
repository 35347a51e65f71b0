-- Who serves this database, and how far each has read the changes. Outside any MAC: it grants nothing.
CREATE TABLE replicas (
    id TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    renewed_at BIGINT NOT NULL,
    applied_seq BIGINT NOT NULL
);

-- The newest batch of usage that each process wrote, so that none is counted twice.
CREATE TABLE usage_batches (
    replica_id TEXT PRIMARY KEY,
    number BIGINT NOT NULL,
    written_at BIGINT NOT NULL
);

-- While an installation is being copied into this database: a row with an empty name for all of it, and one for each
-- table, with the rowid up to which it was copied.
CREATE TABLE relocations (
    table_name TEXT PRIMARY KEY,
    installation_id TEXT NOT NULL,
    copied_to BIGINT NOT NULL
);
