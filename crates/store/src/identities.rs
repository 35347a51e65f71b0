//! Identities: who members are at an issuer of OpenID Connect.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, checked, stamp},
    db::{execute, query},
};

/// Who a member is at an issuer.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Identity {
    pub id: String,
    pub member_id: String,
    pub issuer: String,
    pub subject: String,
    pub follows_groups: i64,
    pub created_at: i64,
    pub mac: String,
}

impl Authentic for Identity {
    const TABLE: &'static str = "identities";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.member_id),
            MacField::Text(&self.issuer),
            MacField::Text(&self.subject),
            MacField::Int(self.follows_groups),
            MacField::Int(self.created_at),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The identity that an issuer knows by this subject.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find(db: &mut impl Handle, issuer: &str, subject: &str) -> Result<Option<Identity>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Identity,
        "SELECT id, member_id, issuer, subject, follows_groups, created_at, mac FROM identities \
         WHERE issuer = $1 AND subject = $2",
        issuer,
        subject
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// A member's identity.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn of(db: &mut impl Handle, member_id: &str) -> Result<Option<Identity>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Identity,
        "SELECT id, member_id, issuer, subject, follows_groups, created_at, mac FROM identities WHERE member_id = $1",
        member_id
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// Writes a new identity.
///
/// # Errors
/// [`StoreError::Taken`] where it is somebody's, or the member has one.
pub async fn insert(tx: &mut Write, identity: &Identity) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), identity);
    execute!(
        tx,
        "INSERT INTO identities (id, member_id, issuer, subject, follows_groups, created_at, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        identity.id.as_str(),
        identity.member_id.as_str(),
        identity.issuer.as_str(),
        identity.subject.as_str(),
        identity.follows_groups,
        identity.created_at,
        mac,
    )?;
    Ok(())
}

/// Deletes a member's identity.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of(tx: &mut Write, member_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM identities WHERE member_id = $1", member_id)?;
    Ok(())
}

/// Notes that something good once was used, a sign-in that came back or an import, and drops what could not be used any
/// more by `now`. False where it was used already: of two at once, one is good.
///
/// # Errors
/// [`StoreError`].
pub async fn use_state(tx: &mut Write, digest: &str, expires_at: i64, now: i64) -> Result<bool, StoreError> {
    execute!(tx, "DELETE FROM used_states WHERE expires_at <= $1", now)?;
    let touched = execute!(
        tx,
        "INSERT INTO used_states (digest, expires_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING",
        digest,
        expires_at
    )?;
    Ok(touched == 1)
}
