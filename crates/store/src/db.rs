//! The one file that names a database. Everything else in this crate is SQL that both accept, run by the macros here.

use std::{
    path::Path,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sqlx::{
    PgConnection, Postgres, Sqlite, SqliteConnection, Transaction,
    pool::PoolConnection,
    postgres::{PgPool, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;
use vault::Keyring;

use crate::StoreError;

/// The oldest SQLite that may hold keys: before it, a WAL could be corrupted under concurrent checkpoints.
const MIN_SQLITE: (i64, i64, i64) = (3, 51, 3);
/// How long a statement waits for another process's write lock before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call waits for a free connection before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

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
    Postgres(PgPool),
}

impl Db {
    /// Opens the database that `url` names (`sqlite:PATH` or `postgres://…`) and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be opened or migrated, [`StoreError::Unsupported`] for a scheme
    /// that is neither, or a SQLite older than 3.51.3.
    pub async fn open(url: &str) -> Result<Db, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            Db::open_sqlite(Path::new(path.trim_start_matches("//"))).await
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let pool = PgPoolOptions::new()
                .max_connections(POSTGRES_CONNECTIONS)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .connect(url)
                .await?;
            MIGRATOR.run(&pool).await.map_err(StoreError::migration)?;
            Ok(Db::Postgres(pool))
        } else {
            Err(StoreError::Unsupported("KEYWARD_DATABASE_URL must start with sqlite: or postgres://".to_owned()))
        }
    }

    async fn open_sqlite(path: &Path) -> Result<Db, StoreError> {
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("secure_delete", "ON")
            .foreign_keys(true);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.clone())
            .await?;
        assert_sqlite_version(&write).await?;
        MIGRATOR.run(&write).await.map_err(StoreError::migration)?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        Ok(Db::Sqlite { write, read })
    }

    /// A number that moves when *another process* wrote to the database file; constant on PostgreSQL, where the
    /// changes table tells.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn foreign_writes(&self) -> Result<i64, StoreError> {
        match self {
            Db::Sqlite { write, .. } => Ok(sqlx::query_scalar("PRAGMA data_version").fetch_one(write).await?),
            Db::Postgres(_) => Ok(0),
        }
    }

    /// Takes the right to be the only `serve` on a PostgreSQL database, for as long as the claim is kept: replicas do
    /// not tell each other of changes yet. `None` where another one has it. On SQLite the data directory is locked
    /// instead, and the claim is always given.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn claim(&self) -> Result<Option<Claim>, StoreError> {
        let Db::Postgres(pool) = self else { return Ok(Some(Claim(None))) };
        let mut conn = pool.acquire().await?;
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(7596018237)").fetch_one(&mut *conn).await?;
        Ok(taken.then(|| Claim(Some(conn.detach()))))
    }

    /// Closes every connection; SQLite checkpoints its WAL.
    pub async fn close(&self) {
        match self {
            Db::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

/// Begins the one writing transaction. Where a commit fails for want of room, SQLite ends the transaction by itself and
/// sqlx goes on counting it: such a connection begins nothing any more, so it is replaced.
async fn begin_immediate(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
    const BEGIN: &str = "BEGIN IMMEDIATE";
    match pool.begin_with(BEGIN).await {
        Err(sqlx::Error::InvalidSavePointStatement) => {
            pool.acquire().await?.close().await?;
            pool.begin_with(BEGIN).await
        }
        begun => begun,
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

/// The right to be the only `serve` on a database; see [`Db::claim`]. Held by the session of a connection of its own.
pub struct Claim(#[allow(dead_code, reason = "dropping it gives the right back")] Option<PgConnection>);

/// The database together with the keys that authenticate its rows.
#[derive(Clone)]
pub struct Store {
    db: Db,
    keyring: Arc<RwLock<Known>>,
    committed: Arc<watch::Sender<i64>>,
}

/// The keyring, and the number of the set of keys that it holds.
struct Known {
    keyring: Arc<Keyring>,
    version: i64,
}

impl Store {
    /// Joins an open database and its keyring, which holds the set of keys with this number.
    pub fn new(db: Db, keyring: Arc<Keyring>, version: i64) -> Store {
        let keyring = Arc::new(RwLock::new(Known { keyring, version }));
        Store { db, keyring, committed: Arc::new(watch::Sender::new(0)) }
    }

    /// Works with another set of keys from now on. Gives the one before: whatever was begun with it holds it until it
    /// ends.
    pub fn renew(&self, keyring: Keyring, version: i64) -> Arc<Keyring> {
        let next = Known { keyring: Arc::new(keyring), version };
        let mut known = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *known, next).keyring
    }

    /// The number of the set of keys that this process works with.
    pub fn keyring_version(&self) -> i64 {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).version
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The keys of this installation, as of now.
    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner).keyring)
    }

    /// Tells of the number of the newest event that this process committed.
    pub fn committed(&self) -> watch::Receiver<i64> {
        self.committed.subscribe()
    }

    /// A connection for reading.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn read(&self) -> Result<Read, StoreError> {
        let keyring = self.keyring();
        let conn = match &self.db {
            Db::Sqlite { read, .. } => ReadConn::Sqlite(read.acquire().await?),
            Db::Postgres(pool) => ReadConn::Postgres(pool.acquire().await?),
        };
        Ok(Read { conn, keyring })
    }

    /// A transaction for writing; dropped without [`Write::commit`], it leaves nothing behind.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also when another process holds the write lock for too long; [`StoreError::Outdated`]
    /// where this process would write with a key that is gone, so that nobody could read it.
    pub async fn write(&self) -> Result<Write, StoreError> {
        let keyring = self.keyring();
        let conn = match &self.db {
            Db::Sqlite { write, .. } => WriteConn::Sqlite(begin_immediate(write).await?),
            Db::Postgres(pool) => WriteConn::Postgres(pool.begin().await?),
        };
        let mut tx = Write { conn, keyring, recorded: None, committed: Arc::clone(&self.committed) };
        match crate::keyring::is_current(&mut tx).await? {
            true => Ok(tx),
            false => Err(StoreError::Outdated),
        }
    }
}

/// A connection for reading.
pub struct Read {
    conn: ReadConn,
    keyring: Arc<Keyring>,
}

enum ReadConn {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// A transaction. What changes authority is recorded by [`crate::audit::record`] before the commit.
pub struct Write {
    conn: WriteConn,
    keyring: Arc<Keyring>,
    recorded: Option<i64>,
    committed: Arc<watch::Sender<i64>>,
}

enum WriteConn {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Write {
    /// Makes the transaction durable.
    ///
    /// # Errors
    /// [`StoreError::CommitFailed`]: it is not known whether it was.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.conn {
            WriteConn::Sqlite(tx) => tx.commit().await,
            WriteConn::Postgres(tx) => tx.commit().await,
        }
        .map_err(StoreError::CommitFailed)?;
        if let Some(seq) = self.recorded {
            self.committed.send_if_modified(|newest| {
                let is_newer = seq > *newest;
                *newest = seq.max(*newest);
                is_newer
            });
        }
        Ok(())
    }

    /// Notes that the event with this number is part of the transaction.
    pub(crate) fn note_recorded(&mut self, seq: i64) {
        self.recorded = Some(seq);
    }
}

/// Something statements can run on: a [`Read`] or a [`Write`].
pub trait Handle: Send {
    /// The driver's connection.
    fn raw(&mut self) -> Raw<'_>;
    /// The keys that authenticate rows.
    fn keyring(&self) -> &Keyring;
}

/// A borrowed driver connection.
pub enum Raw<'c> {
    /// SQLite.
    Sqlite(&'c mut SqliteConnection),
    /// PostgreSQL.
    Postgres(&'c mut PgConnection),
}

impl Handle for Read {
    fn raw(&mut self) -> Raw<'_> {
        match &mut self.conn {
            ReadConn::Sqlite(conn) => Raw::Sqlite(conn),
            ReadConn::Postgres(conn) => Raw::Postgres(conn),
        }
    }

    fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}

impl Handle for Write {
    fn raw(&mut self) -> Raw<'_> {
        match &mut self.conn {
            WriteConn::Sqlite(tx) => Raw::Sqlite(tx),
            WriteConn::Postgres(tx) => Raw::Postgres(tx),
        }
    }

    fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}

/// Runs one static statement and gives the number of rows it touched.
macro_rules! execute {
    ($db:expr, $sql:expr $(, $arg:expr)* $(,)?) => {
        match $crate::db::Handle::raw($db) {
            $crate::db::Raw::Sqlite(conn) => sqlx::query::<sqlx::Sqlite>($sql)
                $(.bind($arg))*.execute(conn).await.map(|done| done.rows_affected()),
            $crate::db::Raw::Postgres(conn) => sqlx::query::<sqlx::Postgres>($sql)
                $(.bind($arg))*.execute(conn).await.map(|done| done.rows_affected()),
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
            $crate::db::Raw::Postgres(conn) => sqlx::query_as::<sqlx::Postgres, $row>($sql)
                $(.bind($arg))*.$fetch(conn).await,
        }
        .map_err($crate::StoreError::from)
    };
}

/// One page in key order: `$select` ends inside a WHERE clause whose last placeholder is `$1` (the limit) or one of
/// `$args`; `$value` and `$id` are the next two placeholders, for the row after which the page starts.
macro_rules! page {
    ($db:expr, $row:ty, $select:literal, $column:literal, [$value:literal, $id:literal], $descending:expr,
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
            $crate::Db::Postgres(pool) => sqlx::$query::<sqlx::Postgres, _>($sql).$fetch(pool).await?,
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
            $crate::Db::Postgres(pool) => {
                let mut $tx = pool.begin().await?;
                $body
                $tx.commit().await?;
            }
        }
    };
}

pub(crate) use {execute, in_transaction, on_pool, page, query};
