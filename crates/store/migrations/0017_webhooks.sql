-- Who is told of what asks for attention.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    -- Types of events, between commas; '' for all.
    events TEXT NOT NULL,
    -- What its messages are signed with, sealed.
    sealed TEXT NOT NULL,
    created_by_id TEXT NOT NULL,
    created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL
);

-- What was told already: the event, what it is about, and its occasion. Outside any MAC, like what follows: it grants nothing.
CREATE TABLE warnings (
    id TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);
CREATE INDEX warnings_by_created ON warnings (created_at);

-- Messages to webhooks, sent and to be sent.
CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    webhook_id TEXT NOT NULL,
    event TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When it is tried next; 0 once it was delivered or given up.
    next_try_at BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    -- 0 until it was delivered.
    delivered_at BIGINT NOT NULL,
    -- The last answer's status, 0 where there was none; and why it was no good.
    status BIGINT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, created_at);
CREATE INDEX webhook_deliveries_by_next_try ON webhook_deliveries (next_try_at);
