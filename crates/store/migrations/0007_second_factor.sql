-- The id of the member's second factor; '' where there is none. Under the row's MAC wherever it is not '', so that
-- whoever deletes the factor or empties the column makes the member's row fail instead of making the password enough.
ALTER TABLE members ADD COLUMN second_factor TEXT NOT NULL DEFAULT '';

-- What a member's authenticator app was set up with, sealed. `last_step` is the newest step of the time (30 s each) a
-- code was taken for: none is taken twice.
CREATE TABLE second_factors (
    id TEXT PRIMARY KEY,
    member_id TEXT NOT NULL UNIQUE,
    sealed TEXT NOT NULL,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    mac TEXT NOT NULL
);

-- What stands in for the app, once each.
CREATE TABLE recovery_codes (
    id TEXT PRIMARY KEY,
    member_id TEXT NOT NULL,
    pepper_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    mac TEXT NOT NULL
);
CREATE INDEX recovery_codes_by_member ON recovery_codes (member_id);

-- Members whose password was right, and whose code is still to come. `attempts` stands outside the MAC: it only ends the
-- row sooner.
CREATE TABLE pending_sign_ins (
    id TEXT PRIMARY KEY,
    member_id TEXT NOT NULL,
    pepper_id TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    mac TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX pending_sign_ins_by_member ON pending_sign_ins (member_id);
