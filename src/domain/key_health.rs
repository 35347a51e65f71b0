//! What providers answered last about each general key: shown to people, and used to pass over a key that would only
//! be refused again. Kept in memory, written down in batches; it grants nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    },
};

use super::Core;
use crate::error::Result;

/// How long a refused key is passed over where there is another one, in milliseconds.
const REFUSED_REST_MS: i64 = 60_000;
/// How long a key is passed over at most because its provider said to come back later, in milliseconds.
const MAX_REST_MS: i64 = 300_000;
/// How much is kept of what a provider said, in characters.
const MAX_WORDS: usize = 300;
/// How often at most it is noted that a key was accepted once more, in milliseconds.
const ACCEPTED_AGAIN_MS: i64 = 60_000;

/// What a provider answered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// No provider was asked yet.
    Unknown = 0,
    /// It was accepted.
    Accepted = 1,
    /// It was refused.
    Refused = 2,
}

impl Health {
    /// As the store keeps it.
    pub fn as_column(self) -> &'static str {
        match self {
            Health::Unknown => "",
            Health::Accepted => "ok",
            Health::Refused => "refused",
        }
    }

    /// From what the store keeps.
    pub fn of_column(text: &str) -> Health {
        match text {
            "ok" => Health::Accepted,
            "refused" => Health::Refused,
            _ => Health::Unknown,
        }
    }

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Accepted => "ok",
            Health::Refused => "refused",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Health> {
        [Health::Unknown, Health::Accepted, Health::Refused].into_iter().find(|health| health.as_str() == text)
    }
}

/// One general key's health.
#[derive(Debug)]
pub struct KeyHealth {
    state: AtomicU8,
    accepted_at: AtomicI64,
    /// When it was refused last, or told to rest.
    refused_at: AtomicI64,
    rests_until: AtomicI64,
    waiting: AtomicBool,
    said: Mutex<(i64, String)>,
}

impl KeyHealth {
    fn new(state: Health) -> KeyHealth {
        KeyHealth {
            state: AtomicU8::new(state as u8),
            accepted_at: AtomicI64::new(0),
            refused_at: AtomicI64::new(0),
            rests_until: AtomicI64::new(0),
            waiting: AtomicBool::new(false),
            said: Mutex::default(),
        }
    }

    /// A provider accepted it, for a call that began at `begun`. One from before a refusal says nothing about it.
    pub fn accepted(&self, begun: i64, now: i64) {
        if begun < self.refused_at.load(Ordering::Relaxed) {
            return;
        }
        // What was noted just now costs two reads.
        let is_news = self.state.load(Ordering::Relaxed) != Health::Accepted as u8;
        if is_news || now - self.accepted_at.load(Ordering::Relaxed) >= ACCEPTED_AGAIN_MS {
            self.accepted_at.store(now, Ordering::Relaxed);
            self.set(Health::Accepted, now, "");
        }
    }

    /// A provider refused it, in these words.
    pub fn refused(&self, now: i64, words: &str) {
        self.refused_at.fetch_max(now, Ordering::Relaxed);
        self.rests_until.fetch_max(now + REFUSED_REST_MS, Ordering::Relaxed);
        self.set(Health::Refused, now, words);
    }

    /// Its provider wants no calls with it for this long.
    pub fn rest(&self, now: i64, milliseconds: i64) {
        self.refused_at.fetch_max(now, Ordering::Relaxed);
        self.rests_until.fetch_max(now + milliseconds.clamp(0, MAX_REST_MS), Ordering::Relaxed);
    }

    /// Whether a call with it now would likely be refused.
    pub fn rests(&self, now: i64) -> bool {
        self.rests_until.load(Ordering::Relaxed) > now
    }

    fn set(&self, state: Health, now: i64, words: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.store(state as u8, Ordering::Relaxed);
        if state == Health::Accepted {
            self.rests_until.store(0, Ordering::Relaxed);
        }
        *said = (now, words.chars().take(MAX_WORDS).collect());
        self.waiting.store(true, Ordering::Release);
    }

    fn state(&self) -> Health {
        match self.state.load(Ordering::Relaxed) {
            1 => Health::Accepted,
            2 => Health::Refused,
            _ => Health::Unknown,
        }
    }
}

/// The health of every linked general key, by its id.
#[derive(Debug, Default)]
pub struct HealthBook {
    keys: Mutex<HashMap<String, Arc<KeyHealth>>>,
}

impl HealthBook {
    /// The health of a key, which begins as the store has it.
    pub fn of(&self, id: &str, stored: &str) -> Arc<KeyHealth> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keys.get(id) {
            return Arc::clone(known);
        }
        let health = Arc::new(KeyHealth::new(Health::of_column(stored)));
        keys.insert(id.to_owned(), Arc::clone(&health));
        health
    }

    /// Begins anew with a key: its value is another one, or it is gone. What calls on their way learn of the old value
    /// is not noted any more.
    pub fn forget(&self, id: &str) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Writes down what changed.
    ///
    /// # Errors
    /// A storage failure; then it is written with the next flush.
    pub async fn flush(&self, core: &Core) -> Result<()> {
        let changed: Vec<_> = {
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.iter()
                .filter(|(_, health)| health.waiting.swap(false, Ordering::AcqRel))
                .map(|(id, health)| (id.clone(), Arc::clone(health)))
                .collect()
        };
        if changed.is_empty() {
            return Ok(());
        }
        let written = write(core, &changed).await;
        if written.is_err() {
            changed.iter().for_each(|(_, health)| health.waiting.store(true, Ordering::Release));
        }
        written
    }
}

async fn write(core: &Core, changed: &[(String, Arc<KeyHealth>)]) -> Result<()> {
    let mut tx = core.store.write_aside().await?;
    for (id, health) in changed {
        let (at, words) = health.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        store::general_keys::note_health(&mut tx, id, health.state().as_column(), at, &words).await?;
        if health.state() == Health::Refused {
            core.warnings.refused(id, &words, at);
        }
    }
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_rests_until_it_is_accepted_and_a_new_value_begins_anew() {
        let book = HealthBook::default();
        let health = book.of("gk_1", "");
        health.refused(1_000, "no");
        assert_eq!(health.state(), Health::Refused);
        assert!(health.rests(60_999) && !health.rests(61_000));
        health.accepted(999, 1_500);
        assert!(health.rests(1_501), "a call from before the refusal tells nothing of it");
        health.accepted(2_000, 2_000);
        assert!(!health.rests(2_001));
        health.accepted(3_000, 3_000);
        assert_eq!(health.said.lock().expect("what was said").0, 2_000, "noted just now");
        health.accepted(62_000, 62_000);
        assert_eq!(health.said.lock().expect("what was said").0, 62_000);
        health.rest(3_000, 1_000_000);
        assert!(health.rests(302_999) && !health.rests(303_000), "not for longer than five minutes");
        book.forget("gk_1");
        assert_eq!(book.of("gk_1", "refused").state(), Health::Refused);
        assert!(!book.of("gk_1", "").rests(3_000));
    }
}
