//! Overview: what needs attention, and the last days.

use askama::Template;
use axum::{extract::State as AxumState, http::StatusCode};

use super::{
    Answer, State,
    agent_keys::edit::BudgetRow,
    assets::ASSET_VERSION,
    chart::Charts,
    list::{ListParams, Params},
    moment::Moment,
    page,
    parts::KeyRef,
    session::Session,
    shell::{Flash, Nav, Shell},
    steps::{self, Step},
};
use crate::domain::{
    attention::{self, Attention, KeyToTell},
    usage::{self, Period},
};

/// The addresses that are told of a key that is still called.
const ADDRESSES: usize = 3;

/// `GET /overview`
#[derive(Clone, Debug, Template)]
#[template(path = "overview.html")]
pub struct OverviewPage {
    /// Around it.
    pub shell: Shell,
    /// The first steps; empty once an agent key was used.
    pub steps: Vec<Step>,
    /// Agent keys in use that end soon.
    pub ending: Vec<AgentKeyTold>,
    /// Whether there are more of them.
    pub more_ending: bool,
    /// Agent keys that were reported as leaked.
    pub leaked: Vec<AgentKeyTold>,
    /// Agent keys that are over, and still called.
    pub refused: Vec<AgentKeyTold>,
    /// General keys that their provider refuses.
    pub unhealthy: Vec<KeyRef>,
    /// Budgets that are almost used up.
    pub budgets: Vec<BudgetTold>,
    /// Rows that were changed outside Keyward.
    pub damaged_rows: i64,
    /// The last days.
    pub charts: Charts,
}

impl OverviewPage {
    /// Whether something needs attention.
    fn needs_attention(&self) -> bool {
        !self.leaked.is_empty()
            || !self.budgets.is_empty()
            || !self.ending.is_empty()
            || !self.refused.is_empty()
            || !self.unhealthy.is_empty()
            || self.damaged_rows > 0
    }
}

/// A budget that is almost used up.
#[derive(Clone, Debug)]
pub struct BudgetTold {
    /// Whose: `ak_…`
    pub id: String,
    /// The key's name.
    pub name: String,
    /// The budget.
    pub row: BudgetRow,
}

/// An agent key that needs attention.
#[derive(Clone, Debug)]
pub struct AgentKeyTold {
    /// `ak_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it ends.
    pub ends: Moment,
    /// Whether it was reported as leaked.
    pub is_leaked: bool,
    /// Whether it is disabled, and not ended.
    pub is_disabled: bool,
    /// When it was last called in vain.
    pub last_refused: Moment,
    /// From where: 'a, b and 2 more'.
    pub from: String,
}

impl AgentKeyTold {
    fn new(key: KeyToTell, now: i64) -> AgentKeyTold {
        let last = key.callers.iter().map(|caller| caller.last_refused_at).max().unwrap_or(0);
        let addresses: Vec<_> = key.callers.iter().map(|caller| caller.address.as_str()).collect();
        let from = match addresses.len() {
            0..=ADDRESSES => addresses.join(", "),
            all => format!("{} and {} more", addresses[..ADDRESSES].join(", "), all - ADDRESSES),
        };
        AgentKeyTold {
            id: key.id,
            name: key.name,
            ends: Moment::new(key.expires_at, now),
            is_leaked: key.is_leaked,
            is_disabled: key.is_disabled,
            last_refused: Moment::new(last, now),
            from,
        }
    }
}

/// `GET /overview`
pub async fn show(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    let now = state.core.clock.now_ms();
    let Attention { leaked, budgets, ending, more_ending, refused, unhealthy, damaged_rows } =
        attention::of(&state.core, session.actor()).await?;
    let counted = usage::over_time(&state.core, Period::Week).await?;
    let told = |keys: Vec<KeyToTell>| keys.into_iter().map(|key| AgentKeyTold::new(key, now)).collect();
    let shown = OverviewPage {
        shell: session.shell(Nav::Overview).saying(&params.done),
        steps: steps::left(&state, &session).await?,
        ending: told(ending),
        more_ending,
        leaked: told(leaked),
        refused: told(refused),
        unhealthy: unhealthy.iter().map(|key| KeyRef::new(key, now)).collect(),
        budgets: budgets
            .into_iter()
            .map(|told| BudgetTold { id: told.id, name: told.name, row: BudgetRow::new(told.spent, now) })
            .collect(),
        damaged_rows,
        charts: Charts::new(Period::Week, &counted, now),
    };
    page(StatusCode::OK, &shown)
}
