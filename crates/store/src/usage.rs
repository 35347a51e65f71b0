//! Usage, rolled up by the hour.

use crate::{
    Handle, StoreError, Write,
    db::{execute, query},
};

/// What one cell of the roll-up counts; the key of a [`Counts`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The start of the hour, in milliseconds since 1970.
    pub hour: i64,
    /// The agent key that called.
    pub agent_key_id: String,
    /// The member it belongs to.
    pub member_id: String,
    /// The provider that answered; empty when the call never got that far.
    pub provider_id: String,
    /// The model as the agent named it; empty when the call named none.
    pub model_name: String,
    /// The general key that was injected; empty when there was none.
    pub general_key_id: String,
}

/// Counted calls and tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Counts {
    /// Calls.
    pub requests: i64,
    /// Calls answered with a status of 400 or more, by Keyward or the provider, or cut short.
    pub errors: i64,
    /// Tokens sent to the model.
    pub input_tokens: i64,
    /// Tokens it answered.
    pub output_tokens: i64,
    /// Calls whose tokens are an estimate.
    pub estimated: i64,
    /// Of the errors, those answered with 4xx.
    pub client_errors: i64,
    /// Of the errors, those answered with 5xx; what is left of them broke off.
    pub server_errors: i64,
    /// Milliseconds until the answers' heads came, all together.
    pub wait_ms: i64,
    /// What the tokens cost, in billionths of the currency.
    pub cost_nanos: i64,
    /// Calls with tokens and without a price.
    pub unpriced: i64,
}

impl Counts {
    /// Adds other counts, up to what a number can hold.
    pub fn add(&mut self, other: Counts) {
        self.each(other, i64::saturating_add);
    }

    /// Takes other counts off.
    pub fn take_off(&mut self, other: Counts) {
        self.each(other, i64::saturating_sub);
    }

    fn each(&mut self, other: Counts, of: fn(i64, i64) -> i64) {
        self.requests = of(self.requests, other.requests);
        self.errors = of(self.errors, other.errors);
        self.input_tokens = of(self.input_tokens, other.input_tokens);
        self.output_tokens = of(self.output_tokens, other.output_tokens);
        self.estimated = of(self.estimated, other.estimated);
        self.client_errors = of(self.client_errors, other.client_errors);
        self.server_errors = of(self.server_errors, other.server_errors);
        self.wait_ms = of(self.wait_ms, other.wait_ms);
        self.cost_nanos = of(self.cost_nanos, other.cost_nanos);
        self.unpriced = of(self.unpriced, other.unpriced);
    }
}

/// Adds counts to a cell.
///
/// # Errors
/// [`StoreError`].
pub async fn add(tx: &mut Write, cell: &Cell, counts: Counts) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO usage_hours (hour, agent_key_id, member_id, provider_id, model_name, general_key_id, requests, \
         errors, input_tokens, output_tokens, estimated, client_errors, server_errors, wait_ms, cost_nanos, unpriced) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         ON CONFLICT (hour, agent_key_id, provider_id, model_name, general_key_id) DO UPDATE SET \
         requests = usage_hours.requests + excluded.requests, errors = usage_hours.errors + excluded.errors, \
         input_tokens = usage_hours.input_tokens + excluded.input_tokens, \
         output_tokens = usage_hours.output_tokens + excluded.output_tokens, \
         estimated = usage_hours.estimated + excluded.estimated, \
         client_errors = usage_hours.client_errors + excluded.client_errors, \
         server_errors = usage_hours.server_errors + excluded.server_errors, \
         wait_ms = usage_hours.wait_ms + excluded.wait_ms, cost_nanos = usage_hours.cost_nanos + excluded.cost_nanos, \
         unpriced = usage_hours.unpriced + excluded.unpriced",
        cell.hour,
        cell.agent_key_id.as_str(),
        cell.member_id.as_str(),
        cell.provider_id.as_str(),
        cell.model_name.as_str(),
        cell.general_key_id.as_str(),
        counts.requests,
        counts.errors,
        counts.input_tokens,
        counts.output_tokens,
        counts.estimated,
        counts.client_errors,
        counts.server_errors,
        counts.wait_ms,
        counts.cost_nanos,
        counts.unpriced,
    )?;
    Ok(())
}

/// What usage can be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum GroupBy {
    AgentKey,
    GeneralKey,
    Provider,
    Model,
    Member,
    Hour,
    Day,
}

/// The usage of one group.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Group {
    /// The group: an id, a model's name, or the start of the hour or day in milliseconds since 1970.
    pub group_key: String,
    /// What was counted.
    #[sqlx(flatten)]
    pub counts: Counts,
}

/// The sums of [`Counts`].
macro_rules! sums {
    () => {
        "CAST(sum(requests) AS BIGINT) AS requests, CAST(sum(errors) AS BIGINT) AS errors, \
         CAST(sum(input_tokens) AS BIGINT) AS input_tokens, CAST(sum(output_tokens) AS BIGINT) AS output_tokens, \
         CAST(sum(estimated) AS BIGINT) AS estimated, CAST(sum(client_errors) AS BIGINT) AS client_errors, \
         CAST(sum(server_errors) AS BIGINT) AS server_errors, CAST(sum(wait_ms) AS BIGINT) AS wait_ms, \
         CAST(sum(cost_nanos) AS BIGINT) AS cost_nanos, CAST(sum(unpriced) AS BIGINT) AS unpriced FROM usage_hours "
    };
}

/// Usage from `from` (inclusive) to `to` (exclusive), in milliseconds since 1970, by group. At most 10,000 groups.
///
/// # Errors
/// [`StoreError`].
pub async fn grouped(db: &mut impl Handle, by: GroupBy, from: i64, to: i64) -> Result<Vec<Group>, StoreError> {
    macro_rules! by {
        ($expression:literal) => {
            query!(
                fetch_all,
                db,
                Group,
                concat!(
                    "SELECT ",
                    $expression,
                    " AS group_key, ",
                    sums!(),
                    "WHERE hour >= $1 AND hour < $2 GROUP BY ",
                    $expression,
                    " ORDER BY ",
                    $expression,
                    " LIMIT 10000"
                ),
                from,
                to
            )
        };
    }
    match by {
        GroupBy::AgentKey => by!("agent_key_id"),
        GroupBy::GeneralKey => by!("general_key_id"),
        GroupBy::Provider => by!("provider_id"),
        GroupBy::Model => by!("model_name"),
        GroupBy::Member => by!("member_id"),
        GroupBy::Hour => by!("CAST(hour AS TEXT)"),
        GroupBy::Day => by!("CAST(hour - hour % 86400000 AS TEXT)"),
    }
}

/// The usage of all groups together.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Total {
    /// How many groups there are.
    pub groups: i64,
    /// What was counted.
    #[sqlx(flatten)]
    pub counts: Counts,
}

/// The groups with most calls from `from` (inclusive) to `to` (exclusive), in milliseconds since 1970, at most `limit`;
/// and all of them together, `None` where there are none.
///
/// # Errors
/// [`StoreError`].
pub async fn top(
    db: &mut impl Handle,
    by: GroupBy,
    from: i64,
    to: i64,
    limit: i64,
) -> Result<(Vec<Group>, Option<Total>), StoreError> {
    macro_rules! by {
        ($expression:literal) => {{
            let groups = query!(
                fetch_all,
                db,
                Group,
                concat!(
                    "SELECT ",
                    $expression,
                    " AS group_key, ",
                    sums!(),
                    "WHERE hour >= $1 AND hour < $2 GROUP BY ",
                    $expression,
                    " ORDER BY sum(requests) DESC, ",
                    $expression,
                    " LIMIT $3"
                ),
                from,
                to,
                limit
            )?;
            let total = query!(
                fetch_optional,
                db,
                Total,
                concat!(
                    "SELECT count(DISTINCT ",
                    $expression,
                    ") AS groups, ",
                    sums!(),
                    "WHERE hour >= $1 AND hour < $2 HAVING count(*) > 0"
                ),
                from,
                to
            )?;
            Ok((groups, total))
        }};
    }
    match by {
        GroupBy::AgentKey => by!("agent_key_id"),
        GroupBy::GeneralKey => by!("general_key_id"),
        GroupBy::Provider => by!("provider_id"),
        GroupBy::Model => by!("model_name"),
        GroupBy::Member => by!("member_id"),
        GroupBy::Hour => by!("CAST(hour AS TEXT)"),
        GroupBy::Day => by!("CAST(hour - hour % 86400000 AS TEXT)"),
    }
}

/// The usage of one agent key by day, from `from` (inclusive) to `to` (exclusive), in milliseconds since 1970; days
/// without a call are left out.
///
/// # Errors
/// [`StoreError`].
pub async fn days_of_agent_key(
    db: &mut impl Handle,
    agent_key_id: &str,
    from: i64,
    to: i64,
) -> Result<Vec<Group>, StoreError> {
    query!(
        fetch_all,
        db,
        Group,
        concat!(
            "SELECT CAST(hour - hour % 86400000 AS TEXT) AS group_key, ",
            sums!(),
            "WHERE agent_key_id = $1 AND hour >= $2 AND hour < $3 GROUP BY CAST(hour - hour % 86400000 AS TEXT) \
             ORDER BY CAST(hour - hour % 86400000 AS TEXT) LIMIT 10000"
        ),
        agent_key_id,
        from,
        to
    )
}

/// The calls of an agent key on a day.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DayOfKey {
    /// The key.
    pub agent_key_id: String,
    /// The start of the day, in milliseconds since 1970.
    pub day: i64,
    /// Calls.
    pub requests: i64,
}

/// How many keys are asked about in one statement.
const KEYS_AT_ONCE: usize = 10;

/// The calls of these agent keys by day, from `from` (inclusive) to `to` (exclusive), in milliseconds since 1970.
///
/// # Errors
/// [`StoreError`].
pub async fn days_of_agent_keys(
    db: &mut impl Handle,
    ids: &[&str],
    from: i64,
    to: i64,
) -> Result<Vec<DayOfKey>, StoreError> {
    let mut days = Vec::new();
    for some in ids.chunks(KEYS_AT_ONCE) {
        let id = |place: usize| some.get(place).copied().unwrap_or_default();
        days.extend(query!(
            fetch_all,
            db,
            DayOfKey,
            "SELECT agent_key_id, hour - hour % 86400000 AS day, CAST(sum(requests) AS BIGINT) AS requests \
             FROM usage_hours WHERE hour >= $1 AND hour < $2 \
             AND agent_key_id IN ($3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             GROUP BY agent_key_id, hour - hour % 86400000",
            from,
            to,
            id(0),
            id(1),
            id(2),
            id(3),
            id(4),
            id(5),
            id(6),
            id(7),
            id(8),
            id(9)
        )?);
    }
    Ok(days)
}
