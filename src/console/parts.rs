//! What several pages are made of.

use store::general_keys::GeneralKey;

use crate::domain::links::LinkedTo;

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
}

impl From<&GeneralKey> for KeyRef {
    fn from(key: &GeneralKey) -> KeyRef {
        KeyRef { id: key.id.clone(), name: key.name.clone(), mask: key.masked_value.clone() }
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
    /// A picker of these keys in which `selected` is chosen.
    pub fn of(keys: &[GeneralKey], selected: &str) -> Vec<KeyChoice> {
        keys.iter().map(|key| KeyChoice { key: key.into(), selected: key.id == selected }).collect()
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

/// What the signed-in member may do on a page; what they may not is not offered.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    /// 'New …', 'Create …'
    pub create: bool,
    /// 'Edit', 'Disable', 'Enable', 'Test key'
    pub edit: bool,
    /// 'Delete'
    pub delete: bool,
}

impl Rights {
    /// An owner's or admin's.
    pub const ALL: Self = Self { create: true, edit: true, delete: true };
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
