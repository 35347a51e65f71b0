//! Several agent keys disabled or deleted at once, after a page that names them.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

use super::{AgentKeyRow, AgentStatus, LIST};
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        forms::Form,
        page,
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        access,
        agent_key_bulk::{self, Act, Acted, Which},
        agent_keys,
    },
    error::Code,
};

/// The most keys at once: more than a page of the list has.
const MOST: usize = 200;

/// `POST /keys/agent/bulk`: `do` = `disable` or `delete`, and `key_N` for each key; with `confirmed` it is done, without it
/// this page asks.
#[derive(Clone, Debug, Template)]
#[template(path = "agent_keys_bulk.html")]
pub struct BulkPage {
    /// Around it.
    pub shell: Shell,
    /// Deletes them, and does not just disable them.
    pub deletes: bool,
    /// The keys that it is about.
    pub rows: Vec<AgentKeyRow>,
    /// How many of them were used in the last seven days.
    pub in_use: usize,
    /// After it: how many it was done to, and which not, and why.
    pub done: Option<(usize, Vec<(String, String)>)>,
    /// Nothing was chosen.
    pub is_nothing: bool,
}

/// What was chosen.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    #[serde(rename = "do")]
    what: String,
    confirmed: String,
    #[serde(flatten)]
    keys: BTreeMap<String, String>,
}

/// `GET /keys/agent/bulk`: there is nothing to ask without a choice.
pub async fn back() -> Redirect {
    Redirect::to(LIST)
}

/// `POST /keys/agent/bulk`
pub async fn act(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let Fields { what, confirmed, keys } = form.fields;
    let deletes = what == "delete";
    let act = if deletes { Act::Delete } else { Act::Disable };
    let ids: Vec<String> = keys.into_iter().filter(|(name, _)| name.starts_with("key_")).map(|(_, id)| id).collect();
    let now = state.core.clock.now_ms();
    let (mut rows, mut in_use) = (Vec::new(), 0);
    for id in ids.iter().take(MOST) {
        access::check(&state.core, session.actor(), act.permission(), Some(id)).await?;
        // One that is gone by now needs nothing done to it.
        let standing = match agent_keys::get_standing(&state.core, id).await {
            Ok(standing) => standing,
            Err(error) if error.code == Code::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        in_use += usize::from(standing.row.last_used_at > now - super::RECENT_DAYS * crate::domain::clock::DAY_MS);
        let row = AgentKeyRow::new(&standing, now);
        let is_open = matches!(row.status, AgentStatus::Active | AgentStatus::ExpiresIn(_));
        if deletes || is_open {
            rows.push(row);
        }
    }
    let mut shown =
        BulkPage { shell: session.shell(Nav::Keys), deletes, is_nothing: rows.is_empty(), rows, in_use, done: None };
    if confirmed != "yes" || shown.is_nothing {
        return page(StatusCode::OK, &shown);
    }
    let ids = shown.rows.iter().map(|row| row.id.clone()).collect();
    let which = Which { ids, ..Which::default() };
    let Acted { done, failed } = agent_key_bulk::act(&state.core, session.actor(), which, act).await?;
    if failed.is_empty() {
        let done = if deletes { Flash::AgentKeysDeleted } else { Flash::AgentKeysDisabled };
        return Ok(Redirect::to(&format!("{LIST}?done={}", done.code())).into_response());
    }
    let name_of = |id: String| shown.rows.iter().find(|row| row.id == id).map_or(id, |row| row.name.clone());
    let failed = failed.into_iter().map(|(id, why)| (name_of(id), why)).collect();
    shown.done = Some((done.len(), failed));
    page(StatusCode::OK, &shown)
}
