-- The epoch under a MAC, so that nobody moves it outside Keyward; '' in installations from before the column, which are
-- in their first epoch.
ALTER TABLE installation ADD COLUMN epoch_mac TEXT NOT NULL DEFAULT '';

-- While the master key is being changed: check value and keys wrapped by the next one as well; else ''.
ALTER TABLE installation ADD COLUMN next_check_value TEXT NOT NULL DEFAULT '';
ALTER TABLE purpose_keys ADD COLUMN next_wrapped TEXT NOT NULL DEFAULT '';
