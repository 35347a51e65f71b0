//! Settings → Default limits: those of agent keys that have none of their own.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

use super::{
    Answer, State,
    agent_keys::limits::{LimitFields, Typed, unpriced},
    assets::ASSET_VERSION,
    forms::{self, Form, Refused},
    list::{ListParams, Params},
    page,
    parts::{Rights, Things},
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::{
    domain::{agent_key_defaults, key_limits::KeyLimits},
    error::Code,
};

const PAGE: &str = "/settings/limits";
const DAMAGED: &str = "The default limits were changed outside Keyward, so no agent key is good until they are set anew: save \
                       what is to hold.";

/// `GET /settings/limits`. `POST` to the same: those of [`Typed`], `version`.
#[derive(Clone, Debug, Template)]
#[template(path = "default_limits.html")]
pub struct DefaultLimitsPage {
    /// Around it.
    pub shell: Shell,
    /// The limits, as typed.
    pub limits: LimitFields,
    /// The version read.
    pub version: String,
    /// What the member may do.
    pub rights: Rights,
    /// Models that a budget in money shuts, in words; empty where it shuts none.
    pub unpriced: String,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    version: String,
    #[serde(flatten)]
    limits: Typed,
}

/// `GET /settings/limits`
pub async fn form(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    show(&state, &session, None, Refused::nothing(), &params.done).await
}

/// `POST /settings/limits`
pub async fn save(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = forms::version(&fields.version)?;
    let limits = match fields.limits.parse() {
        Ok(limits) => limits,
        Err(error) => return show(&state, &session, Some(fields), Refused::of(&error), "").await,
    };
    match agent_key_defaults::edit(&state.core, session.actor(), Some(version), |_| Ok(limits)).await {
        Ok(_) => Ok(Redirect::to(&format!("{PAGE}?done={}", Flash::DefaultLimitsSaved.code())).into_response()),
        Err(error) if error.code == Code::VersionMismatch => {
            let (version, _) = agent_key_defaults::get(&state.core).await?;
            let fields = Fields { version: version.to_string(), ..fields };
            let why = "Somebody else changed these limits after you had opened this page. What you typed is still here: save \
                       again to put it in place of theirs.";
            show(&state, &session, Some(fields), Refused::whole(StatusCode::CONFLICT, String::from(why)), "").await
        }
        Err(error) => show(&state, &session, Some(fields), Refused::by(&session, error)?, "").await,
    }
}

async fn show(state: &State, session: &Session, typed: Option<Fields>, mut refused: Refused, done: &str) -> Answer {
    let (version, limits, is_damaged) = agent_key_defaults::get_standing(&state.core).await?;
    let unpriced = if limits.counts_money() { unpriced(state) } else { String::new() };
    let fields = typed.unwrap_or_else(|| Fields { version: version.to_string(), limits: Typed::of(&limits) });
    let limits = LimitFields::new(fields.limits, &KeyLimits::default(), &mut refused);
    let shown = DefaultLimitsPage {
        shell: session.shell(Nav::Settings).saying(done),
        limits: LimitFields { is_default: true, ..limits },
        version: fields.version,
        rights: session.rights(Things::Policies),
        unpriced,
        error: refused.rest().or(is_damaged.then(|| String::from(DAMAGED))),
    };
    page(refused.status, &shown)
}
