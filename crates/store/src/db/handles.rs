//! Connections and transactions, with the keys that authenticate what is read and written over them.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction, pool::PoolConnection, sqlite::SqlitePool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use vault::Keyring;

use super::{Db, Limits, postgres};
use crate::StoreError;

/// How much longer than the server the client waits for a statement: past it, the connection itself is dead.
const GRACE: Duration = Duration::from_secs(2);

/// The database together with the keys that authenticate its rows.
#[derive(Clone)]
pub struct Store {
    db: Db,
    keyring: Arc<RwLock<Known>>,
    committed: Arc<watch::Sender<i64>>,
    /// One writer of this process at a time on PostgreSQL as well, so that those who wait take no connections.
    writers: Arc<Semaphore>,
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
        let committed = Arc::new(watch::Sender::new(0));
        Store { db, keyring, committed, writers: Arc::new(Semaphore::new(1)) }
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
            Db::Postgres { pool, limits } => ReadConn::Postgres(pool.acquire().await?, patience(limits)),
        };
        Ok(Read { conn, keyring })
    }

    /// The same for several statements that are to see one state of the database.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn snapshot(&self) -> Result<Read, StoreError> {
        let keyring = self.keyring();
        let conn = match &self.db {
            Db::Sqlite { read, .. } => ReadConn::SqliteSnapshot(read.begin().await?),
            Db::Postgres { pool, limits } => {
                const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                let tx = in_time(patience(limits), pool.begin_with(BEGIN)).await?;
                ReadConn::PostgresSnapshot(tx, patience(limits))
            }
        };
        Ok(Read { conn, keyring })
    }

    /// A transaction for writing; dropped without [`Write::commit`], it leaves nothing behind. One at a time over all
    /// processes, so that what it read before it writes still holds.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also when another process holds the write lock for too long; [`StoreError::Outdated`]
    /// where this process would write with a key that is gone, so that nobody could read it.
    pub async fn write(&self) -> Result<Write, StoreError> {
        let mut tx = self.write_alone().await?;
        match crate::keyring::is_current(&mut tx).await? {
            true => Ok(tx),
            false => Err(StoreError::Outdated),
        }
    }

    async fn write_alone(&self) -> Result<Write, StoreError> {
        let Db::Postgres { pool, limits } = &self.db else { return self.write_aside().await };
        let turn = tokio::time::timeout(limits.acquire_timeout, Arc::clone(&self.writers).acquire_owned()).await;
        // The semaphore is never closed.
        let turn = turn.ok().and_then(Result::ok).ok_or(StoreError::Unavailable(sqlx::Error::PoolTimedOut))?;
        let patience = patience(limits);
        let mut tx = in_time(patience, pool.begin()).await?;
        in_time(patience, postgres::lock_writing(&mut tx)).await?;
        Ok(self.writing(WriteConn::Postgres(tx, patience), Some(turn)))
    }

    /// A transaction for writing what grants nothing and is not recorded: last uses, usage, health. On PostgreSQL it
    /// neither waits for changes nor holds them up.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_aside(&self) -> Result<Write, StoreError> {
        let conn = match &self.db {
            Db::Sqlite { write, .. } => WriteConn::Sqlite(begin_immediate(write).await?),
            Db::Postgres { pool, limits } => {
                let patience = patience(limits);
                WriteConn::Postgres(in_time(patience, pool.begin()).await?, patience)
            }
        };
        Ok(self.writing(conn, None))
    }

    fn writing(&self, conn: WriteConn, turn: Option<OwnedSemaphorePermit>) -> Write {
        // Taken once nobody else writes, so that it is the newest that this process has.
        let (keyring, committed) = (self.keyring(), Arc::clone(&self.committed));
        Write { conn, keyring, recorded: None, committed, _turn: turn }
    }
}

fn patience(limits: &Limits) -> Duration {
    limits.statement_timeout + GRACE
}

/// Waits for an answer of PostgreSQL, and not for ever where the line to it is dead.
pub(crate) async fn in_time<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "PostgreSQL does not answer"))),
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

/// A connection for reading.
pub struct Read {
    conn: ReadConn,
    keyring: Arc<Keyring>,
}

enum ReadConn {
    Sqlite(PoolConnection<Sqlite>),
    SqliteSnapshot(Transaction<'static, Sqlite>),
    Postgres(PoolConnection<Postgres>, Duration),
    PostgresSnapshot(Transaction<'static, Postgres>, Duration),
}

/// A transaction. What changes authority is recorded by [`crate::audit::record`] before the commit.
pub struct Write {
    conn: WriteConn,
    keyring: Arc<Keyring>,
    recorded: Option<i64>,
    committed: Arc<watch::Sender<i64>>,
    _turn: Option<OwnedSemaphorePermit>,
}

enum WriteConn {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>, Duration),
}

impl Write {
    /// Makes the transaction durable, and tells other replicas of what it recorded.
    ///
    /// # Errors
    /// [`StoreError::CommitFailed`]: it is not known whether it was.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.conn {
            WriteConn::Sqlite(tx) => tx.commit().await,
            WriteConn::Postgres(mut tx, patience) => {
                if self.recorded.is_some() {
                    in_time(patience, postgres::wake_others(&mut tx)).await?;
                }
                in_time(patience, tx.commit()).await
            }
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

/// Something statements can run on: a [`Read`], a [`Write`], or a replica's [`Line`](super::Line).
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
    /// PostgreSQL, and how long to wait for its answer.
    Postgres(&'c mut PgConnection, Duration),
}

impl Handle for Read {
    fn raw(&mut self) -> Raw<'_> {
        match &mut self.conn {
            ReadConn::Sqlite(conn) => Raw::Sqlite(conn),
            ReadConn::SqliteSnapshot(tx) => Raw::Sqlite(tx),
            ReadConn::Postgres(conn, patience) => Raw::Postgres(conn, *patience),
            ReadConn::PostgresSnapshot(tx, patience) => Raw::Postgres(tx, *patience),
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
            WriteConn::Postgres(tx, patience) => Raw::Postgres(tx, *patience),
        }
    }

    fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}
