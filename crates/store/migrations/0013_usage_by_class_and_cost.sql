-- What a model costs, as its provider bills it: 'input,output', in millionths of the currency for a million tokens,
-- either left out where it is not known; '' for neither.
ALTER TABLE models ADD COLUMN prices TEXT NOT NULL DEFAULT '';

-- Failed calls answered with 4xx and 5xx; the others of them broke off.
ALTER TABLE usage_hours ADD COLUMN client_errors BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_hours ADD COLUMN server_errors BIGINT NOT NULL DEFAULT 0;
-- Milliseconds until the answers' heads came, all together.
ALTER TABLE usage_hours ADD COLUMN wait_ms BIGINT NOT NULL DEFAULT 0;
-- What the tokens cost by the prices of that hour, in billionths of the currency, and calls with tokens without a price.
ALTER TABLE usage_hours ADD COLUMN cost_nanos BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_hours ADD COLUMN unpriced BIGINT NOT NULL DEFAULT 0;
-- Nobody knew prices before.
UPDATE usage_hours SET unpriced = requests WHERE input_tokens + output_tokens > 0;
