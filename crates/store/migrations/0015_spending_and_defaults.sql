-- How much was taken of an agent key's quotas, as JSON. Outside any MAC, like usage: it tells what was used and grants nothing
-- beyond the limits, which are in the key's row.
CREATE TABLE agent_key_spending (
    agent_key_id TEXT PRIMARY KEY,
    taken TEXT NOT NULL,
    -- Counts the writes, so that nobody writes over what another server took meanwhile.
    version BIGINT NOT NULL
);

-- The limits of agent keys that have none of their own; at most one row, 'default'.
CREATE TABLE agent_key_defaults (
    id TEXT PRIMARY KEY,
    -- JSON, as in agent_keys.
    limits TEXT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL
);
