-- The secrets that an agent key has, each with its end, under the key's own MAC, so that an old row of agent_secrets that
-- was put back outside Keyward counts for nothing; '?' in rows from before this column.
ALTER TABLE agent_keys ADD COLUMN secrets TEXT NOT NULL DEFAULT '?';

-- Each secret's mask, and outside its MAC its last use, which tells whether an old one is still called.
ALTER TABLE agent_secrets ADD COLUMN masked_secret TEXT NOT NULL DEFAULT '';
ALTER TABLE agent_secrets ADD COLUMN last_used_at BIGINT NOT NULL DEFAULT 0;

CREATE INDEX usage_hours_by_agent_key ON usage_hours (agent_key_id, hour);
