//! The installation: its id, its check value and its wrapped keys.

use vault::WrappedKey;

use crate::{
    Db, StoreError,
    db::{in_transaction, on_pool},
};

/// What proves that a master key belongs to this database.
#[derive(Debug, sqlx::FromRow)]
pub struct Installation {
    /// Its id, part of every associated data.
    pub id: String,
    /// Sealed under the master key; opens only with the right one.
    pub check_value: String,
    /// Moves when a restored database is accepted.
    pub epoch: i64,
    /// While the master key is being changed, sealed under the next one; else empty.
    pub next_check_value: String,
}

#[derive(sqlx::FromRow)]
struct PurposeKey {
    id: String,
    purpose: String,
    wrapped: String,
    next_wrapped: String,
}

/// The installation this database belongs to, with its wrapped keys; `None` in a new database.
///
/// # Errors
/// [`StoreError`], also for a purpose this version does not know.
pub async fn find(db: &Db) -> Result<Option<(Installation, Vec<WrappedKey>)>, StoreError> {
    read(db, |key| key.wrapped).await
}

/// The same with the keys as the next master key wraps them, while it is being changed.
///
/// # Errors
/// As [`find`].
pub async fn find_next(db: &Db) -> Result<Option<(Installation, Vec<WrappedKey>)>, StoreError> {
    read(db, |key| key.next_wrapped).await
}

async fn read(
    db: &Db,
    wrapped: fn(PurposeKey) -> String,
) -> Result<Option<(Installation, Vec<WrappedKey>)>, StoreError> {
    let installation: Option<Installation> =
        on_pool!(db, query_as, fetch_optional, "SELECT id, check_value, epoch, next_check_value FROM installation");
    let Some(installation) = installation else {
        return Ok(None);
    };
    let keys: Vec<PurposeKey> = on_pool!(
        db,
        query_as,
        fetch_all,
        "SELECT id, purpose, wrapped, next_wrapped FROM purpose_keys ORDER BY created_at, id"
    );
    let keys = keys
        .into_iter()
        .map(|key| match vault::Purpose::parse(&key.purpose) {
            Some(purpose) => Ok(WrappedKey { id: key.id.clone(), purpose, wrapped: wrapped(key) }),
            None => Err(StoreError::Unsupported(format!(
                "the database holds a key for the purpose {:?}, which this version of Keyward does not know",
                key.purpose
            ))),
        })
        .collect::<Result<_, _>>()?;
    Ok(Some((installation, keys)))
}

/// Writes a new installation and its wrapped keys, whole or not at all.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Taken`] where another process was first.
pub async fn create(db: &Db, id: &str, check_value: &str, keys: &[WrappedKey], now: i64) -> Result<(), StoreError> {
    in_transaction!(db, tx, {
        let made = sqlx::query(
            "INSERT INTO installation (id, created_at, check_value, epoch) \
             SELECT $1, $2, $3, 1 WHERE NOT EXISTS (SELECT id FROM installation) \
             AND NOT EXISTS (SELECT table_name FROM relocations)",
        )
        .bind(id)
        .bind(now)
        .bind(check_value)
        .execute(&mut *tx)
        .await?;
        if made.rows_affected() == 0 {
            return Err(StoreError::Taken("another process made the installation".to_owned()));
        }
        for key in keys {
            sqlx::query("INSERT INTO purpose_keys (id, purpose, wrapped, created_at) VALUES ($1, $2, $3, $4)")
                .bind(&key.id)
                .bind(key.purpose.as_str())
                .bind(&key.wrapped)
                .bind(now)
                .execute(&mut *tx)
                .await?;
        }
    });
    Ok(())
}
