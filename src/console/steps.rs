//! The three first steps, ticked as the server sees them happen.

use super::{State, failure::Failure, session::Session};
use crate::domain::{
    first_steps::{self, FirstSteps},
    roles::Permission,
};

/// A first step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What to do.
    pub label: &'static str,
    /// It is done.
    pub is_done: bool,
    /// Where it goes on.
    pub href: &'static str,
    /// What to do there.
    pub action: &'static str,
}

/// The steps, while there is one left, for those who may take them.
///
/// # Errors
/// A storage failure.
pub async fn left(state: &State, session: &Session) -> Result<Vec<Step>, Failure> {
    if !session.actor().authority.may(Permission::WriteProviders) {
        return Ok(Vec::new());
    }
    Ok(first_steps::left(&state.core).await?.map(steps).unwrap_or_default())
}

/// The steps, in their order.
fn steps(of: FirstSteps) -> Vec<Step> {
    let (href, action) = match of {
        FirstSteps { has_general_key: false, .. } => ("/keys/general/new", "Add a key"),
        FirstSteps { has_provider: false, .. } => ("/catalog/providers/new", "Add a provider and link the key"),
        _ => ("/catalog", "Link the key to a provider"),
    };
    let key = Step { label: "Add a provider’s key and link it", is_done: of.is_linked, href, action };
    let model =
        Step { label: "Add a model", is_done: of.has_model, href: "/catalog/models/new", action: "Add a model" };
    let (href, action) = match of.has_agent_key {
        false => ("/keys/agent/new", "Create an agent key"),
        true => ("/keys/agent", "Waiting for the first call"),
    };
    let agent = Step { label: "Create an agent key and call it", is_done: false, href, action };
    vec![key, model, agent]
}

/// The first step that is not done.
pub fn next(steps: &[Step]) -> Option<Step> {
    steps.iter().find(|step| !step.is_done).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_leads_to_what_is_missing() {
        let nothing = FirstSteps {
            has_general_key: false,
            has_provider: false,
            is_linked: false,
            has_model: false,
            has_agent_key: false,
        };
        let next_of = |of: FirstSteps| next(&steps(of)).map(|step| step.href);
        assert_eq!(next_of(nothing), Some("/keys/general/new"));
        let key = FirstSteps { has_general_key: true, ..nothing };
        assert_eq!(next_of(key), Some("/catalog/providers/new"));
        let linked = FirstSteps { has_provider: true, is_linked: true, ..key };
        assert_eq!(next_of(linked), Some("/catalog/models/new"));
        let model = FirstSteps { has_model: true, ..linked };
        assert_eq!(next_of(model), Some("/keys/agent/new"));
        assert_eq!(next_of(FirstSteps { has_agent_key: true, ..model }), Some("/keys/agent"));
    }
}
