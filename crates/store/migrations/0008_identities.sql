-- Who a member is at an issuer of OpenID Connect. By issuer and subject, which stay, never by e-mail, which proves
-- nothing. `follows_groups` 1: the role follows the groups at each sign-in, since the member came in by them.
CREATE TABLE identities (
    id TEXT PRIMARY KEY,
    member_id TEXT NOT NULL UNIQUE,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    follows_groups BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    mac TEXT NOT NULL,
    UNIQUE (issuer, subject)
);

-- Sign-ins that came back from an issuer: none is taken twice.
CREATE TABLE used_states (
    digest TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
