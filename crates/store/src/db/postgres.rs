//! PostgreSQL: how it is opened, and what replicas on it need of it: locks, a line for their lease, a way to wake each
//! other.

use std::{str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgSslMode},
};
use tokio::sync::Notify;
use vault::Keyring;

use super::{Db, Handle, Limits, MIGRATOR, Raw, Store, in_time, search};
use crate::StoreError;

/// Held while an installation, or its schema, is made.
pub(crate) const INSTALLATION_LOCK: i64 = 7_596_018_235;
/// Held by each transaction that changes something, until its commit.
const WRITING_LOCK: i64 = 7_596_018_236;
/// Shared by every `serve`; held alone by what must be the only one.
const SERVING_LOCK: i64 = 7_596_018_237;
const CHANNEL: &str = "keyward_changes";
/// How long is waited before notifications are asked for again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Opens a pool on a database whose schema is up to date.
pub(super) async fn open(url: &str, limits: Limits) -> Result<PgPool, StoreError> {
    let options = parse(url)?;
    let connect = PgConnection::connect_with(&options);
    // Without the limits of statements: a change of the schema may take long.
    let mut conn = in_time(limits.acquire_timeout, connect).await?;
    // Nor with its remarks: that there is nothing to do is no news.
    sqlx::query("SET client_min_messages TO warning").execute(&mut conn).await?;
    MIGRATOR.run(&mut conn).await.map_err(StoreError::migration)?;
    adapt(&mut conn).await?;
    conn.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(limits.max_connections)
        .acquire_timeout(limits.acquire_timeout)
        .after_connect(move |conn, _| Box::pin(async move { limit(conn, limits).await }))
        .connect_with(options)
        .await?;
    Ok(pool)
}

/// How a URL is connected to. Over the network a line that nobody can listen on or stand in is asked for, unless the URL
/// says otherwise: what the driver would do by itself, to go on in the clear where the server has no TLS, is no choice.
fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StoreError::Unsupported(format!("KEYWARD_DATABASE_URL cannot be read: {error}")))?
        .application_name("keyward");
    let host = options.get_host();
    let is_local = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let is_said = url.contains("sslmode=") || url.contains("ssl-mode=");
    Ok(if is_local || is_said { options } else { options.ssl_mode(PgSslMode::VerifyFull) })
}

/// What the common schema leaves to PostgreSQL. Texts compare by their bytes, as they do in SQLite, whatever the
/// database's locale, so that lists have one order everywhere. And whatever somebody else writes to rows under a MAC is
/// counted, as SQLite counts it for all of its file.
async fn adapt(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    const BY_BYTES: &str = r#"
        DO $$
        DECLARE found record;
        BEGIN
            FOR found IN
                SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables
                USING (table_schema, table_name)
                WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND data_type = 'text'
                AND collation_name IS DISTINCT FROM 'C' AND table_name <> '_sqlx_migrations'
            LOOP
                EXECUTE format(
                    'ALTER TABLE %I ALTER COLUMN %I TYPE TEXT COLLATE "C"', found.table_name, found.column_name
                );
            END LOOP;
        END $$"#;
    const TELL_OF_OTHERS: &str = r#"
        CREATE TABLE IF NOT EXISTS foreign_writes (n BIGINT NOT NULL);
        INSERT INTO foreign_writes SELECT 0 WHERE NOT EXISTS (SELECT n FROM foreign_writes);
        DO $$
        DECLARE found record;
        BEGIN
            IF to_regproc('note_foreign_write') IS NULL THEN
                CREATE FUNCTION note_foreign_write() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $body$
                BEGIN
                    UPDATE foreign_writes SET n = n + 1;
                    PERFORM pg_notify('keyward_changes', '');
                    RETURN NULL;
                END $body$;
                EXECUTE format('ALTER FUNCTION note_foreign_write SET search_path = %I', current_schema());
            END IF;
            FOR found IN
                SELECT table_name FROM information_schema.columns JOIN information_schema.tables
                USING (table_schema, table_name)
                WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND column_name = 'mac'
                AND NOT EXISTS (
                    SELECT 1 FROM pg_trigger
                    WHERE tgname = 'foreign_write' AND tgrelid = format('%I', table_name)::regclass
                )
            LOOP
                EXECUTE format(
                    'CREATE TRIGGER foreign_write AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I '
                    'FOR EACH STATEMENT WHEN (current_setting(''keyward.writes'', true) IS DISTINCT FROM ''yes'') '
                    'EXECUTE FUNCTION note_foreign_write()',
                    found.table_name
                );
            END LOOP;
        END $$"#;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(INSTALLATION_LOCK).execute(&mut *conn).await?;
    sqlx::raw_sql(BY_BYTES).execute(&mut *conn).await?;
    sqlx::raw_sql(TELL_OF_OTHERS).execute(&mut *conn).await?;
    search::index_postgres(&mut *conn).await?;
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(INSTALLATION_LOCK).execute(&mut *conn).await?;
    Ok(())
}

/// Lets the server give up by itself what takes too long. A transaction whose client says nothing any more ends while
/// those that wait for its locks still wait: a process that is cut off in the middle of one holds up no revocation. Set
/// once connected, since poolers in between refuse it as part of the greeting.
async fn limit(conn: &mut PgConnection, limits: Limits) -> Result<(), sqlx::Error> {
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false), \
         set_config('idle_in_transaction_session_timeout', $3, false), \
         set_config('default_transaction_isolation', 'read committed', false), \
         set_config('client_min_messages', 'warning', false), set_config('keyward.writes', 'yes', false), \
         set_config('plan_cache_mode', 'force_custom_plan', false)",
    )
    .bind(milliseconds(limits.statement_timeout))
    .bind(milliseconds(limits.lock_timeout))
    .bind(milliseconds(limits.lock_timeout / 2))
    .execute(conn)
    .await?;
    Ok(())
}

/// Waits until no other process changes anything, and lets none begin until the commit: what SQLite does by itself.
pub(super) async fn lock_writing(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(WRITING_LOCK).execute(conn).await?;
    Ok(())
}

/// With the commit, wakes the replicas that listen. Only that: what is lost here they find by looking.
pub(super) async fn wake_others(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(conn).await?;
    Ok(())
}

impl Db {
    /// Takes the right to be the only process that works on a PostgreSQL database, for as long as the claim is kept.
    /// `None` where a `serve` runs. On SQLite the data directory is locked instead, and the claim is always given.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn claim(&self) -> Result<Option<Claim>, StoreError> {
        let Db::Postgres { pool, .. } = self else { return Ok(Some(Claim(None))) };
        let mut conn = pool.acquire().await?;
        let query = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(SERVING_LOCK);
        let taken: bool = query.fetch_one(&mut *conn).await?;
        Ok(taken.then(|| Claim(Some(conn.detach()))))
    }

    /// Whether a `serve` runs on a PostgreSQL database; nobody is kept from anything by this look.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn is_served(&self) -> Result<bool, StoreError> {
        let Db::Postgres { pool, .. } = self else { return Ok(false) };
        let query = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objsubid = 1 \
             AND (classid::bigint << 32) + objid::bigint = $1)",
        );
        Ok(query.bind(SERVING_LOCK).fetch_one(pool).await?)
    }

    /// Notifies of what other replicas commit, until it is dropped: on PostgreSQL; on SQLite it never does.
    pub async fn listen(&self, wake: &Notify) {
        let Db::Postgres { pool, .. } = self else { return std::future::pending().await };
        loop {
            if let Err(error) = hear(pool, wake).await {
                tracing::debug!(%error, "notifications of PostgreSQL are not heard; changes are looked for instead");
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }
}

async fn hear(pool: &PgPool, wake: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        wake.notify_one();
        if listener.try_recv().await?.is_none() {
            return Ok(());
        }
    }
}

/// The right to be the only one that works on a database; see [`Db::claim`]. Held by the session of a connection of
/// its own.
pub struct Claim(#[allow(dead_code, reason = "dropping it gives the right back")] Option<PgConnection>);

/// A replica's own connection to PostgreSQL, over which it renews its lease and reads changes, whatever else keeps the
/// pool busy. Its session says that a `serve` runs.
pub struct Line {
    conn: PgConnection,
    keyring: Arc<Keyring>,
    patience: Duration,
}

impl Line {
    /// Opens it; each of its statements, and the opening, fails after `patience`. `None` where another process has
    /// claimed the database for itself, and on SQLite, which has no replicas.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn open(store: &Store, patience: Duration) -> Result<Option<Line>, StoreError> {
        let Db::Postgres { pool, limits } = store.db() else { return Ok(None) };
        let options = pool.connect_options();
        let opened = async {
            let mut conn = PgConnection::connect_with(&options).await?;
            limit(&mut conn, Limits { statement_timeout: patience, ..*limits }).await?;
            let query = sqlx::query_scalar("SELECT pg_try_advisory_lock_shared($1)").bind(SERVING_LOCK);
            let taken: bool = query.fetch_one(&mut conn).await?;
            Ok((conn, taken))
        };
        let (conn, taken) = in_time(patience, opened).await?;
        Ok(taken.then(|| Line { conn, keyring: store.keyring(), patience }))
    }
}

impl Line {
    /// Works with the set of keys that `store` works with now, and lets go of the one before.
    pub fn renew(&mut self, store: &Store) {
        self.keyring = store.keyring();
    }

    /// A number that moves when somebody other than Keyward wrote to rows that authority rests on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn foreign_writes(&mut self) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar("SELECT n FROM foreign_writes").fetch_one(&mut self.conn);
        Ok(in_time(self.patience, count).await?)
    }
}

impl Handle for Line {
    fn raw(&mut self) -> Raw<'_> {
        Raw::Postgres(&mut self.conn, self.patience)
    }

    fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_network_nothing_goes_in_the_clear_unless_the_url_says_so() {
        let is_verified = |url: &str| {
            let options = parse(url).expect("a URL");
            matches!(options.get_ssl_mode(), PgSslMode::VerifyFull)
        };
        assert!(is_verified("postgres://keyward@db.example.com/keyward"));
        assert!(is_verified("postgres://keyward@10.0.0.7:5432/keyward?application_name=x"));
        for not in [
            "postgres://keyward@db.example.com/keyward?sslmode=require",
            "postgres://keyward@%2Frun%2Fpostgresql/keyward",
            "postgres://keyward@localhost/keyward",
            "postgres://keyward@127.0.0.1:5433/keyward",
            "postgres://keyward@[::1]/keyward",
        ] {
            assert!(!is_verified(not), "{not}");
        }
        assert!(matches!(parse("postgres://host:port/x"), Err(StoreError::Unsupported(_))));
    }
}
