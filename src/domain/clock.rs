//! Time, as a parameter: the one place that asks the system for it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{lease, quota::Times};

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;

/// A clock, in milliseconds since 1970 (UTC). It never goes back behind its floor, the latest time that Keyward has seen:
/// a system clock that is set back revives nothing that has expired.
#[derive(Debug)]
pub struct Clock {
    floor: AtomicI64,
    /// What the time was when this clock was made, less how long the machine was on then.
    started: i64,
}

impl Default for Clock {
    fn default() -> Clock {
        let mut clock = Clock { floor: AtomicI64::default(), started: 0 };
        clock.started = clock.wall_ms() - lease::now_ms();
        clock
    }
}

impl Clock {
    /// The times that quotas go by.
    pub fn times(&self) -> Times {
        Times { steady: self.started + lease::now_ms(), wall: self.now_ms() }
    }

    /// Now: the system's time, or the floor where that is later.
    pub fn now_ms(&self) -> i64 {
        self.wall_ms().max(self.floor.load(Ordering::Relaxed))
    }

    /// Raises the floor; it is never lowered.
    pub fn raise_to(&self, ms: i64) {
        self.floor.fetch_max(ms, Ordering::Relaxed);
    }

    /// The system's time.
    #[allow(clippy::disallowed_methods, reason = "this is the place that may")]
    pub fn wall_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A time as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| String::from("1970-01-01T00:00:00Z"), |time| format!("{time:.3}"))
}

/// A time of a column that holds 0 where there is none.
pub fn rfc3339_or_none(ms: i64) -> Option<String> {
    (ms > 0).then(|| rfc3339(ms))
}

/// An RFC 3339 time, or a date (its first instant in UTC), in milliseconds since 1970.
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond());
    }
    format!("{text}T00:00:00Z").parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}
