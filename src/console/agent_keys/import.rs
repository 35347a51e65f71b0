//! Agent keys of another product: pasted as it exports them, looked over, imported.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use serde_json::Value;

use super::LIST;
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        forms::{Form, Refused},
        moment::Moment,
        page,
        parts::Choice,
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        agent_key_import::{self, Imported},
        foreign_keys::Issuer,
        key_limits::KeyLimits,
    },
    error::{Error, Result},
};

/// The largest list as a form, in bytes: a thousand keys as LiteLLM exports them.
const MAX_LIST: usize = 8 * 1024 * 1024;

/// `GET /keys/agent/import`; `POST` to the same URL: `issuer`, `keys`. Answers [`ImportKeysPreviewPage`].
#[derive(Clone, Debug, Default, Template)]
#[template(path = "import_keys.html")]
pub struct ImportKeysPage {
    /// Around it.
    pub shell: Shell,
    /// Who may have issued the keys.
    pub issuers: Vec<Choice>,
    /// What was pasted.
    pub keys: String,
    /// What is wrong with it, a line each.
    pub errors: Vec<String>,
}

/// What would come of it. `POST /keys/agent/import/save`: `issuer`, `keys`.
#[derive(Clone, Debug, Template)]
#[template(path = "import_keys_preview.html")]
pub struct ImportKeysPreviewPage {
    /// Around it.
    pub shell: Shell,
    /// Who issued the keys: the word in the API.
    pub issuer: &'static str,
    /// What was pasted.
    pub keys: String,
    /// Those that would be agent keys.
    pub rows: Vec<ImportedRow>,
    /// Those that would not, and why.
    pub skipped: Vec<String>,
}

/// A key that would be made.
#[derive(Clone, Debug)]
pub struct ImportedRow {
    /// Its name.
    pub name: String,
    /// Its mask.
    pub mask: String,
    /// When it would end.
    pub expires: Moment,
    /// Whether it would be switched off.
    pub is_disabled: bool,
    /// Its limits in words; empty where it has none of its own.
    pub limits: String,
    /// What could not be taken over.
    pub notes: Vec<String>,
}

/// What was pasted.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Pasted {
    issuer: String,
    keys: String,
}

impl Pasted {
    /// The list: an array, or an object that has one, as exports do.
    fn read(&self) -> Result<(Issuer, Vec<Value>)> {
        let issuer = Issuer::parse(&self.issuer).unwrap_or(Issuer::LiteLlm);
        let parsed = serde_json::from_str::<Value>(&self.keys).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Error::field("keys", format!("must be JSON as it is exported, and is none at {place}"))
        })?;
        let list = match parsed {
            Value::Array(list) => Some(list),
            Value::Object(mut object) => {
                ["keys", "agent_keys", "data"].into_iter().find_map(|name| match object.remove(name) {
                    Some(Value::Array(list)) => Some(list),
                    _ => None,
                })
            }
            _ => None,
        };
        let list = list.ok_or_else(|| Error::field("keys", "must be a list of keys, or an object with one in keys"))?;
        Ok((issuer, list))
    }
}

/// `GET /keys/agent/import`
pub async fn ask(session: Session) -> Answer {
    agent_key_import::check(session.actor())?;
    let issuers = issuers(Issuer::LiteLlm.as_str());
    page(StatusCode::OK, &ImportKeysPage { shell: session.shell(Nav::Keys), issuers, ..ImportKeysPage::default() })
}

/// `POST /keys/agent/import`
pub async fn preview(AxumState(state): AxumState<State>, session: Session, form: Form<Pasted, MAX_LIST>) -> Answer {
    let pasted = form.fields;
    let (issuer, imported) = match import(&state, &session, &pasted, true).await {
        Ok(imported) => imported,
        Err(error) => return refused(&session, &pasted, error),
    };
    let now = state.core.clock.now_ms();
    let Imported { created, skipped, notes } = imported;
    let rows = created.into_iter().map(|(at, key)| ImportedRow {
        name: key.name,
        mask: key.masked_secret,
        is_disabled: key.disabled_at > 0,
        expires: Moment::new(key.expires_at, now),
        limits: KeyLimits::of_column(&key.limits).map(|limits| limits.words()).unwrap_or_default(),
        notes: notes.iter().filter(|(of, _)| *of == at).map(|(_, note)| note.clone()).collect(),
    });
    let shown = ImportKeysPreviewPage {
        shell: session.shell(Nav::Keys),
        issuer: issuer.as_str(),
        rows: rows.collect(),
        skipped: skipped.into_iter().map(|(at, why)| format!("The key at {}: {why}", at + 1)).collect(),
        keys: pasted.keys,
    };
    page(StatusCode::OK, &shown)
}

/// `GET /keys/agent/import/save`: what was pasted is gone by then.
pub async fn back() -> Redirect {
    Redirect::to("/keys/agent/import")
}

/// `POST /keys/agent/import/save`
pub async fn save(AxumState(state): AxumState<State>, session: Session, form: Form<Pasted, MAX_LIST>) -> Answer {
    match import(&state, &session, &form.fields, false).await {
        Ok((_, imported)) => {
            let flash = if imported.created.is_empty() { Flash::NothingImported } else { Flash::AgentKeysImported };
            Ok(Redirect::to(&format!("{LIST}?done={}", flash.code())).into_response())
        }
        Err(error) => refused(&session, &form.fields, error),
    }
}

async fn import(state: &State, session: &Session, pasted: &Pasted, is_trial: bool) -> Result<(Issuer, Imported)> {
    let (issuer, list) = pasted.read()?;
    let imported = agent_key_import::import(&state.core, session.actor(), issuer, list, None, is_trial).await?;
    Ok((issuer, imported))
}

fn refused(session: &Session, pasted: &Pasted, error: Error) -> Answer {
    let errors = error.fields.iter().map(|field| match field.pointer.strip_prefix("/agent_keys/") {
        Some(place) => {
            let (at, rest) = place.split_once('/').unwrap_or((place, ""));
            let at = at.parse::<usize>().map_or_else(|_| at.to_owned(), |at| (at + 1).to_string());
            let field_name = if rest.is_empty() { String::new() } else { format!(", {rest}") };
            format!("The key at {at}{field_name}: this {}.", field.detail)
        }
        None => format!("This {}.", field.detail),
    });
    let errors: Vec<String> = errors.collect();
    let mut refused = Refused::by(session, error)?;
    let status = refused.status;
    let errors = if errors.is_empty() { refused.rest().into_iter().collect() } else { errors };
    let (issuers, keys) = (issuers(&pasted.issuer), pasted.keys.clone());
    page(status, &ImportKeysPage { shell: session.shell(Nav::Keys), issuers, keys, errors })
}

fn issuers(chosen: &str) -> Vec<Choice> {
    let choice = |issuer: Issuer| Choice {
        value: issuer.as_str().into(),
        label: match issuer {
            Issuer::LiteLlm => "LiteLLM",
            Issuer::Unkey => "Unkey",
            Issuer::Sha256 => "Another: names and SHA-256",
        }
        .into(),
        selected: issuer.as_str() == chosen,
    };
    Issuer::ALL.map(choice).into()
}
