//! The server's database, opened as someone who should not.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, TypeInfo, ValueRef};

use super::Home;

/// A connection to the server's database from outside.
#[derive(Debug)]
pub enum Database {
    /// To its SQLite file.
    Sqlite(SqliteConnection),
    /// To PostgreSQL.
    Postgres(PgConnection),
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// An integer.
    Integer(i64),
}

impl Database {
    /// Opens it, whether a server runs on it or not.
    pub async fn open(home: &Home) -> Self {
        if let Some(url) = home.postgres_url() {
            return Self::Postgres(PgConnection::connect(&url).await.expect("the database opens"));
        }
        let options = SqliteConnectOptions::new()
            .filename(home.database_file())
            .foreign_keys(false)
            .busy_timeout(std::time::Duration::from_secs(30));
        Self::Sqlite(options.connect().await.expect("the database opens"))
    }

    /// Runs statements without parameters.
    pub async fn execute(&mut self, sql: impl Into<String>) {
        let sql = sql.into();
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.clone()));
        let done = match self {
            Self::Sqlite(connection) => statements.execute(connection).await.map(drop),
            Self::Postgres(connection) => statements.execute(connection).await.map(drop),
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Keeps every other writer out until `release`.
    pub async fn lock(&mut self) {
        match self {
            Self::Sqlite(_) => self.execute("BEGIN EXCLUSIVE").await,
            Self::Postgres(_) => self.execute("BEGIN; LOCK TABLE chain_head IN EXCLUSIVE MODE").await,
        }
    }

    /// Lets them in again.
    pub async fn release(&mut self) {
        self.execute("ROLLBACK").await;
    }

    /// Puts the rows of `saved` into `table`, over those that are there.
    pub async fn put_back(&mut self, table: &str, saved: &str) {
        self.execute(format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {saved}")).await;
    }

    /// The columns of a table.
    pub async fn columns(&mut self, table: &str) -> Vec<String> {
        match self {
            Self::Sqlite(connection) => {
                let sql = format!("SELECT name FROM pragma_table_info('{table}')");
                let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            Self::Postgres(connection) => {
                let sql = format!(
                    "SELECT column_name::text FROM information_schema.columns WHERE table_name = '{table}' \
                     ORDER BY ordinal_position"
                );
                let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// One value, where `filter` finds one row.
    pub async fn cell(&mut self, table: &str, column: &str, filter: &str) -> Cell {
        let sql = format!("SELECT \"{column}\" FROM {table} WHERE {filter}");
        match self {
            Self::Sqlite(connection) => {
                let rows = sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(connection).await.unwrap();
                assert_eq!(rows.len(), 1, "{sql}");
                of_sqlite(&rows[0])
            }
            Self::Postgres(connection) => {
                let rows = sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(connection).await.unwrap();
                assert_eq!(rows.len(), 1, "{sql}");
                of_postgres(&rows[0])
            }
        }
    }

    /// How many rows `filter` finds.
    pub async fn count(&mut self, table: &str, filter: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table} WHERE {filter}");
        let query = AssertSqlSafe(sql.clone());
        let count = match self {
            Self::Sqlite(connection) => sqlx::query_scalar(query).fetch_one(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(query).fetch_one(connection).await,
        };
        count.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Overwrites one value.
    pub async fn set(&mut self, table: &str, column: &str, filter: &str, value: &Cell) {
        let sql = format!("UPDATE {table} SET \"{column}\" = $1 WHERE {filter}");
        macro_rules! run {
            ($connection:expr, $database:ty) => {{
                let query = sqlx::query::<$database>(AssertSqlSafe(sql.clone()));
                let query = match value {
                    Cell::Text(text) => query.bind(text.clone()),
                    Cell::Integer(number) => query.bind(*number),
                };
                query.execute($connection).await.map(|done| done.rows_affected())
            }};
        }
        let done = match self {
            Self::Sqlite(connection) => run!(connection, sqlx::Sqlite),
            Self::Postgres(connection) => run!(connection, sqlx::Postgres),
        };
        assert_eq!(done.unwrap_or_else(|error| panic!("{sql}: {error}")), 1, "{sql}");
    }
}

impl Cell {
    /// How many single-byte changes [`Cell::flipped`] knows.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Integer(_) => 8,
        }
    }

    /// The same value with one byte of it changed.
    pub fn flipped(&self, at: usize) -> Self {
        match self {
            Self::Text(text) => {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                Self::Text(String::from_utf8(bytes).expect("the stored texts are ASCII"))
            }
            Self::Integer(number) => Self::Integer(number ^ (1 << (8 * at))),
        }
    }
}

fn of_sqlite(row: &SqliteRow) -> Cell {
    let kind = row.try_get_raw(0).unwrap().type_info().name().to_owned();
    match kind.as_str() {
        "TEXT" => Cell::Text(row.get(0)),
        "INTEGER" => Cell::Integer(row.get(0)),
        other => panic!("a column of type {other}"),
    }
}

fn of_postgres(row: &PgRow) -> Cell {
    let kind = row.try_get_raw(0).unwrap().type_info().name().to_owned();
    match kind.as_str() {
        "TEXT" => Cell::Text(row.get(0)),
        "INT8" => Cell::Integer(row.get(0)),
        other => panic!("a column of type {other}"),
    }
}
