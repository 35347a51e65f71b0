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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
}

/// Adds counts to a cell.
///
/// # Errors
/// [`StoreError`].
pub async fn add(tx: &mut Write, cell: &Cell, counts: Counts) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO usage_hours (hour, agent_key_id, member_id, provider_id, model_name, general_key_id, requests, \
         errors, input_tokens, output_tokens, estimated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (hour, agent_key_id, provider_id, model_name, general_key_id) DO UPDATE SET \
         requests = usage_hours.requests + excluded.requests, errors = usage_hours.errors + excluded.errors, \
         input_tokens = usage_hours.input_tokens + excluded.input_tokens, \
         output_tokens = usage_hours.output_tokens + excluded.output_tokens, \
         estimated = usage_hours.estimated + excluded.estimated",
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
    /// See [`Counts`].
    pub requests: i64,
    /// See [`Counts`].
    pub errors: i64,
    /// See [`Counts`].
    pub input_tokens: i64,
    /// See [`Counts`].
    pub output_tokens: i64,
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
                    " AS group_key, CAST(sum(requests) AS BIGINT) AS requests, \
                     CAST(sum(errors) AS BIGINT) AS errors, CAST(sum(input_tokens) AS BIGINT) AS input_tokens, \
                     CAST(sum(output_tokens) AS BIGINT) AS output_tokens FROM usage_hours \
                     WHERE hour >= $1 AND hour < $2 GROUP BY ",
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
        "SELECT CAST(hour - hour % 86400000 AS TEXT) AS group_key, CAST(sum(requests) AS BIGINT) AS requests, \
         CAST(sum(errors) AS BIGINT) AS errors, CAST(sum(input_tokens) AS BIGINT) AS input_tokens, \
         CAST(sum(output_tokens) AS BIGINT) AS output_tokens FROM usage_hours \
         WHERE agent_key_id = $1 AND hour >= $2 AND hour < $3 GROUP BY CAST(hour - hour % 86400000 AS TEXT) \
         ORDER BY CAST(hour - hour % 86400000 AS TEXT) LIMIT 10000",
        agent_key_id,
        from,
        to
    )
}
