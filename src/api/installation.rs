//! `/api/v1/installation`

use axum::{Json, extract::State as AxumState};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    extract::Caller,
    problem::{ApiResult, ProblemBody},
};
use crate::domain::{
    clock::rfc3339,
    overview::{self, KeyAge, Overview, Replica},
};

/// The installation itself.
#[derive(Serialize, ToSchema)]
#[schema(as = Installation)]
pub struct Body {
    id: String,
    created_at: String,
    /// Keyward's version.
    version: &'static str,
    /// `sqlite` or `postgresql`.
    database: &'static str,
    /// What wraps the keys: `master_key` or `transit`.
    wrapped_by: &'static str,
    /// What is to wrap them next, while that is being changed.
    wrapped_next_by: Option<&'static str>,
    /// The keys that seal and authenticate, by purpose, the oldest first.
    keys: Vec<Key>,
    /// The rotation of these keys that is under way.
    rotation: Option<Rotation>,
    /// Moves when a restored database is accepted.
    epoch: i64,
    /// The newest audit event.
    audit_head: Head,
    /// How far this server's rollback mark has come.
    rollback_mark: Option<Mark>,
    /// The last look of this server through all rows.
    integrity: Option<Integrity>,
    /// The servers on this database, the longest running first; none on SQLite.
    replicas: Vec<ReplicaBody>,
    /// The longest life of an agent key, in days.
    agent_key_max_days: i64,
}

/// A server on a database that several work on.
#[derive(Serialize, ToSchema)]
#[schema(as = Replica)]
pub struct ReplicaBody {
    id: String,
    /// Whether it is the one that answers this.
    is_this: bool,
    started_at: String,
    /// When it renewed its lease last, by its own clock.
    renewed_at: String,
    /// Whether that lease still runs; without one it answers 503.
    has_lease: bool,
    /// Changes that it had not taken over when it renewed last.
    behind: i64,
}

/// A key that seals or authenticates.
#[derive(Serialize, ToSchema)]
#[schema(as = InstallationKey)]
pub struct Key {
    id: String,
    /// `audit`, `data`, `other`, `pepper`, `row_mac` or `session`.
    purpose: &'static str,
    created_at: String,
    /// Whether new things are made with it; the others only read.
    is_current: bool,
}

/// A rotation under way.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyRotation)]
pub struct Rotation {
    /// `announced` (the new keys are there, and do not make yet) or `active`.
    stage: &'static str,
    /// Rows that are sealed or authenticated.
    rows: i64,
    /// How many of them by an older key; damaged ones stay so.
    rows_left: i64,
}

/// Where the audit chain ends.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditHead)]
pub struct Head {
    /// The newest event's number; 0 before the first one.
    seq: i64,
    /// Its MAC, which covers all events before it; null before the first one. `SEQ:HEAD` is what
    /// `keyward audit verify --from-head` takes.
    head: Option<String>,
}

/// How far a rollback mark has come.
#[derive(Serialize, ToSchema)]
#[schema(as = RollbackMark)]
pub struct Mark {
    epoch: i64,
    seq: i64,
}

/// A look through all rows that authority rests on.
#[derive(Serialize, ToSchema)]
#[schema(as = IntegrityCheck)]
pub struct Integrity {
    rows: i64,
    /// Rows that fail, or contradict the audit log; the log names them.
    failed: i64,
}

/// Read the installation
#[utoipa::path(get, path = "/api/v1/installation", tag = "Installation",
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(AxumState(state): AxumState<State>, Caller(_): Caller) -> ApiResult<Json<Body>> {
    let overview = overview::of(&state.core).await?;
    Ok(Json(body(overview, state.core.agent_key_max_days)))
}

fn body(overview: Overview, agent_key_max_days: i64) -> Body {
    Body {
        id: overview.id,
        created_at: rfc3339(overview.created_at),
        version: env!("CARGO_PKG_VERSION"),
        database: overview.database,
        wrapped_by: overview.wrapped_by.as_str(),
        wrapped_next_by: overview.wrapped_next_by.map(|kind| kind.as_str()),
        keys: overview.keys.into_iter().map(key).collect(),
        rotation: overview.rotation.map(|rotation| Rotation {
            stage: rotation.stage.as_str(),
            rows: rotation.rows,
            rows_left: rotation.rows_left,
        }),
        epoch: overview.epoch,
        audit_head: Head { seq: overview.head.seq, head: Some(overview.head.head).filter(|head| !head.is_empty()) },
        rollback_mark: overview.mark.map(|(epoch, seq)| Mark { epoch, seq }),
        integrity: overview.findings.map(|(rows, failed)| Integrity { rows, failed }),
        replicas: overview.replicas.into_iter().map(replica).collect(),
        agent_key_max_days,
    }
}

fn replica(replica: Replica) -> ReplicaBody {
    let Replica { id, is_this, started_at, renewed_at, has_lease, behind } = replica;
    ReplicaBody { id, is_this, started_at: rfc3339(started_at), renewed_at: rfc3339(renewed_at), has_lease, behind }
}

fn key(key: KeyAge) -> Key {
    let KeyAge { id, purpose, created_at, is_current } = key;
    Key { id, purpose, created_at: rfc3339(created_at), is_current }
}
