//! The first steps of an installation: a provider's key, a model, an agent key that is called.

use store::{CatalogSort, Listing, agent_keys::AgentKeySort, general_keys::GeneralKeySort};

use super::Core;
use crate::error::Result;

/// What was done of the first steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstSteps {
    /// There is a general key.
    pub has_general_key: bool,
    /// There is a provider.
    pub has_provider: bool,
    /// A general key is linked.
    pub is_linked: bool,
    /// There is a model.
    pub has_model: bool,
    /// There is an agent key.
    pub has_agent_key: bool,
}

/// The first steps; `None` once an agent key was used.
///
/// # Errors
/// A storage failure.
pub async fn left(core: &Core) -> Result<Option<FirstSteps>> {
    let mut db = core.store.read().await?;
    if store::agent_keys::any_used(&mut db).await? {
        return Ok(None);
    }
    let any = store::agent_keys::StatusFilter { status: "", now: 0, soon: 0, member_id: "", tag: "" };
    Ok(Some(FirstSteps {
        has_general_key: store::general_keys::count(&mut db, &all(GeneralKeySort::Name), None).await? > 0,
        has_provider: store::providers::count(&mut db, &all(CatalogSort::Name)).await? > 0,
        is_linked: !store::links::all(&mut db).await?.is_empty(),
        has_model: store::models::count(&mut db, &all(CatalogSort::Name)).await? > 0,
        has_agent_key: store::agent_keys::count(&mut db, &all(AgentKeySort::Name), any).await? > 0,
    }))
}

fn all<S>(sort: S) -> Listing<S> {
    Listing { search: String::new(), sort, descending: false, after: None, limit: 1 }
}
