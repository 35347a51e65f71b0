//! Idempotency records: what a POST with an `Idempotency-Key` made.

use crate::{
    Handle, StoreError, Write,
    db::{execute, query},
};

/// A POST that was carried out.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Record {
    /// A MAC of the request's body.
    pub body_mac: String,
    /// What it made.
    pub resource_id: String,
}

/// Whose POST, to where, under which key.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named like the columns of the schema")]
pub struct RecordKey {
    pub principal: String,
    pub route: String,
    pub idempotency_key: String,
}

/// The record under this key, if it is younger than `not_before` (milliseconds since 1970).
///
/// # Errors
/// [`StoreError`].
pub async fn find(db: &mut impl Handle, key: &RecordKey, not_before: i64) -> Result<Option<Record>, StoreError> {
    query!(
        fetch_optional,
        db,
        Record,
        "SELECT body_mac, resource_id FROM idempotency_records WHERE principal = $1 AND route = $2 \
         AND idempotency_key = $3 AND created_at > $4",
        key.principal.as_str(),
        key.route.as_str(),
        key.idempotency_key.as_str(),
        not_before
    )
}

/// Writes a record, and drops those older than `not_before`.
///
/// # Errors
/// [`StoreError::Taken`] where the key is in use.
pub async fn insert(
    tx: &mut Write,
    key: &RecordKey,
    record: &Record,
    now: i64,
    not_before: i64,
) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM idempotency_records WHERE created_at <= $1", not_before)?;
    execute!(
        tx,
        "INSERT INTO idempotency_records (principal, route, idempotency_key, body_mac, resource_id, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        key.principal.as_str(),
        key.route.as_str(),
        key.idempotency_key.as_str(),
        record.body_mac.as_str(),
        record.resource_id.as_str(),
        now,
    )?;
    Ok(())
}
