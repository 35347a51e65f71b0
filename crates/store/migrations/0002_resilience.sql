-- What a provider answered last about a general key: '' (never asked), 'ok' or 'refused'. Outside the row's MAC, like
-- the last use: it grants nothing.
ALTER TABLE general_keys ADD COLUMN health TEXT NOT NULL DEFAULT '';
ALTER TABLE general_keys ADD COLUMN health_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE general_keys ADD COLUMN health_detail TEXT NOT NULL DEFAULT '';

-- How long a provider may take and how many calls it gets at once, as JSON; '' where the defaults hold.
ALTER TABLE providers ADD COLUMN limits TEXT NOT NULL DEFAULT '';
