-- What an invited member sets a password with, once. One for each: a new one takes the place of the one before.
CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    member_id TEXT NOT NULL UNIQUE,
    pepper_id TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    mac TEXT NOT NULL
);

CREATE INDEX members_by_created ON members (created_at, id);
CREATE INDEX agent_keys_by_member ON agent_keys (member_id, id);
CREATE INDEX management_tokens_by_member ON management_tokens (member_id);
