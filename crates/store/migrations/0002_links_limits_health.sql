-- What a provider answered last about a general key: '' (never asked), 'ok' or 'refused'. Outside the row's MAC, like
-- the last use: it grants nothing.
ALTER TABLE general_keys ADD COLUMN health TEXT NOT NULL DEFAULT '';
ALTER TABLE general_keys ADD COLUMN health_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE general_keys ADD COLUMN health_detail TEXT NOT NULL DEFAULT '';

-- How long a provider may take and how many calls it gets at once, as JSON; '' where the defaults hold.
ALTER TABLE providers ADD COLUMN limits TEXT NOT NULL DEFAULT '';

-- The general keys linked to it, under the row's own MAC, so that a link that was changed, moved or deleted outside
-- Keyward is noticed; '?' in rows from before this column.
ALTER TABLE providers ADD COLUMN linked TEXT NOT NULL DEFAULT '?';
ALTER TABLE models ADD COLUMN linked TEXT NOT NULL DEFAULT '?';

-- Tells whether a value that is entered again is this key's: a MAC of it. '' in rows from before this column.
ALTER TABLE general_keys ADD COLUMN value_mark TEXT NOT NULL DEFAULT '';
