//! Kept connections to providers. Each core of the gateway has a pool of its own: a connection is polled by the
//! runtime that opened it, and the lock is never contended.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

/// How long an idle connection is kept; below what providers' load balancers keep theirs.
const IDLE: Duration = Duration::from_secs(30);
/// How many idle connections are kept for one origin.
const PER_ORIGIN: usize = 512;

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Idle connections by origin.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<String, Vec<(Sender, Instant)>>>,
}

impl Pool {
    /// A connection that is open as far as is known, the one used last first. It may still be finishing its last
    /// answer: wait until it is ready.
    pub(super) fn take(&self, origin: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(origin)?;
        while let Some((sender, since)) = kept.pop() {
            if since.elapsed() >= IDLE {
                // The ones below were used even earlier.
                kept.clear();
            } else if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, origin: &str, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !idle.contains_key(origin) {
            idle.insert(origin.to_owned(), Vec::new());
        }
        if let Some(kept) = idle.get_mut(origin)
            && kept.len() < PER_ORIGIN
        {
            kept.push((sender, Instant::now()));
        }
    }
}
