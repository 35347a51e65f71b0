//! Links: which general key a provider or a model authenticates with.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, stamp, untouched},
    db::{execute, query},
};

/// A general key linked to a provider or a model.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Link {
    pub id: String,
    /// `provider` or `model`.
    pub target_kind: String,
    pub target_id: String,
    pub general_key_id: String,
    pub weight: i64,
    pub created_at: i64,
    pub version: i64,
    pub mac: String,
}

impl Authentic for Link {
    const TABLE: &'static str = "links";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.target_kind),
            MacField::Text(&self.target_id),
            MacField::Text(&self.general_key_id),
            MacField::Int(self.weight),
            MacField::Int(self.created_at),
            MacField::Int(self.version),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The links of one provider or model, the heaviest first. Rows that were changed outside Keyward are left out: the row
/// of the provider or model tells, under its own MAC, which links there should be.
///
/// # Errors
/// [`StoreError`].
pub async fn of_target(db: &mut impl Handle, target_id: &str) -> Result<Vec<Link>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Link,
        "SELECT id, target_kind, target_id, general_key_id, weight, created_at, version, mac FROM links \
         WHERE target_id = $1 ORDER BY weight DESC, id",
        target_id
    )?;
    Ok(untouched(db.keyring(), rows))
}

/// The links of one general key.
///
/// # Errors
/// [`StoreError`].
pub async fn of_general_key(db: &mut impl Handle, general_key_id: &str) -> Result<Vec<Link>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Link,
        "SELECT id, target_kind, target_id, general_key_id, weight, created_at, version, mac FROM links \
         WHERE general_key_id = $1 ORDER BY id",
        general_key_id
    )?;
    Ok(untouched(db.keyring(), rows))
}

/// Every link, for the snapshot the gateway works from.
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &mut impl Handle) -> Result<Vec<Link>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Link,
        "SELECT id, target_kind, target_id, general_key_id, weight, created_at, version, mac FROM links \
         ORDER BY weight DESC, id"
    )?;
    Ok(untouched(db.keyring(), rows))
}

/// Writes a link.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(tx: &mut Write, link: &Link) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), link);
    execute!(
        tx,
        "INSERT INTO links (id, target_kind, target_id, general_key_id, weight, created_at, version, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        link.id.as_str(),
        link.target_kind.as_str(),
        link.target_id.as_str(),
        link.general_key_id.as_str(),
        link.weight,
        link.created_at,
        link.version,
        mac,
    )?;
    Ok(())
}

/// Deletes the links of one provider or model.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of_target(tx: &mut Write, target_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM links WHERE target_id = $1", target_id)?;
    Ok(())
}

/// Deletes the links of one general key.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of_general_key(tx: &mut Write, general_key_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM links WHERE general_key_id = $1", general_key_id)?;
    Ok(())
}
