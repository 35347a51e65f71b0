//! Management tokens: what automation authenticates to the management API with.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, checked, stamp},
    db::{execute, query},
};

/// A management token, without its secret.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct ManagementToken {
    pub id: String,
    pub name: String,
    pub name_key: String,
    pub member_id: String,
    /// Space-separated; `*` is every scope of the owner.
    pub scopes: String,
    pub masked_secret: String,
    pub pepper_id: String,
    pub digest: String,
    pub created_at: i64,
    pub expires_at: i64,
    pub version: i64,
    pub mac: String,
    pub last_used_at: i64,
}

impl Authentic for ManagementToken {
    const TABLE: &'static str = "management_tokens";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.name),
            MacField::Text(&self.name_key),
            MacField::Text(&self.member_id),
            MacField::Text(&self.scopes),
            MacField::Text(&self.masked_secret),
            MacField::Text(&self.pepper_id),
            MacField::Text(&self.digest),
            MacField::Int(self.created_at),
            MacField::Int(self.expires_at),
            MacField::Int(self.version),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The token with this digest.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find(db: &mut impl Handle, digest: &str) -> Result<Option<ManagementToken>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        ManagementToken,
        "SELECT id, name, name_key, member_id, scopes, masked_secret, pepper_id, digest, created_at, expires_at, \
         version, mac, last_used_at FROM management_tokens WHERE digest = $1",
        digest
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// Writes a new token.
///
/// # Errors
/// [`StoreError::Taken`] where the name is in use.
pub async fn insert(tx: &mut Write, token: &ManagementToken) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), token);
    execute!(
        tx,
        "INSERT INTO management_tokens (id, name, name_key, member_id, scopes, masked_secret, pepper_id, digest, \
         created_at, expires_at, version, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        token.id.as_str(),
        token.name.as_str(),
        token.name_key.as_str(),
        token.member_id.as_str(),
        token.scopes.as_str(),
        token.masked_secret.as_str(),
        token.pepper_id.as_str(),
        token.digest.as_str(),
        token.created_at,
        token.expires_at,
        token.version,
        mac,
    )?;
    Ok(())
}

/// Notes the last use of a token; outside the row's MAC, since it grants nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn note_use(tx: &mut Write, id: &str, at: i64) -> Result<(), StoreError> {
    execute!(tx, "UPDATE management_tokens SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1", at, id)?;
    Ok(())
}
