//! When something was last used, told at every call and written down in batches.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

/// When something was last used, waiting to be written down.
#[derive(Debug)]
pub struct UseMark {
    /// The id of what was used.
    pub id: Arc<str>,
    /// The id of the part of it that was used: one secret of an agent key.
    pub part: Option<Arc<str>>,
    at: AtomicI64,
    waiting: AtomicBool,
}

impl UseMark {
    /// A mark that was never set.
    pub fn new(id: Arc<str>) -> UseMark {
        UseMark { id, part: None, at: AtomicI64::new(0), waiting: AtomicBool::new(false) }
    }

    /// A mark that was never set, of a part of something.
    pub fn of_part(id: Arc<str>, part: Arc<str>) -> UseMark {
        UseMark { part: Some(part), ..UseMark::new(id) }
    }

    /// Sets the mark; whether it was not waiting to be written down already.
    pub fn set(&self, now: i64) -> bool {
        // Within a millisecond it was noted already, and written to memory that another core reads.
        if self.at.load(Ordering::Acquire) >= now {
            return false;
        }
        self.at.fetch_max(now, Ordering::AcqRel);
        !self.waiting.swap(true, Ordering::AcqRel)
    }

    /// The time to write down, in milliseconds since 1970.
    pub fn take(&self) -> i64 {
        // Swapped, so that a use noted meanwhile is either read here or waits again.
        self.waiting.swap(false, Ordering::AcqRel);
        self.at.load(Ordering::Relaxed)
    }
}
