//! An amount that an agent key may use in a span of time: requests and tokens a minute, tokens and money a day, a week or a
//! month.

use super::{
    budgets::money,
    clock::{DAY_MS, rfc3339},
};
use crate::error::{Code, Error};

/// What a minute is counted in, in milliseconds.
const SLOT_MS: i64 = 5_000;
/// How much of a minute lies behind the slot that has begun.
pub const BEHIND_MS: i64 = 60_000;
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
    /// As [`super::budgets::Period::Day`].
    Day,
    /// As [`super::budgets::Period::Week`].
    Week,
    /// As [`super::budgets::Period::Month`].
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
    pub fn time(&self, times: Times) -> i64 {
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
    pub fn end(&self, slot: i64) -> i64 {
        match self.span {
            Span::Minute => slot + BEHIND_MS + SLOT_MS,
            Span::Day => slot + DAY_MS,
            Span::Week => slot + 7 * DAY_MS,
            Span::Month => month(slot, 1),
        }
    }

    /// Whether what was used in a part of its span may still count: of a budget always, since a clock may be set back.
    pub fn may_count(&self, slot: i64, times: Times) -> bool {
        self.span != Span::Minute || times.steady < self.end(slot)
    }

    /// The part of its span that has begun: its start, and the start of the next.
    pub fn period(&self, times: Times) -> (i64, i64) {
        let slot = self.slot(times);
        (slot, self.end(slot))
    }

    /// The start of the part of its span that follows another one.
    pub fn next(&self, slot: i64) -> i64 {
        match self.span {
            Span::Minute => slot + SLOT_MS,
            _ => self.end(slot),
        }
    }

    /// How long its span is, in seconds, of the part from `slot` to `next`.
    pub fn seconds(&self, slot: i64, next: i64) -> i64 {
        match self.span {
            Span::Minute => 60,
            _ => next.saturating_sub(slot) / 1000,
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
        let (month, now) = (quota(Span::Month, 1), at("2026-02-03"));
        let slot = month.slot(now);
        assert_eq!(month.seconds(slot, month.next(slot)), 28 * 86_400);
        let (minute, now) = (quota(Span::Minute, 1), Times { steady: 7_000, wall: 0 });
        assert_eq!((minute.slot(now), minute.next(5_000), minute.seconds(5_000, 10_000)), (5_000, 10_000, 60));
    }
}
