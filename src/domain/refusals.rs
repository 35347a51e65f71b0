//! Refused attempts: what somebody tried that their role does not let them. In the audit log, and never a flood of it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    roles::Permission,
};
use crate::error::Result;

/// How often refused attempts are written to the audit log, at most, in milliseconds.
const EVERY_MS: i64 = 60_000;
/// The most events of one writing; what comes past it is counted with the last of them.
const MAX_EVENTS: usize = 20;

/// Refused attempts that are not in the audit log yet.
#[derive(Debug, Default)]
pub struct RefusalBook(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// By who tried, and what; `None` for those past [`MAX_EVENTS`].
    attempts: HashMap<Option<(String, Permission)>, Attempts>,
    recorded_at: i64,
}

#[derive(Debug)]
struct Attempts {
    actor: Actor,
    permission: Permission,
    count: u64,
}

impl RefusalBook {
    /// Notes that an actor tried what they may not.
    pub fn note(&self, actor: &Actor, permission: Permission) {
        let mut waiting = self.lock();
        let own = Some((actor.id.clone(), permission));
        let has_room = waiting.attempts.len() + 1 < MAX_EVENTS;
        let key = if has_room || waiting.attempts.contains_key(&own) { own } else { None };
        let first = || Attempts { actor: actor.clone(), permission, count: 0 };
        let attempts = waiting.attempts.entry(key).or_insert_with(first);
        attempts.count += 1;
        attempts.actor = actor.clone();
        attempts.permission = permission;
    }

    fn take(&self, now: i64, every: i64) -> Vec<Attempts> {
        let mut waiting = self.lock();
        if waiting.attempts.is_empty() || now - waiting.recorded_at < every {
            return Vec::new();
        }
        waiting.recorded_at = now;
        waiting.attempts.drain().map(|(_, attempts)| attempts).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes refused attempts to the audit log: the first at once, those of the next minute together, one event for each
/// actor and each thing they tried.
///
/// # Errors
/// A storage failure; those attempts stay unrecorded, except in the server's log.
pub async fn record_due(core: &Core) -> Result<()> {
    record_of(core, EVERY_MS).await
}

/// Writes down what is left before Keyward stops.
///
/// # Errors
/// As [`record_due`].
pub async fn record_last(core: &Core) -> Result<()> {
    record_of(core, 0).await
}

async fn record_of(core: &Core, every: i64) -> Result<()> {
    let now = core.clock.now_ms();
    let waiting = core.refusals.take(now, every);
    if waiting.is_empty() {
        return Ok(());
    }
    for Attempts { actor, permission, count } in &waiting {
        tracing::warn!(actor = %actor.id, tried = permission.words(), count, address = %actor.address, "refused");
    }
    let mut tx = core.store.write().await?;
    for Attempts { actor, permission, count } in &waiting {
        let target = ChangeTarget { kind: "permission", id: permission.scope(), name: permission.words() };
        let changes = Changes::default().field("attempts", (), *count);
        record(&mut tx, actor, now, "access.refused", target, changes).await?;
    }
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_a_bounded_number_of_events_and_loses_no_count() {
        let book = RefusalBook::default();
        for number in 0..1000 {
            let actor = Actor { id: format!("mt_{}", number % 100), ..Actor::nobody("", "") };
            book.note(&actor, Permission::ReadAudit);
        }
        let taken = book.take(EVERY_MS, EVERY_MS);
        assert_eq!(taken.len(), MAX_EVENTS);
        assert_eq!(taken.iter().map(|attempts| attempts.count).sum::<u64>(), 1000);
        book.note(&Actor::nobody("", ""), Permission::ReadAudit);
        assert!(book.take(EVERY_MS + 1, EVERY_MS).is_empty());
        assert_eq!(book.take(2 * EVERY_MS, EVERY_MS).len(), 1);
    }
}
