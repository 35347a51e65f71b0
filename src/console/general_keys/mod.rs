//! API keys → General Key: the list, and deleting.

pub mod form;
pub mod import;

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
    parts::{Field, KeyChoice, KeyHealth, LinkKind, LinkRef, Rights, Things},
    session::Session,
    shell::{Flash, Nav, Shell},
    steps::{self, Step},
};
use crate::{
    domain::{
        general_keys::{self, GeneralKeyView},
        key_health::Health,
    },
    error::Code,
};

const LIST: &str = "/keys/general";

/// `GET /keys/general?search=&status=&sort=&cursor=` (`status` is a key's health), and with the pop-up open `GET /keys/general/{id}/delete?…`.
#[derive(Clone, Debug, Template)]
#[template(path = "general_keys.html")]
pub struct GeneralKeysPage {
    /// Around it.
    pub shell: Shell,
    /// The first steps; empty once an agent key was used.
    pub steps: Vec<Step>,
    /// What is searched for; may be empty.
    pub search: String,
    /// The health that is asked for; `None` = any.
    pub health: Option<Health>,
    /// The value of `sort=` now, kept by the search form; may be empty.
    pub sort: String,
    /// The headers that sort.
    pub columns: GeneralKeyColumns,
    /// One page of keys.
    pub rows: Vec<GeneralKeyRow>,
    /// Beneath them.
    pub pager: Pager,
    /// This list's own query (`?search=…&cursor=…`, or empty), appended to the delete links so that the same rows stay behind the pop-up.
    pub list_query: String,
    /// What the member may do.
    pub rights: Rights,
    /// The open pop-up.
    pub delete: Option<DeleteGeneralKey>,
}

/// The sortable headers of the general keys.
#[derive(Clone, Debug, Default)]
pub struct GeneralKeyColumns {
    /// Key Name
    pub name: Sort,
    /// Last Used
    pub last_used: Sort,
    /// Updated
    pub updated: Sort,
}

/// A row of the general keys.
#[derive(Clone, Debug, Default)]
pub struct GeneralKeyRow {
    /// `gk_…`
    pub id: String,
    /// Key Name
    pub name: String,
    /// Key Value, masked.
    pub mask: String,
    /// Linked to
    pub links: Vec<LinkRef>,
    /// Health
    pub health: KeyHealth,
    /// Last Used
    pub last_used: Option<Moment>,
    /// Updated
    pub updated: Moment,
    /// It fails its integrity check, and is used for nothing.
    pub is_damaged: bool,
}

impl GeneralKeyRow {
    fn new(view: &Standing<GeneralKeyView>, now: i64) -> GeneralKeyRow {
        let Standing { row: GeneralKeyView { key, linked_to }, is_damaged } = view;
        GeneralKeyRow {
            is_damaged: *is_damaged,
            id: key.id.clone(),
            name: key.name.clone(),
            mask: key.masked_value.clone(),
            health: KeyHealth::new(key, now),
            links: linked_to.iter().cloned().map(LinkRef::from).collect(),
            last_used: Moment::of_column(key.last_used_at, now),
            updated: Moment::new(key.updated_at, now),
        }
    }
}

/// The pop-up over the general keys. `POST /keys/general/{id}/delete`: `version`; `replacement_id` where `replacements` is not
/// empty ('' = none); `confirm_name` where `confirm` is set.
#[derive(Clone, Debug, Default)]
pub struct DeleteGeneralKey {
    /// `gk_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its mask.
    pub mask: String,
    /// The version read.
    pub version: String,
    /// Every provider and model that will stop working.
    pub links: Vec<LinkRef>,
    /// Its last use.
    pub last_used: Option<Moment>,
    /// Keys the links could go to instead; empty = not offered.
    pub replacements: Vec<KeyChoice>,
    /// Asks for the key's name to be typed; `None` = a plain confirmation.
    pub confirm: Option<Field>,
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
    replacement_id: String,
    confirm_name: String,
}

/// `GET /keys/general`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    show(&state, &session, &params, StatusCode::OK, None).await
}

/// `GET /keys/general/{id}/delete`
pub async fn ask_delete(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    Params(params): Params<ListParams>,
) -> Answer {
    let asked = pop_up(&state, &id, &params, &DeleteFields::default()).await?;
    show(&state, &session, &params, StatusCode::OK, Some(asked)).await
}

/// `POST /keys/general/{id}/delete`: the pop-up has named what stops working, so links go with the key, unless another
/// key takes its place.
pub async fn delete(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    form: Form<DeleteFields>,
) -> Answer {
    let fields = form.fields;
    let version = Some(forms::version(&fields.version)?);
    let params = ListParams::default();
    let mut asked = pop_up(&state, &id, &params, &fields).await?;
    let replaced = !asked.links.is_empty() && !fields.replacement_id.is_empty();
    if let Some(confirm) = asked.confirm.as_mut().filter(|_| !replaced && fields.confirm_name.trim() != asked.name) {
        let or = if asked.replacements.is_empty() { "" } else { ", or choose another key" };
        confirm.error = Some(format!("Type the name exactly as it stands above{or}."));
        return show(&state, &session, &params, StatusCode::UNPROCESSABLE_ENTITY, Some(asked)).await;
    }
    let deleted = if replaced {
        general_keys::replace(&state.core, session.actor(), &id, version, &fields.replacement_id).await
    } else {
        let unlink = asked.confirm.is_some();
        general_keys::delete(&state.core, session.actor(), &id, version, unlink).await
    };
    let Err(error) = deleted else {
        return Ok(Redirect::to(&format!("{LIST}?done={}", Flash::GeneralKeyDeleted.code())).into_response());
    };
    let changed = matches!(error.code, Code::VersionMismatch | Code::Linked);
    let mut refused = Refused::by(&session, error)?;
    // Nobody has seen yet what is shown now.
    asked = pop_up(&state, &id, &params, &fields).await?;
    asked.error = if changed {
        Some(String::from(
            "The key was changed after you had opened this. Look again, and delete it if you still want to.",
        ))
    } else if let Some((name, origin)) = &refused.not_bound {
        Some(format!("The value of {name} was not saved for {origin}. Choose another key, or link {name} there first."))
    } else {
        refused.rest()
    };
    show(&state, &session, &params, refused.status, Some(asked)).await
}

async fn pop_up(
    state: &State,
    id: &str,
    params: &ListParams,
    typed: &DeleteFields,
) -> Result<DeleteGeneralKey, Failure> {
    let view = general_keys::get_standing(&state.core, id).await?;
    let now = state.core.clock.now_ms();
    let row = GeneralKeyRow::new(&view, now);
    let mut replacements = Vec::new();
    if !row.links.is_empty() && !row.is_damaged {
        let mut others = general_keys::all(&state.core).await?;
        others.retain(|other| other.id != id);
        replacements = KeyChoice::of(&others, &typed.replacement_id, now);
    }
    Ok(DeleteGeneralKey {
        confirm: (!row.links.is_empty()).then(|| Field::new(typed.confirm_name.as_str(), None)),
        id: row.id,
        name: row.name,
        mask: row.mask,
        version: view.row.key.version.to_string(),
        links: row.links,
        last_used: row.last_used,
        replacements,
        cancel_href: params.behind_pop_up(LIST, id),
        error: None,
    })
}

async fn show(
    state: &State,
    session: &Session,
    params: &ListParams,
    status: StatusCode,
    delete: Option<DeleteGeneralKey>,
) -> Answer {
    let health = Health::parse(&params.status);
    let found = general_keys::list_standing(&state.core, &params.query(), health).await?;
    if let Some(start) = params.start_instead_of(LIST, &found).filter(|_| delete.is_none()) {
        return Ok(start.into_response());
    }
    let now = state.core.clock.now_ms();
    let steps = steps::left(state, session).await?;
    let shown = GeneralKeysPage {
        shell: session.shell(Nav::Keys).saying(&params.done).leading_to(steps::next(&steps)),
        steps,
        columns: GeneralKeyColumns {
            name: params.column(LIST, "name", true),
            last_used: params.column(LIST, "last_used_at", false),
            updated: params.column(LIST, "updated_at", false),
        },
        rows: found.items.iter().map(|view| GeneralKeyRow::new(view, now)).collect(),
        pager: params.pager(LIST, &found),
        list_query: params.here(),
        search: params.search.clone(),
        health,
        sort: params.sort.clone(),
        rights: session.rights(Things::GeneralKeys),
        delete,
    };
    page(status, &shown)
}
