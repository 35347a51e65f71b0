//! Usage, as it is asked for.

use std::collections::HashMap;

use store::{
    Handle, StoreError,
    usage::{Counts, Group, GroupBy},
};

use super::{
    Core,
    clock::{DAY_MS, HOUR_MS},
};
use crate::error::{Error, Result};

/// What usage is about: who called, with what, where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Agent keys.
    AgentKey,
    /// General keys.
    GeneralKey,
    /// Providers.
    Provider,
    /// Models.
    Model,
    /// Members.
    Member,
}

impl By {
    /// All of them.
    pub const ALL: [By; 5] = [By::AgentKey, By::Model, By::Provider, By::GeneralKey, By::Member];

    /// The word in a query.
    pub fn as_str(self) -> &'static str {
        match self {
            By::AgentKey => "agent_key",
            By::GeneralKey => "general_key",
            By::Provider => "provider",
            By::Model => "model",
            By::Member => "member",
        }
    }

    /// The one of that word.
    pub fn parse(text: &str) -> Option<By> {
        By::ALL.into_iter().find(|by| by.as_str() == text)
    }

    fn group(self) -> GroupBy {
        match self {
            By::AgentKey => GroupBy::AgentKey,
            By::GeneralKey => GroupBy::GeneralKey,
            By::Provider => GroupBy::Provider,
            By::Model => GroupBy::Model,
            By::Member => GroupBy::Member,
        }
    }
}

/// A time that usage is shown for, up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// 24 hours, by the hour.
    Day,
    /// 7 days, today included.
    Week,
    /// 30 days.
    Month,
    /// 90 days.
    Quarter,
}

impl Period {
    /// All of them.
    pub const ALL: [Period; 4] = [Period::Day, Period::Week, Period::Month, Period::Quarter];

    /// The word in a query.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Day => "24h",
            Period::Week => "7d",
            Period::Month => "30d",
            Period::Quarter => "90d",
        }
    }

    /// The one of that word.
    pub fn parse(text: &str) -> Option<Period> {
        Period::ALL.into_iter().find(|period| period.as_str() == text)
    }

    /// In words that go on after 'in'.
    pub fn words(self) -> &'static str {
        match self {
            Period::Day => "the last 24 hours",
            Period::Week => "the last 7 days",
            Period::Month => "the last 30 days",
            Period::Quarter => "the last 90 days",
        }
    }

    /// In words that stand alone.
    pub fn label(self) -> &'static str {
        match self {
            Period::Day => "Last 24 hours",
            Period::Week => "Last 7 days",
            Period::Month => "Last 30 days",
            Period::Quarter => "Last 90 days",
        }
    }

    /// Whether it is counted by the hour, and not by the day.
    pub fn is_by_hour(self) -> bool {
        self == Period::Day
    }

    /// Its parts' length, in milliseconds, and how many there are.
    fn parts(self) -> (i64, i64) {
        match self {
            Period::Day => (HOUR_MS, 24),
            Period::Week => (DAY_MS, 7),
            Period::Month => (DAY_MS, 30),
            Period::Quarter => (DAY_MS, 90),
        }
    }

    /// The start of each of its parts, the oldest first, and the end of the last: milliseconds since 1970.
    fn starts(self, now: i64) -> (Vec<i64>, i64) {
        let (length, count) = self.parts();
        let last = now - now.rem_euclid(length);
        ((0..count).map(|part| last - (count - 1 - part) * length).collect(), last + length)
    }
}

/// Usage by group, `from` (inclusive, default 30 days ago) `to` (exclusive, default now), milliseconds since 1970.
/// Hours are counted whole. What is still in memory is written down first, so that the answer has every call.
///
/// # Errors
/// An unknown group; a storage failure.
pub async fn grouped(core: &Core, by: &str, from: Option<i64>, to: Option<i64>) -> Result<Vec<Group>> {
    let by = match (By::parse(by), by) {
        (Some(by), _) => by.group(),
        (None, "hour") => GroupBy::Hour,
        (None, "day") => GroupBy::Day,
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
    let from = from - from.rem_euclid(HOUR_MS);
    Ok(store::usage::grouped(&mut db, by, from, to.unwrap_or(now + 1)).await?)
}

/// A group that has a name.
#[derive(Debug, Clone)]
pub struct Named {
    /// The id, or the model's name; empty for calls that none of them was found for.
    pub key: String,
    /// Its name; `None` where it is gone, or was changed outside Keyward.
    pub name: Option<String>,
    /// What was counted.
    pub counts: Counts,
}

/// The usage of a period by group, most calls first: at most `limit` groups, and how many more there are, with what
/// was counted of those.
///
/// # Errors
/// A storage failure.
pub async fn report(core: &Core, by: By, period: Period, limit: usize) -> Result<(Vec<Named>, usize, Counts)> {
    write_down(core).await;
    let (starts, end) = period.starts(core.clock.now_ms());
    let mut db = core.store.snapshot().await?;
    let (groups, total) = store::usage::top(&mut db, by.group(), starts[0], end, limit.try_into().unwrap_or(0)).await?;
    let (mut rest, mut further) = total.map_or((Counts::default(), 0), |total| (total.counts, total.groups));
    for group in &groups {
        rest.take_off(group.counts);
        further -= 1;
    }
    let mut named = Vec::with_capacity(groups.len());
    for group in groups {
        let name = name_of(&mut db, by, &group.group_key).await?;
        named.push(Named { key: group.group_key, name, counts: group.counts });
    }
    Ok((named, usize::try_from(further).unwrap_or(0), rest))
}

async fn name_of(db: &mut impl Handle, by: By, key: &str) -> Result<Option<String>> {
    if key.is_empty() {
        return Ok(None);
    }
    let found = match by {
        By::Model => Ok(Some(key.to_owned())),
        By::AgentKey => store::agent_keys::get(db, key).await.map(|row| row.map(|row| row.name)),
        By::GeneralKey => store::general_keys::get(db, key).await.map(|row| row.map(|row| row.name)),
        By::Provider => store::providers::get(db, key).await.map(|row| row.map(|row| row.name)),
        By::Member => store::members::get(db, key).await.map(|row| row.map(|row| row.name)),
    };
    match found {
        Ok(name) => Ok(name),
        // Whose row cannot be relied on has no name here; its own page says so.
        Err(StoreError::Tampered { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The usage of all in each part of a period, the oldest first: the start of the part (milliseconds since 1970), and
/// what was counted.
///
/// # Errors
/// A storage failure.
pub async fn over_time(core: &Core, period: Period) -> Result<Vec<(i64, Counts)>> {
    write_down(core).await;
    let (starts, end) = period.starts(core.clock.now_ms());
    let by = if period.is_by_hour() { GroupBy::Hour } else { GroupBy::Day };
    let mut db = core.store.read().await?;
    let groups = store::usage::grouped(&mut db, by, starts[0], end).await?;
    Ok(filled(&starts, groups))
}

/// The same of one agent key, by the day.
///
/// # Errors
/// A storage failure.
pub async fn of_agent_key(core: &Core, id: &str, period: Period) -> Result<Vec<(i64, Counts)>> {
    write_down(core).await;
    let (starts, end) = period.starts(core.clock.now_ms());
    let mut db = core.store.read().await?;
    let groups = store::usage::days_of_agent_key(&mut db, id, starts[0], end).await?;
    Ok(filled(&starts, groups))
}

/// What was counted of an agent key from `from` (inclusive) to `to` (exclusive), in milliseconds since 1970.
///
/// # Errors
/// A storage failure.
pub async fn of_agent_key_between(core: &Core, id: &str, from: i64, to: i64) -> Result<Counts> {
    write_down(core).await;
    let mut db = core.store.read().await?;
    let mut counts = Counts::default();
    for day in store::usage::days_of_agent_key(&mut db, id, from, to).await? {
        counts.add(day.counts);
    }
    Ok(counts)
}

/// The calls of each of the last seven days, the oldest first, of each of these agent keys that was called.
///
/// # Errors
/// A storage failure.
pub async fn weeks_of(core: &Core, ids: &[&str]) -> Result<HashMap<String, Vec<i64>>> {
    let (starts, end) = Period::Week.starts(core.clock.now_ms());
    let mut weeks: HashMap<String, Vec<i64>> = HashMap::new();
    let mut db = core.store.read().await?;
    for day in store::usage::days_of_agent_keys(&mut db, ids, starts[0], end).await? {
        let calls = weeks.entry(day.agent_key_id).or_insert_with(|| vec![0; starts.len()]);
        if let Some(place) = starts.iter().position(|start| *start == day.day) {
            calls[place] = day.requests;
        }
    }
    Ok(weeks)
}

/// One entry for each part of a period, whether something was counted in it or not.
fn filled(starts: &[i64], groups: Vec<Group>) -> Vec<(i64, Counts)> {
    let counted: HashMap<String, Counts> = groups.into_iter().map(|group| (group.group_key, group.counts)).collect();
    starts.iter().map(|start| (*start, counted.get(&start.to_string()).copied().unwrap_or_default())).collect()
}

/// What the tokens cost, in millionths of the currency; `None` where there was no price for any of them.
pub fn cost_micros(counts: Counts) -> Option<i64> {
    (counts.cost_nanos > 0 || counts.unpriced == 0).then_some(counts.cost_nanos / 1000)
}

/// Writes down what was counted, so that it can be read.
async fn write_down(core: &Core) {
    if let Err(error) = core.meter.flush(core).await {
        // What is written down can be read all the same; the rest follows.
        error.log("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_ends_with_the_part_that_is_now() {
        let now = 100 * DAY_MS + 5 * HOUR_MS + 1;
        let (days, end) = Period::Week.starts(now);
        assert_eq!((days.len(), days[0], days[6], end), (7, 94 * DAY_MS, 100 * DAY_MS, 101 * DAY_MS));
        let (hours, end) = Period::Day.starts(now);
        assert_eq!((hours.len(), hours[23], end), (24, 100 * DAY_MS + 5 * HOUR_MS, 100 * DAY_MS + 6 * HOUR_MS));
        assert!(Period::ALL.into_iter().all(|period| Period::parse(period.as_str()) == Some(period)));
        assert!(By::ALL.into_iter().all(|by| By::parse(by.as_str()) == Some(by)));
    }
}
