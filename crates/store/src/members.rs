//! Members: the people who administer Keyward.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, checked, stamp},
    db::{execute, query},
    listing::Count,
};

/// A member.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Member {
    pub id: String,
    pub email: String,
    pub email_key: String,
    pub name: String,
    pub role: String,
    pub password_hash: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub mac: String,
}

impl Authentic for Member {
    const TABLE: &'static str = "members";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.email),
            MacField::Text(&self.email_key),
            MacField::Text(&self.name),
            MacField::Text(&self.role),
            MacField::Text(&self.password_hash),
            MacField::Int(self.created_at),
            MacField::Int(self.updated_at),
            MacField::Int(self.version),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The member with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<Member>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Member,
        "SELECT id, email, email_key, name, role, password_hash, created_at, updated_at, version, mac FROM members \
         WHERE id = $1",
        id
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The member who signs in with this e-mail (in its normal form).
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find_by_email(db: &mut impl Handle, email_key: &str) -> Result<Option<Member>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Member,
        "SELECT id, email, email_key, name, role, password_hash, created_at, updated_at, version, mac FROM members \
         WHERE email_key = $1",
        email_key
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// How many members there are.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &mut impl Handle) -> Result<i64, StoreError> {
    let count = query!(fetch_one, db, Count, "SELECT count(*) AS n FROM members")?;
    Ok(count.n)
}

/// Writes a new member.
///
/// # Errors
/// [`StoreError::Taken`] where the e-mail is in use.
pub async fn insert(tx: &mut Write, member: &Member) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), member);
    execute!(
        tx,
        "INSERT INTO members (id, email, email_key, name, role, password_hash, created_at, updated_at, version, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        member.id.as_str(),
        member.email.as_str(),
        member.email_key.as_str(),
        member.name.as_str(),
        member.role.as_str(),
        member.password_hash.as_str(),
        member.created_at,
        member.updated_at,
        member.version,
        mac,
    )?;
    Ok(())
}
