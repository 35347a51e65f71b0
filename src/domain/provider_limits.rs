//! What a provider gets at once, how long it may take, and how often a call may be tried again with another key.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    egress::Patience,
    error::{Error, Result},
};

/// The most calls one provider gets at once where nothing else is set.
pub const DEFAULT_CALLS_IN_FLIGHT: u32 = 10_000;
/// The longest time that can be set, in seconds: a day.
const MAX_SECONDS: u32 = 86_400;
/// The most calls in flight that can be set.
const MAX_CALLS_IN_FLIGHT: u32 = 1_000_000;

/// The limits of one provider; what is `None` is Keyward's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderLimits {
    /// The most calls at once.
    pub calls_in_flight: Option<u32>,
    /// How long a connection may take, in seconds.
    pub connect_seconds: Option<u32>,
    /// How long the head of an answer may take, in seconds.
    pub head_seconds: Option<u32>,
    /// How long it may be silent within an answer, in seconds.
    pub idle_seconds: Option<u32>,
    /// How long a whole call may take, in seconds.
    pub total_seconds: Option<u32>,
}

impl ProviderLimits {
    /// From the column of the store, which was checked when it was written.
    pub fn of_column(text: &str) -> ProviderLimits {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// For the column of the store; empty where every default holds.
    pub fn as_column(&self) -> String {
        if *self == ProviderLimits::default() {
            return String::new();
        }
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Refuses what is out of range.
    ///
    /// # Errors
    /// A refused field `limits/…`.
    pub fn check(&self) -> Result<()> {
        let fields = [
            ("limits/calls_in_flight", self.calls_in_flight, MAX_CALLS_IN_FLIGHT),
            ("limits/connect_seconds", self.connect_seconds, MAX_SECONDS),
            ("limits/head_seconds", self.head_seconds, MAX_SECONDS),
            ("limits/idle_seconds", self.idle_seconds, MAX_SECONDS),
            ("limits/total_seconds", self.total_seconds, MAX_SECONDS),
        ];
        for (name, value, most) in fields {
            if value.is_some_and(|value| value == 0 || value > most) {
                return Err(Error::field(name, format!("must be from 1 to {most}, or absent for the default")));
            }
        }
        Ok(())
    }

    /// How long to wait for this provider, `default` where nothing is set.
    pub fn patience(&self, default: &Patience) -> Patience {
        let seconds = |set: Option<u32>| set.map(|seconds| Duration::from_secs(u64::from(seconds)));
        Patience {
            connect: seconds(self.connect_seconds).unwrap_or(default.connect),
            head: seconds(self.head_seconds).unwrap_or(default.head),
            idle: seconds(self.idle_seconds).unwrap_or(default.idle),
            total: seconds(self.total_seconds).or(default.total),
        }
    }
}

/// How often calls may be tried again, in hundredths of a try: each call adds some, each further try takes a whole
/// one, so that tries never become more than a fifth of the calls (and never more than ten at a stroke).
const TRY: i64 = 100;
const TRY_PER_CALL: i64 = 20;
const MAX_TRIES: i64 = 10 * TRY;

/// What goes on at one provider at the moment.
#[derive(Debug)]
pub struct Traffic {
    calls: AtomicUsize,
    tries: AtomicI64,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic { calls: AtomicUsize::new(0), tries: AtomicI64::new(MAX_TRIES) }
    }
}

impl Traffic {
    /// Takes a place for one more call, to be given back by [`Traffic::leave`]; false, and none taken, where there are
    /// `most` already.
    pub fn enter(&self, most: u32) -> bool {
        let has_place = self.calls.fetch_add(1, Ordering::Relaxed) < most as usize;
        if !has_place {
            self.leave();
        }
        has_place
    }

    /// Gives a place back.
    pub fn leave(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes a call that could be tried again.
    pub fn begin(&self) {
        if self.tries.fetch_add(TRY_PER_CALL, Ordering::Relaxed) > MAX_TRIES {
            self.tries.store(MAX_TRIES, Ordering::Relaxed);
        }
    }

    /// Whether a call may be tried once more.
    pub fn may_try_again(&self) -> bool {
        let may = self.tries.fetch_sub(TRY, Ordering::Relaxed) >= TRY;
        if !may {
            self.tries.fetch_add(TRY, Ordering::Relaxed);
        }
        may
    }
}

/// The traffic of every provider, by its id: it outlives the catalog's snapshots.
#[derive(Debug, Default)]
pub struct TrafficBook {
    providers: Mutex<HashMap<String, Arc<Traffic>>>,
}

impl TrafficBook {
    /// The traffic of one provider.
    pub fn of(&self, id: &str) -> Arc<Traffic> {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(providers.entry(id.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_calls_at_once_than_allowed() {
        let traffic = Traffic::default();
        assert!(traffic.enter(2) && traffic.enter(2));
        assert!(!traffic.enter(2));
        traffic.leave();
        assert!(traffic.enter(2) && !traffic.enter(2));
    }

    #[test]
    fn further_tries_stay_below_a_fifth_of_the_calls() {
        let traffic = Traffic::default();
        let mut tries = 0;
        for _ in 0..10_000 {
            traffic.begin();
            tries += i32::from(traffic.may_try_again());
        }
        assert!((2_000..=2_010).contains(&tries), "{tries}");
    }

    #[test]
    fn limits_out_of_range_are_refused_and_the_column_comes_back() {
        let limits = ProviderLimits { calls_in_flight: Some(5), head_seconds: Some(30), ..ProviderLimits::default() };
        assert_eq!(ProviderLimits::of_column(&limits.as_column()), limits);
        assert_eq!(ProviderLimits::default().as_column(), "");
        for wrong in [0, MAX_SECONDS + 1] {
            assert!(ProviderLimits { total_seconds: Some(wrong), ..limits }.check().is_err());
        }
    }
}
