//! Settings → Policies: what verifications ask of agent keys; the list, and deleting.

pub mod form;
pub mod proxy;

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use store::{Standing, policies::Policy};

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    failure::Failure,
    forms::{self, Form, Id, Refused},
    list::{ListParams, Order, Pager, Params, Sort},
    moment::Moment,
    page,
    parts::{Rights, Things},
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::{
    domain::policies::{self, Requirements, RoutesFrom},
    error::Code,
};

const LIST: &str = "/settings/policies";
/// The most entries of one list that a row names.
const NAMED: usize = 5;
/// What is percent-encoded in a part of a path: all but RFC 3986's unreserved characters.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `GET /settings/policies?search=&sort=&cursor=`, and with the pop-up open `GET /settings/policies/{id}/delete?…`.
#[derive(Clone, Debug, Template)]
#[template(path = "policies.html")]
pub struct PoliciesPage {
    /// Around it.
    pub shell: Shell,
    /// What is searched for; may be empty.
    pub search: String,
    /// The value of `sort=` now, kept by the search form; may be empty.
    pub sort: String,
    /// Sorts by name.
    pub by_name: Sort,
    /// One page of policies.
    pub rows: Vec<PolicyRow>,
    /// Beneath them.
    pub pager: Pager,
    /// This list's own query, appended to the delete links.
    pub list_query: String,
    /// What the member may do.
    pub rights: Rights,
    /// The open pop-up.
    pub delete: Option<DeletePolicy>,
}

/// A row of the policies.
#[derive(Clone, Debug)]
pub struct PolicyRow {
    /// `po_…`
    pub id: String,
    /// Name
    pub name: String,
    /// What it asks beside that a key is good; `None` where that cannot be told, and nobody is let in.
    pub asks: Option<Vec<Asked>>,
    /// Where verifications ask by it.
    pub url: String,
    /// For how many seconds answers may be kept.
    pub kept: u32,
    /// When it was changed last.
    pub updated: Moment,
    /// Fails its integrity check.
    pub is_damaged: bool,
}

/// One thing that is asked of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// In words: 'Has the tags'.
    pub what: &'static str,
    /// Which; of many the first.
    pub which: String,
    /// How many more.
    pub more: usize,
    /// Of routes: where they are looked for.
    pub told_in: &'static str,
}

impl Asked {
    /// What requirements ask, in words.
    pub fn of(requires: &Requirements) -> Vec<Asked> {
        let Requirements { models, tags, routes, routes_from, .. } = requires;
        let told_in = match routes_from {
            RoutesFrom::Path => "behind /verify",
            RoutesFrom::XForwardedUri => "in X-Forwarded-Uri",
            RoutesFrom::XOriginalUri => "in X-Original-Uri",
        };
        [("Has the tags", tags, ""), ("May call", models, ""), ("Calls one of", routes, told_in)]
            .into_iter()
            .filter(|(_, entries, _)| !entries.is_empty())
            .map(|(what, entries, told_in)| Asked {
                what,
                which: entries[..entries.len().min(NAMED)].join(", "),
                more: entries.len().saturating_sub(NAMED),
                told_in,
            })
            .collect()
    }
}

impl PolicyRow {
    fn new(state: &State, standing: &Standing<Policy>) -> PolicyRow {
        let policy = &standing.row;
        let requires = Requirements::of_column(&policy.requires).ok().filter(|_| !standing.is_damaged);
        PolicyRow {
            id: policy.id.clone(),
            name: policy.name.clone(),
            asks: requires.as_ref().map(Asked::of),
            url: format!("{}{}", state.web.base(), path_of(&policy.name)),
            kept: requires.map_or(0, |requires| requires.cache_seconds),
            updated: Moment::new(policy.updated_at, state.core.clock.now_ms()),
            is_damaged: standing.is_damaged,
        }
    }
}

/// Where verifications ask by the policy of this name.
fn path_of(name: &str) -> String {
    format!("/auth/policies/{}/verify", utf8_percent_encode(name, PART))
}

/// The pop-up over the policies. `POST /settings/policies/{id}/delete`: `version`.
#[derive(Clone, Debug)]
pub struct DeletePolicy {
    /// The policy.
    pub policy: PolicyRow,
    /// The version read.
    pub version: String,
    /// The list, as it was.
    pub cancel_href: String,
    /// Why it was not deleted.
    pub error: Option<String>,
}

/// What the pop-up sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct DeleteFields {
    version: String,
}

/// `GET /settings/policies`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    show(&state, &session, &params, StatusCode::OK, None).await
}

/// `GET /settings/policies/{id}/delete`
pub async fn ask_delete(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    Params(params): Params<ListParams>,
) -> Answer {
    let asked = pop_up(&state, &id, &params).await?;
    show(&state, &session, &params, StatusCode::OK, Some(asked)).await
}

/// `POST /settings/policies/{id}/delete`
pub async fn delete(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    form: Form<DeleteFields>,
) -> Answer {
    let version = forms::version(&form.fields.version)?;
    let Err(error) = policies::delete(&state.core, session.actor(), &id, Some(version)).await else {
        return Ok(done(Flash::PolicyDeleted));
    };
    let changed = error.code == Code::VersionMismatch;
    let mut refused = Refused::by(&session, error)?;
    let params = ListParams::default();
    let why = "It was changed after you had opened this. Look again, and delete it if you still want to.";
    let error = if changed { Some(why.to_owned()) } else { refused.rest() };
    let asked = DeletePolicy { error, ..pop_up(&state, &id, &params).await? };
    show(&state, &session, &params, refused.status, Some(asked)).await
}

async fn pop_up(state: &State, id: &str, params: &ListParams) -> Result<DeletePolicy, Failure> {
    let standing = policies::get_standing(&state.core, id).await?;
    Ok(DeletePolicy {
        policy: PolicyRow::new(state, &standing),
        version: standing.row.version.to_string(),
        cancel_href: params.behind_pop_up(LIST, id),
        error: None,
    })
}

async fn show(
    state: &State,
    session: &Session,
    params: &ListParams,
    status: StatusCode,
    delete: Option<DeletePolicy>,
) -> Answer {
    let found = policies::list(&state.core, &params.query()).await?;
    if let Some(start) = params.start_instead_of(LIST, &found).filter(|_| delete.is_none()) {
        return Ok(start.into_response());
    }
    let shown = PoliciesPage {
        shell: session.shell(Nav::Settings).saying(&params.done),
        by_name: params.column(LIST, "name", true),
        rows: found.items.iter().map(|policy| PolicyRow::new(state, policy)).collect(),
        pager: params.pager(LIST, &found),
        list_query: params.here(),
        search: params.search.clone(),
        sort: params.sort.clone(),
        rights: session.rights(Things::Policies),
        delete,
    };
    page(status, &shown)
}

/// Back to the list, which says what was done.
fn done(what: Flash) -> Response {
    Redirect::to(&format!("{LIST}?done={}", what.code())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_told_in_words_and_of_many_the_first() {
        assert!(Asked::of(&Requirements::default()).is_empty());
        let asks = Requirements {
            tags: (1..=7).map(|number| format!("t{number}")).collect(),
            routes: vec![String::from("/search*")],
            routes_from: RoutesFrom::XForwardedUri,
            ..Requirements::default()
        };
        let told = Asked::of(&asks);
        let which = String::from("t1, t2, t3, t4, t5");
        assert_eq!(told[0], Asked { what: "Has the tags", which, more: 2, told_in: "" });
        assert_eq!((told[1].which.as_str(), told[1].told_in, told.len()), ("/search*", "in X-Forwarded-Uri", 2));
    }

    #[test]
    fn a_name_is_a_part_of_its_path() {
        assert_eq!(path_of("internal-search"), "/auth/policies/internal-search/verify");
        assert_eq!(path_of("Übersicht {a}?"), "/auth/policies/%C3%9Cbersicht%20%7Ba%7D%3F/verify");
    }
}
