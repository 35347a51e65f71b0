//! Settings → Management tokens: the list, and deleting.

pub mod form;

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use store::Standing;

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
    domain::{
        actor::Actor,
        management_tokens::{self, TokenView},
        roles::{Permission, Reach},
        scopes::{SCOPES, Scopes},
    },
    error::Code,
};

const LIST: &str = "/settings/tokens";

/// `GET /settings/tokens?search=&sort=&cursor=`, and with the pop-up open `GET /settings/tokens/{id}/delete?…`.
#[derive(Clone, Debug, Template)]
#[template(path = "tokens.html")]
pub struct TokensPage {
    /// Around it.
    pub shell: Shell,
    /// What is searched for; may be empty.
    pub search: String,
    /// The value of `sort=` now, kept by the search form; may be empty.
    pub sort: String,
    /// Sorts by name, by last use, by end.
    pub columns: [Sort; 3],
    /// One page of tokens.
    pub rows: Vec<TokenRow>,
    /// Beneath them.
    pub pager: Pager,
    /// This list's own query, appended to the delete links.
    pub list_query: String,
    /// What the member may do.
    pub rights: Rights,
    /// The open pop-up.
    pub delete: Option<DeleteToken>,
}

/// A row of the tokens.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// `mt_…`
    pub id: String,
    /// Name
    pub name: String,
    /// Token, masked.
    pub mask: String,
    /// What it may; `None` = everything its owner may.
    pub scopes: Option<Vec<&'static str>>,
    /// Whose it is.
    pub owner: String,
    /// Last Used
    pub last_used: Option<Moment>,
    /// Expired Date
    pub expires: Moment,
    /// That is past.
    pub is_expired: bool,
    /// Fails its integrity check.
    pub is_damaged: bool,
    /// The reader may change and delete it.
    pub may_change: bool,
}

impl TokenRow {
    fn new(standing: &Standing<TokenView>, actor: &Actor, now: i64) -> TokenRow {
        let TokenView { token, owner_name } = &standing.row;
        let scopes: Vec<_> = Scopes::of_column(&token.scopes).names().collect();
        TokenRow {
            id: token.id.clone(),
            name: token.name.clone(),
            mask: token.masked_secret.clone(),
            scopes: (scopes.len() < SCOPES.len()).then_some(scopes),
            owner: owner_name.clone(),
            last_used: Moment::of_column(token.last_used_at, now),
            expires: Moment::new(token.expires_at, now),
            is_expired: token.expires_at <= now,
            is_damaged: standing.is_damaged,
            may_change: match actor.authority.reach(Permission::WriteTokens) {
                Reach::All => true,
                Reach::Own => !standing.is_damaged && token.member_id == actor.member_id,
                Reach::Nothing => false,
            },
        }
    }
}

/// The pop-up over the tokens. `POST /settings/tokens/{id}/delete`: `version`.
#[derive(Clone, Debug)]
pub struct DeleteToken {
    /// The token.
    pub token: TokenRow,
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

/// `GET /settings/tokens`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    show(&state, &session, &params, StatusCode::OK, None).await
}

/// `GET /settings/tokens/{id}/delete`
pub async fn ask_delete(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    Params(params): Params<ListParams>,
) -> Answer {
    let asked = pop_up(&state, &session, &id, &params).await?;
    show(&state, &session, &params, StatusCode::OK, Some(asked)).await
}

/// `POST /settings/tokens/{id}/delete`
pub async fn delete(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    form: Form<DeleteFields>,
) -> Answer {
    let version = forms::version(&form.fields.version)?;
    let Err(error) = management_tokens::delete(&state.core, session.actor(), &id, Some(version)).await else {
        return Ok(Redirect::to(&format!("{LIST}?done={}", Flash::TokenDeleted.code())).into_response());
    };
    let changed = error.code == Code::VersionMismatch;
    let mut refused = Refused::by(&session, error)?;
    let params = ListParams::default();
    let why = "It was changed after you had opened this. Look again, and delete it if you still want to.";
    let error = if changed { Some(why.to_owned()) } else { refused.rest() };
    let asked = DeleteToken { error, ..pop_up(&state, &session, &id, &params).await? };
    let status = if changed { StatusCode::CONFLICT } else { refused.status };
    show(&state, &session, &params, status, Some(asked)).await
}

async fn pop_up(state: &State, session: &Session, id: &str, params: &ListParams) -> Result<DeleteToken, Failure> {
    let standing = management_tokens::get_standing(&state.core, id).await?;
    Ok(DeleteToken {
        token: TokenRow::new(&standing, session.actor(), state.core.clock.now_ms()),
        version: standing.row.token.version.to_string(),
        cancel_href: params.behind_pop_up(LIST, id),
        error: None,
    })
}

async fn show(
    state: &State,
    session: &Session,
    params: &ListParams,
    status: StatusCode,
    delete: Option<DeleteToken>,
) -> Answer {
    let found = management_tokens::list_standing(&state.core, session.actor(), &params.query(), "").await?;
    if let Some(start) = params.start_instead_of(LIST, &found).filter(|_| delete.is_none()) {
        return Ok(start.into_response());
    }
    let now = state.core.clock.now_ms();
    let shown = TokensPage {
        shell: session.shell(Nav::Settings).saying(&params.done),
        columns: [("name", true), ("last_used_at", false), ("expires_at", false)]
            .map(|(name, is_default)| params.column(LIST, name, is_default)),
        rows: found.items.iter().map(|token| TokenRow::new(token, session.actor(), now)).collect(),
        pager: params.pager(LIST, &found),
        list_query: params.here(),
        search: params.search.clone(),
        sort: params.sort.clone(),
        rights: session.rights(Things::Tokens),
        delete,
    };
    page(status, &shown)
}
