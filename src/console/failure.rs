//! When there is no page to show: the error pages.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};

use super::{
    assets::ASSET_VERSION,
    shell::{Nav, Shell},
};
use crate::{
    domain::roles::{Role, any_of},
    error::{Code, Error},
    request,
};

/// Everything else that can go wrong, with the status of its kind.
#[derive(Clone, Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// Around it; `None` for someone who is not signed in.
    pub shell: Option<Shell>,
    /// The answer's status.
    pub status: u16,
    /// What went wrong.
    pub kind: ErrorKind,
    /// To find it in the log by.
    pub request_id: Option<String>,
}

/// What an [`ErrorPage`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400 or another status of a request that cannot be done, with what is wrong.
    BadRequest(String),
    /// 401: the session ended. Holds the path to come back to after signing in, and the form that was sent.
    SessionEnded(String, Option<Unsent>),
    /// 403: the member's role may not. Holds the roles that may, where roles decide, and what was refused.
    Forbidden(Option<String>, String),
    /// 403: the form came from another site, or no one can tell from where.
    CrossSite,
    /// 404, also for what was deleted meanwhile.
    NotFound,
    /// 421: this host name is not ours.
    WrongHost,
    /// 429: to be tried again in so many seconds.
    TooMany(u64),
    /// 500
    Unexpected,
    /// 503: a row was changed outside Keyward, and is not used; says which.
    Damaged(String),
    /// 503: the database cannot be reached.
    StorageUnavailable,
}

/// A form that came after its session ended, to be sent again once there is another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Where it went.
    pub action: String,
    /// What was typed, by field.
    pub fields: Vec<(String, String)>,
    /// The secrets among it, by field, which are to be typed again.
    pub secrets: Vec<String>,
}

/// Why there is no page. [`show`] makes an [`ErrorPage`] of it, with the shell of whoever is signed in.
#[derive(Clone)]
pub struct Failure {
    error: Arc<Error>,
    kind: ErrorKind,
}

impl Failure {
    /// There is nothing, or no longer.
    pub fn not_found() -> Failure {
        Error::new(Code::NotFound, "there is nothing here").into()
    }

    /// The session ended in the middle of something; signing in leads back to `next`.
    pub fn session_ended(next: String, unsent: Option<Unsent>) -> Failure {
        let error = Error::new(Code::Unauthenticated, "the session ended; nothing was saved; sign in again");
        Failure { error: Arc::new(error), kind: ErrorKind::SessionEnded(next, unsent) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let kind = match error.code {
            Code::Forbidden => ErrorKind::Forbidden(allowed_roles(&error), super::forms::sentence(&error.detail)),
            Code::CrossSite => ErrorKind::CrossSite,
            Code::NotFound => ErrorKind::NotFound,
            Code::WrongHost => ErrorKind::WrongHost,
            Code::TooManyAttempts => ErrorKind::TooMany(1),
            Code::Internal => ErrorKind::Unexpected,
            Code::Damaged => ErrorKind::Damaged(super::forms::sentence(&error.detail)),
            Code::StorageUnavailable => ErrorKind::StorageUnavailable,
            _ => ErrorKind::BadRequest(super::forms::sentence(&error.detail)),
        };
        Failure { error: Arc::new(error), kind }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The roles that may what was refused.
fn allowed_roles(error: &Error) -> Option<String> {
    let (_, roles) = error.extension.as_ref().filter(|(name, _)| *name == "allowed_roles")?;
    let roles: Vec<Role> = roles.as_array()?.iter().filter_map(|role| Role::parse(role.as_str()?)).collect();
    (!roles.is_empty()).then(|| any_of(&roles))
}

/// Shows failures as pages, and logs them: once, here.
pub async fn show(request: Request, next: Next) -> Response {
    let request_id = request::request_id(request.extensions());
    let mut response = next.run(request).await;
    let Some(Failure { error, kind }) = response.extensions_mut().remove::<Failure>() else { return response };
    error.log(&request_id);
    let shell = response.extensions_mut().remove::<Shell>();
    let status = response.status().as_u16();
    let page = ErrorPage { shell, status, kind, request_id: Some(request_id).filter(|id| !id.is_empty()) };
    let text = page.render().unwrap_or_else(|_| String::from("Something went wrong; see Keyward's log."));
    let mut shown = (response.status(), Html(text)).into_response();
    if matches!(error.code, Code::StorageUnavailable | Code::TooManyAttempts) {
        shown.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    shown
}
