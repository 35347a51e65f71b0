//! Agent keys that were used lately, by the SHA-256 of their secret, so that a call needs no database.
//!
//! A revocation must not be undone by a look-up that read the row just before: every look-up carries the generation
//! it started at, and its result is kept only if its key was not changed since ([`KeyCache::fill`]). Changes and fills
//! take one lock; reading takes only its shard's. What ends a key's open streams is kept apart from the cached keys, so that
//! a stream ends with its key also where the key has left the cache and come back meanwhile.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, AtomicUsize},
    },
    task::{Context, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{callers::CALLERS_AT_HAND, key_limits::KeyLimits, quota::Quota, spending::Spending, use_mark::UseMark};

const SHARDS: usize = 64;
/// The most keys kept in one shard; 262,144 in all, at about 500 bytes each.
const PER_SHARD: usize = 4096;
/// How many changes are told apart by their keys; a look-up from before all of them is made again.
const CHANGES_KEPT: usize = 65_536;

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
    /// When the secret that was presented was made: milliseconds since 1970.
    pub issued_at: i64,
    /// When it ends, or this secret of it does: milliseconds since 1970.
    pub ends_at: i64,
    /// Whether a rotation put another secret into the place of this one.
    pub is_replaced: bool,
    /// Whether it was reported as leaked, and is over for that.
    pub leaked: bool,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Notes its last use.
    pub used: Arc<UseMark>,
    /// From where it was called lately, and about when, as numbers that tell no more.
    pub last_callers: [AtomicU64; CALLERS_AT_HAND],
    /// Bytes of request bodies held for the key at the moment, whichever of its secrets they came with.
    pub held: Arc<AtomicUsize>,
    /// Ends the open calls that came with this secret.
    pub revocation: Arc<Revocation>,
    /// Words that policies ask for.
    pub tags: Box<[String]>,
    /// What it may call, from where and how often: its own limits, and the default ones where it has none.
    pub limits: KeyLimits,
    /// What is counted of its calls.
    pub quotas: Box<[Quota]>,
    /// What they use, where that is limited.
    pub spending: Option<Arc<Spending>>,
}

/// Cancelled when a key is revoked, or one secret of it. One for all streams of a secret, however often the key was
/// looked up.
#[derive(Debug, Default)]
pub struct Revocation(CancellationToken);

impl Revocation {
    /// Whether it was revoked.
    pub fn is_revoked(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when the key is revoked.
    pub fn revoked(self: &Arc<Self>) -> Revoked {
        Revoked { wait: Box::pin(self.0.clone().cancelled_owned()), _kept: Arc::clone(self) }
    }
}

/// Waits for a revocation, and keeps it findable for whoever revokes.
pub struct Revoked {
    wait: Pin<Box<WaitForCancellationFutureOwned>>,
    _kept: Arc<Revocation>,
}

impl Future for Revoked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.wait.as_mut().poll(cx)
    }
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
    /// The generation of each key's last change, as far back as `all_changed`.
    changed: HashMap<Arc<str>, u64>,
    /// The generation at which any key may have changed.
    all_changed: u64,
    digests: HashMap<Arc<str>, Vec<[u8; 32]>>,
    open: HashMap<Arc<str>, Open>,
}

/// What the open calls of a key have in common, while there are any.
#[derive(Default)]
struct Open {
    held: Weak<AtomicUsize>,
    /// By the id of a secret: what ends the calls that came with it.
    revocations: Vec<(Arc<str>, Weak<Revocation>)>,
}

impl Open {
    /// The secrets with which something came that is still open.
    fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.revocations.iter().filter(|(_, weak)| weak.strong_count() > 0).map(|(secret_id, _)| secret_id)
    }
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

    /// Keeps the key `id` that the database told of, as its secret `secret_id` finds it. `None` where that key was changed
    /// since `generation`: what the database said may be over, and it is to be asked again.
    pub fn fill(
        &self,
        sha256: [u8; 32],
        (id, secret_id): (&Arc<str>, &Arc<str>),
        generation: Generation,
        key: impl FnOnce(Arc<AtomicUsize>, Arc<Revocation>) -> CachedKey,
    ) -> Option<Arc<CachedKey>> {
        let mut index = self.index();
        if index.changed_at(id) > generation.0 {
            return None;
        }
        let mut shard = self.shard(&sha256).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = shard.get(&sha256) {
            return Some(Arc::clone(kept));
        }
        if shard.len() >= PER_SHARD {
            // Any key may go: it comes back with its next call. Only good keys get here, so a flood of unknown ones
            // pushes nothing out.
            if let Some((evicted, id)) = shard.iter().next().map(|(digest, key)| (*digest, Arc::clone(&key.id))) {
                shard.remove(&evicted);
                index.forget(&id, &evicted);
            }
        }
        index.digests.entry(Arc::clone(id)).or_default().push(sha256);
        let (held, revocation) = index.open(id, secret_id);
        let key = Arc::new(key(held, revocation));
        shard.insert(sha256, Arc::clone(&key));
        Some(key)
    }

    /// Forgets a key that was changed; `revoked` also ends its open streams. To be called after the commit and before
    /// anyone is told that the change is made.
    pub fn forget(&self, id: &str, revoked: bool) {
        self.forget_and_end(id, |_| revoked);
    }

    /// Forgets a key whose secret `secret_id` is over, and ends the streams that came with that secret.
    pub fn forget_secret(&self, id: &str, secret_id: &str) {
        self.forget_and_end(id, |ended| ended == secret_id);
    }

    fn forget_and_end(&self, id: &str, is_over: impl Fn(&str) -> bool) {
        let mut index = self.index();
        index.note_change(id);
        for digest in index.digests.remove(id).unwrap_or_default() {
            self.shard(&digest).write().unwrap_or_else(PoisonError::into_inner).remove(&digest);
        }
        if let Some(open) = index.open.get_mut(id) {
            open.revocations.retain(|(secret_id, revocation)| {
                let is_over = is_over(secret_id);
                if is_over && let Some(revocation) = revocation.upgrade() {
                    revocation.0.cancel();
                }
                !is_over
            });
        }
    }

    /// The keys whose streams are open.
    pub fn with_open_streams(&self) -> Vec<Arc<str>> {
        let index = self.index();
        index.open.iter().filter(|(_, open)| open.secrets().next().is_some()).map(|(id, _)| Arc::clone(id)).collect()
    }

    /// The secrets of a key with which open streams came.
    pub fn open_secrets(&self, id: &str) -> Vec<Arc<str>> {
        self.index().open.get(id).into_iter().flat_map(Open::secrets).map(Arc::clone).collect()
    }

    /// Forgets all keys.
    pub fn clear(&self) {
        let mut index = self.index();
        index.note_change_of_all();
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
    fn note_change(&mut self, id: &str) {
        if self.changed.len() >= CHANGES_KEPT {
            self.note_change_of_all();
        }
        self.generation += 1;
        self.changed.insert(id.into(), self.generation);
    }

    fn note_change_of_all(&mut self) {
        self.generation += 1;
        self.all_changed = self.generation;
        self.changed.clear();
    }

    /// The generation of a key's last change.
    fn changed_at(&self, id: &str) -> u64 {
        self.changed.get(id).copied().unwrap_or(0).max(self.all_changed)
    }

    /// What the open calls of a key, and those with one secret of it, have in common: what they have already, or new.
    fn open(&mut self, id: &Arc<str>, secret_id: &Arc<str>) -> (Arc<AtomicUsize>, Arc<Revocation>) {
        if self.open.len() > 2 * self.digests.len() + 1024 {
            self.open.retain(|_, open| open.revocations.iter().any(|(_, weak)| weak.strong_count() > 0));
        }
        let open = self.open.entry(Arc::clone(id)).or_default();
        open.revocations.retain(|(_, weak)| weak.strong_count() > 0);
        let held = open.held.upgrade().unwrap_or_default();
        open.held = Arc::downgrade(&held);
        let known = open.revocations.iter().find(|(known, _)| known == secret_id).and_then(|(_, weak)| weak.upgrade());
        let revocation = known.unwrap_or_else(|| {
            let new = Arc::new(Revocation::default());
            open.revocations.push((Arc::clone(secret_id), Arc::downgrade(&new)));
            new
        });
        (held, revocation)
    }

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
    use std::sync::atomic::Ordering;

    use super::*;

    fn fill(cache: &KeyCache, digest: [u8; 32], id: &str, generation: Generation) -> Option<Arc<CachedKey>> {
        fill_by(cache, digest, id, "as_1", generation)
    }

    fn fill_by(
        cache: &KeyCache,
        digest: [u8; 32],
        id: &str,
        secret_id: &str,
        generation: Generation,
    ) -> Option<Arc<CachedKey>> {
        let (id, secret_id): (Arc<str>, Arc<str>) = (id.into(), secret_id.into());
        cache.fill(digest, (&id, &secret_id), generation, |held, revocation| CachedKey {
            held,
            last_callers: Default::default(),
            used: Arc::new(UseMark::of_part(Arc::clone(&id), Arc::clone(&secret_id))),
            id: Arc::clone(&id),
            name: String::new(),
            member_id: "".into(),
            created_by: String::new(),
            issued_at: 0,
            ends_at: i64::MAX,
            is_replaced: false,
            leaked: false,
            disabled: false,
            revocation,
            tags: Box::default(),
            limits: KeyLimits::default(),
            quotas: Box::default(),
            spending: None,
        })
    }

    fn is_revoked(key: &CachedKey) -> bool {
        key.revocation.0.is_cancelled()
    }

    #[test]
    fn a_late_fill_does_not_bring_a_revoked_key_back() {
        let cache = KeyCache::default();
        let before = cache.generation();
        cache.forget("ak_1", true);
        assert!(fill(&cache, [1; 32], "ak_1", before).is_none());
        assert!(cache.get(&[1; 32]).is_none());
        fill(&cache, [1; 32], "ak_1", cache.generation());
        assert!(cache.get(&[1; 32]).is_some());
    }

    #[test]
    fn a_fill_is_fenced_by_changes_of_its_own_key_and_of_all() {
        let cache = KeyCache::default();
        let before = cache.generation();
        cache.forget("ak_2", true);
        assert!(fill(&cache, [1; 32], "ak_1", before).is_some(), "another key's change is none of its own");
        let before = cache.generation();
        cache.clear();
        assert!(fill(&cache, [1; 32], "ak_1", before).is_none(), "any key may have changed");
        let before = cache.generation();
        for number in 0..=CHANGES_KEPT {
            cache.forget(&format!("ak_x{number}"), true);
        }
        assert!(fill(&cache, [1; 32], "ak_1", before).is_none(), "too long ago to tell");
    }

    #[test]
    fn forgetting_ends_every_secret_of_the_key_and_its_streams() {
        let cache = KeyCache::default();
        let one = fill(&cache, [1; 32], "ak_1", cache.generation()).expect("a key");
        let two = fill(&cache, [2; 32], "ak_1", cache.generation()).expect("a key");
        let other = fill(&cache, [3; 32], "ak_2", cache.generation()).expect("a key");
        cache.forget("ak_1", true);
        assert!(cache.get(&[1; 32]).is_none() && cache.get(&[2; 32]).is_none());
        assert!(cache.get(&[3; 32]).is_some());
        assert!(is_revoked(&one) && is_revoked(&two) && !is_revoked(&other));
    }

    #[test]
    fn a_secret_that_is_over_ends_its_own_streams_and_both_count_as_one_key() {
        let cache = KeyCache::default();
        let old = fill_by(&cache, [1; 32], "ak_1", "as_1", cache.generation()).expect("a key");
        let new = fill_by(&cache, [2; 32], "ak_1", "as_2", cache.generation()).expect("a key");
        old.held.fetch_add(7, Ordering::Relaxed);
        assert_eq!(new.held.load(Ordering::Relaxed), 7);
        cache.forget_secret("ak_1", "as_1");
        assert!(is_revoked(&old) && !is_revoked(&new));
        assert!(cache.get(&[1; 32]).is_none() && cache.get(&[2; 32]).is_none(), "both are looked up again");
        cache.forget("ak_1", true);
        assert!(is_revoked(&new));
    }

    #[test]
    fn a_stream_ends_with_its_key_wherever_the_key_was_meanwhile() {
        let cache = KeyCache::default();
        let first = fill(&cache, [1; 32], "ak_1", cache.generation()).expect("a key");
        cache.forget("ak_1", false);
        let renamed = fill(&cache, [1; 32], "ak_1", cache.generation()).expect("a key");
        cache.clear();
        let reloaded = fill(&cache, [1; 32], "ak_1", cache.generation()).expect("a key");
        cache.clear();
        cache.forget("ak_1", true);
        assert!(is_revoked(&first) && is_revoked(&renamed) && is_revoked(&reloaded));
        let enabled = fill(&cache, [1; 32], "ak_1", cache.generation()).expect("a key");
        assert!(!is_revoked(&enabled));
    }

    #[test]
    fn it_stays_bounded() {
        let cache = KeyCache::default();
        for n in 0..u32::try_from(PER_SHARD).expect("small") + 100 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            fill(&cache, digest, &format!("ak_{n}"), cache.generation());
        }
        assert_eq!(cache.len(), PER_SHARD);
    }
}
