-- What an agent key is for, and words to find it by: ' prod team-a ', between spaces. Under the row's MAC, both, where
-- either is not empty.
ALTER TABLE agent_keys ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE agent_keys ADD COLUMN tags TEXT NOT NULL DEFAULT '';

-- The header a service takes its credential in; '' where the provider's kind says it. Under the row's MAC where it is not empty.
ALTER TABLE providers ADD COLUMN credential_header TEXT NOT NULL DEFAULT '';

-- What a verification asks of an agent key, by name.
CREATE TABLE policies (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    -- JSON.
    requires TEXT NOT NULL,
    created_by_id TEXT NOT NULL,
    created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL
);
