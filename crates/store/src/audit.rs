//! Audit events and change records: one sequence, chained, written in the transaction of what they tell.

use serde::Serialize;

use crate::{
    Handle, Standing, StoreError, Write,
    chain::{self, Head},
    db::{execute, query},
    listing::like_pattern,
};

/// An event about to be recorded.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Who did it.
    pub actor_kind: &'a str,
    /// Their id.
    pub actor_id: &'a str,
    /// Their name at the time.
    pub actor_name: &'a str,
    /// What was done, for example `general_key.create`.
    pub action: &'a str,
    /// What kind of thing it was done to.
    pub target_kind: &'a str,
    /// Its id.
    pub target_id: &'a str,
    /// Its name at the time.
    pub target_name: &'a str,
    /// Field by field before and after, as JSON; secrets only as `"changed"`.
    pub changes: String,
    /// The caller's address; empty for commands.
    pub address: &'a str,
    /// The request; empty for commands.
    pub request_id: &'a str,
}

/// A recorded event.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[allow(missing_docs, reason = "the fields of NewEvent")]
pub struct Event {
    pub seq: i64,
    pub at: i64,
    pub actor_kind: String,
    pub actor_id: String,
    pub actor_name: String,
    pub action: String,
    pub target_kind: String,
    pub target_id: String,
    pub target_name: String,
    pub changes: String,
    pub address: String,
    pub request_id: String,
    pub mac: String,
    /// The MAC of the event before it; read where events are listed, else empty.
    pub previous_mac: String,
}

impl Event {
    /// What was recorded.
    pub(crate) fn as_new(&self) -> NewEvent<'_> {
        NewEvent {
            at: self.at,
            actor_kind: &self.actor_kind,
            actor_id: &self.actor_id,
            actor_name: &self.actor_name,
            action: &self.action,
            target_kind: &self.target_kind,
            target_id: &self.target_id,
            target_name: &self.target_name,
            changes: self.changes.clone(),
            address: &self.address,
            request_id: &self.request_id,
        }
    }
}

/// Takes the next number of the sequence for this event and for the change it makes to `(kind, id)`, and chains the
/// event to its predecessor. Call it after the transaction's other statements, once for each event: the head's row
/// stays locked until the commit, so that commit order is reading order.
///
/// # Errors
/// [`StoreError`].
pub async fn record(tx: &mut Write, event: &NewEvent<'_>) -> Result<i64, StoreError> {
    let Head { seq, head } =
        query!(fetch_one, tx, Head, "UPDATE chain_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, head")?;
    let mac = tx.keyring().audit_mac(&head, &canonical(seq, event));
    execute!(
        tx,
        "INSERT INTO audit_events (seq, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, \
         target_name, changes, address, request_id, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        seq,
        event.at,
        event.actor_kind,
        event.actor_id,
        event.actor_name,
        event.action,
        event.target_kind,
        event.target_id,
        event.target_name,
        event.changes.as_str(),
        event.address,
        event.request_id,
        mac.as_str(),
    )?;
    execute!(tx, "INSERT INTO changes (seq, kind, id) VALUES ($1, $2, $3)", seq, event.target_kind, event.target_id)?;
    execute!(tx, "UPDATE chain_head SET head = $1 WHERE id = 1", mac.as_str())?;
    tx.note_recorded(seq);
    Ok(seq)
}

/// The bytes under an event's MAC: every field behind its length.
pub(crate) fn canonical(seq: i64, event: &NewEvent<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&event.at.to_be_bytes());
    for field in [
        event.actor_kind,
        event.actor_id,
        event.actor_name,
        event.action,
        event.target_kind,
        event.target_id,
        event.target_name,
        &event.changes,
        event.address,
        event.request_id,
    ] {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    bytes
}

/// Where a page of events stands.
#[derive(Debug, Clone, Copy, Default)]
pub enum Place {
    /// With the newest.
    #[default]
    Start,
    /// With the newest before this number.
    Before(i64),
    /// With the oldest after this number, the oldest first.
    After(i64),
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Part of the target's or the actor's name; empty finds all.
    pub search: String,
    /// An action; empty finds all.
    pub action: String,
    /// An actor's id; empty finds all.
    pub actor_id: String,
    /// A target's id; empty finds all.
    pub target_id: String,
    /// Part of the actor's name; empty finds all.
    pub actor_name: String,
    /// Part of the target's name; empty finds all.
    pub target_name: String,
    /// From when on, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Before when, likewise.
    pub before: Option<i64>,
    /// Where the page stands.
    pub from: Place,
    /// The most rows to give.
    pub limit: i64,
}

/// A page of events as they stand, newest first unless it stands [`Place::After`]. One that is not what Keyward wrote,
/// or whose predecessor is gone, is damaged; each of those is logged.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &mut impl Handle, filter: &EventFilter) -> Result<Vec<Standing<Event>>, StoreError> {
    macro_rules! events {
        ($where:literal, $order:literal, $seq:expr) => {
            query!(
                fetch_all,
                db,
                Event,
                concat!(
                    "SELECT seq, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, target_name, \
                     changes, address, request_id, mac, COALESCE((SELECT earlier.mac FROM audit_events AS earlier \
                     WHERE earlier.seq = audit_events.seq - 1), '') AS previous_mac FROM audit_events WHERE ",
                    $where,
                    " AND ($2 = '' OR action = $2) AND ($3 = '' OR actor_id = $3) AND ($4 = '' OR target_id = $4) \
                     AND ($5 = '%%' OR lower(target_name) LIKE $5 ESCAPE '\\' OR lower(actor_name) LIKE $5 ESCAPE '\\') \
                     AND ($6 = '%%' OR lower(actor_name) LIKE $6 ESCAPE '\\') \
                     AND ($7 = '%%' OR lower(target_name) LIKE $7 ESCAPE '\\') AND at >= $9 AND at < $10 ORDER BY seq ",
                    $order,
                    " LIMIT $8"
                ),
                $seq,
                filter.action.as_str(),
                filter.actor_id.as_str(),
                filter.target_id.as_str(),
                like_pattern(&filter.search.to_lowercase()),
                like_pattern(&filter.actor_name.to_lowercase()),
                like_pattern(&filter.target_name.to_lowercase()),
                filter.limit,
                filter.since.unwrap_or(i64::MIN),
                filter.before.unwrap_or(i64::MAX),
            )
        };
    }
    let events = match filter.from {
        Place::Start => events!("seq < $1", "DESC", i64::MAX),
        Place::Before(seq) => events!("seq < $1", "DESC", seq),
        Place::After(seq) => events!("seq > $1", "ASC", seq),
    }?;
    Ok(events.into_iter().map(|event| standing(db, event)).collect())
}

fn standing(db: &impl Handle, event: Event) -> Standing<Event> {
    let is_damaged = !chain::is_authentic(db.keyring(), &event.previous_mac, &event);
    if is_damaged {
        tracing::error!(seq = event.seq, "audit event: it, or the one before it, was changed outside Keyward");
    }
    Standing { row: event, is_damaged }
}

/// How many events match, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &mut impl Handle, filter: &EventFilter) -> Result<i64, StoreError> {
    let count: crate::listing::Count = query!(
        fetch_one,
        db,
        crate::listing::Count,
        "SELECT count(*) AS n FROM (SELECT seq FROM audit_events \
         WHERE ($1 = '' OR action = $1) AND ($2 = '' OR actor_id = $2) AND ($3 = '' OR target_id = $3) \
         AND ($4 = '%%' OR lower(target_name) LIKE $4 ESCAPE '\\' OR lower(actor_name) LIKE $4 ESCAPE '\\') \
         AND ($5 = '%%' OR lower(actor_name) LIKE $5 ESCAPE '\\') \
         AND ($6 = '%%' OR lower(target_name) LIKE $6 ESCAPE '\\') AND at >= $7 AND at < $8 LIMIT 10001) AS counted",
        filter.action.as_str(),
        filter.actor_id.as_str(),
        filter.target_id.as_str(),
        like_pattern(&filter.search.to_lowercase()),
        like_pattern(&filter.actor_name.to_lowercase()),
        like_pattern(&filter.target_name.to_lowercase()),
        filter.since.unwrap_or(i64::MIN),
        filter.before.unwrap_or(i64::MAX),
    )?;
    Ok(count.n)
}
