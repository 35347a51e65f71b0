//! What the acceptance of a restored database reads and writes: the epoch, and rows that are to end with it.

use crate::{
    Handle, StoreError, Write,
    db::{execute, query},
};

/// Which epoch a database is in, by its own account.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Epoch {
    /// The installation's id.
    pub id: String,
    /// Moves when a restored database is accepted.
    pub epoch: i64,
    /// Authenticates the epoch; empty in the first one.
    pub epoch_mac: String,
}

/// What stands before the MAC of an epoch instead of an event's predecessor.
const EPOCHS: &str = "keyward/epoch/v1";

/// The epoch.
///
/// # Errors
/// [`StoreError::Tampered`] where it was moved outside Keyward.
pub async fn epoch(db: &mut impl Handle) -> Result<Epoch, StoreError> {
    let row = query!(fetch_one, db, Epoch, "SELECT id, epoch, epoch_mac FROM installation")?;
    let is_first = row.epoch == 1 && row.epoch_mac.is_empty();
    if is_first || db.keyring().verify_audit_mac(EPOCHS, &row.epoch.to_be_bytes(), &row.epoch_mac).is_ok() {
        return Ok(row);
    }
    Err(StoreError::Tampered { table: "installation", id: row.id })
}

/// Begins the epoch with this number.
///
/// # Errors
/// [`StoreError`].
pub async fn set_epoch(tx: &mut Write, epoch: i64) -> Result<(), StoreError> {
    let mac = tx.keyring().audit_mac(EPOCHS, &epoch.to_be_bytes());
    execute!(tx, "UPDATE installation SET epoch = $1, epoch_mac = $2", epoch, mac)?;
    Ok(())
}

/// Ends every session.
///
/// # Errors
/// [`StoreError`].
pub async fn end_sessions(tx: &mut Write) -> Result<u64, StoreError> {
    execute!(tx, "DELETE FROM sessions")
}

/// Deletes a management token.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_token(tx: &mut Write, id: &str) -> Result<bool, StoreError> {
    Ok(execute!(tx, "DELETE FROM management_tokens WHERE id = $1", id)? > 0)
}

/// Deletes a member with their management tokens.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_member(tx: &mut Write, id: &str) -> Result<bool, StoreError> {
    execute!(tx, "DELETE FROM management_tokens WHERE member_id = $1", id)?;
    Ok(execute!(tx, "DELETE FROM members WHERE id = $1", id)? > 0)
}
