-- The digests of secrets that another product issued and that are over here, so that the same list imported again does not bring
-- them back.
CREATE TABLE ended_secrets (
    digest TEXT PRIMARY KEY,
    ended_at BIGINT NOT NULL
);
