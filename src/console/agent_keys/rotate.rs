//! Rotating an agent key, and retiring the secret that a rotation let live on.

use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

use super::{LIST, edit, new};
use crate::{
    console::{
        Answer, State,
        forms::{self, Form, Id, Refused},
        moment::Moment,
        parts::Choice,
        session::Session,
        shell::Flash,
    },
    domain::{
        agent_secrets::{self, DEFAULT_OVERLAP_SECONDS, SecretStatus, SecretView},
        idempotency::Outcome,
    },
    error::Code,
};

/// How long the old secret may live on, in seconds, and in words.
const OVERLAPS: [(i64, &str); 4] =
    [(0, "Not at all: it ends at once"), (3_600, "1 hour"), (DEFAULT_OVERLAP_SECONDS, "24 hours"), (604_800, "7 days")];

/// The secrets of a key as its page shows them.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The newest first.
    pub rows: Vec<SecretRow>,
    /// The one that a rotation let live on.
    pub old: Option<OldSecret>,
    /// How long the old one may live on.
    pub overlaps: Vec<Choice>,
    /// The idempotency key of the form that rotates.
    pub nonce: String,
}

/// A secret.
#[derive(Clone, Debug)]
pub struct SecretRow {
    /// Its mask.
    pub mask: String,
    /// What it is good for.
    pub status: SecretStatus,
    /// Created
    pub created: Moment,
    /// When it ends, or its key with it.
    pub ends: Moment,
    /// Last Used
    pub last_used: Option<Moment>,
}

/// The secret that a rotation let live on.
#[derive(Clone, Debug)]
pub struct OldSecret {
    /// When it ends.
    pub ends: Moment,
    /// Its last use since the rotation.
    pub still_called: Option<Moment>,
}

impl Secrets {
    /// The secrets as of `now`.
    pub fn new(views: &[SecretView], nonce: String, now: i64) -> Secrets {
        let rotated_at = views.first().map_or(0, |view| view.created_at);
        let old = views.iter().find(|view| view.status == SecretStatus::Ending).map(|view| OldSecret {
            ends: Moment::new(view.ends_at, now),
            still_called: Some(view.last_used_at).filter(|at| *at > rotated_at).map(|at| Moment::new(at, now)),
        });
        let row = |view: &SecretView| SecretRow {
            mask: view.masked_secret.clone(),
            status: view.status,
            created: Moment::new(view.created_at, now),
            ends: Moment::new(view.ends_at, now),
            last_used: Moment::of_column(view.last_used_at, now),
        };
        let choice = |(seconds, words): (i64, &str)| Choice {
            value: seconds.to_string(),
            label: words.to_owned(),
            selected: seconds == DEFAULT_OVERLAP_SECONDS,
        };
        Secrets {
            rows: views.iter().map(row).collect(),
            old,
            overlaps: OVERLAPS.into_iter().map(choice).collect(),
            nonce,
        }
    }
}

/// What either form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    version: String,
    overlap_seconds: String,
    nonce: String,
}

/// `GET /keys/agent/{id}/rotate`: somebody reloads, or comes back to, the page that showed the secret.
pub async fn back(Id(id): Id) -> Redirect {
    Redirect::to(&format!("{LIST}/{id}"))
}

/// `POST /keys/agent/{id}/rotate`: `version`, `overlap_seconds`, `nonce`; answers as the form that creates a key does.
pub async fn rotate(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let version = Some(forms::version(&form.fields.version)?);
    let overlap = Some(forms::version(&form.fields.overlap_seconds)?);
    match agent_secrets::rotate(&state.core, session.actor(), &id, version, overlap, Some(&once)).await {
        Ok(Outcome::Done(created)) => {
            let now = state.core.clock.now_ms();
            let old = overlap.filter(|overlap| *overlap > 0).map(|overlap| Moment::new(now + overlap * 1000, now));
            new::show_once(&state, &session, created, Some(old)).await
        }
        Ok(Outcome::Replay(id)) => new::already_shown(&state, &session, &id).await,
        Err(error) if error.code == Code::VersionMismatch => changed_meanwhile(&state, &session, &id).await,
        Err(error) => edit::show(&state, &session, &id, None, Refused::by(&session, error)?, "").await,
    }
}

/// `POST /keys/agent/{id}/retire`: `version`.
pub async fn retire(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let version = Some(forms::version(&form.fields.version)?);
    match agent_secrets::retire(&state.core, session.actor(), &id, version).await {
        Ok(_) => {
            let done = Flash::AgentSecretRetired.code();
            Ok(Redirect::to(&format!("{LIST}/{id}?done={done}")).into_response())
        }
        Err(error) if error.code == Code::VersionMismatch => changed_meanwhile(&state, &session, &id).await,
        Err(error) => edit::show(&state, &session, &id, None, Refused::by(&session, error)?, "").await,
    }
}

/// The page once more, which says why nothing was done.
pub async fn changed_meanwhile(state: &State, session: &Session, id: &str) -> Answer {
    let why = "The key was changed after you had opened this page. Look again.";
    edit::show(state, session, id, None, Refused::whole(StatusCode::CONFLICT, why.to_owned()), "").await
}
