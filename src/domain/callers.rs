//! From where agent keys are called: noted in memory at every call, and written down in batches.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use store::callers::Caller;

use super::{Core, key_cache::CachedKey};
use crate::error::Result;

/// How long further calls of a key from an address it was called from lately are not noted again, in milliseconds.
const GRAIN_MS: i64 = 10_000;
/// How many of the addresses that a key is called from are known without asking what waits.
pub const CALLERS_AT_HAND: usize = 4;
/// The most keys and addresses that wait to be written down; more are not noted.
const MAX_WAITING: usize = 20_000;

/// What waits to be written down.
#[derive(Debug, Default)]
pub struct Callers {
    waiting: Mutex<HashMap<(Arc<str>, IpAddr), Seen>>,
    hasher: RandomState,
}

/// When calls came: milliseconds since 1970, 0 for never.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: i64,
    last: i64,
    refused: i64,
}

impl Callers {
    /// Notes a call, and whether it was refused because the key had ended or was switched off. Most calls come from where
    /// one of the last came from, a moment later: those cost one look at the key.
    pub fn note(&self, key: &CachedKey, address: IpAddr, is_refused: bool, now: i64) {
        let address = address.to_canonical();
        let place = self.hasher.hash_one((address, now.div_euclid(GRAIN_MS), is_refused));
        let noted = &key.last_callers[(place % CALLERS_AT_HAND as u64) as usize];
        if noted.load(Ordering::Relaxed) == place {
            return;
        }
        noted.store(place, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = waiting.len() >= MAX_WAITING;
        let place = (Arc::clone(&key.id), address);
        if is_full && !waiting.contains_key(&place) {
            return;
        }
        let seen = waiting.entry(place).or_insert(Seen { first: now, last: now, refused: 0 });
        seen.last = seen.last.max(now);
        if is_refused {
            seen.refused = now;
        }
    }

    /// Writes down what was noted.
    ///
    /// # Errors
    /// A storage failure; what was to be written waits for the next time then.
    pub async fn flush(&self, core: &Core) -> Result<()> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            return Ok(());
        }
        let written = write(core, &waiting).await;
        if written.is_err() {
            self.put_back(waiting);
        }
        written
    }

    /// Has what could not be written wait again, with what came meanwhile.
    fn put_back(&self, unwritten: HashMap<(Arc<str>, IpAddr), Seen>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, seen) in unwritten {
            if let Some(newer) = waiting.get_mut(&place) {
                newer.first = seen.first;
                newer.refused = newer.refused.max(seen.refused);
            } else if waiting.len() < MAX_WAITING {
                waiting.insert(place, seen);
            }
        }
    }
}

async fn write(core: &Core, waiting: &HashMap<(Arc<str>, IpAddr), Seen>) -> Result<()> {
    let mut callers: Vec<_> = waiting
        .iter()
        .map(|((id, address), seen)| Caller {
            agent_key_id: id.to_string(),
            address: address.to_string(),
            first_seen_at: seen.first,
            last_seen_at: seen.last,
            last_refused_at: seen.refused,
        })
        .collect();
    // In one order, so that replicas that flush at the same time wait for each other and never in a circle.
    callers.sort_by(|a, b| (&a.agent_key_id, &a.address).cmp(&(&b.agent_key_id, &b.address)));
    let mut tx = core.store.write_aside().await?;
    for caller in &callers {
        store::callers::note(&mut tx, caller).await?;
        if caller.last_refused_at > 0 {
            core.warnings.ended_called(&caller.agent_key_id, &caller.address, caller.last_refused_at);
        }
    }
    tx.commit().await?;
    Ok(())
}

/// The addresses an agent key was called from lately, the newest first; at most 20.
///
/// # Errors
/// A storage failure.
pub async fn of_key(core: &Core, id: &str) -> Result<Vec<Caller>> {
    write_down(core).await;
    Ok(store::callers::of_key(&mut core.store.read().await?, id).await?)
}

/// Writes down what was noted, so that it can be read.
pub(super) async fn write_down(core: &Core) {
    if let Err(error) = core.callers.flush(core).await {
        error.log("");
    }
}
