//! A whole installation copied from SQLite to PostgreSQL: table by table, in batches that note how far they came, and
//! each compared in the end. The installation's own row comes last, so that nothing can be served from half a copy.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};
use sqlx::{
    Column, Connection, PgConnection, Row,
    postgres::PgPool,
    sqlite::{SqlitePool, SqliteRow},
};

use super::Db;
use crate::StoreError;

/// Rows that are copied at a time.
const BATCH: usize = 500;

/// A table with the statements that copy it.
struct Table {
    name: &'static str,
    /// Rows of SQLite after a rowid.
    read: &'static str,
    /// Rows into PostgreSQL, as JSON.
    write: &'static str,
    /// Opens a cursor over the rows in PostgreSQL.
    look: &'static str,
    empty: &'static str,
}

macro_rules! tables {
    ($($name:literal),+ $(,)?) => {
        [$(Table {
            name: $name,
            read: concat!("SELECT rowid AS copied_rowid, * FROM ", $name, " WHERE rowid > $1 ORDER BY rowid LIMIT 500"),
            write: concat!(
                "INSERT INTO ", $name, " SELECT * FROM json_populate_recordset(NULL::", $name, ", $1::json) \
                 ON CONFLICT DO NOTHING"
            ),
            look: concat!("DECLARE look NO SCROLL CURSOR FOR SELECT row_to_json(t)::text FROM ", $name, " t"),
            empty: concat!("DELETE FROM ", $name),
        }),+]
    };
}

/// Every table that is copied, the installation's last. Who serves, and what it counted last, stays behind.
static TABLES: [Table; 31] = tables![
    "chain_head",
    "audit_events",
    "changes",
    "members",
    "sessions",
    "setup_tokens",
    "invitations",
    "identities",
    "used_states",
    "second_factors",
    "recovery_codes",
    "pending_sign_ins",
    "management_tokens",
    "general_keys",
    "general_key_secrets",
    "agent_keys",
    "agent_secrets",
    "ended_secrets",
    "providers",
    "models",
    "links",
    "usage_hours",
    "agent_key_callers",
    "agent_key_spending",
    "agent_key_defaults",
    "policies",
    "webhooks",
    "warnings",
    "webhook_deliveries",
    "idempotency_records",
    "purpose_keys",
];
static INSTALLATION: [Table; 1] = tables!["installation"];

/// A table that was copied, and is the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its name.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// Over all its values; the same on both sides.
    pub checksum: String,
}

/// Copies everything from a SQLite database, which nobody may write to meanwhile, to one of PostgreSQL that holds no
/// installation, or a part of this one from a copy that was interrupted. `told` hears of each table.
///
/// # Errors
/// [`StoreError::Unsupported`] for other kinds of databases, an installation at the target, or a table that comes out
/// otherwise than it is; [`StoreError::Unavailable`].
pub async fn copy(from: &Db, to: &Db, mut told: impl FnMut(&Copied)) -> Result<(), StoreError> {
    let (Db::Sqlite { read: from, .. }, Db::Postgres { pool: to, .. }) = (from, to) else {
        return Err(StoreError::Unsupported(String::from(
            "only a SQLite database can be moved, and only to PostgreSQL",
        )));
    };
    let ours: String = sqlx::query_scalar("SELECT id FROM installation").fetch_one(from).await?;
    let there: Option<String> = sqlx::query_scalar("SELECT id FROM installation").fetch_optional(to).await?;
    if let Some(there) = there {
        let whose = if there == ours { "this installation already" } else { "another installation" };
        return Err(StoreError::Unsupported(format!("the target holds {whose}; nothing was changed there")));
    }
    begin(to, &ours).await?;
    for table in &TABLES {
        let copied = copy_table(from, to, table).await?;
        told(&copied);
    }
    let mut tx = to.begin().await?;
    let rows: Vec<Value> =
        sqlx::query(INSTALLATION[0].read).bind(0_i64).fetch_all(from).await?.iter().map(json).collect();
    sqlx::query(INSTALLATION[0].write).bind(Value::Array(rows).to_string()).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM relocations").execute(&mut *tx).await?;
    tx.commit().await?;
    let copied = compare(from, to, &INSTALLATION[0]).await?;
    told(&copied.ok_or_else(|| differs(&INSTALLATION[0]))?);
    Ok(())
}

/// Whether a copy into this database was begun and not finished.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn is_under_way(db: &Db) -> Result<bool, StoreError> {
    const SQL: &str = "SELECT count(*) FROM relocations";
    let begun: i64 = match db {
        Db::Sqlite { read, .. } => sqlx::query_scalar(SQL).fetch_one(read).await?,
        Db::Postgres { pool, .. } => sqlx::query_scalar(SQL).fetch_one(pool).await?,
    };
    Ok(begun > 0)
}

/// Notes that this installation is being copied here, so that no other one is made meanwhile.
async fn begin(to: &PgPool, installation: &str) -> Result<(), StoreError> {
    let mut tx = to.begin().await?;
    let other: Option<String> =
        sqlx::query_scalar("SELECT installation_id FROM relocations WHERE installation_id <> $1")
            .bind(installation)
            .fetch_optional(&mut *tx)
            .await?;
    if other.is_some() {
        return Err(StoreError::Unsupported(String::from(
            "another installation is being copied to the target; use an empty database",
        )));
    }
    let traces: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM relocations) + (CASE WHEN (SELECT seq FROM chain_head) > 0 THEN 0 ELSE 1 END)",
    )
    .fetch_one(&mut *tx)
    .await?;
    if traces == 0 {
        return Err(StoreError::Unsupported(String::from("the target is not empty; use an empty database")));
    }
    sqlx::query(
        "INSERT INTO relocations (table_name, installation_id, copied_to) VALUES ('', $1, 0) ON CONFLICT DO NOTHING",
    )
    .bind(installation)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Copies a table from where an earlier copy ended. Where it then is not the same, since rows were changed meanwhile,
/// it is copied once more from the start.
async fn copy_table(from: &SqlitePool, to: &PgPool, table: &Table) -> Result<Copied, StoreError> {
    for is_anew in [false, true] {
        let known: Option<i64> = sqlx::query_scalar("SELECT copied_to FROM relocations WHERE table_name = $1")
            .bind(table.name)
            .fetch_optional(to)
            .await?;
        let mut after = known.filter(|_| !is_anew).unwrap_or(-1);
        if after < 0 {
            sqlx::query(table.empty).execute(to).await?;
        }
        loop {
            let rows = sqlx::query(table.read).bind(after).fetch_all(from).await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get("copied_rowid")?;
            let lines = Value::Array(rows.iter().map(json).collect()).to_string();
            let mut tx = to.begin().await?;
            sqlx::query(table.write).bind(lines).execute(&mut *tx).await?;
            note(&mut tx, table.name, after).await?;
            tx.commit().await?;
            if rows.len() < BATCH {
                break;
            }
        }
        if let Some(copied) = compare(from, to, table).await? {
            return Ok(copied);
        }
    }
    Err(differs(table))
}

async fn note(tx: &mut PgConnection, table: &str, copied_to: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO relocations (table_name, installation_id, copied_to) \
         VALUES ($1, (SELECT installation_id FROM relocations WHERE table_name = ''), $2) \
         ON CONFLICT (table_name) DO UPDATE SET copied_to = excluded.copied_to",
    )
    .bind(table)
    .bind(copied_to)
    .execute(tx)
    .await?;
    Ok(())
}

fn differs(table: &Table) -> StoreError {
    StoreError::Unsupported(format!(
        "the table {} is not the same at the target after it was copied; is somebody else writing to either database?",
        table.name
    ))
}

/// Count and checksum of a table on both sides; `None` where they differ.
async fn compare(from: &SqlitePool, to: &PgPool, table: &Table) -> Result<Option<Copied>, StoreError> {
    let (mut here, mut after) = (Sum::default(), -1);
    loop {
        let rows = sqlx::query(table.read).bind(after).fetch_all(from).await?;
        let Some(last) = rows.last() else { break };
        after = last.try_get::<i64, _>("copied_rowid")?;
        rows.iter().for_each(|row| here.add(&json(row)));
    }
    let mut there = Sum::default();
    let mut conn = to.acquire().await?;
    let mut tx = conn.begin().await?;
    sqlx::query(table.look).persistent(false).execute(&mut *tx).await?;
    loop {
        let fetch = sqlx::query_scalar::<_, String>("FETCH 500 FROM look").persistent(false);
        let lines = fetch.fetch_all(&mut *tx).await?;
        if lines.is_empty() {
            break;
        }
        for line in lines {
            let row: Value = serde_json::from_str(&line)
                .map_err(|error| StoreError::Unsupported(format!("a row of {} cannot be read: {error}", table.name)))?;
            there.add(&row);
        }
    }
    tx.rollback().await?;
    Ok((here == there).then(|| Copied { table: table.name, rows: here.rows, checksum: here.text() }))
}

/// A row of SQLite without its rowid.
fn json(row: &SqliteRow) -> Value {
    let mut object = Map::new();
    for column in row.columns().iter().filter(|column| column.name() != "copied_rowid") {
        let value = match row.try_get::<i64, _>(column.ordinal()) {
            Ok(number) => Value::from(number),
            Err(_) => row.try_get::<String, _>(column.ordinal()).map_or(Value::Null, Value::from),
        };
        object.insert(column.name().to_owned(), value);
    }
    Value::Object(object)
}

/// Rows added up in any order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    sums: [u64; 2],
}

impl Sum {
    fn add(&mut self, row: &Value) {
        let mut fields: Vec<(&String, String)> =
            row.as_object().into_iter().flatten().map(|(name, value)| (name, value.to_string())).collect();
        fields.sort();
        self.rows += 1;
        for (salt, sum) in (0_u64..).zip(&mut self.sums) {
            let mut hasher = DefaultHasher::new();
            (salt, &fields).hash(&mut hasher);
            *sum = sum.wrapping_add(hasher.finish());
        }
    }

    fn text(&self) -> String {
        format!("{:016x}{:016x}", self.sums[0], self.sums[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_copied_or_stays_behind_for_a_reason() {
        const STAY: [&str; 4] = ["servers", "replicas", "usage_batches", "relocations"];
        let schema: String = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))
            .expect("a migration")
            .map(|file| std::fs::read_to_string(file.expect("a migration").path()).expect("a migration"))
            .collect();
        let made = schema.split("CREATE TABLE ").skip(1).filter_map(|rest| rest.split_whitespace().next());
        let known: Vec<&str> = TABLES.iter().chain(&INSTALLATION).map(|table| table.name).chain(STAY).collect();
        for table in made {
            assert!(known.contains(&table), "{table} is not copied to another database");
        }
    }

    #[test]
    fn a_sum_tells_any_value_apart_and_no_order() {
        let row = |name: &str, number: i64| serde_json::json!({ "name": name, "number": number });
        let sum = |rows: &[Value]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row));
            sum
        };
        assert_eq!(sum(&[row("a", 1), row("b", 2)]), sum(&[row("b", 2), row("a", 1)]));
        assert_ne!(sum(&[row("a", 1), row("b", 2)]), sum(&[row("a", 2), row("b", 1)]));
        assert_ne!(sum(&[row("a", 1)]), sum(&[row("a", 1), row("a", 1)]));
    }
}
