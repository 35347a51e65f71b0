//! Providers.

use vault::MacField;

use crate::{
    Handle, Listing, StoreError, Write,
    authentic::{Authentic, Sorted, Standing, UNTOLD, checked, sorted, stamp, standing, untouched},
    db::{execute, page, query},
    listing::Count,
};

/// A provider of models.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Provider {
    pub id: String,
    pub name: String,
    pub name_key: String,
    pub kind: String,
    pub base_url: String,
    /// JSON; empty where the defaults hold.
    pub limits: String,
    /// The linked general keys; `?` in rows from before the column.
    pub linked: String,
    /// The header a service takes its credential in; empty where the kind says it.
    pub credential_header: String,
    pub created_by_id: String,
    pub created_by_name: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub mac: String,
}

impl Authentic for Provider {
    const TABLE: &'static str = "providers";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        let mut fields = vec![
            MacField::Text(&self.name),
            MacField::Text(&self.name_key),
            MacField::Text(&self.kind),
            MacField::Text(&self.base_url),
            MacField::Text(&self.created_by_id),
            MacField::Text(&self.created_by_name),
            MacField::Int(self.created_at),
            MacField::Int(self.updated_at),
            MacField::Int(self.version),
        ];
        // These columns came later: rows from before them carry a MAC without them.
        if !self.limits.is_empty() {
            fields.push(MacField::Text(&self.limits));
        }
        if self.linked != UNTOLD {
            fields.push(MacField::Text(&self.linked));
        }
        if !self.credential_header.is_empty() {
            // With its name, so that no other column that came later is taken for it.
            fields.extend([MacField::Text("credential_header"), MacField::Text(&self.credential_header)]);
        }
        fields
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// What providers and models can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the columns")]
pub enum CatalogSort {
    Name,
    CreatedAt,
}

/// The provider with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<Provider>, StoreError> {
    let row = read(db, id).await?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The provider with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle, id: &str) -> Result<Option<Standing<Provider>>, StoreError> {
    let row = read(db, id).await?;
    Ok(standing(db.keyring(), row.into_iter().collect()).pop())
}

async fn read(db: &mut impl Handle, id: &str) -> Result<Option<Provider>, StoreError> {
    query!(
        fetch_optional,
        db,
        Provider,
        "SELECT id, name, name_key, kind, base_url, limits, linked, credential_header, created_by_id, created_by_name, created_at, updated_at, version, \
         mac FROM providers WHERE id = $1",
        id
    )
}

/// A page of providers.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &mut impl Handle, listing: &Listing<CatalogSort>) -> Result<Vec<Provider>, StoreError> {
    macro_rules! by {
        ($column:literal, $after:expr) => {
            page!(
                db,
                Provider,
                "SELECT id, name, name_key, kind, base_url, limits, linked, credential_header, created_by_id, created_by_name, created_at, updated_at, \
                 version, mac FROM providers WHERE name_key LIKE $2 ESCAPE '\\'",
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

/// How many providers match, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &mut impl Handle, listing: &Listing<CatalogSort>) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT id FROM providers WHERE name_key LIKE $1 ESCAPE '\\' LIMIT 10001) AS counted",
        listing.pattern()
    )?;
    Ok(count.n)
}

/// A page of providers as they stand whose name matches, or the name of one of whose models does.
///
/// # Errors
/// [`StoreError`].
pub async fn list_with_models(
    db: &mut impl Handle,
    listing: &Listing<CatalogSort>,
) -> Result<Vec<Standing<Provider>>, StoreError> {
    macro_rules! by {
        ($column:literal, $after:expr) => {
            page!(
                db,
                Provider,
                "SELECT id, name, name_key, kind, base_url, limits, linked, credential_header, created_by_id, created_by_name, created_at, updated_at, \
                 version, mac FROM providers WHERE (name_key LIKE $2 ESCAPE '\\' OR EXISTS (SELECT 1 FROM models \
                 WHERE models.provider_id = providers.id AND models.name_key LIKE $2 ESCAPE '\\'))",
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

/// How many providers [`list_with_models`] finds, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count_with_models(db: &mut impl Handle, listing: &Listing<CatalogSort>) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT id FROM providers WHERE name_key LIKE $1 ESCAPE '\\' OR EXISTS (SELECT 1 \
         FROM models WHERE models.provider_id = providers.id AND models.name_key LIKE $1 ESCAPE '\\') LIMIT 10001) \
         AS counted",
        listing.pattern()
    )?;
    Ok(count.n)
}

/// Every provider, for the snapshot the gateway works from, and those that were changed outside Keyward.
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &mut impl Handle) -> Result<Sorted<Provider>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Provider,
        "SELECT id, name, name_key, kind, base_url, limits, linked, credential_header, created_by_id, created_by_name, created_at, updated_at, version, \
         mac FROM providers"
    )?;
    Ok(sorted(db.keyring(), rows))
}

/// Writes a new provider.
///
/// # Errors
/// [`StoreError::Taken`] where the name is in use.
pub async fn insert(tx: &mut Write, provider: &Provider) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), provider);
    execute!(
        tx,
        "INSERT INTO providers (id, name, name_key, kind, base_url, limits, linked, credential_header, \
         created_by_id, created_by_name, created_at, updated_at, version, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        provider.id.as_str(),
        provider.name.as_str(),
        provider.name_key.as_str(),
        provider.kind.as_str(),
        provider.base_url.as_str(),
        provider.limits.as_str(),
        provider.linked.as_str(),
        provider.credential_header.as_str(),
        provider.created_by_id.as_str(),
        provider.created_by_name.as_str(),
        provider.created_at,
        provider.updated_at,
        provider.version,
        mac,
    )?;
    Ok(())
}

/// Writes what an edit may change; `provider.version` is the version after the edit.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first; [`StoreError::Taken`] where the new name is in use.
pub async fn update(tx: &mut Write, provider: &Provider) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), provider);
    let touched = execute!(
        tx,
        "UPDATE providers SET name = $1, name_key = $2, kind = $3, base_url = $4, limits = $5, linked = $6, \
         credential_header = $7, updated_at = $8, version = $9, mac = $10 WHERE id = $11 AND version = $12",
        provider.name.as_str(),
        provider.name_key.as_str(),
        provider.kind.as_str(),
        provider.base_url.as_str(),
        provider.limits.as_str(),
        provider.linked.as_str(),
        provider.credential_header.as_str(),
        provider.updated_at,
        provider.version,
        mac,
        provider.id.as_str(),
        provider.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "providers", id: provider.id.clone() }),
        _ => Ok(()),
    }
}

/// Deletes a provider; its models and links are deleted by their own functions.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM providers WHERE id = $1", id)?;
    Ok(())
}
