//! API keys → Agent API Key: the list, and deleting.

pub mod bulk;
pub mod edit;
pub mod import;
pub mod limits;
pub mod new;
pub mod rotate;

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use store::{Standing, agent_keys::AgentKey};

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    chart,
    failure::Failure,
    figures::count,
    forms::{self, Form, Id, Refused},
    list::{ListParams, Order, Pager, Params, Sort},
    moment::Moment,
    page,
    parts::{Field, Rights, Things},
    session::Session,
    shell::{Flash, Nav, Shell},
    steps::{self, Step},
};
use crate::{
    domain::{
        agent_key_list,
        agent_keys::{self, SOON_DAYS, Status},
        callers,
        clock::DAY_MS,
        roles::{Permission, Reach},
        tags, usage,
    },
    error::Code,
};

const LIST: &str = "/keys/agent";
/// Whoever deletes a key that was used in the last days types its name.
const RECENT_DAYS: i64 = 7;

/// An agent key's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentStatus {
    /// Valid and usable.
    Active,
    /// Valid, and ends so many calendar days from now (0 = today).
    ExpiresIn(u32),
    /// Past its expiry date.
    Expired,
    /// Reported as leaked, and over for good.
    Leaked,
    /// Switched off by a member.
    Disabled,
    /// Fails its integrity check, and is good for nothing.
    Damaged,
}

impl AgentStatus {
    fn of(standing: &Standing<AgentKey>, now: i64) -> AgentStatus {
        let key = &standing.row;
        match Status::of(key, now) {
            _ if standing.is_damaged => AgentStatus::Damaged,
            Status::Expired if key.leaked_at > 0 => AgentStatus::Leaked,
            Status::Expired => AgentStatus::Expired,
            Status::Disabled => AgentStatus::Disabled,
            Status::Active if key.expires_at - now < SOON_DAYS * DAY_MS => {
                let days = key.expires_at.div_euclid(DAY_MS) - now.div_euclid(DAY_MS);
                AgentStatus::ExpiresIn(u32::try_from(days).unwrap_or(0))
            }
            Status::Active => AgentStatus::Active,
        }
    }
}

/// The list's filter, `?status=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatusFilter {
    /// ''
    #[default]
    All,
    /// `active`
    Active,
    /// `expired`
    Expired,
    /// `disabled`
    Disabled,
    /// `soon`: active, and ends within [`SOON_DAYS`].
    Soon,
    /// `unused`: never used.
    Unused,
}

impl StatusFilter {
    fn parse(text: &str) -> StatusFilter {
        match text {
            "active" => StatusFilter::Active,
            "expired" => StatusFilter::Expired,
            "disabled" => StatusFilter::Disabled,
            "soon" => StatusFilter::Soon,
            "unused" => StatusFilter::Unused,
            _ => StatusFilter::All,
        }
    }
}

/// `GET /keys/agent?search=&status=&sort=&cursor=`, and with the pop-up open `GET /keys/agent/{id}/delete?…`.
#[derive(Clone, Debug, Template)]
#[template(path = "agent_keys.html")]
pub struct AgentKeysPage {
    /// Around it.
    pub shell: Shell,
    /// The first steps; empty once an agent key was used.
    pub steps: Vec<Step>,
    /// What is searched for; may be empty.
    pub search: String,
    /// The filter.
    pub status: StatusFilter,
    /// The tag that the keys have; may be empty.
    pub tag: String,
    /// The value of `sort=` now, kept by the search form; may be empty.
    pub sort: String,
    /// The headers that sort.
    pub columns: AgentKeyColumns,
    /// One page of keys.
    pub rows: Vec<AgentKeyRow>,
    /// Beneath them.
    pub pager: Pager,
    /// As in [`GeneralKeysPage::list_query`].
    pub list_query: String,
    /// The longest life of a key, in days: 90 unless configured otherwise.
    pub max_days: u32,
    /// What the member may do.
    pub rights: Rights,
    /// Whether the member may import keys.
    pub may_import: bool,
    /// The open pop-up.
    pub delete: Option<DeleteAgentKey>,
}

/// The sortable headers of the agent keys.
#[derive(Clone, Debug, Default)]
pub struct AgentKeyColumns {
    /// Key Name
    pub name: Sort,
    /// Created
    pub created: Sort,
    /// Last Used
    pub last_used: Sort,
    /// Expired Date
    pub expires: Sort,
}

/// A row of the agent keys.
#[derive(Clone, Debug)]
pub struct AgentKeyRow {
    /// `ak_…`
    pub id: String,
    /// Key Name
    pub name: String,
    /// Status
    pub status: AgentStatus,
    /// Secret Key, masked.
    pub mask: String,
    /// Created
    pub created: Moment,
    /// Last Used
    pub last_used: Option<Moment>,
    /// Created by
    pub created_by: String,
    /// Tags
    pub tags: Vec<String>,
    /// Expired Date
    pub expires: Moment,
    /// Its calls of the last seven days as points of a line, and how many those were; empty where there were none.
    pub spark: (String, String),
}

impl AgentKeyRow {
    fn new(standing: &Standing<AgentKey>, now: i64) -> AgentKeyRow {
        let key = &standing.row;
        AgentKeyRow {
            id: key.id.clone(),
            name: key.name.clone(),
            status: AgentStatus::of(standing, now),
            mask: key.masked_secret.clone(),
            created: Moment::new(key.created_at, now),
            last_used: Moment::of_column(key.last_used_at, now),
            created_by: key.created_by_name.clone(),
            tags: tags::of_column(&key.tags),
            expires: Moment::new(key.expires_at, now),
            spark: (String::new(), String::new()),
        }
    }
}

/// The pop-up over the agent keys. `POST /keys/agent/{id}/delete`: `version`; `confirm_name` where `confirm` is set.
#[derive(Clone, Debug)]
pub struct DeleteAgentKey {
    /// The key.
    pub key: AgentKeyRow,
    /// The version read.
    pub version: String,
    /// Asks for the key's name to be typed; `None` = a plain confirmation.
    pub confirm: Option<Field>,
    /// From where it was called lately, the newest first.
    pub callers: Vec<String>,
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
    confirm_name: String,
}

/// `GET /keys/agent`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    show(&state, &session, &params, StatusCode::OK, None).await
}

/// `GET /keys/agent/{id}/delete`
pub async fn ask_delete(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    Params(params): Params<ListParams>,
) -> Answer {
    let asked = pop_up(&state, &id, &params, "").await?;
    show(&state, &session, &params, StatusCode::OK, Some(asked)).await
}

/// `POST /keys/agent/{id}/delete`
pub async fn delete(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    form: Form<DeleteFields>,
) -> Answer {
    let DeleteFields { version, confirm_name } = form.fields;
    let version = forms::version(&version)?;
    let params = ListParams::default();
    let mut asked = pop_up(&state, &id, &params, &confirm_name).await?;
    if let Some(confirm) = asked.confirm.as_mut().filter(|_| confirm_name.trim() != asked.key.name) {
        confirm.error = Some(String::from("Type the name exactly as it stands above."));
        return show(&state, &session, &params, StatusCode::UNPROCESSABLE_ENTITY, Some(asked)).await;
    }
    match agent_keys::delete(&state.core, session.actor(), &id, Some(version)).await {
        Ok(()) => Ok(Redirect::to(&format!("{LIST}?done={}", Flash::AgentKeyDeleted.code())).into_response()),
        Err(error) if error.code == Code::VersionMismatch => {
            asked.error = Some(String::from(
                "The key was changed after you had opened this. Look again, and delete it if you still want to.",
            ));
            show(&state, &session, &params, StatusCode::CONFLICT, Some(asked)).await
        }
        Err(error) => {
            let mut refused = Refused::by(&session, error)?;
            asked.error = refused.rest();
            show(&state, &session, &params, refused.status, Some(asked)).await
        }
    }
}

async fn pop_up(state: &State, id: &str, params: &ListParams, typed: &str) -> Result<DeleteAgentKey, Failure> {
    let key = agent_keys::get_standing(&state.core, id).await?;
    let now = state.core.clock.now_ms();
    let callers = callers::of_key(&state.core, id).await?;
    let is_in_use = !key.is_damaged && key.row.last_used_at > now - RECENT_DAYS * DAY_MS;
    Ok(DeleteAgentKey {
        key: AgentKeyRow::new(&key, now),
        version: key.row.version.to_string(),
        confirm: is_in_use.then(|| Field::new(typed, None)),
        callers: callers.into_iter().map(|caller| caller.address).take(3).collect(),
        cancel_href: params.behind_pop_up(LIST, id),
        error: None,
    })
}

async fn show(
    state: &State,
    session: &Session,
    params: &ListParams,
    status: StatusCode,
    delete: Option<DeleteAgentKey>,
) -> Answer {
    let found =
        agent_key_list::list_standing(&state.core, session.actor(), &params.query(), &params.status, &params.tag)
            .await?;
    if let Some(start) = params.start_instead_of(LIST, &found).filter(|_| delete.is_none()) {
        return Ok(start.into_response());
    }
    let now = state.core.clock.now_ms();
    let steps = steps::left(state, session).await?;
    let ids: Vec<_> = found.items.iter().map(|key| key.row.id.as_str()).collect();
    let weeks = usage::weeks_of(&state.core, &ids).await?;
    let row = |key: &Standing<AgentKey>| {
        let week = weeks.get(&key.row.id).map(Vec::as_slice).unwrap_or_default();
        AgentKeyRow { spark: (chart::spark(week), count(week.iter().sum())), ..AgentKeyRow::new(key, now) }
    };
    let shown = AgentKeysPage {
        shell: session.shell(Nav::Keys).saying(&params.done).leading_to(steps::next(&steps)),
        steps,
        status: StatusFilter::parse(&params.status),
        columns: AgentKeyColumns {
            name: params.column(LIST, "name", false),
            created: params.column(LIST, "created_at", false),
            last_used: params.column(LIST, "last_used_at", false),
            expires: params.column(LIST, "expires_at", false),
        },
        rows: found.items.iter().map(row).collect(),
        pager: params.pager(LIST, &found),
        list_query: params.here(),
        search: params.search.clone(),
        tag: params.tag.clone(),
        sort: params.sort.clone(),
        max_days: max_days(state),
        rights: session.rights(Things::AgentKeys),
        may_import: session.actor().authority.reach(Permission::CreateAgentKeys) == Reach::All,
        delete,
    };
    page(status, &shown)
}

/// The longest life of a key.
fn max_days(state: &State) -> u32 {
    u32::try_from(state.core.agent_key_max_days).unwrap_or(u32::MAX)
}
