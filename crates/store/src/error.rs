//! What can go wrong in the store.

/// A failure of the store. None of these means that something was *not found*: look-ups return `Option`s, so that a
/// failed database can never look like a missing key.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not do its work: locked, full, read-only, gone.
    #[error("the database is unavailable: {0}")]
    Unavailable(sqlx::Error),
    /// The database failed while it made a transaction durable: it may have happened, or not.
    #[error("the database failed at the commit: {0}")]
    CommitFailed(sqlx::Error),
    /// A unique column holds that value already; nothing was written.
    #[error("a unique value is taken: {0}")]
    Taken(String),
    /// A row's columns do not match their MAC: somebody changed them outside Keyward. The row stays refused.
    #[error("row {id} of {table} fails its integrity check; restore it from a backup or delete it")]
    Tampered {
        /// The table.
        table: &'static str,
        /// The row's id.
        id: String,
    },
    /// The row changed since it was read; read it again.
    #[error("row {id} of {table} was changed by somebody else meanwhile")]
    Stale {
        /// The table.
        table: &'static str,
        /// The row's id.
        id: String,
    },
    /// The keys that this process knows were replaced while it did not look: it must not write with them.
    #[error("the keys of this installation were replaced while this process ran; start it again")]
    Outdated,
    /// This database cannot be used at all.
    #[error("{0}")]
    Unsupported(String),
}

impl StoreError {
    pub(crate) fn migration(error: sqlx::migrate::MigrateError) -> StoreError {
        match error {
            sqlx::migrate::MigrateError::Execute(cause) => StoreError::Unavailable(cause),
            other => StoreError::Unsupported(format!("the schema cannot be brought up to date: {other}")),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        match &error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() => {
                StoreError::Taken(cause.message().to_owned())
            }
            _ => StoreError::Unavailable(error),
        }
    }
}
