//! The SQLite file, opened as someone who should not.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, TypeInfo, ValueRef};

use super::Home;

/// A connection to the server's database from outside.
#[derive(Debug)]
pub struct Database {
    connection: SqliteConnection,
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
        let options = SqliteConnectOptions::new()
            .filename(home.database_file())
            .foreign_keys(false)
            .busy_timeout(std::time::Duration::from_secs(30));
        Self { connection: options.connect().await.expect("the database opens") }
    }

    /// Runs statements without parameters.
    pub async fn execute(&mut self, sql: impl Into<String>) {
        let sql = sql.into();
        let done = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut self.connection).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The columns of a table.
    pub async fn columns(&mut self, table: &str) -> Vec<String> {
        let sql = format!("SELECT name FROM pragma_table_info('{table}')");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// One value, where `filter` finds one row.
    pub async fn cell(&mut self, table: &str, column: &str, filter: &str) -> Cell {
        let sql = format!("SELECT \"{column}\" FROM {table} WHERE {filter}");
        let rows = sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(&mut self.connection).await.unwrap();
        assert_eq!(rows.len(), 1, "{sql}");
        read(&rows[0])
    }

    /// How many rows `filter` finds.
    pub async fn count(&mut self, table: &str, filter: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table} WHERE {filter}");
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await.unwrap();
        row.get(0)
    }

    /// Overwrites one value.
    pub async fn set(&mut self, table: &str, column: &str, filter: &str, value: &Cell) {
        let sql = format!("UPDATE {table} SET \"{column}\" = $1 WHERE {filter}");
        let query = sqlx::query(AssertSqlSafe(sql.clone()));
        let query = match value {
            Cell::Text(text) => query.bind(text.clone()),
            Cell::Integer(number) => query.bind(*number),
        };
        let done = query.execute(&mut self.connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(done.rows_affected(), 1, "{sql}");
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

fn read(row: &SqliteRow) -> Cell {
    let kind = row.try_get_raw(0).unwrap().type_info().name().to_owned();
    match kind.as_str() {
        "TEXT" => Cell::Text(row.get(0)),
        "INTEGER" => Cell::Integer(row.get(0)),
        other => panic!("a column of type {other}"),
    }
}
