//! Who is signed in.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, Request, State as AxumState},
    http::{Extensions, HeaderMap, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use url::Url;

use super::{
    State, access,
    failure::{Failure, Unsent},
    forms,
    list::href,
    parts::{Rights, Things},
    shell::{Nav, Shell},
};
use crate::{
    auth,
    domain::{actor::Actor, first_run, sessions::SignedIn},
    error::{Code, Error},
    request,
};

/// Where whoever signs in goes, unless they came from elsewhere.
pub const HOME: &str = "/keys/general";

/// The session of a page's reader, put there by [`require`].
#[derive(Clone)]
pub struct Session(Arc<SignedIn>);

impl Session {
    /// The member, as the audit log remembers them.
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }

    /// The shell of a page under `current`.
    pub fn shell(&self, current: Nav) -> Shell {
        Shell::new(self, current)
    }

    /// Who is signed in, and in which session.
    pub fn signed_in(&self) -> &SignedIn {
        &self.0
    }

    /// What the member may do to things of that kind.
    pub fn rights(&self, things: Things) -> Rights {
        Rights::of(self.actor().authority, things)
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Session, Failure> {
        let session = parts.extensions.get::<Session>().cloned();
        session.ok_or_else(|| Error::new(Code::Internal, "a page is not behind the session's check").into())
    }
}

/// Lets members through. Others are led to sign in and back: from a page by a redirect, from a form by a page that
/// says that nothing was saved.
pub async fn require(AxumState(state): AxumState<State>, request: Request, next: Next) -> Response {
    let caller = request::caller(request.extensions());
    match auth::session(&state.core, &state.web, request.headers(), &caller).await {
        Ok(Some(signed_in)) => {
            let session = Session(Arc::new(signed_in));
            let shell = session.shell(Nav::None);
            let (mut parts, body) = request.into_parts();
            let mut response = match access::check(&state, &session, &mut parts).await {
                Ok(None) => {
                    parts.extensions.insert(session);
                    next.run(Request::from_parts(parts, body)).await
                }
                Ok(Some(elsewhere)) => elsewhere.into_response(),
                Err(failure) => failure.into_response(),
            };
            note_shell(response.extensions_mut(), shell);
            response
        }
        Ok(None) => {
            let (parts, body) = request.into_parts();
            to_sign_in(&state, &parts, body).await.unwrap_or_else(Failure::into_response)
        }
        Err(error) => Failure::from(error).into_response(),
    }
}

/// For an error page, which then stands in the reader's shell.
fn note_shell(extensions: &mut Extensions, shell: Shell) {
    if extensions.get::<Failure>().is_some() {
        extensions.insert(shell);
    }
}

async fn to_sign_in(state: &State, request: &Parts, body: Body) -> Result<Response, Failure> {
    if !request.method.is_safe() {
        let fields = forms::fields(&request.headers, body).await;
        let unsent = fields.and_then(|fields| unsent(request.uri.path(), fields));
        return Err(Failure::session_ended(page_of(&request.headers, request.uri.path()), unsent));
    }
    if first_run::is_open(&state.core).await? {
        return Ok(Redirect::to("/setup").into_response());
    }
    let here = request.uri.path_and_query().map_or(HOME, |here| here.as_str());
    Ok(Redirect::to(&href("/sign-in", &[("next", here)])).into_response())
}

/// A form to be sent again, from a page of ours as everything that gets here. Without what is as secret as a password: those
/// forms are begun anew.
fn unsent(path: &str, fields: Vec<(String, String)>) -> Option<Unsent> {
    let mut unsent = Unsent { action: path.to_owned(), ..Unsent::default() };
    for (name, value) in fields {
        match name.as_str() {
            "text" | "entries" | "code" | "token" => return None,
            _ if name.contains("password") => return None,
            "value" | "general_key_value" if value.is_empty() => unsent.fields.push((name, value)),
            "value" | "general_key_value" => unsent.secrets.push(name),
            _ => unsent.fields.push((name, value)),
        }
    }
    Some(unsent)
}

/// The page a form stood on: browsers name it, since our referrer policy lets them; else the form's own address, where
/// that is a page as well.
fn page_of(headers: &HeaderMap, path: &str) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let referer = text(header::REFERER).and_then(|referer| Url::parse(referer).ok());
    if let (Some(referer), Some(host)) = (referer, text(header::HOST)) {
        let authority = referer.as_str().split('/').nth(2).unwrap_or_default();
        let page = &referer[url::Position::BeforePath..url::Position::AfterQuery];
        if authority.eq_ignore_ascii_case(host) && is_path_of_ours(page) {
            return page.to_owned();
        }
    }
    let is_page = ["/new", "/edit", "/delete"].iter().any(|end| path.ends_with(end));
    if is_page { path.to_owned() } else { HOME.to_owned() }
}

/// Whether a text is a path of this console, and nothing that a browser takes for another site's address.
pub fn is_path_of_ours(text: &str) -> bool {
    let plain = text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    plain && text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/sign-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for good in ["/", "/keys/agent?search=a%20b&sort=-name", "/catalog/models/md_1/edit"] {
            assert!(is_path_of_ours(good), "{good}");
        }
        for bad in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\tb", "/ä", "evil", "/sign-out"]
        {
            assert!(!is_path_of_ours(bad), "{bad}");
        }
    }
}
