-- From where an agent key was called lately; the newest 20 addresses of each. Outside any MAC: it grants nothing.
CREATE TABLE agent_key_callers (
    agent_key_id TEXT NOT NULL,
    address TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    -- When a call from there was last refused because the key had expired or was disabled; 0 for never.
    last_refused_at BIGINT NOT NULL,
    PRIMARY KEY (agent_key_id, address)
);
CREATE INDEX agent_key_callers_by_refused ON agent_key_callers (last_refused_at);
