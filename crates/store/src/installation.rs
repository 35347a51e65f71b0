//! The installation: its id, its check value and its wrapped keys.

use vault::Purpose;

use crate::{
    Db, StoreError,
    db::{in_transaction, on_pool},
};

/// What proves that a master key belongs to this database.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Installation {
    /// Its id, part of every associated data.
    pub id: String,
    /// Sealed under what wraps the keys; opens only with the right one.
    pub check_value: String,
    /// Moves when a restored database is accepted.
    pub epoch: i64,
    /// While what wraps the keys is being changed, sealed under the next one; else empty.
    pub next_check_value: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// Counts up whenever the set of keys changes.
    pub keyring_version: i64,
    /// Proves the set of keys; empty while it is the first one.
    pub keyring_mac: String,
}

/// A key of the installation, wrapped.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The key, wrapped.
    pub wrapped: String,
    /// While what wraps it is being changed, wrapped by the next one as well; else empty.
    pub next_wrapped: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// From when on it makes; 0 while it only reads what others make with it.
    pub active_at: i64,
}

impl StoredKey {
    /// Whether it makes.
    pub fn makes(&self) -> bool {
        self.active_at > 0
    }
}

#[derive(sqlx::FromRow)]
struct PurposeKey {
    id: String,
    purpose: String,
    wrapped: String,
    next_wrapped: String,
    created_at: i64,
    active_at: i64,
}

/// How often the set of keys is read again that changes meanwhile.
const TRIES: usize = 10;

/// The installation this database belongs to, with its wrapped keys; `None` in a new database.
///
/// # Errors
/// [`StoreError`], also for a purpose this version does not know.
pub async fn find(db: &Db) -> Result<Option<(Installation, Vec<StoredKey>)>, StoreError> {
    for _ in 0..TRIES {
        let Some(installation) = find_row(db).await? else { return Ok(None) };
        let keys: Vec<PurposeKey> = on_pool!(
            db,
            query_as,
            fetch_all,
            "SELECT id, purpose, wrapped, next_wrapped, created_at, active_at FROM purpose_keys ORDER BY created_at, id"
        );
        // The two belong together where the row is the same afterwards.
        if find_row(db).await?.as_ref() == Some(&installation) {
            return Ok(Some((installation, keys.into_iter().map(stored).collect::<Result<_, _>>()?)));
        }
    }
    Err(StoreError::Stale { table: "installation", id: String::from("keyring") })
}

async fn find_row(db: &Db) -> Result<Option<Installation>, StoreError> {
    let row = on_pool!(
        db,
        query_as,
        fetch_optional,
        "SELECT id, check_value, epoch, next_check_value, created_at, keyring_version, keyring_mac FROM installation"
    );
    Ok(row)
}

fn stored(key: PurposeKey) -> Result<StoredKey, StoreError> {
    let PurposeKey { id, purpose, wrapped, next_wrapped, created_at, active_at } = key;
    match Purpose::parse(&purpose) {
        Some(purpose) => Ok(StoredKey { id, purpose, wrapped, next_wrapped, created_at, active_at }),
        None => Err(StoreError::Unsupported(format!(
            "the database holds a key for the purpose {purpose:?}, which this version of Keyward does not know"
        ))),
    }
}

/// Writes a new installation and its wrapped keys, whole or not at all.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Taken`] where another process was first.
pub async fn create(db: &Db, id: &str, check_value: &str, keys: &[StoredKey], now: i64) -> Result<(), StoreError> {
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
            sqlx::query(
                "INSERT INTO purpose_keys (id, purpose, wrapped, created_at, active_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&key.id)
            .bind(key.purpose.as_str())
            .bind(&key.wrapped)
            .bind(key.created_at)
            .bind(key.active_at)
            .execute(&mut *tx)
            .await?;
        }
    });
    Ok(())
}
