//! Usage, as it is asked for.

use store::usage::{Group, GroupBy};

use super::{Core, clock::DAY_MS};
use crate::error::{Error, Result};

/// Usage by group, `from` (inclusive, default 30 days ago) `to` (exclusive, default now), milliseconds since 1970.
/// Hours are counted whole. What is still in memory is written down first, so that the answer has every call.
///
/// # Errors
/// An unknown group; a storage failure.
pub async fn grouped(core: &Core, by: &str, from: Option<i64>, to: Option<i64>) -> Result<Vec<Group>> {
    let by = match by {
        "agent_key" => GroupBy::AgentKey,
        "general_key" => GroupBy::GeneralKey,
        "provider" => GroupBy::Provider,
        "model" => GroupBy::Model,
        "member" => GroupBy::Member,
        "hour" => GroupBy::Hour,
        "day" => GroupBy::Day,
        _ => {
            return Err(Error::parameter(
                "group_by",
                "must be agent_key, general_key, provider, model, member, hour or day",
            ));
        }
    };
    let now = core.clock.now_ms();
    if let Err(error) = core.meter.flush(core).await {
        // What is written down can be read all the same; the rest follows.
        error.log("");
    }
    let mut db = core.store.read().await?;
    let from = from.unwrap_or(now - 30 * DAY_MS);
    let from = from - from.rem_euclid(super::clock::HOUR_MS);
    Ok(store::usage::grouped(&mut db, by, from, to.unwrap_or(now + 1)).await?)
}
