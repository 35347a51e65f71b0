//! The audit log.

mod words;

use std::collections::HashMap;

use askama::Template;
use axum::{
    body::Body,
    extract::State as AxumState,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::{Standing, audit::Event};

use self::words::Held;
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
        audit_export::{self, LINES},
        general_keys, management_tokens, models, providers, roster,
    },
    error::{Code, Result},
};

/// `GET /audit?search=&action=&actor=&target=&since=&until=&cursor=`.
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
    /// From this day on, in UTC: `2026-01-31`, or nothing.
    pub since: String,
    /// Up to this day.
    pub until: String,
    /// Exports what the filters show.
    pub export_href: String,
    /// Any of the filters is set.
    pub filtered: bool,
    /// Some event on the page is damaged.
    pub has_damaged: bool,
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
    /// What: 'General key edited'
    pub action: String,
    /// Which
    pub target: Option<AuditTarget>,
    /// Changes
    pub changes: Vec<AuditChange>,
    /// From: the caller's address; empty for the command line.
    pub address: String,
    /// Request id
    pub request_id: String,
    /// It, or the event before it, was changed outside Keyward.
    pub is_damaged: bool,
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
    pub before: Option<Held>,
    /// What it holds now.
    pub after: Option<Held>,
    /// Of a secret only this is told: 'set' or 'changed'.
    pub secret: Option<&'static str>,
}

/// Which events.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct AuditParams {
    search: String,
    action: String,
    actor: String,
    target: String,
    since: String,
    until: String,
    cursor: String,
    #[serde(deserialize_with = "number_or_none")]
    from: u64,
}

impl AuditParams {
    fn query(&self) -> EventQuery {
        EventQuery {
            search: Some(self.search.clone()),
            action: Some(self.action.clone()),
            actor_name: Some(self.actor.clone()),
            target_name: Some(self.target.clone()),
            from: Some(self.since.clone()),
            to: Some(self.until.clone()),
            ..EventQuery::default()
        }
    }

    fn is_filtered(&self) -> bool {
        let filters = [&self.search, &self.action, &self.actor, &self.target, &self.since, &self.until];
        filters.iter().any(|text| !text.is_empty())
    }

    fn href(&self, page: &str, cursor: &str, from: u64) -> String {
        let from = Some(from).filter(|from| *from > 0).map(|from| from.to_string()).unwrap_or_default();
        let pairs = [
            ("search", self.search.as_str()),
            ("action", self.action.as_str()),
            ("actor", self.actor.as_str()),
            ("target", self.target.as_str()),
            ("since", self.since.as_str()),
            ("until", self.until.as_str()),
            ("cursor", cursor),
            ("from", from.as_str()),
        ];
        href(page, &pairs)
    }
}

/// `GET /audit`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<AuditParams>) -> Answer {
    let query = EventQuery { cursor: Some(params.cursor.clone()), ..params.query() };
    let found = audit_events::list(&state.core, &query).await?;
    let pager = Pager::of(&found, &params.cursor, params.from, |cursor, from| params.href("/audit", cursor, from));
    let now = state.core.clock.now_ms();
    let mut pages = Pages::default();
    let mut rows = Vec::with_capacity(found.items.len());
    for Standing { row: event, is_damaged } in found.items {
        let href = pages.of(&state.core, &event).await?;
        let mut row = AuditRow { is_damaged, ..AuditRow::new(event, href, now) };
        for change in &mut row.changes {
            for held in [&mut change.before, &mut change.after].into_iter().flatten() {
                if let Held::Id(id) = held {
                    *held = Held::Text(pages.name_of(&state.core, id).await?);
                }
            }
        }
        rows.push(row);
    }
    let shown = AuditPage {
        shell: session.shell(Nav::Audit),
        filtered: params.is_filtered(),
        export_href: params.href("/audit.ndjson", "", 0),
        actions: ACTIONS
            .iter()
            .map(|action| Choice {
                value: (*action).to_owned(),
                label: words::action(action),
                selected: *action == params.action,
            })
            .collect(),
        search: params.search,
        actor: params.actor,
        target: params.target,
        since: params.since,
        until: params.until,
        has_damaged: rows.iter().any(|row| row.is_damaged),
        rows,
        pager,
    };
    page(StatusCode::OK, &shown)
}

/// `GET /audit.ndjson`: every event that the filters show, the oldest first, each with its MAC.
pub async fn export(AxumState(state): AxumState<State>, _: Session, Params(params): Params<AuditParams>) -> Answer {
    let body = Body::from_stream(audit_export::stream(&state.core, params.query()).await?);
    let file = "attachment; filename=\"keyward-audit.ndjson\"";
    Ok(([(header::CONTENT_TYPE, LINES), (header::CONTENT_DISPOSITION, file)], body).into_response())
}

impl AuditRow {
    fn new(event: Event, href: Option<String>, now: i64) -> AuditRow {
        let changes: Map<String, Value> = serde_json::from_str(&event.changes).unwrap_or_default();
        let target = AuditTarget { kind: words::words(&event.target_kind), name: event.target_name, href };
        let secret = if event.action.ends_with(".create") { "set" } else { "changed" };
        AuditRow {
            at: Moment::new(event.at, now),
            actor: event.actor_name,
            action: words::action(&event.action),
            target: (!target.name.is_empty()).then_some(target),
            changes: changes
                .into_iter()
                .map(|(field, change)| AuditChange::new(&field, &change, secret, now))
                .collect(),
            address: event.address,
            request_id: event.request_id,
            is_damaged: false,
        }
    }
}

impl AuditChange {
    fn new(field: &str, change: &Value, secret: &'static str, now: i64) -> AuditChange {
        AuditChange {
            before: Held::read(field, &change["before"], now),
            after: Held::read(field, &change["after"], now),
            // Of a secret it is recorded that it changed, and nothing else.
            secret: change.is_string().then_some(secret),
            field: words::words(field),
        }
    }
}

/// What events tell of by id, where that still exists: its page and its name. A row of theirs that cannot be read is as
/// good as gone: the log is read most where something went wrong.
#[derive(Default)]
struct Pages(HashMap<String, Option<(String, String)>>);

impl Pages {
    async fn of(&mut self, core: &Core, event: &Event) -> Result<Option<String>, Failure> {
        Ok(self.find(core, &event.target_id).await?.map(|(page, _)| page))
    }

    async fn name_of(&mut self, core: &Core, id: &str) -> Result<String, Failure> {
        Ok(self.find(core, id).await?.map_or_else(|| words::short(id), |(_, name)| name))
    }

    async fn find(&mut self, core: &Core, id: &str) -> Result<Option<(String, String)>, Failure> {
        if let Some(known) = self.0.get(id) {
            return Ok(known.clone());
        }
        let (page, name) = match id.split('_').next().unwrap_or_default() {
            "gk" => ("/keys/general", there(general_keys::get(core, id).await.map(|view| view.key.name))?),
            "ak" => ("/keys/agent", there(agent_keys::get(core, id).await.map(|key| key.name))?),
            "pr" => ("/catalog/providers", there(providers::get(core, id).await.map(|view| view.provider.name))?),
            "md" => ("/catalog/models", there(models::get(core, id).await.map(|view| view.model.name))?),
            "mb" => ("/members", there(roster::get(core, id).await.map(|member| member.name))?),
            "mt" => ("/settings/tokens", there(management_tokens::get(core, id).await.map(|view| view.token.name))?),
            _ => ("", None),
        };
        let found = name.map(|name| (format!("{page}/{id}/edit"), name));
        self.0.insert(id.to_owned(), found.clone());
        Ok(found)
    }
}

fn there(found: Result<String>) -> Result<Option<String>, Failure> {
    match found {
        Ok(name) => Ok(Some(name)),
        Err(error) if matches!(error.code, Code::NotFound | Code::Damaged) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
