//! What there is to say of the installation itself: its database, its keys and how old they are, a rotation under way,
//! how far the audit chain and the rollback mark have come.

use store::{Db, chain, replicas, restamp};

use super::{Core, key_provider::ProviderKind, key_rotation::Stage, lease::LEASE_MS};
use crate::error::{Code, Error, Result};

/// What there is to say of an installation.
#[derive(Debug)]
pub struct Overview {
    /// Its id.
    pub id: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// Which database holds it.
    pub database: &'static str,
    /// What wraps its keys.
    pub wrapped_by: ProviderKind,
    /// What is to wrap them next, while a change is under way.
    pub wrapped_next_by: Option<ProviderKind>,
    /// Its keys, by purpose, the oldest first.
    pub keys: Vec<KeyAge>,
    /// A rotation of the keys inside that is under way.
    pub rotation: Option<Rotation>,
    /// Moves when a restored database is accepted.
    pub epoch: i64,
    /// The newest audit event.
    pub head: chain::Head,
    /// How far the rollback mark of this server has come; `None` before the first one.
    pub mark: Option<(i64, i64)>,
    /// Rows looked at in the last round of the server's look through all of them, and how many of them failed; `None`
    /// before the first round.
    pub findings: Option<(i64, i64)>,
    /// The servers on this database; none on SQLite, where there is only this one.
    pub replicas: Vec<Replica>,
}

/// A server on a database that several work on.
#[derive(Debug)]
pub struct Replica {
    /// Its id.
    pub id: String,
    /// Whether it is the one that was asked.
    pub is_this: bool,
    /// When it started, in milliseconds since 1970.
    pub started_at: i64,
    /// When it renewed its lease last, in milliseconds since 1970, by its own clock.
    pub renewed_at: i64,
    /// Whether that lease still runs, by the clock of this server.
    pub has_lease: bool,
    /// Changes that it had not taken over when it renewed last.
    pub behind: i64,
}

/// A key, and how old it is.
#[derive(Debug)]
pub struct KeyAge {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub purpose: &'static str,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// Whether new things are made with it.
    pub is_current: bool,
}

/// How far a rotation is.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// Announced, or active.
    pub stage: Stage,
    /// Rows that are sealed or authenticated.
    pub rows: i64,
    /// How many of them by an older key, damaged ones among them.
    pub rows_left: i64,
}

/// Looks at the installation.
///
/// # Errors
/// A storage failure.
pub async fn of(core: &Core) -> Result<Overview> {
    let found = store::installation::find(core.store.db()).await?;
    let (installation, keys) = found.ok_or_else(|| {
        Error::new(Code::Damaged, "the installation's row is gone; restore the database from a backup")
    })?;
    let mut db = core.store.read().await?;
    let rotation = match Stage::of(&keys) {
        Stage::Settled => None,
        stage => {
            let (rows, rows_left) = restamp::left(&mut db).await?;
            Some(Rotation { stage, rows, rows_left })
        }
    };
    let head = chain::head(&mut db).await?;
    let now = core.clock.now_ms();
    let replicas = replicas::list(&mut db).await?.into_iter().map(|seen| Replica {
        is_this: seen.id == core.replica_id,
        has_lease: now - seen.renewed_at < LEASE_MS,
        behind: (head.seq - seen.applied_seq).max(0),
        started_at: seen.started_at,
        renewed_at: seen.renewed_at,
        id: seen.id,
    });
    let replicas = replicas.collect();
    drop(db);
    let keyring = core.store.keyring();
    let mut ages: Vec<KeyAge> = keys
        .iter()
        .map(|key| KeyAge {
            id: key.id.clone(),
            purpose: key.purpose.as_str(),
            created_at: key.created_at,
            is_current: keyring.newest(key.purpose) == key.id,
        })
        .collect();
    ages.sort_by(|a, b| (a.purpose, &a.id).cmp(&(b.purpose, &b.id)));
    let next = Some(&installation.next_check_value).filter(|check| !check.is_empty());
    let mark = core.mark.0.lock().await.as_ref().map(|mark| (mark.epoch, mark.seq));
    Ok(Overview {
        wrapped_by: ProviderKind::of(&installation.check_value),
        wrapped_next_by: next.map(|check| ProviderKind::of(check)),
        id: installation.id,
        created_at: installation.created_at,
        database: match core.store.db() {
            Db::Sqlite { .. } => "sqlite",
            Db::Postgres { .. } => "postgresql",
        },
        keys: ages,
        rotation,
        epoch: installation.epoch,
        head,
        mark,
        findings: core.findings.last(),
        replicas,
    })
}
