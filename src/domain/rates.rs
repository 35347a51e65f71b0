//! How often agent keys are called that have a limit, and how many of their calls are open. In memory: a restart begins anew.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::key_limits::KeyLimits;
#[cfg(doc)]
use super::lease;
use crate::error::{Code, Error, Result};

/// The seconds a window has, and one for the second that has begun.
const SLOTS: usize = 61;

/// Calls of one key: those of the last minute, and those at once.
#[derive(Debug)]
pub struct Rate {
    open: AtomicUsize,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    /// The second that each slot counts, and its calls.
    slots: [(i64, u32); SLOTS],
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { open: AtomicUsize::new(0), window: Mutex::new(Window { slots: [(i64::MIN, 0); SLOTS] }) }
    }
}

/// A call that was let through: one of those at once until it is dropped.
#[derive(Debug)]
pub struct Admission(Option<Arc<Rate>>);

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(rate) = &self.0 {
            rate.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// How much of a limit is left, for the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Calls a minute in all.
    pub limit: u32,
    /// How many of them are left.
    pub remaining: u32,
    /// Until the oldest of them no longer counts, in seconds.
    pub reset_seconds: i64,
}

impl Rate {
    /// Lets a call through, or says for how long not: at `now`, by [`lease::now_ms`], which nobody sets back. `share` is the
    /// number of servers that have a part of the limits each.
    ///
    /// # Errors
    /// [`Code::RateLimitExceeded`], with the seconds to wait.
    pub fn admit(self: &Arc<Self>, limits: &KeyLimits, share: u32, now: i64) -> Result<(Admission, Option<Left>)> {
        let part = |limit: u32| (limit / share.max(1)).max(1);
        if let Some(most) = limits.calls_in_flight.map(part) {
            let before = self.open.fetch_add(1, Ordering::AcqRel);
            if before >= most as usize {
                self.open.fetch_sub(1, Ordering::AcqRel);
                return Err(exceeded(format!("the agent key has {before} calls at once, as many as it may"), 1));
            }
        }
        let admission = Admission(limits.calls_in_flight.map(|_| Arc::clone(self)));
        let left = limits.requests_per_minute.map(part).map(|most| self.count(most, now)).transpose()?;
        Ok((admission, left))
    }

    /// Whether a call still counts, at `now` as in [`Rate::admit`].
    fn has_counted(&self, now: i64) -> bool {
        let oldest = now.div_euclid(1000) - SLOTS as i64;
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.slots.iter().any(|(at, calls)| *calls > 0 && *at > oldest)
    }

    /// Counts a call of this second, unless the minute is full. Whole seconds count from their beginning, so that no
    /// minute ever has more calls than it may.
    fn count(&self, most: u32, now: i64) -> Result<Left> {
        let second = now.div_euclid(1000);
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let in_window = |at: i64| at > second - SLOTS as i64 && at <= second;
        let counted: u64 =
            window.slots.iter().filter(|(at, _)| in_window(*at)).map(|(_, calls)| u64::from(*calls)).sum();
        let oldest = window.slots.iter().filter(|(at, calls)| in_window(*at) && *calls > 0).map(|(at, _)| *at).min();
        let reset_seconds = oldest.map_or(SLOTS as i64, |at| at + SLOTS as i64 - second).max(1);
        if counted >= u64::from(most) {
            let why = format!("the agent key had {counted} calls in the last minute, as many as it may");
            return Err(exceeded(why, reset_seconds));
        }
        let slot = &mut window.slots[second.rem_euclid(SLOTS as i64) as usize];
        *slot = if slot.0 == second { (second, slot.1 + 1) } else { (second, 1) };
        let remaining = u32::try_from(u64::from(most) - counted - 1).unwrap_or(0);
        Ok(Left { limit: most, remaining, reset_seconds })
    }
}

fn exceeded(why: String, seconds: i64) -> Error {
    Error::new(Code::RateLimitExceeded, format!("{why}; try again in {seconds} s"))
        .with_extension("retry_after_seconds", serde_json::Value::from(seconds))
}

/// The rates of all keys that have a limit, by their id: they outlive what is cached of a key.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<Arc<str>, Arc<Rate>>>);

impl Rates {
    /// The rate of a key; `now` as in [`Rate::admit`].
    pub fn of(&self, id: &Arc<str>, now: i64) -> Arc<Rate> {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= 1024 && rates.len().is_power_of_two() {
            // What somebody has, or what still counts, is kept.
            rates.retain(|_, rate| Arc::strong_count(rate) > 1 || rate.has_counted(now));
        }
        Arc::clone(rates.entry(Arc::clone(id)).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_calls_than_it_may() {
        let rate = Arc::new(Rate::default());
        let limits = KeyLimits { requests_per_minute: Some(10), ..KeyLimits::default() };
        let mut passed: Vec<i64> = Vec::new();
        for now in (0..400_000).step_by(317) {
            if rate.admit(&limits, 1, now).is_ok() {
                passed.push(now);
            }
        }
        for (at, start) in passed.iter().enumerate() {
            let within = passed[at..].iter().take_while(|now| **now < start + 60_000).count();
            assert!(within <= 10, "{within} calls in the minute from {start}");
        }
        assert!(passed.len() >= 60, "{} calls in 400 s", passed.len());
    }

    #[test]
    fn calls_at_once_are_given_back() {
        let rate = Arc::new(Rate::default());
        let limits = KeyLimits { calls_in_flight: Some(4), ..KeyLimits::default() };
        let mut open: Vec<_> = (0..4).map(|_| rate.admit(&limits, 1, 0).expect("a place")).collect();
        assert!(rate.admit(&limits, 1, 0).is_err());
        // Of two servers each has half of them.
        open.truncate(2);
        assert!(rate.admit(&limits, 2, 0).is_err());
        open.pop();
        assert!(rate.admit(&limits, 2, 0).is_ok());
    }

    #[test]
    fn a_rate_outlives_what_is_cached_of_its_key() {
        let rates = Rates::default();
        let id: Arc<str> = "ak_1".into();
        let limits = KeyLimits { requests_per_minute: Some(1), ..KeyLimits::default() };
        // Filled long before its one call, and forgotten right behind it.
        let rate = rates.of(&id, 0);
        rate.admit(&limits, 1, 600_000).expect("the first call");
        drop(rate);
        for number in 0..3000 {
            drop(rates.of(&format!("ak_{number}").into(), 610_000));
        }
        assert!(rates.of(&id, 610_000).admit(&limits, 1, 610_000).is_err(), "the minute was forgotten");
        for number in 0..9000 {
            drop(rates.of(&format!("later_{number}").into(), 700_000));
        }
        let kept = rates.0.lock().map(|rates| rates.len()).unwrap_or_default();
        assert!(kept < 10_000, "{kept} are kept of 12,001");
    }
}
