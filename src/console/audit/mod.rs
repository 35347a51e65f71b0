//! The audit log.

use std::collections::HashMap;

use askama::Template;
use axum::{extract::State as AxumState, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::audit::Event;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    failure::Failure,
    list::{Pager, Params, href, number_or_none},
    moment::Moment,
    page,
    parts::Choice,
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::{
    domain::{
        Core, agent_keys,
        audit_events::{self, ACTIONS, EventQuery},
        general_keys, models, providers,
    },
    error::{Code, Result},
};

/// `GET /audit?search=&action=&actor=&target=&cursor=`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "audit.html")]
pub struct AuditPage {
    /// Around it.
    pub shell: Shell,
    /// Free search.
    pub search: String,
    /// Actions to choose from.
    pub actions: Vec<Choice>,
    /// Who, as typed.
    pub actor: String,
    /// Which, as typed.
    pub target: String,
    /// Any of the filters is set.
    pub filtered: bool,
    /// One page of events, newest first.
    pub rows: Vec<AuditRow>,
    /// Beneath them.
    pub pager: Pager,
}

/// An audit event.
#[derive(Clone, Debug, Default)]
pub struct AuditRow {
    /// When
    pub at: Moment,
    /// Who: a member's or a management token's name.
    pub actor: String,
    /// What: `general_key.updated`
    pub action: String,
    /// Which
    pub target: Option<AuditTarget>,
    /// Changes
    pub changes: Vec<AuditChange>,
    /// From: the caller's address; empty for the command line.
    pub address: String,
    /// Request id
    pub request_id: String,
}

/// What an event was about.
#[derive(Clone, Debug, Default)]
pub struct AuditTarget {
    /// 'General key', 'Agent key', 'Provider', …
    pub kind: String,
    /// Its name then.
    pub name: String,
    /// Its page, where it still exists.
    pub href: Option<String>,
}

/// One changed field of an event.
#[derive(Clone, Debug, Default)]
pub struct AuditChange {
    /// The field's name.
    pub field: String,
    /// What it held before.
    pub before: Option<String>,
    /// What it holds now.
    pub after: Option<String>,
    /// A secret: only 'changed' is shown, whatever the other two hold.
    pub secret: bool,
}

/// Which events.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct AuditParams {
    search: String,
    action: String,
    actor: String,
    target: String,
    cursor: String,
    #[serde(deserialize_with = "number_or_none")]
    from: u64,
}

impl AuditParams {
    fn href(&self, cursor: &str, from: u64) -> String {
        let from = Some(from).filter(|from| *from > 0).map(|from| from.to_string()).unwrap_or_default();
        let pairs = [
            ("search", self.search.as_str()),
            ("action", self.action.as_str()),
            ("actor", self.actor.as_str()),
            ("target", self.target.as_str()),
            ("cursor", cursor),
            ("from", from.as_str()),
        ];
        href("/audit", &pairs)
    }
}

/// `GET /audit`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<AuditParams>) -> Answer {
    let query = EventQuery {
        search: Some(params.search.clone()),
        action: Some(params.action.clone()),
        actor_name: Some(params.actor.clone()),
        target_name: Some(params.target.clone()),
        cursor: Some(params.cursor.clone()),
        ..EventQuery::default()
    };
    let found = audit_events::list(&state.core, &query).await?;
    let pager = Pager::of(&found, &params.cursor, params.from, |cursor, from| params.href(cursor, from));
    let now = state.core.clock.now_ms();
    let mut pages = Pages::default();
    let mut rows = Vec::with_capacity(found.items.len());
    for event in found.items {
        let href = pages.of(&state.core, &event).await?;
        rows.push(AuditRow::new(event, href, now));
    }
    let shown = AuditPage {
        shell: session.shell(Nav::Audit),
        filtered: [&params.search, &params.action, &params.actor, &params.target].iter().any(|text| !text.is_empty()),
        actions: ACTIONS
            .iter()
            .map(|action| Choice {
                value: (*action).to_owned(),
                label: (*action).to_owned(),
                selected: *action == params.action,
            })
            .collect(),
        search: params.search,
        actor: params.actor,
        target: params.target,
        rows,
        pager,
    };
    page(StatusCode::OK, &shown)
}

impl AuditRow {
    fn new(event: Event, href: Option<String>, now: i64) -> AuditRow {
        let changes: Map<String, Value> = serde_json::from_str(&event.changes).unwrap_or_default();
        let target = AuditTarget { kind: kind_in_words(&event.target_kind), name: event.target_name, href };
        AuditRow {
            at: Moment::new(event.at, now),
            actor: event.actor_name,
            action: event.action,
            target: (!target.name.is_empty()).then_some(target),
            changes: changes.into_iter().map(|(field, change)| AuditChange::new(field, &change)).collect(),
            address: event.address,
            request_id: event.request_id,
        }
    }
}

impl AuditChange {
    fn new(field: String, change: &Value) -> AuditChange {
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        AuditChange {
            field,
            before: text(&change["before"]),
            after: text(&change["after"]),
            // Of a secret it is recorded that it changed, and nothing else.
            secret: change.is_string(),
        }
    }
}

/// `general_key` as 'General key'.
fn kind_in_words(kind: &str) -> String {
    let mut chars = kind.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect::<String>().replace('_', " ")
}

/// The pages of what events were about, where that still exists.
#[derive(Default)]
struct Pages(HashMap<String, Option<String>>);

impl Pages {
    async fn of(&mut self, core: &Core, event: &Event) -> Result<Option<String>, Failure> {
        if let Some(known) = self.0.get(&event.target_id) {
            return Ok(known.clone());
        }
        let id = event.target_id.as_str();
        let (page, found) = match event.target_kind.as_str() {
            "general_key" => ("/keys/general", exists(general_keys::get(core, id).await)?),
            "agent_key" => ("/keys/agent", exists(agent_keys::get(core, id).await)?),
            "provider" => ("/catalog/providers", exists(providers::get(core, id).await)?),
            "model" => ("/catalog/models", exists(models::get(core, id).await)?),
            _ => ("", false),
        };
        let href = found.then(|| format!("{page}/{id}/edit"));
        self.0.insert(id.to_owned(), href.clone());
        Ok(href)
    }
}

fn exists<T>(found: Result<T>) -> Result<bool, Failure> {
    match found {
        Ok(_) => Ok(true),
        Err(error) if error.code == Code::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
