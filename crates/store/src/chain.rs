//! The chain that audit events form: where it ends, what stands in it, and whether an event is what it was.

use vault::Keyring;

use crate::{
    Handle, StoreError,
    audit::{Event, canonical},
    db::query,
};

/// Where the chain ends: the newest event's number and its MAC, which covers all events before it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Head {
    /// The newest number of the sequence; 0 before the first event.
    pub seq: i64,
    /// The newest event's MAC; empty before the first event.
    pub head: String,
}

/// Where the chain ends, by its own account.
///
/// # Errors
/// [`StoreError`].
pub async fn head(db: &mut impl Handle) -> Result<Head, StoreError> {
    query!(fetch_one, db, Head, "SELECT seq, head FROM chain_head WHERE id = 1")
}

/// The oldest events after a number, in their order.
///
/// # Errors
/// [`StoreError`].
pub async fn after(db: &mut impl Handle, seq: i64, limit: i64) -> Result<Vec<Event>, StoreError> {
    query!(
        fetch_all,
        db,
        Event,
        "SELECT seq, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, target_name, changes, \
         address, request_id, mac, '' AS previous_mac FROM audit_events WHERE seq > $1 ORDER BY seq LIMIT $2",
        seq,
        limit
    )
}

/// The MAC of the event with this number.
///
/// # Errors
/// [`StoreError`].
pub async fn mac_at(db: &mut impl Handle, seq: i64) -> Result<Option<String>, StoreError> {
    let row = query!(fetch_optional, db, Head, "SELECT seq, mac AS head FROM audit_events WHERE seq = $1", seq)?;
    Ok(row.map(|row| row.head))
}

/// Whether an event is as Keyward wrote it, behind the one whose MAC is `previous`.
pub fn is_authentic(keyring: &Keyring, previous: &str, event: &Event) -> bool {
    keyring.verify_audit_mac(previous, &canonical(event.seq, &event.as_new()), &event.mac).is_ok()
}

#[derive(sqlx::FromRow)]
struct Found {
    n: i64,
}

/// Whether anything at all was ever made here: an event, a member, or any kind of key. A chain that says it is empty
/// beside one of these was emptied outside Keyward.
///
/// # Errors
/// [`StoreError`].
pub async fn has_traces(db: &mut impl Handle) -> Result<bool, StoreError> {
    let found = query!(
        fetch_one,
        db,
        Found,
        "SELECT (SELECT seq FROM chain_head WHERE id = 1) + (SELECT count(*) FROM (SELECT seq FROM audit_events LIMIT 1) AS a) \
         + (SELECT count(*) FROM (SELECT id FROM members LIMIT 1) AS b) \
         + (SELECT count(*) FROM (SELECT id FROM general_keys LIMIT 1) AS c) \
         + (SELECT count(*) FROM (SELECT id FROM agent_keys LIMIT 1) AS d) \
         + (SELECT count(*) FROM (SELECT id FROM management_tokens LIMIT 1) AS e) AS n"
    )?;
    Ok(found.n > 0)
}
