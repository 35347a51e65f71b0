-- When an agent key was reported as leaked, which ended it for ever; 0 where it was not. Under the row's MAC where it is not 0.
ALTER TABLE agent_keys ADD COLUMN leaked_at BIGINT NOT NULL DEFAULT 0;
