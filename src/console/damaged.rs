//! A key whose row was changed outside Keyward.

use askama::Template;
use axum::http::StatusCode;

use super::{
    Answer,
    assets::ASSET_VERSION,
    page,
    session::Session,
    shell::{Flash, Nav, Shell},
};

/// Instead of the edit page of a key that fails its integrity check: what that means, and what to do. 200: the page is
/// whole, only the key is not.
#[derive(Clone, Debug, Template)]
#[template(path = "damaged.html")]
pub struct DamagedPage {
    /// Around it.
    pub shell: Shell,
    /// `/keys/general` or `/keys/agent`.
    pub list_href: &'static str,
    /// Its id.
    pub id: String,
    /// What the row says is its name.
    pub name: String,
    /// What the row says is its mask.
    pub mask: String,
}

/// Shows it.
pub fn show(session: &Session, list_href: &'static str, id: &str, name: &str, mask: &str) -> Answer {
    let (id, name, mask) = (id.to_owned(), name.to_owned(), mask.to_owned());
    page(StatusCode::OK, &DamagedPage { shell: session.shell(Nav::Keys), list_href, id, name, mask })
}
