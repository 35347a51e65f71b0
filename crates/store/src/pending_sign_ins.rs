//! Sign-ins that wait for the second factor.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, checked, stamp},
    db::{execute, query},
};

/// A sign-in whose password was right.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct PendingSignIn {
    pub id: String,
    pub member_id: String,
    pub pepper_id: String,
    pub digest: String,
    pub created_at: i64,
    pub expires_at: i64,
    pub mac: String,
    pub attempts: i64,
}

impl Authentic for PendingSignIn {
    const TABLE: &'static str = "pending_sign_ins";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.member_id),
            MacField::Text(&self.pepper_id),
            MacField::Text(&self.digest),
            MacField::Int(self.created_at),
            MacField::Int(self.expires_at),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The one with this digest.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find(db: &mut impl Handle, digest: &str) -> Result<Option<PendingSignIn>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        PendingSignIn,
        "SELECT id, member_id, pepper_id, digest, created_at, expires_at, mac, attempts FROM pending_sign_ins \
         WHERE digest = $1",
        digest
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// Writes a new one, and drops those that ended before `pending.created_at`.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(tx: &mut Write, pending: &PendingSignIn) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM pending_sign_ins WHERE expires_at <= $1", pending.created_at)?;
    let mac = stamp(tx.keyring(), pending);
    execute!(
        tx,
        "INSERT INTO pending_sign_ins (id, member_id, pepper_id, digest, created_at, expires_at, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        pending.id.as_str(),
        pending.member_id.as_str(),
        pending.pepper_id.as_str(),
        pending.digest.as_str(),
        pending.created_at,
        pending.expires_at,
        mac,
    )?;
    Ok(())
}

/// Counts a try. False where it has had `most` already: however many come at once, no more are let through.
///
/// # Errors
/// [`StoreError`].
pub async fn attempt(tx: &mut Write, id: &str, most: i64) -> Result<bool, StoreError> {
    let touched =
        execute!(tx, "UPDATE pending_sign_ins SET attempts = attempts + 1 WHERE id = $1 AND attempts < $2", id, most)?;
    Ok(touched == 1)
}

/// Ends one. False where it has ended already.
///
/// # Errors
/// [`StoreError`].
pub async fn take(tx: &mut Write, id: &str) -> Result<bool, StoreError> {
    Ok(execute!(tx, "DELETE FROM pending_sign_ins WHERE id = $1", id)? == 1)
}

/// Ends all of a member's.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of(tx: &mut Write, member_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM pending_sign_ins WHERE member_id = $1", member_id)?;
    Ok(())
}
