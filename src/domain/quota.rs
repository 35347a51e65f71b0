//! An amount that an agent key may use in a span of time: requests and tokens a minute, tokens and money a day, a week or a
//! month. And how much of it was taken, as the key's row of `agent_key_spending` tells.
//!
//! Servers take what they need in parts before they use it, and give back what they did not ([`super::spending`]), so that
//! all of them together, and one that was killed, never use more than there is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::clock::{DAY_MS, rfc3339};
use crate::error::{Code, Error, Result};

/// The most tokens that a limit can be set to.
pub const MAX_TOKENS: i64 = 1_000_000_000_000;
/// The most money, in millionths of the currency: a thousand million.
const MAX_MICROS: i64 = 1_000_000_000_000_000;
/// What a minute is counted in, in milliseconds.
const SLOT_MS: i64 = 5_000;
/// How much of a minute lies behind the slot that has begun.
const BEHIND_MS: i64 = 60_000;
/// The periods of a budget that are remembered, the newest: a clock that was set forward and back finds the one it left.
const PERIODS_KEPT: usize = 4;

/// A budget's period, by the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first.
    Month,
}

impl Period {
    /// Every one.
    pub const ALL: [Period; 3] = [Period::Day, Period::Week, Period::Month];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        }
    }
}

/// What a budget is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tokens, those sent and those answered.
    Tokens,
    /// Millionths of the currency that the models' prices are in.
    CostMicros,
}

impl Unit {
    /// Every one.
    pub const ALL: [Unit; 2] = [Unit::CostMicros, Unit::Tokens];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Tokens => "tokens",
            Unit::CostMicros => "cost_micros",
        }
    }
}

/// What a key may use in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The period.
    pub period: Period,
    /// What the amount is in.
    pub unit: Unit,
    /// How much.
    pub amount: i64,
}

impl Budget {
    /// In words, for the audit log.
    pub fn words(&self) -> String {
        let Budget { period, unit, amount } = self;
        match unit {
            Unit::Tokens => format!("{amount} tokens a {}", period.as_str()),
            Unit::CostMicros => format!("{} of money a {}", money(*amount), period.as_str()),
        }
    }

    /// What is counted for it.
    pub fn quota(&self) -> Quota {
        let span = match self.period {
            Period::Day => Span::Day,
            Period::Week => Span::Week,
            Period::Month => Span::Month,
        };
        match self.unit {
            Unit::Tokens => Quota { measure: Measure::Tokens, span, most: self.amount },
            Unit::CostMicros => Quota { measure: Measure::Cost, span, most: self.amount.saturating_mul(1000) },
        }
    }

    /// These budgets, and of the default ones those for which there is none.
    pub fn merged(mut own: Vec<Budget>, default: &[Budget]) -> Vec<Budget> {
        for budget in default {
            if !own.iter().any(|held| held.is_like(budget)) {
                own.push(*budget);
            }
        }
        own
    }

    /// Whether it is for the same period and unit.
    pub fn is_like(&self, other: &Budget) -> bool {
        (self.period, self.unit) == (other.period, other.unit)
    }
}

/// Micros as a decimal number: 2500000 is 2.5.
fn money(micros: i64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    match part {
        0 => whole.to_string(),
        part => format!("{whole}.{part:06}").trim_end_matches('0').to_owned(),
    }
}

/// Lets budgets through that can be some.
///
/// # Errors
/// A refused field `limits/budgets`.
pub fn check_budgets(budgets: &[Budget]) -> Result<()> {
    let refused = |detail: String| Err(Error::field("limits/budgets", detail));
    for (at, budget) in budgets.iter().enumerate() {
        let most = match budget.unit {
            Unit::Tokens => MAX_TOKENS,
            Unit::CostMicros => MAX_MICROS,
        };
        if !(1..=most).contains(&budget.amount) {
            return refused(format!("must hold amounts from 1 to {most} in {}", budget.unit.as_str()));
        }
        if budgets[..at].iter().any(|other| other.is_like(budget)) {
            let (unit, period) = (budget.unit.as_str(), budget.period.as_str());
            return refused(format!("must hold one amount of {unit} a {period}, and holds two"));
        }
    }
    Ok(())
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Calls.
    Requests,
    /// Tokens, those sent and those answered.
    Tokens,
    /// Billionths of the currency.
    Cost,
}

/// How long it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Any minute: the twelve slots of five seconds that have gone, and the one that has begun.
    Minute,
    /// As [`Period::Day`].
    Day,
    /// As [`Period::Week`].
    Week,
    /// As [`Period::Month`].
    Month,
}

impl Span {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Span::Minute => "minute",
            Span::Day => "day",
            Span::Week => "week",
            Span::Month => "month",
        }
    }
}

/// The times that quotas go by, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For minutes: nobody sets it while this process runs.
    pub steady: i64,
    /// For the calendar.
    pub wall: i64,
}

/// A bound on what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// What is counted.
    pub measure: Measure,
    /// How long.
    pub span: Span,
    /// The most of it.
    pub most: i64,
}

impl Quota {
    /// Its name in rows and headers.
    pub fn name(&self) -> &'static str {
        match (self.span, self.measure) {
            (Span::Minute, Measure::Requests) => "requests",
            (Span::Minute, Measure::Tokens) => "tokens",
            (Span::Minute, Measure::Cost) => "cost",
            (Span::Day, Measure::Requests) => "day-requests",
            (Span::Day, Measure::Tokens) => "day-tokens",
            (Span::Day, Measure::Cost) => "day-cost",
            (Span::Week, Measure::Requests) => "week-requests",
            (Span::Week, Measure::Tokens) => "week-tokens",
            (Span::Week, Measure::Cost) => "week-cost",
            (Span::Month, Measure::Requests) => "month-requests",
            (Span::Month, Measure::Tokens) => "month-tokens",
            (Span::Month, Measure::Cost) => "month-cost",
        }
    }

    /// The time it goes by.
    fn time(&self, times: Times) -> i64 {
        match self.span {
            Span::Minute => times.steady,
            _ => times.wall,
        }
    }

    /// The start of the part of its span that has begun.
    pub fn slot(&self, times: Times) -> i64 {
        let now = self.time(times);
        match self.span {
            Span::Minute => now - now.rem_euclid(SLOT_MS),
            Span::Day => now - now.rem_euclid(DAY_MS),
            // The first day of 1970 was a Thursday.
            Span::Week => now - (now + 3 * DAY_MS).rem_euclid(7 * DAY_MS),
            Span::Month => month(now, 0),
        }
    }

    /// When what was used in a part of its span no longer counts.
    fn end(&self, slot: i64) -> i64 {
        match self.span {
            Span::Minute => slot + BEHIND_MS + SLOT_MS,
            Span::Day => slot + DAY_MS,
            Span::Week => slot + 7 * DAY_MS,
            Span::Month => month(slot, 1),
        }
    }

    /// The part of its span that has begun: its start, and the start of the next.
    pub fn period(&self, times: Times) -> (i64, i64) {
        let slot = self.slot(times);
        (slot, self.end(slot))
    }

    /// How long its span is, in seconds.
    pub fn seconds(&self, times: Times) -> i64 {
        match self.span {
            Span::Minute => 60,
            _ => (self.end(self.slot(times)) - self.slot(times)) / 1000,
        }
    }

    /// How long until `at`, in whole seconds; at least one.
    pub fn seconds_until(&self, at: i64, times: Times) -> i64 {
        (at - self.time(times)).div_euclid(1000).saturating_add(1).max(1)
    }

    /// Why a call is refused that finds nothing of it left, until `resets_at`; `waits` where calls under way hold what is left.
    pub fn exceeded(&self, resets_at: i64, waits: bool, times: Times) -> Error {
        let seconds = if waits { 1 } else { self.seconds_until(resets_at, times) };
        let what = match self.measure {
            Measure::Requests => format!("{} requests", self.most),
            Measure::Tokens => format!("{} tokens", self.most),
            Measure::Cost => format!("{} of money", money(self.most / 1000)),
        };
        let (code, detail) = match self.span {
            _ if waits => (
                self.code(),
                format!(
                    "what is left of the agent key's limit ({what}) is held by calls under way; try again in {seconds} s"
                ),
            ),
            Span::Minute => {
                (self.code(), format!("the agent key has used its limit of {what} a minute; try again in {seconds} s"))
            }
            span => (
                self.code(),
                format!(
                    "the agent key has used its budget of {what} a {}, which begins anew on {}; an administrator of Keyward \
                     can raise it",
                    span.as_str(),
                    rfc3339(resets_at)
                ),
            ),
        };
        Error::new(code, detail).with_extension("retry_after_seconds", serde_json::Value::from(seconds))
    }

    fn code(&self) -> Code {
        match self.span {
            Span::Minute => Code::RateLimitExceeded,
            _ => Code::InsufficientQuota,
        }
    }
}

/// The start of the month that a time is in, or of one that many months later.
fn month(at: i64, later: i32) -> i64 {
    let start = || {
        let utc = jiff::tz::TimeZone::UTC;
        let date = utc.to_datetime(jiff::Timestamp::from_millisecond(at).ok()?).date();
        let first = date.first_of_month().checked_add(jiff::Span::new().try_months(later).ok()?).ok()?;
        Some(utc.to_timestamp(first.at(0, 0, 0, 0)).ok()?.as_millisecond())
    };
    start().unwrap_or(at)
}

/// What a taking came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// How much may be used, in the slot it was asked for.
    pub granted: i64,
    /// How much is left beside it.
    pub left: i64,
    /// When the oldest of what counts does so no longer: milliseconds by the quota's clock.
    pub resets_at: i64,
}

/// How much was taken of a key's quotas, by name and slot: the content of its row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Taken(BTreeMap<String, Vec<(i64, i64)>>);

impl Taken {
    /// From the column of the store.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`] for what this version cannot read.
    pub fn of_column(text: &str) -> Result<Taken> {
        serde_json::from_str(text).map_err(|error| {
            let detail = "what the agent key has used cannot be read by this version of Keyward; run the newer one";
            Error::new(Code::StorageUnavailable, detail).with_cause(error)
        })
    }

    /// For the column of the store.
    pub fn to_column(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Sets right what was taken in a slot: less than was used where `by` is positive, more where it is negative.
    pub fn set_right(&mut self, quota: &Quota, slot: i64, by: i64) {
        let slots = self.0.entry(quota.name().to_owned()).or_default();
        match slots.iter_mut().find(|(start, _)| *start == slot) {
            Some((_, taken)) => *taken = taken.saturating_add(by).max(0),
            None if by > 0 => slots.push((slot, by)),
            None => {}
        }
    }

    /// Whether anything was taken in a slot.
    pub fn knows(&self, quota: &Quota, slot: i64) -> bool {
        self.0.get(quota.name()).is_some_and(|slots| slots.iter().any(|(start, _)| *start == slot))
    }

    /// Takes what is wanted, and where there is more, a part of it, so that not every call has to ask.
    pub fn take(&mut self, quota: &Quota, slot: i64, wanted: i64) -> Grant {
        let slots = self.0.entry(quota.name().to_owned()).or_default();
        slots.retain(|(_, taken)| *taken > 0);
        slots.sort_unstable();
        let counts = match quota.span {
            Span::Minute => {
                // What was taken by somebody whose clock is ahead counts as well; what is far ahead is from before a
                // clock was set back.
                slots.retain(|(start, _)| (slot - BEHIND_MS..=slot + BEHIND_MS).contains(start));
                slots.iter().map(|(_, taken)| taken).fold(0, |sum: i64, taken| sum.saturating_add(*taken))
            }
            _ => {
                let old = slots.len().saturating_sub(PERIODS_KEPT);
                slots.drain(..old);
                slots.iter().filter(|(start, _)| *start == slot).map(|(_, taken)| *taken).sum()
            }
        };
        let left = quota.most.saturating_sub(counts).max(0);
        let share = match quota.span {
            Span::Minute => 4,
            _ => 64,
        };
        let granted = if wanted > 0 { wanted.max(left / share).min(left) } else { 0 };
        if granted > 0 {
            match slots.iter_mut().find(|(start, _)| *start == slot) {
                Some((_, taken)) => *taken += granted,
                None => slots.push((slot, granted)),
            }
        }
        let oldest = match quota.span {
            Span::Minute => slots.iter().map(|(start, _)| *start).min().unwrap_or(slot),
            _ => slot,
        };
        Grant { granted, left: left - granted, resets_at: quota.end(oldest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: &str) -> Times {
        let wall = crate::domain::clock::parse_time(wall).expect("a time");
        Times { steady: wall, wall }
    }

    fn quota(span: Span, most: i64) -> Quota {
        Quota { measure: Measure::Tokens, span, most }
    }

    #[test]
    fn periods_begin_by_the_calendar() {
        for (span, now, start, end) in [
            (Span::Day, "2026-02-28T23:59:59.999Z", "2026-02-28", "2026-03-01"),
            (Span::Week, "2026-03-01T00:00:00Z", "2026-02-23", "2026-03-02"),
            (Span::Week, "2026-03-02T00:00:00Z", "2026-03-02", "2026-03-09"),
            (Span::Month, "2026-02-28T23:59:59Z", "2026-02-01", "2026-03-01"),
            (Span::Month, "2026-12-31T12:00:00Z", "2026-12-01", "2027-01-01"),
        ] {
            let quota = quota(span, 1);
            let slot = quota.slot(at(now));
            assert_eq!((slot, quota.end(slot)), (at(start).wall, at(end).wall), "{now}");
        }
        assert_eq!(quota(Span::Month, 1).seconds(at("2026-02-03")), 28 * 86_400);
        assert_eq!(quota(Span::Minute, 1).seconds(at("2026-02-03")), 60);
    }

    #[test]
    fn whoever_takes_and_gives_back_no_minute_has_more_than_it_may() {
        let quota = quota(Span::Minute, 100);
        let mut taken = Taken::default();
        let mut used: Vec<(i64, i64)> = Vec::new();
        for now in (0..600_000).step_by(333) {
            let slot = quota.slot(Times { steady: now, wall: 0 });
            let grant = taken.take(&quota, slot, 3);
            // A part is used, and the rest given back in another slot.
            let use_of = grant.granted.min(2);
            taken.set_right(&quota, slot, use_of - grant.granted);
            used.push((now, use_of));
            if now % 2 == 0 {
                taken = Taken::of_column(&taken.to_column()).expect("what was written");
            }
        }
        for (place, (start, _)) in used.iter().enumerate() {
            let within = used[place..].iter().take_while(|(now, _)| *now < start + 60_000).map(|(_, by)| by);
            assert!(within.sum::<i64>() <= 100, "in the minute from {start}");
        }
        assert!(used.iter().map(|(_, by)| by).sum::<i64>() > 900);
    }

    #[test]
    fn a_budget_is_taken_in_parts_and_to_its_end() {
        let quota = quota(Span::Month, 6400);
        let slot = quota.slot(at("2026-02-03"));
        let mut taken = Taken::default();
        let first = taken.take(&quota, slot, 1);
        assert_eq!((first.granted, first.left), (100, 6300));
        assert_eq!(first.resets_at, at("2026-03-01").wall);
        let mut sum = 100;
        for _ in 0..10_000 {
            sum += taken.take(&quota, slot, 1).granted;
        }
        assert_eq!(sum, 6400);
        assert_eq!(taken.take(&quota, slot, 1), Grant { granted: 0, left: 0, resets_at: first.resets_at });
        // More was used than taken: that is owed, and of a higher budget the difference is left.
        taken.set_right(&quota, slot, 50);
        assert_eq!(taken.take(&quota, slot, 0).left, 0);
        assert_eq!(taken.take(&Quota { most: 6460, ..quota }, slot, 20).granted, 10);
        // A clock that is set forward a year and back finds the month it left.
        let later = quota.slot(at("2027-02-03"));
        assert_eq!(taken.take(&quota, later, 1).granted, 100);
        assert_eq!(taken.take(&quota, slot, 1).granted, 0);
    }

    #[test]
    fn budgets_are_checked() {
        let budget = |unit, amount| Budget { period: Period::Day, unit, amount };
        assert!(check_budgets(&[budget(Unit::Tokens, 1), budget(Unit::CostMicros, MAX_MICROS)]).is_ok());
        for bad in [0, -1, i64::MAX] {
            assert!(check_budgets(&[budget(Unit::Tokens, bad)]).is_err(), "{bad}");
        }
        assert!(check_budgets(&[budget(Unit::Tokens, 1), budget(Unit::Tokens, 2)]).is_err());
        assert_eq!(budget(Unit::CostMicros, 2_500_000).words(), "2.5 of money a day");
    }
}
