//! Who looks agent keys up in the database: few at a time, and one at a time for each key.
//!
//! What many callers bring at once, good or unknown, is read once; a flood of different unknown keys takes a few of the
//! database's connections and no more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// How many keys are looked up at once.
const AT_ONCE: usize = 32;
/// Keys in different lanes do not wait for each other; more of them than [`AT_ONCE`], so that few share one.
const LANES: usize = 256;
/// How long a call waits, for its lane and for its turn each.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The order in which keys are looked up.
#[derive(Debug)]
pub struct LookUps {
    lanes: Box<[Arc<Lane>]>,
    turns: Arc<Semaphore>,
    made: Arc<AtomicU64>,
}

/// The hash of a secret that was not found, and the number of the look-up.
type Miss = ([u8; 32], u64);

#[derive(Debug, Default)]
struct Lane {
    /// The number of its last look-up.
    begun: AtomicU64,
    /// The key that its last look-up did not find, and that look-up's number.
    missed: Arc<Mutex<Option<Miss>>>,
}

/// A place in a lane: whoever waited for it looks at the memory first, since the one before may have filled it. It belongs
/// to whoever asks the database, and not to the call, whose caller may leave while the question is still under way.
#[derive(Debug)]
pub struct Place {
    turns: Arc<Semaphore>,
    made: Arc<AtomicU64>,
    lane: Arc<Lane>,
    missed: OwnedMutexGuard<Option<Miss>>,
    sha256: [u8; 32],
    /// The lane's last look-up when this place was asked for.
    arrived_at: u64,
}

impl Default for LookUps {
    fn default() -> LookUps {
        LookUps {
            lanes: (0..LANES).map(|_| Arc::default()).collect(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            made: Arc::default(),
        }
    }
}

impl LookUps {
    /// The place of a key whose secret has this hash; `None` where the wait for it is too long.
    pub async fn place(&self, sha256: &[u8; 32]) -> Option<Place> {
        let lane = Arc::clone(&self.lanes[usize::from(sha256[30]) % LANES]);
        let arrived_at = lane.begun.load(Ordering::Acquire);
        let missed = tokio::time::timeout(PATIENCE, Arc::clone(&lane.missed).lock_owned()).await.ok()?;
        let (turns, made) = (Arc::clone(&self.turns), Arc::clone(&self.made));
        Some(Place { turns, made, lane, missed, sha256: *sha256, arrived_at })
    }

    /// How many there were since the start.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Whether a look-up that began after this place was asked for did not find the key: asking again would tell no more.
    pub fn is_missed(&self) -> bool {
        self.missed.is_some_and(|(sha256, number)| sha256 == self.sha256 && number > self.arrived_at)
    }

    /// The turn to ask the database, which it counts; `None` where the wait for it is too long.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await.ok()?.ok()?;
        self.made.fetch_add(1, Ordering::Relaxed);
        self.lane.begun.fetch_add(1, Ordering::Release);
        Some(turn)
    }

    /// Notes that the database does not have the key.
    pub fn note_miss(mut self) {
        *self.missed = Some((self.sha256, self.lane.begun.load(Ordering::Acquire)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_miss_is_told_to_those_who_came_before_it_began_and_to_nobody_later() {
        let look_ups = LookUps::default();
        let key = [7; 32];
        let first = look_ups.place(&key).await.expect("a free lane");
        let turn = first.turn().await.expect("a free turn");
        // Comes while the first look-up is under way, which may have read already.
        let during = tokio::join!(look_ups.place(&key), async {
            first.note_miss();
            drop(turn);
        });
        let during = during.0.expect("the lane is free again");
        assert!(!during.is_missed(), "a look-up from before it came tells it nothing");
        // Comes before the second look-up begins.
        let second = async {
            let turn = during.turn().await.expect("a free turn");
            during.note_miss();
            drop(turn);
        };
        let waiting = tokio::join!(look_ups.place(&key), second).0.expect("the lane is free again");
        assert!(waiting.is_missed());
        drop(waiting);
        let mut different = key;
        different[0] = 8;
        assert!(!look_ups.place(&different).await.expect("a free lane").is_missed(), "another key in the same lane");
        assert!(!look_ups.place(&key).await.expect("a free lane").is_missed(), "who comes later asks again");
        assert_eq!(look_ups.made(), 2);
    }
}
