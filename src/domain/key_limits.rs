//! What one agent key may call, from where and how often.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// The most models or addresses that are named.
const MAX_NAMED: usize = 100;
/// The longest pattern for a model, in bytes.
const MAX_PATTERN: usize = 256;
/// The most calls a minute, or at once, that can be set.
const MAX_CALLS: u32 = 1_000_000;

/// The limits of an agent key. An empty list, and `None`, is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyLimits {
    /// Patterns: a model is allowed that one of them matches, by its name or as `provider-name/upstream-model`; `*` stands for
    /// any text.
    pub allowed_models: Vec<String>,
    /// Networks that calls come from.
    pub allowed_addresses: Vec<IpNet>,
    /// Calls in any minute.
    pub requests_per_minute: Option<u32>,
    /// Calls at once.
    pub calls_in_flight: Option<u32>,
}

impl KeyLimits {
    /// From the column of the store, which was checked when it was written.
    pub fn of_column(text: &str) -> KeyLimits {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// For the column of the store.
    pub fn to_column(&self) -> String {
        match self.is_none() {
            true => String::from("{}"),
            false => serde_json::to_string(self).unwrap_or_default(),
        }
    }

    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == KeyLimits::default()
    }

    /// In words, for the audit log; empty where nothing is limited.
    pub fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.allowed_models.is_empty() {
            parts.push(format!("models {}", self.allowed_models.join(", ")));
        }
        if !self.allowed_addresses.is_empty() {
            parts.push(format!("addresses {}", self.addresses().join(", ")));
        }
        if let Some(calls) = self.requests_per_minute {
            parts.push(format!("{calls} requests a minute"));
        }
        if let Some(calls) = self.calls_in_flight {
            parts.push(format!("{calls} calls at once"));
        }
        parts.join("; ")
    }

    /// The networks, as people write them: an address alone without the length of its prefix.
    pub fn addresses(&self) -> Vec<String> {
        let word = |net: &IpNet| match net.prefix_len() == net.max_prefix_len() {
            true => net.addr().to_string(),
            false => net.to_string(),
        };
        self.allowed_addresses.iter().map(word).collect()
    }

    /// Lets limits through that can be some.
    ///
    /// # Errors
    /// A refused field `limits/…`.
    pub fn check(self) -> Result<KeyLimits> {
        let calls = |name: &'static str, value: Option<u32>| match value {
            Some(value) if value == 0 || value > MAX_CALLS => {
                Err(Error::field(name, format!("must be from 1 to {MAX_CALLS}, or absent for no limit")))
            }
            _ => Ok(()),
        };
        let long = |name: &'static str, count: usize| match count > MAX_NAMED {
            true => Err(Error::field(name, format!("must name at most {MAX_NAMED}"))),
            false => Ok(()),
        };
        let is_pattern =
            |text: &String| !text.trim().is_empty() && text.len() <= MAX_PATTERN && !text.chars().any(char::is_control);
        let patterns = match self.allowed_models.iter().all(is_pattern) {
            true => long("limits/allowed_models", self.allowed_models.len()),
            false => Err(Error::field(
                "limits/allowed_models",
                "must hold names or patterns like gpt-5* or OpenAI/*, of 1 to 256 bytes each",
            )),
        };
        let lists = Error::both(patterns, long("limits/allowed_addresses", self.allowed_addresses.len()));
        let numbers = Error::both(
            calls("limits/requests_per_minute", self.requests_per_minute),
            calls("limits/calls_in_flight", self.calls_in_flight),
        );
        Error::both(lists, numbers)?;
        Ok(self)
    }

    /// Lets a call through from an address it may come from.
    ///
    /// # Errors
    /// [`Code::IpNotAllowed`].
    pub fn check_address(&self, address: IpAddr) -> Result<()> {
        let address = address.to_canonical();
        if self.allowed_addresses.is_empty() || self.allowed_addresses.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        Err(Error::new(
            Code::IpNotAllowed,
            format!("the agent key may not be used from {address}; an administrator of Keyward can allow it"),
        ))
    }

    /// Whether a model may be called: by the name it was called by, or as `provider/upstream`.
    pub fn allows_model(&self, name: &str, provider: &str, upstream: &str) -> bool {
        self.allowed_models.is_empty()
            || self.allowed_models.iter().any(|pattern| {
                let pattern = pattern.trim();
                matches(pattern, name) || matches(pattern, &format!("{provider}/{upstream}"))
            })
    }

    /// Lets a call through to a model it may name.
    ///
    /// # Errors
    /// [`Code::ModelNotAllowed`].
    pub fn check_model(&self, name: &str, provider: &str, upstream: &str) -> Result<()> {
        if self.allows_model(name, provider, upstream) {
            return Ok(());
        }
        let what = match name.is_empty() {
            true => format!("routes of the provider {provider} that name no model"),
            false => format!("the model {name:?}"),
        };
        Err(Error::new(
            Code::ModelNotAllowed,
            format!("the agent key may not use {what}; GET /v1/models lists the models it may use"),
        ))
    }
}

/// The networks that a person wrote.
///
/// # Errors
/// A refused field `limits/allowed_addresses`.
pub fn parse_addresses(texts: &[String]) -> Result<Vec<IpNet>> {
    let parse = |text: &String| {
        let text = text.trim();
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical())));
        net.map(|net| net.trunc()).map_err(|_| {
            Error::field(
                "limits/allowed_addresses",
                format!("holds {text:?}, which is neither an address nor a network like 10.0.0.0/8"),
            )
        })
    };
    texts.iter().map(parse).collect()
}

/// Whether a pattern, in which `*` stands for any text, matches a whole name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.len() >= end.len() && left.ends_with(end)
}

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
    /// Lets a call through, or says for how long not.
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
pub struct Rates(Mutex<HashMap<Arc<str>, Entry>>);

#[derive(Debug)]
struct Entry {
    /// Kept for a minute after whoever used it last.
    rate: Arc<Rate>,
    used_at: i64,
    users: Weak<()>,
}

/// How long a rate is kept that nobody uses, in milliseconds: as long as it counts.
const KEPT_MS: i64 = 61_000;

impl Rates {
    /// The rate of a key, and what says that it is still in use.
    pub fn of(&self, id: &Arc<str>, now: i64) -> (Arc<Rate>, Arc<()>) {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= 1024 && rates.len().is_power_of_two() {
            rates.retain(|_, entry| entry.users.strong_count() > 0 || now - entry.used_at < KEPT_MS);
        }
        let user = Arc::new(());
        let entry = rates.entry(Arc::clone(id)).or_insert_with(|| Entry {
            rate: Arc::default(),
            used_at: now,
            users: Weak::new(),
        });
        entry.used_at = now;
        let user = entry.users.upgrade().unwrap_or(user);
        entry.users = Arc::downgrade(&user);
        (Arc::clone(&entry.rate), user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, yes, no) in [
            ("gpt-5", &["gpt-5"][..], &["gpt-5-mini", "GPT-5", ""][..]),
            ("gpt-5*", &["gpt-5", "gpt-5-mini"], &["o-gpt-5"]),
            ("*", &["", "anything"], &[]),
            ("OpenAI/*", &["OpenAI/gpt-5", "OpenAI/"], &["OpenAI", "Other/OpenAI/x"]),
            ("*-mini", &["gpt-5-mini", "-mini"], &["mini", "gpt-5-mini-x"]),
            ("a*b*c", &["abc", "a1b2c", "abbc"], &["ac", "acb", "ab"]),
            ("aa*aa", &["aaaa"], &["aaa"]),
        ] {
            assert!(yes.iter().all(|name| matches(pattern, name)), "{pattern} {yes:?}");
            assert!(!no.iter().any(|name| matches(pattern, name)), "{pattern} {no:?}");
        }
    }

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
        let (rate, user) = rates.of(&id, 0);
        drop(user);
        assert!(Arc::ptr_eq(&rate, &rates.of(&id, 1).0));
        for number in 0..3000 {
            drop(rates.of(&format!("ak_{number}").into(), 2));
        }
        assert!(Arc::ptr_eq(&rate, &rates.of(&id, 3).0));
        for number in 0..9000 {
            drop(rates.of(&format!("later_{number}").into(), 10 * KEPT_MS));
        }
        assert!(!Arc::ptr_eq(&rate, &rates.of(&id, 10 * KEPT_MS).0));
    }

    #[test]
    fn limits_are_checked_and_read_as_they_were_written() {
        let limits = KeyLimits {
            allowed_models: vec![String::from("gpt-5*")],
            allowed_addresses: parse_addresses(&["10.1.2.3/8".into(), " 2001:db8::1 ".into()]).expect("addresses"),
            requests_per_minute: Some(60),
            calls_in_flight: None,
        };
        assert_eq!(KeyLimits::of_column(&limits.to_column()), limits);
        assert_eq!(KeyLimits::of_column("{}"), KeyLimits::default());
        assert_eq!(KeyLimits::default().to_column(), "{}");
        assert_eq!(limits.words(), "models gpt-5*; addresses 10.0.0.0/8, 2001:db8::1; 60 requests a minute");
        let address = |text: &str| limits.check_address(text.parse().expect("an address"));
        assert!(address("10.9.9.9").is_ok() && address("::ffff:10.9.9.9").is_ok() && address("2001:db8::1").is_ok());
        assert!(address("11.0.0.1").is_err() && address("2001:db8::2").is_err());
        assert!(limits.check_model("OpenAI/gpt-5", "OpenAI", "gpt-5").is_err());
        assert!(limits.check_model("fast", "OpenAI", "gpt-5").is_err());
        let by_provider = KeyLimits { allowed_models: vec![String::from("OpenAI/*")], ..KeyLimits::default() };
        assert!(by_provider.check_model("fast", "OpenAI", "gpt-5").is_ok());
        assert!(by_provider.check_model("", "OpenAI", "").is_ok() && by_provider.check_model("", "Other", "").is_err());
        for bad in [
            KeyLimits { requests_per_minute: Some(0), ..KeyLimits::default() },
            KeyLimits { calls_in_flight: Some(MAX_CALLS + 1), ..KeyLimits::default() },
            KeyLimits { allowed_models: vec![String::from(" ")], ..KeyLimits::default() },
            KeyLimits { allowed_models: vec![String::from("x"); MAX_NAMED + 1], ..KeyLimits::default() },
        ] {
            assert!(bad.check().is_err());
        }
        assert!(parse_addresses(&["10.0.0.0/33".into()]).is_err() && parse_addresses(&["here".into()]).is_err());
    }
}
