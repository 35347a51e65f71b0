//! Usage, as it is asked for.

use store::usage::{Counts, Group, GroupBy};

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
    write_down(core).await;
    let mut db = core.store.read().await?;
    let from = from.unwrap_or(now - 30 * DAY_MS);
    let from = from - from.rem_euclid(super::clock::HOUR_MS);
    Ok(store::usage::grouped(&mut db, by, from, to.unwrap_or(now + 1)).await?)
}

/// The usage of one agent key in the last so many days, today included, the oldest first: the start of each day in UTC
/// (milliseconds since 1970), and what was counted.
///
/// # Errors
/// A storage failure.
pub async fn days_of_agent_key(core: &Core, id: &str, days: i64) -> Result<Vec<(i64, Counts)>> {
    write_down(core).await;
    let now = core.clock.now_ms();
    let today = now - now.rem_euclid(DAY_MS);
    let from = today - (days - 1) * DAY_MS;
    let mut db = core.store.read().await?;
    let groups = store::usage::days_of_agent_key(&mut db, id, from, today + DAY_MS).await?;
    let of_day = |start: i64| {
        let group = groups.iter().find(|group| group.group_key == start.to_string());
        group.map_or_else(Counts::default, |group| Counts {
            requests: group.requests,
            errors: group.errors,
            input_tokens: group.input_tokens,
            output_tokens: group.output_tokens,
            estimated: 0,
        })
    };
    Ok((0..days).map(|day| from + day * DAY_MS).map(|start| (start, of_day(start))).collect())
}

/// Writes down what was counted, so that it can be read.
async fn write_down(core: &Core) {
    if let Err(error) = core.meter.flush(core).await {
        // What is written down can be read all the same; the rest follows.
        error.log("");
    }
}
