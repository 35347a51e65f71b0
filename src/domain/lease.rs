//! The lease of a replica: until when it may decide from memory. On SQLite nobody else decides, and none is needed.
//!
//! It runs from *before* a renewal was sent, so that whatever another replica commits after the renewal was answered is
//! at most [`LEASE_MS`] old when this one stops to trust its memory. It is measured by a clock that goes on while the
//! machine sleeps and that nobody sets.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::error::{Code, Error, Result};

/// How long a lease runs, in milliseconds.
pub const LEASE_MS: i64 = 4_000;

/// After how long without a renewal a lease is over for whoever goes by the clocks of several machines, in milliseconds.
pub const SURELY_OVER_MS: i64 = 30_000;

/// Until when this process may decide from memory.
#[derive(Debug)]
pub struct Lease {
    is_needed: AtomicBool,
    until: AtomicI64,
    /// The number up to which changes are applied to what is in memory.
    pub applied: AtomicI64,
    /// How many changes there were beyond it when that was last asked.
    pub behind: AtomicI64,
    /// How many servers there are on the database, this one included.
    pub servers: AtomicU32,
    /// Renewals that failed since the start.
    pub failures: AtomicU64,
}

impl Default for Lease {
    fn default() -> Lease {
        Lease {
            is_needed: AtomicBool::default(),
            until: AtomicI64::default(),
            applied: AtomicI64::default(),
            behind: AtomicI64::default(),
            servers: AtomicU32::new(1),
            failures: AtomicU64::default(),
        }
    }
}

impl Lease {
    /// Lets nothing be decided without it any more.
    pub fn require(&self) {
        self.is_needed.store(true, Ordering::Release);
    }

    /// Whether one is needed.
    pub fn is_needed(&self) -> bool {
        self.is_needed.load(Ordering::Acquire)
    }

    /// Notes a renewal that was sent at `sent`, by [`now_ms`], and whose changes are all applied.
    pub fn renewed(&self, sent: i64) {
        self.until.fetch_max(sent + LEASE_MS, Ordering::Release);
    }

    /// Gives it up at once: what is in memory is not to be trusted.
    pub fn give_up(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// How long it still runs, in milliseconds; 0 where it has ended.
    pub fn remaining_ms(&self) -> i64 {
        (self.until.load(Ordering::Acquire) - now_ms()).max(0)
    }

    /// Lets through while it runs, or where none is needed.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`].
    pub fn check(&self) -> Result<()> {
        if !self.is_needed() || now_ms() < self.until.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(
            Code::StorageUnavailable,
            "this node has been cut off from the database for too long to know which keys are good; try again",
        ))
    }
}

/// Milliseconds since the machine started, its sleep included.
pub fn now_ms() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_is_needed_nothing_is_decided_without_it() {
        let lease = Lease::default();
        assert!(lease.check().is_ok());
        lease.require();
        assert_eq!(lease.check().expect_err("no lease").code, Code::StorageUnavailable);
        lease.renewed(now_ms());
        assert!(lease.check().is_ok() && lease.remaining_ms() > 0);
        lease.renewed(now_ms() - LEASE_MS);
        assert!(lease.check().is_ok(), "a late answer to an early renewal shortens nothing");
        lease.give_up();
        assert!(lease.check().is_err());
        lease.renewed(now_ms() - LEASE_MS);
        assert!(lease.check().is_err(), "a lease runs from before its renewal was sent");
    }
}
