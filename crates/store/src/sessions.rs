//! Sessions of signed-in members, and the one-time tokens of the first run.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, checked, stamp},
    db::{execute, query},
};

/// A signed-in member's session.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Session {
    pub id: String,
    pub member_id: String,
    pub pepper_id: String,
    pub digest: String,
    pub created_at: i64,
    pub expires_at: i64,
    pub mac: String,
    pub last_used_at: i64,
}

impl Authentic for Session {
    const TABLE: &'static str = "sessions";
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

/// A one-time token that lets its holder make the first member.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct SetupToken {
    pub id: String,
    pub pepper_id: String,
    pub digest: String,
    pub created_at: i64,
    pub expires_at: i64,
    pub mac: String,
}

impl Authentic for SetupToken {
    const TABLE: &'static str = "setup_tokens";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
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

/// The session with this digest.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find(db: &mut impl Handle, digest: &str) -> Result<Option<Session>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Session,
        "SELECT id, member_id, pepper_id, digest, created_at, expires_at, mac, last_used_at FROM sessions \
         WHERE digest = $1",
        digest
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The session with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<Session>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Session,
        "SELECT id, member_id, pepper_id, digest, created_at, expires_at, mac, last_used_at FROM sessions \
         WHERE id = $1",
        id
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// Writes a new session, and drops those that ended before `session.created_at`.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(tx: &mut Write, session: &Session) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM sessions WHERE expires_at <= $1", session.created_at)?;
    let mac = stamp(tx.keyring(), session);
    execute!(
        tx,
        "INSERT INTO sessions (id, member_id, pepper_id, digest, created_at, expires_at, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        session.id.as_str(),
        session.member_id.as_str(),
        session.pepper_id.as_str(),
        session.digest.as_str(),
        session.created_at,
        session.expires_at,
        mac,
    )?;
    Ok(())
}

/// Ends a session.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM sessions WHERE id = $1", id)?;
    Ok(())
}

/// Ends every session of a member but `kept` (empty: all of them).
///
/// # Errors
/// [`StoreError`].
pub async fn delete_others(tx: &mut Write, member_id: &str, kept: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM sessions WHERE member_id = $1 AND id <> $2", member_id, kept)?;
    Ok(())
}

/// Notes the last use of a session; outside the row's MAC, since it grants nothing past `expires_at`.
///
/// # Errors
/// [`StoreError`].
pub async fn note_use(tx: &mut Write, id: &str, at: i64) -> Result<(), StoreError> {
    execute!(tx, "UPDATE sessions SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1", at, id)?;
    Ok(())
}

/// Writes a setup token, in place of those that ended before `ended`.
///
/// # Errors
/// [`StoreError`].
pub async fn add_setup_token(tx: &mut Write, token: &SetupToken, ended: i64) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM setup_tokens WHERE expires_at <= $1", ended)?;
    let mac = stamp(tx.keyring(), token);
    execute!(
        tx,
        "INSERT INTO setup_tokens (id, pepper_id, digest, created_at, expires_at, mac) VALUES ($1, $2, $3, $4, $5, $6)",
        token.id.as_str(),
        token.pepper_id.as_str(),
        token.digest.as_str(),
        token.created_at,
        token.expires_at,
        mac,
    )?;
    Ok(())
}

/// The setup token with this digest.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find_setup_token(db: &mut impl Handle, digest: &str) -> Result<Option<SetupToken>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        SetupToken,
        "SELECT id, pepper_id, digest, created_at, expires_at, mac FROM setup_tokens WHERE digest = $1",
        digest
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// Deletes every setup token: the first member is made.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_setup_tokens(tx: &mut Write) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM setup_tokens")?;
    Ok(())
}
