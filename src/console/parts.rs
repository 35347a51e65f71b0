//! What several pages are made of.

use store::general_keys::GeneralKey;

use super::moment::Moment;
use crate::domain::{
    access::Authority,
    key_health::Health,
    links::LinkedTo,
    roles::{Permission, any_of},
};

/// What a form field holds when the page is rendered, and why it was refused. Never a secret's value.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// What to show in it.
    pub value: String,
    /// A full sentence that says what to change.
    pub error: Option<String>,
}

impl Field {
    /// A field that holds `value`, refused for `error`.
    pub fn new(value: impl Into<String>, error: Option<String>) -> Field {
        Field { value: value.into(), error }
    }
}

/// An option of a select.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// What is sent.
    pub value: String,
    /// What is read.
    pub label: String,
    /// Chosen when the page is rendered.
    pub selected: bool,
}

/// A general key as named on pages other than its own: by name and mask, never by id.
#[derive(Clone, Debug, Default)]
pub struct KeyRef {
    /// `gk_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its mask, `sk-******xyz`.
    pub mask: String,
    /// What a provider answered last about it.
    pub health: KeyHealth,
}

impl KeyRef {
    /// The key as of `now`.
    pub fn new(key: &GeneralKey, now: i64) -> KeyRef {
        KeyRef {
            id: key.id.clone(),
            name: key.name.clone(),
            mask: key.masked_value.clone(),
            health: KeyHealth::new(key, now),
        }
    }
}

/// A general key linked to the thing it stands under.
#[derive(Clone, Debug, Default)]
pub struct LinkedKey {
    /// The key.
    pub key: KeyRef,
    /// Its share among several; only told where there are.
    pub weight: i64,
}

/// What a provider answered last about a general key.
#[derive(Clone, Debug, Default)]
pub struct KeyHealth {
    health: Option<Health>,
    /// When; `None` where none was asked.
    pub at: Option<Moment>,
    /// Its own words, where it refused.
    pub words: String,
}

impl KeyHealth {
    /// The key's health as of `now`.
    pub fn new(key: &GeneralKey, now: i64) -> KeyHealth {
        KeyHealth {
            health: Some(Health::of_column(&key.health)),
            at: Moment::of_column(key.health_at, now),
            words: key.health_detail.clone(),
        }
    }

    /// Whether it was accepted.
    pub fn is_accepted(&self) -> bool {
        self.health == Some(Health::Accepted)
    }

    /// Whether it was refused.
    pub fn is_refused(&self) -> bool {
        self.health == Some(Health::Refused)
    }
}

/// A general key in a picker.
#[derive(Clone, Debug, Default)]
pub struct KeyChoice {
    /// The key.
    pub key: KeyRef,
    /// Chosen when the page is rendered.
    pub selected: bool,
}

impl KeyChoice {
    /// A picker of these keys as of `now`, in which `selected` is chosen.
    pub fn of(keys: &[GeneralKey], selected: &str, now: i64) -> Vec<KeyChoice> {
        keys.iter().map(|key| KeyChoice { key: KeyRef::new(key, now), selected: key.id == selected }).collect()
    }
}

/// Which kind of thing a general key is linked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A provider, and so each of its models that has no key of its own.
    Provider,
    /// A single model.
    Model,
}

/// A provider or model that uses a general key.
#[derive(Clone, Debug)]
pub struct LinkRef {
    /// Provider or model.
    pub kind: LinkKind,
    /// `pr_…` or `mo_…`
    pub id: String,
    /// Its name.
    pub name: String,
}

impl From<LinkedTo> for LinkRef {
    fn from(link: LinkedTo) -> LinkRef {
        let kind = if link.kind == "provider" { LinkKind::Provider } else { LinkKind::Model };
        LinkRef { kind, id: link.id, name: link.name }
    }
}

/// Kinds of things that pages list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Things {
    /// General keys
    GeneralKeys,
    /// Agent keys
    AgentKeys,
    /// Providers and models
    Catalog,
    /// Members
    Members,
    /// Management tokens
    Tokens,
    /// Default limits and policies
    Policies,
    /// Webhooks
    Webhooks,
}

impl Things {
    /// What creating, editing and deleting them takes.
    fn permissions(self) -> [Permission; 3] {
        match self {
            Things::GeneralKeys => {
                [Permission::CreateGeneralKeys, Permission::EditGeneralKeys, Permission::DeleteGeneralKeys]
            }
            Things::AgentKeys => [Permission::CreateAgentKeys, Permission::EditAgentKeys, Permission::DeleteAgentKeys],
            Things::Catalog => [Permission::WriteProviders; 3],
            Things::Members => [Permission::WriteMembers; 3],
            Things::Tokens => [Permission::WriteTokens; 3],
            Things::Webhooks => [Permission::WriteWebhooks; 3],
            Things::Policies => [Permission::WritePolicies; 3],
        }
    }
}

/// What the signed-in member may do on a page; a button that they may not press says which role may.
#[derive(Clone, Debug)]
pub struct Rights {
    /// 'New …', 'Create …'
    pub create: bool,
    /// 'Edit', 'Disable', 'Enable', 'Test key'
    pub edit: bool,
    /// 'Delete'
    pub delete: bool,
    /// Which roles may what this one may not; `None` where it may everything.
    pub note: Option<String>,
}

impl Rights {
    /// What an authority lets one do to things of that kind.
    pub fn of(authority: Authority, things: Things) -> Rights {
        let permissions = things.permissions();
        let [create, edit, delete] = permissions.map(|permission| authority.may(permission));
        let missing = ["Creating", "Editing", "Deleting"].into_iter().zip(permissions);
        let missing = missing.filter(|(_, permission)| !authority.may(*permission));
        let mut by_roles: Vec<(String, Vec<&str>)> = Vec::new();
        for (verb, permission) in missing {
            let who = any_of(&permission.roles());
            match by_roles.iter_mut().find(|(known, _)| *known == who) {
                Some((_, verbs)) => verbs.push(verb),
                None => by_roles.push((who, vec![verb])),
            }
        }
        let role = authority.role().map_or("", |role| role.as_str());
        let said: Vec<String> = by_roles.iter().map(|(who, verbs)| takes(verbs, who)).collect();
        let note = (!said.is_empty()).then(|| format!("Your role is {role}. {}", said.join(" ")));
        Rights { create, edit, delete, note }
    }
}

/// 'Creating and deleting take the role owner or admin.'
fn takes(verbs: &[&str], who: &str) -> String {
    let first = verbs.first().copied().unwrap_or_default();
    match verbs.get(1..).unwrap_or_default() {
        [] => format!("{first} takes the role {who}."),
        [second] => format!("{first} and {} take the role {who}.", second.to_lowercase()),
        _ => format!("Changing anything here takes the role {who}."),
    }
}

/// A stored key would go to an origin it was not saved for (`origin_not_bound`), so its value is asked for again in
/// `general_key_value`.
#[derive(Clone, Debug, Default)]
pub struct ValueAgain {
    /// Name of the general key.
    pub key_name: String,
    /// Where it would be sent, `https://eu.api.openai.com`.
    pub origin: String,
    /// Why the value given was refused.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_may_not_says_who_may() {
        let note = |role: &str, things| Rights::of(Authority::of_member(role), things).note;
        assert_eq!(note("owner", Things::Members), None);
        let expected = "Your role is operator. Creating and deleting take the role owner or admin.";
        assert_eq!(note("operator", Things::GeneralKeys).as_deref(), Some(expected));
        let expected = "Your role is auditor. Changing anything here takes the role owner or admin.";
        assert_eq!(note("auditor", Things::Catalog).as_deref(), Some(expected));
    }
}
