//! Two people edit the same thing: the second is told, and nothing is overwritten.

use askama::Template;
use axum::http::StatusCode;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    moment::Moment,
    page,
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::domain::audit_events::{self, EventQuery};

/// 409 to a `POST` of an edit form whose `version` is no longer the row's. Nothing was overwritten. 'Save mine' posts
/// `retry_fields` to `retry_action`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "conflict.html")]
pub struct ConflictPage {
    /// Around it.
    pub shell: Shell,
    /// 'general key', 'agent key', 'provider', 'model', 'policy', 'webhook'
    pub kind: String,
    /// Its name as saved now.
    pub name: String,
    /// Who saved it, where known.
    pub saved_by: Option<String>,
    /// When.
    pub saved_at: Moment,
    /// Field by field.
    pub fields: Vec<ConflictField>,
    /// The edit page, with what the other saved.
    pub edit_href: String,
    /// The edit form's URL.
    pub retry_action: String,
    /// What to post there: the typed fields and the version shown here; a secret is left out and asked for again.
    pub retry_fields: Vec<HiddenField>,
}

impl ConflictPage {
    /// What it is, in one word.
    fn noun(&self) -> &str {
        self.kind.rsplit(' ').next().unwrap_or_default()
    }
}

/// A field in which two versions are compared.
#[derive(Clone, Debug, Default)]
pub struct ConflictField {
    /// Its label.
    pub label: String,
    /// What is saved now; empty = nothing.
    pub saved: String,
    /// What was typed; empty = nothing.
    pub typed: String,
    /// A secret: both show as words, and what was typed is not kept.
    pub secret: bool,
}

impl ConflictField {
    /// A field with what is saved and what was typed.
    pub fn new(label: &str, saved: &str, typed: &str) -> ConflictField {
        let (label, saved, typed) = (label.to_owned(), saved.to_owned(), typed.trim().to_owned());
        ConflictField { label, saved, typed, secret: false }
    }

    /// A secret: its mask, and whether a new one was typed.
    pub fn secret(label: &str, mask: &str, typed: &str) -> ConflictField {
        ConflictField { secret: true, ..ConflictField::new(label, mask, if typed.is_empty() { "" } else { "new" }) }
    }
}

/// A hidden field of a form.
#[derive(Clone, Debug, Default)]
pub struct HiddenField {
    /// `name=`
    pub name: String,
    /// `value=`
    pub value: String,
}

/// What is in conflict.
pub struct Conflict<'a> {
    /// Its kind, in words.
    pub kind: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Its name as saved now.
    pub name: &'a str,
    /// Its version now.
    pub version: i64,
    /// When it was saved.
    pub saved_at: i64,
    /// The edit form's URL.
    pub edit_href: String,
    /// The entry of the navigation it stands under.
    pub nav: Nav,
    /// Field by field.
    pub fields: Vec<ConflictField>,
    /// What was typed, by the form's names.
    pub typed: Vec<(&'a str, &'a str)>,
}

/// Shows both versions.
pub async fn show(state: &State, session: &Session, conflict: Conflict<'_>) -> Answer {
    let last = EventQuery { target_id: Some(conflict.id.to_owned()), limit: Some(1), ..EventQuery::default() };
    let last = audit_events::list(&state.core, &last).await?.items.into_iter().next();
    let version = conflict.version.to_string();
    let retry = conflict.typed.iter().copied().chain([("version", version.as_str())]);
    let shown = ConflictPage {
        shell: session.shell(conflict.nav),
        kind: conflict.kind.to_owned(),
        name: conflict.name.to_owned(),
        saved_at: Moment::new(last.as_ref().map_or(conflict.saved_at, |last| last.row.at), state.core.clock.now_ms()),
        saved_by: last.map(|last| last.row.actor_name),
        fields: conflict.fields,
        retry_action: conflict.edit_href.clone(),
        edit_href: conflict.edit_href,
        retry_fields: retry
            .map(|(name, value)| HiddenField { name: name.to_owned(), value: value.to_owned() })
            .collect(),
    };
    page(StatusCode::CONFLICT, &shown)
}
