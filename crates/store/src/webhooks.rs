//! Who is told of what asks for attention.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, Standing, checked, stamp, standing},
    db::{execute, query},
};

/// A webhook, with its secret sealed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Webhook {
    pub id: String,
    pub name: String,
    pub name_key: String,
    pub url: String,
    pub events: String,
    pub sealed: String,
    pub created_by_id: String,
    pub created_by_name: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub mac: String,
}

impl Authentic for Webhook {
    const TABLE: &'static str = "webhooks";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.name),
            MacField::Text(&self.name_key),
            MacField::Text(&self.url),
            MacField::Text(&self.events),
            MacField::Text(&self.sealed),
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

/// The webhook with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<Webhook>, StoreError> {
    let row = read(db, id).await?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The webhook with this id as it stands, to be deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle, id: &str) -> Result<Option<Standing<Webhook>>, StoreError> {
    let row = read(db, id).await?;
    Ok(standing(db.keyring(), row.into_iter().collect()).pop())
}

async fn read(db: &mut impl Handle, id: &str) -> Result<Option<Webhook>, StoreError> {
    query!(
        fetch_optional,
        db,
        Webhook,
        "SELECT id, name, name_key, url, events, sealed, created_by_id, created_by_name, created_at, updated_at, version, \
         mac FROM webhooks WHERE id = $1",
        id
    )
}

/// Every webhook as it stands, by name; at most 200.
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &mut impl Handle) -> Result<Vec<Standing<Webhook>>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Webhook,
        "SELECT id, name, name_key, url, events, sealed, created_by_id, created_by_name, created_at, updated_at, version, \
         mac FROM webhooks ORDER BY name_key LIMIT 200"
    )?;
    Ok(standing(db.keyring(), rows))
}

/// Writes a new webhook.
///
/// # Errors
/// [`StoreError::Taken`] where the name is in use.
pub async fn insert(tx: &mut Write, webhook: &Webhook) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), webhook);
    execute!(
        tx,
        "INSERT INTO webhooks (id, name, name_key, url, events, sealed, created_by_id, created_by_name, created_at, \
         updated_at, version, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        webhook.id.as_str(),
        webhook.name.as_str(),
        webhook.name_key.as_str(),
        webhook.url.as_str(),
        webhook.events.as_str(),
        webhook.sealed.as_str(),
        webhook.created_by_id.as_str(),
        webhook.created_by_name.as_str(),
        webhook.created_at,
        webhook.updated_at,
        webhook.version,
        mac,
    )?;
    Ok(())
}

/// Writes an edited webhook over the version before it.
///
/// # Errors
/// [`StoreError::Taken`] where the name is in use; [`StoreError::Stale`] where the row is another one by now.
pub async fn update(tx: &mut Write, webhook: &Webhook) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), webhook);
    let touched = execute!(
        tx,
        "UPDATE webhooks SET name = $1, name_key = $2, url = $3, events = $4, updated_at = $5, version = $6, mac = $7 \
         WHERE id = $8 AND version = $9",
        webhook.name.as_str(),
        webhook.name_key.as_str(),
        webhook.url.as_str(),
        webhook.events.as_str(),
        webhook.updated_at,
        webhook.version,
        mac,
        webhook.id.as_str(),
        webhook.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "webhooks", id: webhook.id.clone() }),
        _ => Ok(()),
    }
}

/// Deletes a webhook with its deliveries.
///
/// # Errors
/// [`StoreError::Stale`] where the row stays.
pub async fn delete(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM webhook_deliveries WHERE webhook_id = $1", id)?;
    match execute!(tx, "DELETE FROM webhooks WHERE id = $1", id)? {
        0 => Err(StoreError::Stale { table: "webhooks", id: id.to_owned() }),
        _ => Ok(()),
    }
}
