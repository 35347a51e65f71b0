//! Something whose row was changed outside Keyward.

use askama::Template;
use axum::http::StatusCode;

use super::{
    Answer,
    assets::ASSET_VERSION,
    page,
    session::Session,
    shell::{Flash, Nav, Shell},
};

/// Which kind of thing is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// A general key
    GeneralKey,
    /// An agent key
    AgentKey,
    /// A provider
    Provider,
    /// A model
    Model,
    /// A policy
    Policy,
}

/// Instead of the edit page of something that fails its integrity check: what that means, and what to do. 200: the page is
/// whole, only the thing is not.
#[derive(Clone, Debug, Template)]
#[template(path = "damaged.html")]
pub struct DamagedPage {
    /// Around it.
    pub shell: Shell,
    /// What it is.
    pub what: Damaged,
    /// Its id.
    pub id: String,
    /// What the row says is its name.
    pub name: String,
    /// What the row says is its mask; empty where it has none.
    pub mask: String,
}

/// Shows it.
pub fn show(session: &Session, what: Damaged, id: &str, name: &str, mask: &str) -> Answer {
    let nav = match what {
        Damaged::GeneralKey | Damaged::AgentKey => Nav::Keys,
        Damaged::Provider | Damaged::Model => Nav::Providers,
        Damaged::Policy => Nav::Settings,
    };
    let (id, name, mask) = (id.to_owned(), name.to_owned(), mask.to_owned());
    page(StatusCode::OK, &DamagedPage { shell: session.shell(nav), what, id, name, mask })
}
