//! Members: the list.

pub mod form;
pub mod remove;

use askama::Template;
use axum::{extract::State as AxumState, http::StatusCode, response::IntoResponse};
use store::{Standing, members::Member};

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    list::{ListParams, Order, Pager, Params, Sort},
    moment::Moment,
    page,
    parts::{Choice, Rights, Things},
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::domain::{
    actor::Actor,
    roles::Role,
    roster::{self, Status},
};

const LIST: &str = "/members";

/// `GET /members?search=&status=&sort=&cursor=`, and with the pop-up open `GET /members/{id}/delete?…`.
#[derive(Clone, Debug, Template)]
#[template(path = "members.html")]
pub struct MembersPage {
    /// Around it.
    pub shell: Shell,
    /// What is searched for; may be empty.
    pub search: String,
    /// The value of `sort=` now, kept by the search form; may be empty.
    pub sort: String,
    /// Sorts by name, by e-mail, by date.
    pub columns: [Sort; 3],
    /// One page of members.
    pub rows: Vec<MemberRow>,
    /// Beneath them.
    pub pager: Pager,
    /// This list's own query, appended to the remove links.
    pub list_query: String,
    /// What the member may do.
    pub rights: Rights,
    /// Some of the rows are of members who may more than the reader.
    pub has_untouchable: bool,
    /// The open pop-up.
    pub remove: Option<remove::RemoveMember>,
}

/// A row of the members.
#[derive(Clone, Debug)]
pub struct MemberRow {
    /// `mb_…`
    pub id: String,
    /// Name
    pub name: String,
    /// Email
    pub email: String,
    /// Role
    pub role: String,
    /// Has set no password yet.
    pub is_invited: bool,
    /// Is asked for a second factor at signing in.
    pub has_second_factor: bool,
    /// Fails its integrity check.
    pub is_damaged: bool,
    /// It is the reader.
    pub is_me: bool,
    /// The reader may change and remove them.
    pub may_change: bool,
    /// Since
    pub created: Moment,
}

impl MemberRow {
    fn new(standing: &Standing<Member>, actor: &Actor, now: i64) -> MemberRow {
        let member = &standing.row;
        // A damaged row says nothing that counts: who may remove it is who may remove anybody.
        let role = if standing.is_damaged { None } else { Role::parse(&member.role) };
        MemberRow {
            id: member.id.clone(),
            name: member.name.clone(),
            email: member.email.clone(),
            role: member.role.clone(),
            is_invited: Status::of(member) == Status::Invited,
            has_second_factor: !member.second_factor.is_empty(),
            is_damaged: standing.is_damaged,
            is_me: member.id == actor.member_id,
            may_change: actor.authority.covers(role.unwrap_or(Role::Owner)),
            created: Moment::new(member.created_at, now),
        }
    }
}

/// `GET /members`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    show(&state, &session, &params, StatusCode::OK, None).await
}

async fn show(
    state: &State,
    session: &Session,
    params: &ListParams,
    status: StatusCode,
    remove: Option<remove::RemoveMember>,
) -> Answer {
    let found = roster::list_standing(&state.core, &params.query(), "").await?;
    if let Some(start) = params.start_instead_of(LIST, &found).filter(|_| remove.is_none()) {
        return Ok(start.into_response());
    }
    let now = state.core.clock.now_ms();
    let rights = session.rights(Things::Members);
    let rows: Vec<_> = found.items.iter().map(|row| MemberRow::new(row, session.actor(), now)).collect();
    let shown = MembersPage {
        shell: session.shell(Nav::Members).saying(&params.done),
        columns: [("name", false), ("email", true), ("created_at", false)]
            .map(|(name, is_default)| params.column(LIST, name, is_default)),
        pager: params.pager(LIST, &found),
        list_query: params.here(),
        search: params.search.clone(),
        sort: params.sort.clone(),
        has_untouchable: rights.edit && rows.iter().any(|row| !row.may_change),
        rights,
        rows,
        remove,
    };
    page(status, &shown)
}

/// A role and what it may, in words.
pub fn role_words(role: &str) -> String {
    let may = match Role::parse(role) {
        Some(Role::Owner) => "may do everything",
        Some(Role::Admin) => "looks after keys, providers, models, and members other than owners",
        Some(Role::Operator) => "reads and edits keys, and neither creates nor deletes them",
        Some(Role::Member) => "has agent keys of their own",
        Some(Role::Auditor) => "reads everything, and changes nothing",
        None => "may do nothing",
    };
    format!("{role}: {may}")
}

/// The roles that the reader may give.
fn role_choices(actor: &Actor, chosen: &str) -> Vec<Choice> {
    let may_give = Role::ALL.into_iter().filter(|role| actor.authority.covers(*role));
    may_give
        .map(|role| {
            let value = role.as_str().to_owned();
            Choice { label: role_words(&value), selected: value == chosen, value }
        })
        .collect()
}
