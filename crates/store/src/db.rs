//! The one place that names a database: how each is opened here, PostgreSQL's ways in [`postgres`], connections and
//! transactions in [`handles`]. Everything else in this crate is SQL that both accept, run by the macros here.

mod handles;
mod postgres;
pub mod relocate;
pub(crate) mod search;

use std::{borrow::Cow, path::Path, str::FromStr, time::Duration};

use sqlx::{
    postgres::PgPool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

pub(crate) use self::{handles::in_time, postgres::INSTALLATION_LOCK};
pub use self::{
    handles::{Handle, Raw, Read, Store, Write},
    postgres::{Claim, Line},
};
use crate::StoreError;

/// The oldest SQLite that may hold keys: before it, a WAL could be corrupted under concurrent checkpoints.
const MIN_SQLITE: (i64, i64, i64) = (3, 51, 3);
const READERS: u32 = 4;

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How many connections a process takes, and how long it waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections to PostgreSQL, one of which listens for notifications; beside two for the lease and for
    /// reading changes. SQLite has five, always.
    pub max_connections: u32,
    /// How long for a free connection, or a new one.
    pub acquire_timeout: Duration,
    /// How long for a statement, on PostgreSQL.
    pub statement_timeout: Duration,
    /// How long for what another process is writing.
    pub lock_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(3),
        }
    }
}

/// An open database, without the keys that authenticate its rows. See [`Store`].
#[derive(Clone)]
pub enum Db {
    /// SQLite in a file of the data directory: one writing connection, several reading ones.
    Sqlite {
        /// The only connection that writes: SQLite has one writer, and queueing here beats its busy loop.
        write: SqlitePool,
        /// Reading connections, opened read-only.
        read: SqlitePool,
    },
    /// PostgreSQL, shared by replicas.
    Postgres {
        /// Connections for all but the lease.
        pool: PgPool,
        /// How long is waited for what.
        limits: Limits,
    },
}

impl Db {
    /// Opens the database that `url` names (`sqlite:PATH` or `postgres://…`) and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be opened or migrated, [`StoreError::Unsupported`] for a scheme
    /// that is neither, or a SQLite older than 3.51.3.
    pub async fn open(url: &str, limits: Limits) -> Result<Db, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            Db::open_sqlite(Path::new(path.trim_start_matches("//")), limits).await
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok(Db::Postgres { pool: postgres::open(url, limits).await?, limits })
        } else {
            Err(StoreError::Unsupported("KEYWARD_DATABASE_URL must start with sqlite: or postgres://".to_owned()))
        }
    }

    async fn open_sqlite(path: &Path, limits: Limits) -> Result<Db, StoreError> {
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(limits.lock_timeout)
            .pragma("secure_delete", "ON")
            .foreign_keys(true);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(limits.acquire_timeout)
            .connect_with(options.clone())
            .await?;
        assert_sqlite_version(&write).await?;
        MIGRATOR.run(&write).await.map_err(StoreError::migration)?;
        search::index_sqlite(&write).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(limits.acquire_timeout)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        Ok(Db::Sqlite { write, read })
    }

    /// Whether several `serve` may run on it at once, each with a lease.
    pub fn is_shared(&self) -> bool {
        matches!(self, Db::Postgres { .. })
    }

    /// A number that moves when *another process* wrote to the database file; constant on PostgreSQL, where the changes
    /// table and [`Line::foreign_writes`] tell.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn foreign_writes(&self) -> Result<i64, StoreError> {
        match self {
            Db::Sqlite { write, .. } => Ok(sqlx::query_scalar("PRAGMA data_version").fetch_one(write).await?),
            Db::Postgres { .. } => Ok(0),
        }
    }

    /// Closes every connection; SQLite checkpoints its WAL.
    pub async fn close(&self) {
        match self {
            Db::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Db::Postgres { pool, .. } => pool.close().await,
        }
    }
}

async fn assert_sqlite_version(pool: &SqlitePool) -> Result<(), StoreError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    if (next(), next(), next()) < MIN_SQLITE {
        return Err(StoreError::Unsupported(format!(
            "SQLite {version} is too old to hold keys; build Keyward with 3.51.3 or newer"
        )));
    }
    Ok(())
}

/// What a statement is given, as PostgreSQL takes it: its texts hold no NUL. Nothing that is stored holds one either,
/// so that what is looked for with one is not found, instead of failing.
pub(crate) trait Portable {
    /// What is bound.
    type Bound;
    /// Itself, with U+FFFD for NUL.
    fn portable(self) -> Self::Bound;
}

impl Portable for i64 {
    type Bound = i64;
    fn portable(self) -> i64 {
        self
    }
}

impl Portable for String {
    type Bound = String;
    fn portable(self) -> String {
        if self.contains('\0') { self.replace('\0', "\u{FFFD}") } else { self }
    }
}

impl<'a> Portable for &'a str {
    type Bound = Cow<'a, str>;
    fn portable(self) -> Cow<'a, str> {
        if self.contains('\0') { Cow::Owned(self.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(self) }
    }
}

/// Runs one static statement and gives the number of rows it touched.
macro_rules! execute {
    ($db:expr, $sql:expr $(, $arg:expr)* $(,)?) => {
        match $crate::db::Handle::raw($db) {
            $crate::db::Raw::Sqlite(conn) => sqlx::query::<sqlx::Sqlite>($sql)
                $(.bind($arg))*.execute(conn).await.map(|done| done.rows_affected()),
            $crate::db::Raw::Postgres(conn, patience) => $crate::db::in_time(patience, sqlx::query::<sqlx::Postgres>($sql)
                $(.bind($crate::db::Portable::portable($arg)))*.execute(conn)).await.map(|done| done.rows_affected()),
        }
        .map_err($crate::StoreError::from)
    };
}

/// Runs one static statement and gives its rows as `$row`s, by the named fetch (`fetch_all`, `fetch_optional`, …).
macro_rules! query {
    ($fetch:ident, $db:expr, $row:ty, $sql:expr $(, $arg:expr)* $(,)?) => {
        match $crate::db::Handle::raw($db) {
            $crate::db::Raw::Sqlite(conn) => sqlx::query_as::<sqlx::Sqlite, $row>($sql)
                $(.bind($arg))*.$fetch(conn).await,
            $crate::db::Raw::Postgres(conn, patience) => $crate::db::in_time(
                patience, sqlx::query_as::<sqlx::Postgres, $row>($sql)
                $(.bind($crate::db::Portable::portable($arg)))*.$fetch(conn)).await,
        }
        .map_err($crate::StoreError::from)
    };
}

/// One page in key order: `$select` ends inside a WHERE clause whose last placeholder is `$1` (the limit) or one of
/// `$args`; `$value` and `$id` are the next two placeholders, for the row after which the page starts.
macro_rules! page {
    ($db:expr, $row:ty, $select:expr, $column:literal, [$value:literal, $id:literal], $descending:expr,
     $after:expr, $limit:expr $(, $arg:expr)* $(,)?) => {
        match ($descending, $after) {
            (false, None) => $crate::db::query!(fetch_all, $db, $row,
                concat!($select, " ORDER BY ", $column, ", id LIMIT $1"), $limit $(, $arg)*),
            (true, None) => $crate::db::query!(fetch_all, $db, $row,
                concat!($select, " ORDER BY ", $column, " DESC, id DESC LIMIT $1"), $limit $(, $arg)*),
            (false, Some((value, id))) => $crate::db::query!(fetch_all, $db, $row,
                concat!($select, " AND (", $column, ", id) > (", $value, ", ", $id, ") ORDER BY ", $column, ", id LIMIT $1"),
                $limit $(, $arg)*, value, id),
            (true, Some((value, id))) => $crate::db::query!(fetch_all, $db, $row,
                concat!($select, " AND (", $column, ", id) < (", $value, ", ", $id, ") ORDER BY ", $column, " DESC, id DESC LIMIT $1"),
                $limit $(, $arg)*, value, id),
        }
    };
}

/// Runs one static statement on the pool itself: only for what is read before there is a keyring.
macro_rules! on_pool {
    ($db:expr, $query:ident, $fetch:ident, $sql:expr) => {
        match $db {
            $crate::Db::Sqlite { write, .. } => sqlx::$query::<sqlx::Sqlite, _>($sql).$fetch(write).await?,
            $crate::Db::Postgres { pool, .. } => sqlx::$query::<sqlx::Postgres, _>($sql).$fetch(pool).await?,
        }
    };
}

/// Runs `$body` in a transaction `$tx` of either database: only for what is written before there is a keyring.
macro_rules! in_transaction {
    ($db:expr, $tx:ident, $body:block) => {
        match $db {
            $crate::Db::Sqlite { write, .. } => {
                let mut $tx = write.begin_with("BEGIN IMMEDIATE").await?;
                $body
                $tx.commit().await?;
            }
            $crate::Db::Postgres { pool, .. } => {
                let mut $tx = pool.begin().await?;
                // SQLite has one writer at a time; here it takes a lock.
                sqlx::query("SELECT pg_advisory_xact_lock($1)")
                    .bind($crate::db::INSTALLATION_LOCK)
                    .execute(&mut *$tx)
                    .await?;
                $body
                $tx.commit().await?;
            }
        }
    };
}

pub(crate) use {execute, in_transaction, on_pool, page, query};
