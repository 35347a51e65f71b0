//! Kept connections to providers. Each core of the gateway has a pool of its own: a connection is polled by the
//! runtime that opened it, and the lock is never contended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

/// How long an idle connection is kept; below what providers' load balancers keep theirs.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// How many idle connections are kept for one origin.
const PER_ORIGIN: usize = 512;

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// The idle connections of an origin, each with the time since when, the oldest first.
type Idle = Vec<(Sender, Instant)>;

/// Idle connections by origin.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<Arc<str>, Idle>>,
}

impl Pool {
    /// A connection that is open as far as is known, the one used last first. It may still be finishing its last
    /// answer: wait until it is ready.
    pub(super) fn take(&self, origin: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(origin)?;
        while let Some((sender, since)) = kept.pop() {
            if since.elapsed() >= MAX_IDLE {
                // The ones below were used even earlier.
                kept.clear();
            } else if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, origin: &Arc<str>, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(Arc::clone(origin)).or_default();
        // The oldest stand first.
        let expired = kept.iter().take_while(|(_, since)| since.elapsed() >= MAX_IDLE).count();
        kept.drain(..expired);
        if kept.len() < PER_ORIGIN {
            kept.push((sender, Instant::now()));
        }
    }
}
