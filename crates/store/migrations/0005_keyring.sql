-- Counts up whenever the set of keys changes, so that running servers take it up; `keyring_mac` proves the set, and is
-- '' while it is the first one.
ALTER TABLE installation ADD COLUMN keyring_version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE installation ADD COLUMN keyring_mac TEXT NOT NULL DEFAULT '';

-- From when on a key makes; 0 while it only reads what others make with it. 1 in rows from before the column.
ALTER TABLE purpose_keys ADD COLUMN active_at BIGINT NOT NULL DEFAULT 1;

-- Which set of keys each running server has taken up.
CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    keyring_version BIGINT NOT NULL
);
