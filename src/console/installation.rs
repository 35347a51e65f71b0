//! Settings → Installation: what it is, where it is reached, how old its keys are. Nothing is changed here.

use askama::Template;
use axum::{extract::State as AxumState, http::StatusCode};

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    moment::Moment,
    page,
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::domain::{
    key_provider::ProviderKind,
    key_rotation::Stage,
    overview::{self, KeyAge, Overview, Replica},
};

/// `GET /settings/installation`
#[derive(Clone, Debug, Template)]
#[template(path = "installation.html")]
pub struct InstallationPage {
    /// Around it.
    pub shell: Shell,
    /// `in_…`
    pub id: String,
    /// Keyward's version.
    pub version: &'static str,
    /// When it was made.
    pub created: Moment,
    /// The database's name.
    pub database: &'static str,
    /// The URL agents reach it under.
    pub url: String,
    /// The address it listens on.
    pub listens: String,
    /// The console's own address and URL, where it has one.
    pub console: Option<(String, String)>,
    /// The longest life of an agent key, in days.
    pub max_days: i64,
    /// What wraps the keys.
    pub wrapped_by: Wrapping,
    /// What is to wrap them next, while that is being changed.
    pub wrapped_next_by: Option<Wrapping>,
    /// The keys, by purpose.
    pub keys: Vec<KeyRow>,
    /// The rotation under way.
    pub rotation: Option<RotationShown>,
    /// The number of the newest audit event.
    pub events: i64,
    /// The epoch.
    pub epoch: i64,
    /// The number of the event that the rollback mark has come to.
    pub mark: Option<i64>,
    /// Rows looked at, and rows that failed.
    pub integrity: Option<(i64, i64)>,
    /// The servers on this database; none on SQLite.
    pub replicas: Vec<ReplicaRow>,
}

/// A row of the servers.
#[derive(Clone, Debug)]
pub struct ReplicaRow {
    /// Its id.
    pub id: String,
    /// Whether it is the one that made this page.
    pub is_this: bool,
    /// When it started.
    pub started: Moment,
    /// When it renewed its lease last.
    pub renewed: Moment,
    /// Whether that still runs.
    pub has_lease: bool,
    /// Changes that it had not taken over then.
    pub behind: i64,
}

/// What wraps the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// A master key.
    MasterKey,
    /// A transit key.
    Transit,
}

/// A row of the keys.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// What it is for, as the database calls it.
    pub purpose: &'static str,
    /// Its id, without the random part.
    pub id: String,
    /// When it was made.
    pub created: Moment,
    /// Whether new things are made with it.
    pub is_current: bool,
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug)]
pub struct RotationShown {
    /// Whether the new keys make already.
    pub is_active: bool,
    /// Rows that are done.
    pub done: i64,
    /// All rows.
    pub rows: i64,
}

/// `GET /settings/installation`
pub async fn show(AxumState(state): AxumState<State>, session: Session) -> Answer {
    let overview = overview::of(&state.core).await?;
    page(StatusCode::OK, &shown(&state, session.shell(Nav::Settings), overview))
}

fn shown(state: &State, shell: Shell, overview: Overview) -> InstallationPage {
    let now = state.core.clock.now_ms();
    let replica = |replica: Replica| ReplicaRow {
        started: Moment::new(replica.started_at, now),
        renewed: Moment::new(replica.renewed_at, now),
        id: replica.id,
        is_this: replica.is_this,
        has_lease: replica.has_lease,
        behind: replica.behind,
    };
    let row = |key: KeyAge| KeyRow {
        purpose: key.purpose,
        id: key.id.rsplit_once('-').map_or(key.id.as_str(), |(id, _)| id).to_owned(),
        created: Moment::new(key.created_at, now),
        is_current: key.is_current,
    };
    InstallationPage {
        shell,
        id: overview.id,
        version: env!("CARGO_PKG_VERSION"),
        created: Moment::new(overview.created_at, now),
        database: if overview.database == "sqlite" { "SQLite" } else { "PostgreSQL" },
        url: state.web.base(),
        listens: state.web.listen.to_string(),
        console: state.web.admin.as_ref().map(|admin| (state.web.console_base(), admin.listen.to_string())),
        max_days: state.core.agent_key_max_days,
        wrapped_by: wrapping(overview.wrapped_by),
        wrapped_next_by: overview.wrapped_next_by.map(wrapping),
        keys: overview.keys.into_iter().map(row).collect(),
        rotation: overview.rotation.map(|rotation| RotationShown {
            is_active: rotation.stage == Stage::Active,
            done: rotation.rows - rotation.rows_left,
            rows: rotation.rows,
        }),
        events: overview.head.seq,
        epoch: overview.epoch,
        mark: overview.mark.map(|(_, seq)| seq),
        integrity: overview.findings,
        replicas: overview.replicas.into_iter().map(replica).collect(),
    }
}

fn wrapping(kind: ProviderKind) -> Wrapping {
    match kind {
        ProviderKind::MasterKey => Wrapping::MasterKey,
        ProviderKind::Transit => Wrapping::Transit,
    }
}
