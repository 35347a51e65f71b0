//! Invitations: what an invited member sets a password with, once.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, checked, stamp},
    db::{execute, query},
};

/// An invitation, without its token.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Invitation {
    pub id: String,
    pub member_id: String,
    pub pepper_id: String,
    pub digest: String,
    pub created_at: i64,
    pub expires_at: i64,
    pub invited_by: String,
    pub mac: String,
}

impl Authentic for Invitation {
    const TABLE: &'static str = "invitations";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        let mut fields = vec![
            MacField::Text(&self.member_id),
            MacField::Text(&self.pepper_id),
            MacField::Text(&self.digest),
            MacField::Int(self.created_at),
            MacField::Int(self.expires_at),
        ];
        // Rows from before there was the column have a MAC without it.
        if !self.invited_by.is_empty() {
            fields.push(MacField::Text(&self.invited_by));
        }
        fields
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The invitation with this digest.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find(db: &mut impl Handle, digest: &str) -> Result<Option<Invitation>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Invitation,
        "SELECT id, member_id, pepper_id, digest, created_at, expires_at, invited_by, mac \
         FROM invitations WHERE digest = $1",
        digest
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// Writes a new invitation, in place of the member's one before.
///
/// # Errors
/// [`StoreError`].
pub async fn replace(tx: &mut Write, invitation: &Invitation) -> Result<(), StoreError> {
    delete_of(tx, &invitation.member_id).await?;
    let mac = stamp(tx.keyring(), invitation);
    execute!(
        tx,
        "INSERT INTO invitations (id, member_id, pepper_id, digest, created_at, expires_at, invited_by, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        invitation.id.as_str(),
        invitation.member_id.as_str(),
        invitation.pepper_id.as_str(),
        invitation.digest.as_str(),
        invitation.created_at,
        invitation.expires_at,
        invitation.invited_by.as_str(),
        mac,
    )?;
    Ok(())
}

/// Takes an invitation: whether it was still there. Of two at once only one takes it.
///
/// # Errors
/// [`StoreError`].
pub async fn take(tx: &mut Write, id: &str) -> Result<bool, StoreError> {
    Ok(execute!(tx, "DELETE FROM invitations WHERE id = $1", id)? == 1)
}

/// Deletes the invitation of a member, if there is one.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of(tx: &mut Write, member_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM invitations WHERE member_id = $1", member_id)?;
    Ok(())
}
