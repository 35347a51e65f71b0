//! An agent key's page: its name, its secrets, its last days; and switching it off and on.

use askama::Template;
use axum::{
    extract::State as AxumState,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use store::callers::Caller;

use super::{
    AgentKeyRow, AgentStatus, LIST,
    limits::{LimitFields, Typed, unpriced},
    rotate::{Secrets, changed_meanwhile},
};
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        chart::Charts,
        conflict::{self, Conflict, ConflictField},
        damaged::{self, Damaged},
        figures::{count, money},
        forms::{self, Form, Id, Refused},
        list::{ListParams, Params},
        moment::Moment,
        page,
        parts::{Choice, Field, Rights, Things},
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        agent_key_defaults,
        agent_keys::{self, Edit},
        agent_secrets::{self, SecretStatus},
        budgets::Unit,
        callers,
        key_budgets::{self, Spent},
        key_limits::KeyLimits,
        roles::{Permission, Reach},
        roster,
        usage::{self, Period},
    },
    error::{Code, Result},
};

/// `GET /keys/agent/{id}`, and `GET /keys/agent/{id}/edit`; `POST` to the latter: `name`, those of [`Typed`], `version`.
/// `POST /keys/agent/{id}/disable` and `/enable`: `version`.
#[derive(Clone, Debug, Template)]
#[template(path = "agent_key_edit.html")]
pub struct AgentKeyEditPage {
    /// Around it.
    pub shell: Shell,
    /// The key as it is.
    pub key: AgentKeyRow,
    /// API Key Name, as typed.
    pub name: Field,
    /// Description, as typed.
    pub description: Field,
    /// Tags, as typed.
    pub tags: Field,
    /// Whose it may be; empty where the member may not give it away.
    pub owners: Vec<Choice>,
    /// What is wrong with whose it is to be.
    pub owner_error: Option<String>,
    /// Its limits, as typed.
    pub limits: LimitFields,
    /// The version read.
    pub version: String,
    /// Whose it is.
    pub owner: String,
    /// Its secrets.
    pub secrets: Secrets,
    /// Its budgets.
    pub budgets: Vec<BudgetRow>,
    /// Models that a budget in money shuts, in words; empty where it shuts none.
    pub unpriced: String,
    /// Its last days.
    pub charts: Charts,
    /// From where it was called lately, the newest first.
    pub callers: Vec<CallerRow>,
    /// What the member may do. An expired key is neither disabled nor enabled.
    pub rights: Rights,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

impl AgentKeyEditPage {
    /// Whether the key may be used, and so rotated.
    fn is_active(&self) -> bool {
        matches!(self.key.status, AgentStatus::Active | AgentStatus::ExpiresIn(_))
    }
}

/// A budget, and how much of it is used.
#[derive(Clone, Debug)]
pub struct BudgetRow {
    /// What it is, in words.
    pub words: String,
    /// Whether it is the default one.
    pub is_default: bool,
    /// How much is used.
    pub used: String,
    /// The same in hundredths.
    pub percent: i64,
    /// How much is left.
    pub left: String,
    /// When the next period begins.
    pub resets: Moment,
}

impl BudgetRow {
    /// From what the domain tells.
    pub fn new(spent: Spent, now: i64) -> BudgetRow {
        let amount = |amount: i64| match spent.budget.unit {
            Unit::Tokens => count(amount),
            Unit::CostMicros => money(amount.saturating_mul(1000)),
        };
        BudgetRow {
            words: match spent.budget.unit {
                Unit::Tokens => format!("{} tokens a {}", amount(spent.budget.amount), spent.budget.period.as_str()),
                Unit::CostMicros => format!("{} a {}", amount(spent.budget.amount), spent.budget.period.as_str()),
            },
            is_default: spent.is_default,
            used: amount(spent.used),
            percent: spent.percent(),
            left: amount(spent.left()),
            resets: Moment::new(spent.resets_at, now),
        }
    }
}

/// An address it was called from.
#[derive(Clone, Debug)]
pub struct CallerRow {
    /// The address.
    pub address: String,
    /// The first call from there that is remembered.
    pub first: Moment,
    /// The newest one.
    pub last: Moment,
    /// The newest one that was refused because the key had ended or was disabled.
    pub refused: Option<Moment>,
}

impl CallerRow {
    fn new(caller: Caller, now: i64) -> CallerRow {
        CallerRow {
            address: caller.address,
            first: Moment::new(caller.first_seen_at, now),
            last: Moment::new(caller.last_seen_at, now),
            refused: Moment::of_column(caller.last_refused_at, now),
        }
    }
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    description: String,
    tags: String,
    owner_id: String,
    version: String,
    #[serde(flatten)]
    limits: Typed,
}

/// Tags, as they are typed: with spaces or commas between.
pub fn words(text: &str) -> Vec<String> {
    text.split([' ', ',', '\n']).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `GET /keys/agent/{id}` and `GET /keys/agent/{id}/edit`
pub async fn form(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    Params(params): Params<ListParams>,
) -> Answer {
    show(&state, &session, &id, None, Refused::nothing(), &params.done).await
}

/// `POST /keys/agent/{id}/edit`
pub async fn save(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = forms::version(&fields.version)?;
    let limits = match fields.limits.parse() {
        Ok(limits) => limits,
        Err(error) => return show(&state, &session, &id, Some(fields), Refused::of(&error), "").await,
    };
    let edit = Edit {
        name: Some(fields.name.clone()),
        description: Some(fields.description.clone()),
        tags: Some(words(&fields.tags)),
        owner_id: Some(fields.owner_id.clone()).filter(|id| !id.is_empty()),
        limits: Some(Box::new(|_| Ok(limits))),
    };
    match agent_keys::edit(&state.core, session.actor(), &id, Some(version), edit).await {
        Ok(_) => Ok(Redirect::to(&format!("{LIST}?done={}", Flash::AgentKeySaved.code())).into_response()),
        Err(error) if error.code == Code::VersionMismatch => show_conflict(&state, &session, &id, &fields).await,
        Err(error) => show(&state, &session, &id, Some(fields), Refused::by(&session, error)?, "").await,
    }
}

/// `POST /keys/agent/{id}/disable`
pub async fn disable(state: AxumState<State>, session: Session, id: Id, form: Form<Fields>) -> Answer {
    switch(state, session, id, form, true).await
}

/// `POST /keys/agent/{id}/enable`
pub async fn enable(state: AxumState<State>, session: Session, id: Id, form: Form<Fields>) -> Answer {
    switch(state, session, id, form, false).await
}

async fn switch(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    form: Form<Fields>,
    off: bool,
) -> Answer {
    let version = forms::version(&form.fields.version)?;
    let done = if off { Flash::AgentKeyDisabled } else { Flash::AgentKeyEnabled };
    match agent_keys::set_disabled(&state.core, session.actor(), &id, Some(version), off).await {
        Ok(_) => Ok(Redirect::to(&format!("{LIST}?done={}", done.code())).into_response()),
        Err(error) if error.code == Code::VersionMismatch => changed_meanwhile(&state, &session, &id).await,
        Err(error) => show(&state, &session, &id, None, Refused::by(&session, error)?, "").await,
    }
}

/// The page, with what was typed, why it was refused, and what was done before.
pub async fn show(
    state: &State,
    session: &Session,
    id: &str,
    typed: Option<Fields>,
    mut refused: Refused,
    done: &str,
) -> Answer {
    let now = state.core.clock.now_ms();
    let standing = agent_keys::get_standing(&state.core, id).await?;
    let shown = AgentKeyRow::new(&standing, now);
    if standing.is_damaged {
        return damaged::show(session, Damaged::AgentKey, &shown.id, &shown.name, &shown.mask);
    }
    let key = standing.row;
    let limits = KeyLimits::of_column(&key.limits)?;
    let fields = typed.unwrap_or_else(|| Fields {
        name: key.name.clone(),
        description: key.description.clone(),
        tags: key.tags.trim().to_owned(),
        owner_id: key.member_id.clone(),
        version: key.version.to_string(),
        limits: Typed::of(&limits),
    });
    let secrets = agent_secrets::list(&state.core, id).await?;
    let counted = usage::of_agent_key(&state.core, id, Period::Week).await?;
    let callers = callers::of_key(&state.core, id).await?;
    let budgets = key_budgets::of_key(&state.core, id, &limits).await?;
    let (_, default) = agent_key_defaults::get(&state.core).await?;
    let owner = match roster::get(&state.core, &key.member_id).await {
        Ok(member) => member.name,
        Err(error) if error.code == Code::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    let shown = AgentKeyEditPage {
        shell: session.shell(Nav::Keys).saying(done),
        secrets: Secrets::new(&secrets, forms::nonce(&state.core)?, now),
        owner,
        unpriced: if budgets.iter().any(|spent| spent.budget.unit == Unit::CostMicros) {
            unpriced(state)
        } else {
            String::new()
        },
        budgets: budgets.into_iter().map(|spent| BudgetRow::new(spent, now)).collect(),
        charts: Charts::new(Period::Week, &counted, now),
        callers: callers.into_iter().map(|caller| CallerRow::new(caller, now)).collect(),
        key: shown,
        name: Field::new(fields.name, refused.take("name")),
        description: Field::new(fields.description, refused.take("description")),
        tags: Field::new(fields.tags, refused.take("tags")),
        owners: owners(state, session, &fields.owner_id).await?,
        owner_error: refused.take("owner_id"),
        limits: LimitFields::new(fields.limits, &default, &mut refused),
        version: fields.version,
        rights: session.rights(Things::AgentKeys),
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

/// The members that a key may be given to, with whose it is chosen.
async fn owners(state: &State, session: &Session, chosen: &str) -> Result<Vec<Choice>> {
    if session.actor().authority.reach(Permission::CreateAgentKeys) < Reach::All {
        return Ok(Vec::new());
    }
    let members = roster::active(&state.core).await?;
    let mut choices = Vec::new();
    if !members.iter().any(|member| member.id == chosen) {
        choices.push(Choice { value: String::new(), label: String::from("As it is"), selected: true });
    }
    choices.extend(members.into_iter().map(|member| Choice {
        selected: member.id == chosen,
        label: member.name,
        value: member.id,
    }));
    Ok(choices)
}

async fn show_conflict(state: &State, session: &Session, id: &str, fields: &Fields) -> Answer {
    let key = agent_keys::get(&state.core, id).await?;
    let conflict = Conflict {
        kind: "agent key",
        id,
        name: &key.name,
        version: key.version,
        saved_at: key.created_at,
        edit_href: format!("{LIST}/{id}/edit"),
        nav: Nav::Keys,
        fields: vec![
            ConflictField::new("API Key Name", &key.name, &fields.name),
            ConflictField::new("Description", &key.description, fields.description.trim()),
            ConflictField::new("Tags", key.tags.trim(), fields.tags.trim()),
            ConflictField::new("Limits", &KeyLimits::of_column(&key.limits)?.words(), &fields.limits.words()),
        ],
        typed: [
            ("name", fields.name.as_str()),
            ("description", fields.description.as_str()),
            ("tags", fields.tags.as_str()),
            ("owner_id", fields.owner_id.as_str()),
        ]
        .into_iter()
        .chain(fields.limits.fields())
        .collect(),
    };
    conflict::show(state, session, conflict).await
}
