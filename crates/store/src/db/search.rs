//! Names of agent keys found by part, with an index: SQLite's FTS5 over groups of three characters, PostgreSQL's
//! `pg_trgm`, which its planner uses by itself. Shorter parts, and parts of very many names, are looked for by a scan,
//! which ends early then.

use sqlx::{PgConnection, sqlite::SqlitePool};

use super::{Handle, Raw, query};
use crate::{StoreError, listing::Count};

/// Names that are looked up one by one at most: more of them are found sooner in the order of the list.
const MAX_FOUND: i64 = 1_000;
/// The shortest part that the index knows, in characters.
const SHORTEST: usize = 3;

/// The condition that an agent key's name is found by the index, for `$2` a LIKE pattern and `$7` a phrase. The pattern
/// is held against it in any case, so that an index that is not in step finds too little and never too much.
macro_rules! by_index {
    () => {
        "rowid IN (SELECT rowid FROM agent_key_names WHERE agent_key_names MATCH $7) AND name_key LIKE $2 ESCAPE '\\'"
    };
}

/// The same for counting: the index leads, so that it can stop at the limit.
macro_rules! led_by_index {
    () => {
        "agent_key_names JOIN agent_keys ON agent_keys.rowid = agent_key_names.rowid \
         WHERE agent_key_names MATCH $7 AND agent_keys.name_key LIKE $2 ESCAPE '\\'"
    };
}

/// The same without the index; the phrase is there and not asked.
macro_rules! by_scan {
    () => {
        "$7 = $7 AND name_key LIKE $2 ESCAPE '\\'"
    };
}

pub(crate) use {by_index, by_scan, led_by_index};

/// The phrase by which SQLite's index finds names with this part; `None` where the index does not know it.
pub(crate) fn phrase(db: &mut impl Handle, part: &str) -> Option<String> {
    let is_known = part.chars().count() >= SHORTEST && !part.contains('\0') && matches!(db.raw(), Raw::Sqlite(_));
    is_known.then(|| format!("\"{}\"", part.replace('"', "\"\"")))
}

/// The phrase where it finds so few names that they are best looked up one by one.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn rare_phrase(db: &mut impl Handle, part: &str) -> Result<Option<String>, StoreError> {
    let Some(phrase) = phrase(db, part) else { return Ok(None) };
    let found = found(db, &phrase, MAX_FOUND + 1).await?;
    Ok((found <= MAX_FOUND).then_some(phrase))
}

/// How many names a phrase finds, counted up to `limit`.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn found(db: &mut impl Handle, phrase: &str, limit: i64) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT rowid FROM agent_key_names WHERE agent_key_names MATCH $1 LIMIT $2) AS found",
        phrase,
        limit
    )?;
    Ok(count.n)
}

/// Makes SQLite's index where it is not there, and anew where the schema was changed since, or the file was vacuumed:
/// rows may have other numbers then.
pub(super) async fn index_sqlite(pool: &SqlitePool) -> Result<(), StoreError> {
    const MAKE: &str = "
        CREATE VIRTUAL TABLE IF NOT EXISTS agent_key_names
            USING fts5(name_key, content='agent_keys', content_rowid='rowid', tokenize='trigram case_sensitive 1');
        CREATE TABLE IF NOT EXISTS agent_key_names_made (schema_version BIGINT NOT NULL);
        CREATE TRIGGER IF NOT EXISTS agent_key_names_insert AFTER INSERT ON agent_keys BEGIN
            INSERT INTO agent_key_names (rowid, name_key) VALUES (new.rowid, new.name_key);
        END;
        CREATE TRIGGER IF NOT EXISTS agent_key_names_delete AFTER DELETE ON agent_keys BEGIN
            INSERT INTO agent_key_names (agent_key_names, rowid, name_key) VALUES ('delete', old.rowid, old.name_key);
        END;
        CREATE TRIGGER IF NOT EXISTS agent_key_names_update AFTER UPDATE OF name_key ON agent_keys BEGIN
            INSERT INTO agent_key_names (agent_key_names, rowid, name_key) VALUES ('delete', old.rowid, old.name_key);
            INSERT INTO agent_key_names (rowid, name_key) VALUES (new.rowid, new.name_key);
        END;";
    sqlx::raw_sql(MAKE).execute(pool).await?;
    let version: i64 = sqlx::query_scalar("PRAGMA schema_version").fetch_one(pool).await?;
    let made: Option<i64> =
        sqlx::query_scalar("SELECT schema_version FROM agent_key_names_made").fetch_optional(pool).await?;
    if made == Some(version) {
        return Ok(());
    }
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("INSERT INTO agent_key_names (agent_key_names) VALUES ('rebuild')").execute(&mut *tx).await?;
    sqlx::query("DELETE FROM agent_key_names_made").execute(&mut *tx).await?;
    sqlx::query("INSERT INTO agent_key_names_made (schema_version) VALUES ($1)")
        .bind(version)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Makes PostgreSQL's index where it is not there and the extension may be made; else names are found without one.
pub(super) async fn index_postgres(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    const MAKE: &str = r#"
        DO $$
        BEGIN
            IF to_regclass('agent_keys_by_part_of_name') IS NULL THEN
                CREATE EXTENSION IF NOT EXISTS pg_trgm;
                CREATE INDEX agent_keys_by_part_of_name ON agent_keys USING gin (name_key gin_trgm_ops);
            END IF;
        EXCEPTION WHEN insufficient_privilege OR undefined_file OR undefined_object OR feature_not_supported THEN
            NULL;
        END $$"#;
    sqlx::raw_sql(MAKE).execute(&mut *conn).await?;
    Ok(())
}
