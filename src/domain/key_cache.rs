//! Agent keys that were used lately, by the SHA-256 of their secret, so that a call needs no database.
//!
//! A revocation must not be undone by a look-up that read the row just before: every look-up carries the generation
//! it started at, and its result is kept only if no key was changed since ([`KeyCache::fill`]). Changes and fills take
//! one lock; reading takes only its shard's.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

const SHARDS: usize = 64;
/// The most keys kept in one shard; 262,144 in all, at about 500 bytes each.
const PER_SHARD: usize = 4096;

/// When something was last used, waiting to be written down.
#[derive(Debug)]
pub struct UseMark {
    /// The id of what was used.
    pub id: Arc<str>,
    at: AtomicI64,
    waiting: AtomicBool,
}

impl UseMark {
    /// A mark that was never set.
    pub fn new(id: Arc<str>) -> UseMark {
        UseMark { id, at: AtomicI64::new(0), waiting: AtomicBool::new(false) }
    }

    /// Sets the mark; whether it was not waiting to be written down already.
    pub fn set(&self, now: i64) -> bool {
        self.at.fetch_max(now, Ordering::Relaxed);
        !self.waiting.swap(true, Ordering::AcqRel)
    }

    /// The time to write down, in milliseconds since 1970.
    pub fn take(&self) -> i64 {
        self.waiting.store(false, Ordering::Release);
        self.at.load(Ordering::Relaxed)
    }
}

/// What a decision about an agent key needs.
#[derive(Debug)]
pub struct CachedKey {
    /// Its id.
    pub id: Arc<str>,
    /// Its name.
    pub name: String,
    /// The member it belongs to.
    pub member_id: Arc<str>,
    /// Who created it.
    pub created_by: String,
    /// When it ends, or this secret of it does: milliseconds since 1970.
    pub ends_at: i64,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Notes its last use.
    pub used: Arc<UseMark>,
    /// Cancelled when the key is revoked: ends its open streams.
    pub revoked: CancellationToken,
}

type Shard = RwLock<HashMap<[u8; 32], Arc<CachedKey>, BuildHasherDefault<Prehashed>>>;

/// The cache.
pub struct KeyCache {
    shards: Box<[Shard]>,
    index: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    generation: u64,
    digests: HashMap<Arc<str>, Vec<[u8; 32]>>,
}

/// The state of the keys at which a look-up started.
#[derive(Debug, Clone, Copy)]
pub struct Generation(u64);

impl Default for KeyCache {
    fn default() -> KeyCache {
        KeyCache { shards: (0..SHARDS).map(|_| Shard::default()).collect(), index: Mutex::default() }
    }
}

impl KeyCache {
    /// The key with this secret, if it was used lately.
    pub fn get(&self, sha256: &[u8; 32]) -> Option<Arc<CachedKey>> {
        let shard = self.shard(sha256).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(sha256).cloned()
    }

    /// To be taken before the database is asked.
    pub fn generation(&self) -> Generation {
        Generation(self.index().generation)
    }

    /// Keeps what the database said, unless a key was changed since `generation`.
    pub fn fill(&self, sha256: [u8; 32], key: Arc<CachedKey>, generation: Generation) {
        let mut index = self.index();
        if index.generation != generation.0 {
            return;
        }
        let mut shard = self.shard(&sha256).write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= PER_SHARD {
            // Any key may go: it comes back with its next call. Only good keys get here, so a flood of unknown ones
            // pushes nothing out.
            if let Some((evicted, id)) = shard.iter().next().map(|(digest, key)| (*digest, Arc::clone(&key.id))) {
                shard.remove(&evicted);
                index.forget(&id, &evicted);
            }
        }
        index.digests.entry(Arc::clone(&key.id)).or_default().push(sha256);
        shard.insert(sha256, key);
    }

    /// Forgets a key that was changed; `revoked` also ends its open streams. To be called after the commit and before
    /// anyone is told that the change is made.
    pub fn forget(&self, id: &str, revoked: bool) {
        let mut index = self.index();
        index.generation += 1;
        for digest in index.digests.remove(id).unwrap_or_default() {
            let mut shard = self.shard(&digest).write().unwrap_or_else(PoisonError::into_inner);
            if let Some(key) = shard.remove(&digest)
                && revoked
            {
                key.revoked.cancel();
            }
        }
    }

    /// Forgets all keys.
    pub fn clear(&self) {
        let mut index = self.index();
        index.generation += 1;
        index.digests.clear();
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.index().digests.len()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, sha256: &[u8; 32]) -> &Shard {
        &self.shards[usize::from(sha256[31]) % SHARDS]
    }
}

impl Index {
    fn forget(&mut self, id: &Arc<str>, digest: &[u8; 32]) {
        if let Some(digests) = self.digests.get_mut(id) {
            digests.retain(|kept| kept != digest);
            if digests.is_empty() {
                self.digests.remove(id);
            }
        }
    }
}

/// A hasher for keys that are hashes already.
#[derive(Default)]
pub struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Arc<CachedKey> {
        let id: Arc<str> = id.into();
        Arc::new(CachedKey {
            used: Arc::new(UseMark::new(Arc::clone(&id))),
            id,
            name: String::new(),
            member_id: "".into(),
            created_by: String::new(),
            ends_at: i64::MAX,
            disabled: false,
            revoked: CancellationToken::new(),
        })
    }

    #[test]
    fn a_late_fill_does_not_bring_a_revoked_key_back() {
        let cache = KeyCache::default();
        let before = cache.generation();
        cache.forget("ak_1", true);
        cache.fill([1; 32], key("ak_1"), before);
        assert!(cache.get(&[1; 32]).is_none());
        cache.fill([1; 32], key("ak_1"), cache.generation());
        assert!(cache.get(&[1; 32]).is_some());
    }

    #[test]
    fn forgetting_ends_every_secret_of_the_key_and_its_streams() {
        let cache = KeyCache::default();
        let kept = key("ak_1");
        cache.fill([1; 32], Arc::clone(&kept), cache.generation());
        cache.fill([2; 32], Arc::clone(&kept), cache.generation());
        cache.fill([3; 32], key("ak_2"), cache.generation());
        cache.forget("ak_1", true);
        assert!(cache.get(&[1; 32]).is_none() && cache.get(&[2; 32]).is_none());
        assert!(cache.get(&[3; 32]).is_some());
        assert!(kept.revoked.is_cancelled());
    }

    #[test]
    fn it_stays_bounded() {
        let cache = KeyCache::default();
        for n in 0..u32::try_from(PER_SHARD).expect("small") + 100 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            cache.fill(digest, key(&format!("ak_{n}")), cache.generation());
        }
        assert_eq!(cache.len(), PER_SHARD);
    }
}
