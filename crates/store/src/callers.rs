//! From where agent keys are called.

use crate::{
    Handle, StoreError, Write,
    db::{execute, query},
};

/// An address that an agent key was called from.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Caller {
    pub agent_key_id: String,
    pub address: String,
    pub first_seen_at: i64,
    pub last_seen_at: i64,
    pub last_refused_at: i64,
}

/// Notes calls from an address, and keeps no more than the newest 20 of the key; of a key that is gone, nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn note(tx: &mut Write, caller: &Caller) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO agent_key_callers (agent_key_id, address, first_seen_at, last_seen_at, last_refused_at) \
         SELECT $1, $2, $3, $4, $5 WHERE EXISTS (SELECT 1 FROM agent_keys WHERE id = $1) \
         ON CONFLICT (agent_key_id, address) DO UPDATE SET \
         last_seen_at = CASE WHEN excluded.last_seen_at > agent_key_callers.last_seen_at THEN excluded.last_seen_at \
         ELSE agent_key_callers.last_seen_at END, \
         last_refused_at = CASE WHEN excluded.last_refused_at > agent_key_callers.last_refused_at \
         THEN excluded.last_refused_at ELSE agent_key_callers.last_refused_at END",
        caller.agent_key_id.as_str(),
        caller.address.as_str(),
        caller.first_seen_at,
        caller.last_seen_at,
        caller.last_refused_at,
    )?;
    execute!(
        tx,
        "DELETE FROM agent_key_callers WHERE agent_key_id = $1 AND address NOT IN (SELECT address \
         FROM agent_key_callers WHERE agent_key_id = $1 ORDER BY last_seen_at DESC, address LIMIT 20)",
        caller.agent_key_id.as_str(),
    )?;
    Ok(())
}

/// The addresses of a key, the newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn of_key(db: &mut impl Handle, agent_key_id: &str) -> Result<Vec<Caller>, StoreError> {
    query!(
        fetch_all,
        db,
        Caller,
        "SELECT agent_key_id, address, first_seen_at, last_seen_at, last_refused_at FROM agent_key_callers \
         WHERE agent_key_id = $1 ORDER BY last_seen_at DESC, address LIMIT 20",
        agent_key_id
    )
}

/// The newest calls refused since a time, at most `limit`.
///
/// # Errors
/// [`StoreError`].
pub async fn refused_since(db: &mut impl Handle, since: i64, limit: i64) -> Result<Vec<Caller>, StoreError> {
    query!(
        fetch_all,
        db,
        Caller,
        "SELECT agent_key_id, address, first_seen_at, last_seen_at, last_refused_at FROM agent_key_callers \
         WHERE last_refused_at >= $1 ORDER BY last_refused_at DESC, address LIMIT $2",
        since,
        limit
    )
}

/// Forgets the addresses of a key that is deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of_key(tx: &mut Write, agent_key_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM agent_key_callers WHERE agent_key_id = $1", agent_key_id)?;
    Ok(())
}
