//! The agent keys of one member: what is left behind when the member goes.

use crate::{
    Handle, StoreError, Write,
    agent_keys::AgentKey,
    authentic::{Standing, stamp, standing},
    db::{execute, query},
};

/// Every key of a member as it stands, the oldest first.
///
/// # Errors
/// [`StoreError`].
pub async fn of(db: &mut impl Handle, member_id: &str) -> Result<Vec<Standing<AgentKey>>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        AgentKey,
        "SELECT id, name, name_key, masked_secret, member_id, created_by_id, created_by_name, limits, secrets, \
         description, tags, created_at, \
         expires_at, disabled_at, leaked_at, version, mac, last_used_at FROM agent_keys WHERE member_id = $1 ORDER BY id",
        member_id
    )?;
    Ok(standing(db.keyring(), rows))
}

/// Writes whose key it is; `key.version` is the version after the change.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first.
pub async fn reassign(tx: &mut Write, key: &AgentKey) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), key);
    let touched = execute!(
        tx,
        "UPDATE agent_keys SET member_id = $1, version = $2, mac = $3 WHERE id = $4 AND version = $5",
        key.member_id.as_str(),
        key.version,
        mac,
        key.id.as_str(),
        key.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "agent_keys", id: key.id.clone() }),
        _ => Ok(()),
    }
}
