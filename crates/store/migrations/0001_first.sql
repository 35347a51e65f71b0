-- One schema for SQLite and PostgreSQL: TEXT and BIGINT only, times in milliseconds since 1970 (UTC), ids are
-- prefixed ULIDs, and a column that can be sorted by holds 0 where it has no value. `mac` authenticates the columns
-- of its row; see the `Authentic` implementations for which ones.

CREATE TABLE installation (
    id TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    check_value TEXT NOT NULL,
    epoch BIGINT NOT NULL
);

CREATE TABLE purpose_keys (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    wrapped TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The one sequence: audit events and change records take their number here, in the transaction's last statements,
-- so that the order of commits is the order of reading.
CREATE TABLE chain_head (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL,
    head TEXT NOT NULL
);
INSERT INTO chain_head (id, seq, head) VALUES (1, 0, '');

CREATE TABLE audit_events (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    action TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    target_name TEXT NOT NULL,
    changes TEXT NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL,
    mac TEXT NOT NULL
);
CREATE INDEX audit_events_by_target ON audit_events (target_id, seq);

CREATE TABLE changes (
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (seq, kind, id)
);

CREATE TABLE members (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    member_id TEXT NOT NULL,
    pepper_id TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    mac TEXT NOT NULL,
    last_used_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX sessions_by_member ON sessions (member_id);

CREATE TABLE setup_tokens (
    id TEXT PRIMARY KEY,
    pepper_id TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    mac TEXT NOT NULL
);

CREATE TABLE management_tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    member_id TEXT NOT NULL,
    scopes TEXT NOT NULL,
    masked_secret TEXT NOT NULL,
    pepper_id TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL,
    last_used_at BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE general_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    masked_value TEXT NOT NULL,
    value_entered_by TEXT NOT NULL,
    created_by_id TEXT NOT NULL,
    created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL,
    last_used_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX general_keys_by_created ON general_keys (created_at, id);
CREATE INDEX general_keys_by_updated ON general_keys (updated_at, id);
CREATE INDEX general_keys_by_last_used ON general_keys (last_used_at, id);

-- One sealed copy for each place the value may be sent to; `binding` is empty until the first link binds it.
CREATE TABLE general_key_secrets (
    id TEXT PRIMARY KEY,
    general_key_id TEXT NOT NULL,
    binding TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL,
    UNIQUE (general_key_id, binding)
);

CREATE TABLE agent_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    masked_secret TEXT NOT NULL,
    member_id TEXT NOT NULL,
    created_by_id TEXT NOT NULL,
    created_by_name TEXT NOT NULL,
    limits TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    disabled_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL,
    last_used_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX agent_keys_by_created ON agent_keys (created_at, id);
CREATE INDEX agent_keys_by_expiry ON agent_keys (expires_at, id);
CREATE INDEX agent_keys_by_last_used ON agent_keys (last_used_at, id);

-- Apart from agent_keys, so that a rotation can let two secrets of one key overlap. `ends_at` 0: ends with its key.
CREATE TABLE agent_secrets (
    id TEXT PRIMARY KEY,
    agent_key_id TEXT NOT NULL,
    pepper_id TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL
);
CREATE INDEX agent_secrets_by_key ON agent_secrets (agent_key_id);

CREATE TABLE providers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    base_url TEXT NOT NULL,
    created_by_id TEXT NOT NULL,
    created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL
);
CREATE INDEX providers_by_created ON providers (created_at, id);

CREATE TABLE models (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    provider_id TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    created_by_id TEXT NOT NULL,
    created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL
);
CREATE INDEX models_by_created ON models (created_at, id);
CREATE INDEX models_by_provider ON models (provider_id);

-- A general key linked to a provider or a model; the weight is for several keys on one target.
CREATE TABLE links (
    id TEXT PRIMARY KEY,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    general_key_id TEXT NOT NULL,
    weight BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL,
    UNIQUE (target_kind, target_id, general_key_id)
);
CREATE INDEX links_by_general_key ON links (general_key_id);

-- Usage rolled up by the hour; ids stay after what they name is gone, so that history keeps its sums.
CREATE TABLE usage_hours (
    hour BIGINT NOT NULL,
    agent_key_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    model_name TEXT NOT NULL,
    general_key_id TEXT NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    PRIMARY KEY (hour, agent_key_id, provider_id, model_name, general_key_id)
);

CREATE TABLE idempotency_records (
    principal TEXT NOT NULL,
    route TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body_mac TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (principal, route, idempotency_key)
);
CREATE INDEX idempotency_records_by_created ON idempotency_records (created_at);
