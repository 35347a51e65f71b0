//! Management tokens: what automation authenticates to the management API with.

use vault::MacField;

use crate::{
    Handle, Listing, StoreError, Write,
    authentic::{Authentic, Standing, checked, stamp, standing},
    db::{execute, page, query},
    listing::Count,
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

/// What management tokens can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the columns")]
pub enum TokenSort {
    Name,
    CreatedAt,
    ExpiresAt,
    LastUsedAt,
}

/// Which tokens to list.
#[derive(Debug, Clone, Copy)]
pub struct TokenFilter<'a> {
    /// `active`, `expired`, or empty for all.
    pub status: &'a str,
    /// The time that decides between the two, in milliseconds since 1970.
    pub now: i64,
    /// Only this member's; empty for everybody's.
    pub member_id: &'a str,
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

/// The token with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<ManagementToken>, StoreError> {
    let row = read(db, id).await?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The token with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle, id: &str) -> Result<Option<Standing<ManagementToken>>, StoreError> {
    let row = read(db, id).await?;
    Ok(standing(db.keyring(), row.into_iter().collect()).pop())
}

async fn read(db: &mut impl Handle, id: &str) -> Result<Option<ManagementToken>, StoreError> {
    query!(
        fetch_optional,
        db,
        ManagementToken,
        "SELECT id, name, name_key, member_id, scopes, masked_secret, pepper_id, digest, created_at, expires_at, \
         version, mac, last_used_at FROM management_tokens WHERE id = $1",
        id
    )
}

/// A page of tokens as they stand.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    db: &mut impl Handle,
    listing: &Listing<TokenSort>,
    filter: TokenFilter<'_>,
) -> Result<Vec<Standing<ManagementToken>>, StoreError> {
    macro_rules! by {
        ($column:literal, $after:expr) => {
            page!(
                db,
                ManagementToken,
                "SELECT id, name, name_key, member_id, scopes, masked_secret, pepper_id, digest, created_at, \
                 expires_at, version, mac, last_used_at FROM management_tokens \
                 WHERE name_key LIKE $2 ESCAPE '\\' AND ($3 = '' OR member_id = $3) \
                 AND ($4 = '' OR $4 = CASE WHEN expires_at <= $5 THEN 'expired' ELSE 'active' END)",
                $column,
                ["$6", "$7"],
                listing.descending,
                $after,
                listing.limit,
                listing.pattern(),
                filter.member_id,
                filter.status,
                filter.now
            )
        };
    }
    let rows = match listing.sort {
        TokenSort::Name => by!("name_key", listing.after_text()),
        TokenSort::CreatedAt => by!("created_at", listing.after_int()),
        TokenSort::ExpiresAt => by!("expires_at", listing.after_int()),
        TokenSort::LastUsedAt => by!("last_used_at", listing.after_int()),
    }?;
    Ok(standing(db.keyring(), rows))
}

/// How many tokens match, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count(
    db: &mut impl Handle,
    listing: &Listing<TokenSort>,
    filter: TokenFilter<'_>,
) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT id FROM management_tokens WHERE name_key LIKE $1 ESCAPE '\\' \
         AND ($2 = '' OR member_id = $2) \
         AND ($3 = '' OR $3 = CASE WHEN expires_at <= $4 THEN 'expired' ELSE 'active' END) LIMIT 10001) AS counted",
        listing.pattern(),
        filter.member_id,
        filter.status,
        filter.now
    )?;
    Ok(count.n)
}

/// Writes what an edit may change; `token.version` is the version after the edit.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first; [`StoreError::Taken`] where the new name is in use.
pub async fn update(tx: &mut Write, token: &ManagementToken) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), token);
    let touched = execute!(
        tx,
        "UPDATE management_tokens SET name = $1, name_key = $2, scopes = $3, version = $4, mac = $5 \
         WHERE id = $6 AND version = $7",
        token.name.as_str(),
        token.name_key.as_str(),
        token.scopes.as_str(),
        token.version,
        mac,
        token.id.as_str(),
        token.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "management_tokens", id: token.id.clone() }),
        _ => Ok(()),
    }
}

/// Deletes a token.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    match execute!(tx, "DELETE FROM management_tokens WHERE id = $1", id)? {
        0 => Err(StoreError::Stale { table: "management_tokens", id: id.to_owned() }),
        _ => Ok(()),
    }
}
