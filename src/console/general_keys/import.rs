//! General keys from a `.env` file: pasted, looked over, imported.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::LIST;
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        forms::{Form, Refused},
        page,
        parts::Choice,
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::env_import::{self, Choice as Chosen, Imported, Preview, Row},
};

/// `GET /keys/general/import`; `POST` to the same URL: `text`. Answers [`ImportPreviewPage`].
#[derive(Clone, Debug, Default, Template)]
#[template(path = "import_env.html")]
pub struct ImportEnvPage {
    /// Around it.
    pub shell: Shell,
    /// What is wrong with what was pasted, which is not sent back.
    pub error: Option<String>,
    /// After an import: what was made, and what came to nothing.
    pub done: Option<Done>,
}

/// What became of an import.
#[derive(Clone, Debug)]
pub struct Done {
    /// Keys that were made.
    pub created: usize,
    /// Keys that have another value now.
    pub replaced: usize,
    /// Entries that came to nothing, and why.
    pub failed: Vec<(String, String)>,
}

/// What was pasted, to choose from. `POST /keys/general/import/save`: `entries`, `ends_at`, and `entry_N` = `create`, `replace` or ''.
#[derive(Clone, Debug, Template)]
#[template(path = "import_env_preview.html")]
pub struct ImportPreviewPage {
    /// Around it.
    pub shell: Shell,
    /// The entries.
    pub rows: Vec<EntryRow>,
    /// The numbers of lines that were not understood.
    pub unread: String,
    /// The numbers of lines whose name a later one sets again.
    pub overridden: String,
    /// All entries, sealed.
    pub entries: String,
    /// Until when they can be opened.
    pub ends_at: i64,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct EntryRow {
    /// Its name.
    pub name: String,
    /// Its value's mask.
    pub mask: String,
    /// What it looks like a key of; may be empty.
    pub kind: &'static str,
    /// What can become of it.
    pub choices: Vec<Choice>,
    /// Why it cannot become a key.
    pub refused: Option<String>,
}

impl EntryRow {
    fn new(row: Row) -> EntryRow {
        let choice = |value: &str, label: &str, selected| Choice { value: value.into(), label: label.into(), selected };
        let choices = match (&row.refused, row.exists) {
            (Some(_), _) => Vec::new(),
            // What is there is replaced only where somebody says so.
            (None, true) => vec![
                choice("", "Skip: there is a key of this name", true),
                choice("replace", "Replace its value", false),
            ],
            (None, false) => {
                vec![choice("create", "Import", row.looks_like_a_key), choice("", "Skip", !row.looks_like_a_key)]
            }
        };
        EntryRow {
            kind: row.kind.map_or("", |kind| kind.label()),
            name: row.name,
            mask: row.mask,
            choices,
            refused: row.refused,
        }
    }
}

/// What was pasted.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Pasted {
    text: String,
}

/// What was chosen.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Picked {
    entries: String,
    ends_at: String,
    #[serde(flatten)]
    choices: std::collections::BTreeMap<String, String>,
}

/// `GET /keys/general/import`
pub async fn ask(session: Session) -> Answer {
    page(StatusCode::OK, &ImportEnvPage { shell: session.shell(Nav::Keys), ..ImportEnvPage::default() })
}

/// `POST /keys/general/import`
pub async fn preview(AxumState(state): AxumState<State>, session: Session, form: Form<Pasted>) -> Answer {
    let text = Zeroizing::new(form.fields.text);
    match env_import::preview(&state.core, session.actor(), &text).await {
        Ok(Preview { rows, unread, overridden, sealed, ends_at }) => {
            let numbers = |lines: Vec<usize>| lines.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            let shown = ImportPreviewPage {
                shell: session.shell(Nav::Keys),
                rows: rows.into_iter().map(EntryRow::new).collect(),
                unread: numbers(unread),
                overridden: numbers(overridden),
                entries: sealed,
                ends_at,
            };
            page(StatusCode::OK, &shown)
        }
        Err(error) => refused(&session, Refused::by(&session, error)?),
    }
}

/// `GET /keys/general/import/save`: what was pasted is gone by then.
pub async fn back() -> Redirect {
    Redirect::to("/keys/general/import")
}

/// `POST /keys/general/import/save`
pub async fn save(AxumState(state): AxumState<State>, session: Session, form: Form<Picked>) -> Answer {
    let Picked { entries, ends_at, choices } = form.fields;
    let choose = |at: usize| match choices.get(&format!("entry_{}", at + 1)).map(String::as_str) {
        Some("create") => Some(Chosen::Create),
        Some("replace") => Some(Chosen::Replace),
        _ => None,
    };
    let ends_at = ends_at.parse().unwrap_or(0);
    match env_import::import(&state.core, session.actor(), &entries, ends_at, choose).await {
        Ok(Imported { failed, created, replaced }) if failed.is_empty() => {
            let flash = if created + replaced == 0 { Flash::NothingImported } else { Flash::GeneralKeysImported };
            Ok(Redirect::to(&format!("{LIST}?done={}", flash.code())).into_response())
        }
        Ok(Imported { created, replaced, failed }) => {
            let done = Some(Done { created, replaced, failed });
            page(StatusCode::OK, &ImportEnvPage { shell: session.shell(Nav::Keys), error: None, done })
        }
        Err(error) => refused(&session, Refused::by(&session, error)?),
    }
}

fn refused(session: &Session, mut refused: Refused) -> Answer {
    let error = refused.take("text").or_else(|| refused.rest());
    page(refused.status, &ImportEnvPage { shell: session.shell(Nav::Keys), error, done: None })
}
