//! General keys and their sealed copies.

use vault::MacField;

use crate::{
    Handle, Listing, StoreError, Write,
    authentic::{Authentic, Standing, checked, stamp, standing, untouched},
    db::{execute, page, query},
    listing::Count,
};

/// A general key, without its value.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct GeneralKey {
    pub id: String,
    pub name: String,
    pub name_key: String,
    pub masked_value: String,
    /// Tells whether a value entered again is this key's; empty in rows from before the column.
    pub value_mark: String,
    pub value_entered_by: String,
    pub created_by_id: String,
    pub created_by_name: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub mac: String,
    pub last_used_at: i64,
    /// `ok`, `refused`, or empty where no provider was asked yet.
    pub health: String,
    pub health_at: i64,
    pub health_detail: String,
}

impl Authentic for GeneralKey {
    const TABLE: &'static str = "general_keys";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        let mut fields = vec![
            MacField::Text(&self.name),
            MacField::Text(&self.name_key),
            MacField::Text(&self.masked_value),
            MacField::Text(&self.value_entered_by),
            MacField::Text(&self.created_by_id),
            MacField::Text(&self.created_by_name),
            MacField::Int(self.created_at),
            MacField::Int(self.updated_at),
            MacField::Int(self.version),
        ];
        // The column came later: rows from before it carry a MAC without it.
        if !self.value_mark.is_empty() {
            fields.push(MacField::Text(&self.value_mark));
        }
        fields
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// A sealed copy of a general key's value, for one binding.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct SealedCopy {
    pub id: String,
    pub general_key_id: String,
    pub binding: String,
    pub sealed: String,
    pub created_at: i64,
    pub version: i64,
    pub mac: String,
}

impl Authentic for SealedCopy {
    const TABLE: &'static str = "general_key_secrets";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.general_key_id),
            MacField::Text(&self.binding),
            MacField::Text(&self.sealed),
            MacField::Int(self.created_at),
            MacField::Int(self.version),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// What general keys can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the columns")]
pub enum GeneralKeySort {
    Name,
    CreatedAt,
    UpdatedAt,
    LastUsedAt,
}

/// Stands for any health where one is asked for; no health is called so.
const ANY_HEALTH: &str = "*";

macro_rules! columns {
    ($tail:literal) => {
        concat!(
            "SELECT id, name, name_key, masked_value, value_mark, value_entered_by, created_by_id, created_by_name, created_at, \
             updated_at, version, mac, last_used_at, health, health_at, health_detail FROM general_keys WHERE ",
            $tail
        )
    };
}

/// The key with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<GeneralKey>, StoreError> {
    let row = query!(fetch_optional, db, GeneralKey, columns!("id = $1"), id)?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The key with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle, id: &str) -> Result<Option<Standing<GeneralKey>>, StoreError> {
    let row = query!(fetch_optional, db, GeneralKey, columns!("id = $1"), id)?;
    Ok(standing(db.keyring(), row.into_iter().collect()).pop())
}

/// A page of keys as they stand, with any health or only this one.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    db: &mut impl Handle,
    listing: &Listing<GeneralKeySort>,
    health: Option<&str>,
) -> Result<Vec<Standing<GeneralKey>>, StoreError> {
    macro_rules! by {
        ($column:literal, $after:expr) => {
            page!(
                db, GeneralKey,
                "SELECT id, name, name_key, masked_value, value_mark, value_entered_by, created_by_id, created_by_name, created_at, \
                 updated_at, version, mac, last_used_at, health, health_at, health_detail FROM general_keys WHERE name_key LIKE $2 ESCAPE '\\' \
                 AND ($3 = '*' OR health = $3)",
                $column, ["$4", "$5"], listing.descending, $after, listing.limit, listing.pattern(),
                health.unwrap_or(ANY_HEALTH)
            )
        };
    }
    let rows = match listing.sort {
        GeneralKeySort::Name => by!("name_key", listing.after_text()),
        GeneralKeySort::CreatedAt => by!("created_at", listing.after_int()),
        GeneralKeySort::UpdatedAt => by!("updated_at", listing.after_int()),
        GeneralKeySort::LastUsedAt => by!("last_used_at", listing.after_int()),
    }?;
    Ok(standing(db.keyring(), rows))
}

/// How many keys match, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count(
    db: &mut impl Handle,
    listing: &Listing<GeneralKeySort>,
    health: Option<&str>,
) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT id FROM general_keys WHERE name_key LIKE $1 ESCAPE '\\' \
         AND ($2 = '*' OR health = $2) LIMIT 10001) AS counted",
        listing.pattern(),
        health.unwrap_or(ANY_HEALTH)
    )?;
    Ok(count.n)
}

/// Every key, for the snapshot the gateway works from.
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &mut impl Handle) -> Result<Vec<GeneralKey>, StoreError> {
    let rows = query!(fetch_all, db, GeneralKey, columns!("1 = 1"))?;
    Ok(untouched(db.keyring(), rows))
}

/// Writes a new key.
///
/// # Errors
/// [`StoreError::Taken`] where the name is in use.
pub async fn insert(tx: &mut Write, key: &GeneralKey) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), key);
    execute!(
        tx,
        "INSERT INTO general_keys (id, name, name_key, masked_value, value_mark, value_entered_by, created_by_id, \
         created_by_name, created_at, updated_at, version, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        key.id.as_str(),
        key.name.as_str(),
        key.name_key.as_str(),
        key.masked_value.as_str(),
        key.value_mark.as_str(),
        key.value_entered_by.as_str(),
        key.created_by_id.as_str(),
        key.created_by_name.as_str(),
        key.created_at,
        key.updated_at,
        key.version,
        mac,
    )?;
    Ok(())
}

/// Writes what an edit may change; `key.version` is the version after the edit, one more than the one it was read at.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first; [`StoreError::Taken`] where the new name is in use.
pub async fn update(tx: &mut Write, key: &GeneralKey) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), key);
    let touched = execute!(
        tx,
        "UPDATE general_keys SET name = $1, name_key = $2, masked_value = $3, value_mark = $4, \
         value_entered_by = $5, updated_at = $6, version = $7, mac = $8 WHERE id = $9 AND version = $10",
        key.name.as_str(),
        key.name_key.as_str(),
        key.masked_value.as_str(),
        key.value_mark.as_str(),
        key.value_entered_by.as_str(),
        key.updated_at,
        key.version,
        mac,
        key.id.as_str(),
        key.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "general_keys", id: key.id.clone() }),
        _ => Ok(()),
    }
}

/// Deletes a key with all its sealed copies.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM general_key_secrets WHERE general_key_id = $1", id)?;
    match execute!(tx, "DELETE FROM general_keys WHERE id = $1", id)? {
        0 => Err(StoreError::Stale { table: "general_keys", id: id.to_owned() }),
        _ => Ok(()),
    }
}

/// The sealed copies of one key.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn copies(db: &mut impl Handle, general_key_id: &str) -> Result<Vec<SealedCopy>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        SealedCopy,
        "SELECT id, general_key_id, binding, sealed, created_at, version, mac FROM general_key_secrets \
         WHERE general_key_id = $1",
        general_key_id
    )?;
    rows.into_iter().map(|row| checked(db.keyring(), row)).collect()
}

/// Every sealed copy, for the snapshot the gateway works from.
///
/// # Errors
/// [`StoreError`].
pub async fn all_copies(db: &mut impl Handle) -> Result<Vec<SealedCopy>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        SealedCopy,
        "SELECT id, general_key_id, binding, sealed, created_at, version, mac FROM general_key_secrets"
    )?;
    Ok(untouched(db.keyring(), rows))
}

/// Writes a sealed copy.
///
/// # Errors
/// [`StoreError::Taken`] where the key has a copy for that binding already.
pub async fn insert_copy(tx: &mut Write, copy: &SealedCopy) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), copy);
    execute!(
        tx,
        "INSERT INTO general_key_secrets (id, general_key_id, binding, sealed, created_at, version, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        copy.id.as_str(),
        copy.general_key_id.as_str(),
        copy.binding.as_str(),
        copy.sealed.as_str(),
        copy.created_at,
        copy.version,
        mac,
    )?;
    Ok(())
}

/// Deletes one sealed copy.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_copy(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM general_key_secrets WHERE id = $1", id)?;
    Ok(())
}

/// Notes the last use of a key; outside the row's MAC, since it grants nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn note_use(tx: &mut Write, id: &str, at: i64) -> Result<(), StoreError> {
    execute!(tx, "UPDATE general_keys SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1", at, id)?;
    Ok(())
}

/// Notes what a provider answered about a key; outside the row's MAC, since it grants nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn note_health(tx: &mut Write, id: &str, health: &str, at: i64, detail: &str) -> Result<(), StoreError> {
    execute!(
        tx,
        "UPDATE general_keys SET health = $1, health_at = $2, health_detail = $3 WHERE id = $4",
        health,
        at,
        detail,
        id
    )?;
    Ok(())
}
