//! What a verification asks of an agent key, by name.

use vault::MacField;

use crate::{
    CatalogSort, Handle, Listing, StoreError, Write,
    authentic::{Authentic, Sorted, Standing, checked, sorted, stamp, standing},
    db::{execute, page, query},
    listing::Count,
};

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Policy {
    pub id: String,
    pub name: String,
    pub name_key: String,
    pub requires: String,
    pub created_by_id: String,
    pub created_by_name: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub mac: String,
}

impl Authentic for Policy {
    const TABLE: &'static str = "policies";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.name),
            MacField::Text(&self.name_key),
            MacField::Text(&self.requires),
            MacField::Text(&self.created_by_id),
            MacField::Text(&self.created_by_name),
            MacField::Int(self.created_at),
            MacField::Int(self.updated_at),
            MacField::Int(self.version),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The policy with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<Policy>, StoreError> {
    let row = read(db, id).await?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The policy with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle, id: &str) -> Result<Option<Standing<Policy>>, StoreError> {
    let row = read(db, id).await?;
    Ok(standing(db.keyring(), row.into_iter().collect()).pop())
}

async fn read(db: &mut impl Handle, id: &str) -> Result<Option<Policy>, StoreError> {
    query!(
        fetch_optional,
        db,
        Policy,
        "SELECT id, name, name_key, requires, created_by_id, created_by_name, created_at, updated_at, version, mac \
         FROM policies WHERE id = $1",
        id
    )
}

/// A page of policies as they stand.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &mut impl Handle, listing: &Listing<CatalogSort>) -> Result<Vec<Standing<Policy>>, StoreError> {
    macro_rules! by {
        ($column:literal, $after:expr) => {
            page!(
                db,
                Policy,
                "SELECT id, name, name_key, requires, created_by_id, created_by_name, created_at, updated_at, version, mac \
                 FROM policies WHERE name_key LIKE $2 ESCAPE '\\'",
                $column,
                ["$3", "$4"],
                listing.descending,
                $after,
                listing.limit,
                listing.pattern()
            )
        };
    }
    let rows = match listing.sort {
        CatalogSort::Name => by!("name_key", listing.after_text()),
        CatalogSort::CreatedAt => by!("created_at", listing.after_int()),
    }?;
    Ok(standing(db.keyring(), rows))
}

/// How many policies match, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &mut impl Handle, listing: &Listing<CatalogSort>) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT id FROM policies WHERE name_key LIKE $1 ESCAPE '\\' LIMIT 10001) AS counted",
        listing.pattern()
    )?;
    Ok(count.n)
}

/// Every policy, for the snapshot that verifications are decided from.
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &mut impl Handle) -> Result<Sorted<Policy>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Policy,
        "SELECT id, name, name_key, requires, created_by_id, created_by_name, created_at, updated_at, version, mac \
         FROM policies"
    )?;
    Ok(sorted(db.keyring(), rows))
}

/// Writes a new policy.
///
/// # Errors
/// [`StoreError::Taken`] where the name is in use.
pub async fn insert(tx: &mut Write, policy: &Policy) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), policy);
    execute!(
        tx,
        "INSERT INTO policies (id, name, name_key, requires, created_by_id, created_by_name, created_at, updated_at, \
         version, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        policy.id.as_str(),
        policy.name.as_str(),
        policy.name_key.as_str(),
        policy.requires.as_str(),
        policy.created_by_id.as_str(),
        policy.created_by_name.as_str(),
        policy.created_at,
        policy.updated_at,
        policy.version,
        mac,
    )?;
    Ok(())
}

/// Writes what an edit may change; `policy.version` is the version after the edit.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first; [`StoreError::Taken`] where the new name is in use.
pub async fn update(tx: &mut Write, policy: &Policy) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), policy);
    let touched = execute!(
        tx,
        "UPDATE policies SET name = $1, name_key = $2, requires = $3, updated_at = $4, version = $5, mac = $6 \
         WHERE id = $7 AND version = $8",
        policy.name.as_str(),
        policy.name_key.as_str(),
        policy.requires.as_str(),
        policy.updated_at,
        policy.version,
        mac,
        policy.id.as_str(),
        policy.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "policies", id: policy.id.clone() }),
        _ => Ok(()),
    }
}

/// Deletes a policy.
///
/// # Errors
/// [`StoreError::Stale`] where the row stays.
pub async fn delete(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    match execute!(tx, "DELETE FROM policies WHERE id = $1", id)? {
        0 => Err(StoreError::Stale { table: "policies", id: id.to_owned() }),
        _ => Ok(()),
    }
}
