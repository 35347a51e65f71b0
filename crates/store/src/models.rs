//! Models.

use vault::MacField;

use crate::{
    CatalogSort, Handle, Listing, StoreError, Write,
    authentic::{Authentic, Sorted, Standing, UNTOLD, checked, sorted, stamp, standing, untouched},
    db::{execute, page, query},
    listing::Count,
};

/// A model that agents may name.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Model {
    pub id: String,
    pub name: String,
    pub name_key: String,
    pub provider_id: String,
    pub upstream_model: String,
    /// The linked general keys; `?` in rows from before the column.
    pub linked: String,
    /// What it costs; empty where that is not known.
    pub prices: String,
    pub created_by_id: String,
    pub created_by_name: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub mac: String,
}

impl Authentic for Model {
    const TABLE: &'static str = "models";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        let mut fields = vec![
            MacField::Text(&self.name),
            MacField::Text(&self.name_key),
            MacField::Text(&self.provider_id),
            MacField::Text(&self.upstream_model),
            MacField::Text(&self.created_by_id),
            MacField::Text(&self.created_by_name),
            MacField::Int(self.created_at),
            MacField::Int(self.updated_at),
            MacField::Int(self.version),
        ];
        // The column came later: rows from before it carry a MAC without it.
        if self.linked != UNTOLD {
            fields.push(MacField::Text(&self.linked));
        }
        // So did this one.
        if !self.prices.is_empty() {
            fields.push(MacField::Text(&self.prices));
        }
        fields
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The model with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<Model>, StoreError> {
    let row = read(db, id).await?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The model with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle, id: &str) -> Result<Option<Standing<Model>>, StoreError> {
    let row = read(db, id).await?;
    Ok(standing(db.keyring(), row.into_iter().collect()).pop())
}

async fn read(db: &mut impl Handle, id: &str) -> Result<Option<Model>, StoreError> {
    query!(
        fetch_optional,
        db,
        Model,
        "SELECT id, name, name_key, provider_id, upstream_model, linked, prices, created_by_id, created_by_name, \
         created_at, updated_at, version, mac FROM models WHERE id = $1",
        id
    )
}

/// A page of models.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &mut impl Handle, listing: &Listing<CatalogSort>) -> Result<Vec<Model>, StoreError> {
    macro_rules! by {
        ($column:literal, $after:expr) => {
            page!(
                db,
                Model,
                "SELECT id, name, name_key, provider_id, upstream_model, linked, prices, created_by_id, created_by_name, \
                 created_at, updated_at, version, mac FROM models WHERE name_key LIKE $2 ESCAPE '\\'",
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
    Ok(untouched(db.keyring(), rows))
}

/// How many models match, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &mut impl Handle, listing: &Listing<CatalogSort>) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT id FROM models WHERE name_key LIKE $1 ESCAPE '\\' LIMIT 10001) AS counted",
        listing.pattern()
    )?;
    Ok(count.n)
}

/// Every model, for the snapshot the gateway works from.
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &mut impl Handle) -> Result<Sorted<Model>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Model,
        "SELECT id, name, name_key, provider_id, upstream_model, linked, prices, created_by_id, created_by_name, \
         created_at, updated_at, version, mac FROM models"
    )?;
    Ok(sorted(db.keyring(), rows))
}

/// The models of a provider; damaged ones are left out.
///
/// # Errors
/// [`StoreError`].
pub async fn of_provider(db: &mut impl Handle, provider_id: &str) -> Result<Vec<Model>, StoreError> {
    let rows = of_provider_standing(db, provider_id).await?;
    Ok(rows.into_iter().filter(|row| !row.is_damaged).map(|row| row.row).collect())
}

/// The models as they stand whose rows say that they are this provider's, by name.
///
/// # Errors
/// [`StoreError`].
pub async fn of_provider_standing(db: &mut impl Handle, provider_id: &str) -> Result<Vec<Standing<Model>>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Model,
        "SELECT id, name, name_key, provider_id, upstream_model, linked, prices, created_by_id, created_by_name, \
         created_at, updated_at, version, mac FROM models WHERE provider_id = $1 ORDER BY name_key",
        provider_id
    )?;
    Ok(standing(db.keyring(), rows))
}

/// Whether there is a model of this name.
///
/// # Errors
/// [`StoreError`].
pub async fn is_named(db: &mut impl Handle, name_key: &str) -> Result<bool, StoreError> {
    let count = query!(fetch_one, db, Count, "SELECT count(*) AS n FROM models WHERE name_key = $1", name_key)?;
    Ok(count.n > 0)
}

/// Writes a new model.
///
/// # Errors
/// [`StoreError::Taken`] where the name is in use.
pub async fn insert(tx: &mut Write, model: &Model) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), model);
    execute!(
        tx,
        "INSERT INTO models (id, name, name_key, provider_id, upstream_model, linked, prices, created_by_id, \
         created_by_name, created_at, updated_at, version, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        model.id.as_str(),
        model.name.as_str(),
        model.name_key.as_str(),
        model.provider_id.as_str(),
        model.upstream_model.as_str(),
        model.linked.as_str(),
        model.prices.as_str(),
        model.created_by_id.as_str(),
        model.created_by_name.as_str(),
        model.created_at,
        model.updated_at,
        model.version,
        mac,
    )?;
    Ok(())
}

/// Writes what an edit may change; `model.version` is the version after the edit.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first; [`StoreError::Taken`] where the new name is in use.
pub async fn update(tx: &mut Write, model: &Model) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), model);
    let touched = execute!(
        tx,
        "UPDATE models SET name = $1, name_key = $2, provider_id = $3, upstream_model = $4, linked = $5, \
         prices = $6, updated_at = $7, version = $8, mac = $9 WHERE id = $10 AND version = $11",
        model.name.as_str(),
        model.name_key.as_str(),
        model.provider_id.as_str(),
        model.upstream_model.as_str(),
        model.linked.as_str(),
        model.prices.as_str(),
        model.updated_at,
        model.version,
        mac,
        model.id.as_str(),
        model.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "models", id: model.id.clone() }),
        _ => Ok(()),
    }
}

/// Deletes a model; its link is deleted by [`crate::links::delete_of_target`].
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM models WHERE id = $1", id)?;
    Ok(())
}
