//! Kept connections to providers. Each core of the gateway has a pool of its own: a connection is polled by the
//! runtime that opened it, and the lock is never contended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::http1::connection::Connection;

/// How long an idle connection is kept; below what providers' load balancers keep theirs.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// How many idle connections are kept for one origin.
const PER_ORIGIN: usize = 512;

/// The idle connections of an origin, each with the time since when, the oldest first.
type Idle = Vec<(Connection, Instant)>;

/// Idle connections by origin.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<Arc<str>, Idle>>,
}

impl Pool {
    /// Closes what is idle for too long. To be called now and then: nobody else watches an idle connection.
    pub fn sweep(&self) {
        self.idle().retain(|_, kept| {
            expire(kept);
            !kept.is_empty()
        });
    }

    /// A connection that is open as far as is known, the one used last first.
    pub(super) fn take(&self, origin: &str) -> Option<Connection> {
        let mut idle = self.idle();
        let kept = idle.get_mut(origin)?;
        while let Some((mut connection, since)) = kept.pop() {
            if since.elapsed() >= MAX_IDLE {
                // The ones below were used even earlier.
                kept.clear();
            } else if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, origin: &Arc<str>, connection: Connection) {
        let mut idle = self.idle();
        let kept = match idle.get_mut(origin) {
            Some(kept) => kept,
            None => idle.entry(Arc::clone(origin)).or_default(),
        };
        if kept.len() < PER_ORIGIN {
            kept.push((connection, Instant::now()));
        }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Arc<str>, Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn expire(kept: &mut Idle) {
    // The oldest stand first.
    let expired = kept.iter().take_while(|(_, since)| since.elapsed() >= MAX_IDLE).count();
    kept.drain(..expired);
}
