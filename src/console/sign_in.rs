//! Signing in and out.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    failure::Failure,
    forms::Form,
    list::{Params, href},
    page,
    session::{HOME, is_path_of_ours},
};
use crate::{
    auth::{self, Cookie},
    domain::{
        first_run,
        sessions::{self, SignIn},
    },
    error::Code,
    request::From,
};

/// `GET /sign-in?next=/path`. `POST /sign-in`: `email`, `password`, `next`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    /// As it was typed.
    pub email: String,
    /// A path of this console to go to afterwards, checked by the handler; may be empty.
    pub next: String,
    /// What the issuer is called that one can sign in at, if there is one.
    pub issuer: Option<String>,
    /// Said above the form.
    pub notice: Option<SignInNotice>,
}

/// Why the sign-in page is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInNotice {
    /// Wrong e-mail or password, and not which of them.
    Refused,
    /// Too many tries; to be tried again in so many seconds.
    Wait(u64),
    /// The session ended while the page stood open.
    SessionEnded,
    /// Signed out.
    SignedOut,
    /// The second step took too long, or too many codes were tried.
    StartAgain,
    /// The database is away: nothing is known about the password.
    Unavailable,
}

/// Where to go on, and why the page is shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SignInParams {
    next: String,
    done: String,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    email: String,
    password: String,
    next: String,
}

/// `GET /sign-in`
pub async fn form(
    AxumState(state): AxumState<State>,
    From(caller): From,
    Params(params): Params<SignInParams>,
    headers: HeaderMap,
) -> Answer {
    if auth::session(&state.core, &state.web, &headers, &caller).await?.is_some() {
        return Ok(Redirect::to(or_home(&params.next)).into_response());
    }
    if first_run::is_open(&state.core).await? {
        return Ok(Redirect::to("/setup").into_response());
    }
    let notice = match params.done.as_str() {
        "signed-out" => Some(SignInNotice::SignedOut),
        "start-again" => Some(SignInNotice::StartAgain),
        // A browser that still sends a token had a session.
        _ => auth::session_token(&state.web, &headers).map(|_| SignInNotice::SessionEnded),
    };
    let next = Some(params.next).filter(|next| is_path_of_ours(next)).unwrap_or_default();
    page(StatusCode::OK, &SignInPage { email: String::new(), next, issuer: issuer_name(&state), notice })
}

/// `POST /sign-in`
pub async fn sign_in(AxumState(state): AxumState<State>, From(caller): From, form: Form<Fields>) -> Answer {
    let Fields { email, password, next } = form.fields;
    let (status, notice) = match sessions::sign_in(&state.core, &email, Zeroizing::new(password), &caller).await {
        Ok(SignIn::Done(token)) => {
            let cookie = auth::start_cookie(&state.web, &token);
            let to = Redirect::to(or_home(&next));
            return Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), to).into_response());
        }
        Ok(SignIn::Code(token)) => {
            let cookie = auth::set_cookie(&state.web, Cookie::SecondStep, &token);
            let next = Some(next.as_str()).filter(|next| is_path_of_ours(next)).unwrap_or_default();
            let to = Redirect::to(&href("/sign-in/code", &[("next", next)]));
            return Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), to).into_response());
        }
        Ok(SignIn::Refused) => (StatusCode::UNAUTHORIZED, SignInNotice::Refused),
        Ok(SignIn::Wait(seconds)) => (StatusCode::TOO_MANY_REQUESTS, SignInNotice::Wait(seconds)),
        Err(error) if error.code == Code::TooManyAttempts => (StatusCode::TOO_MANY_REQUESTS, SignInNotice::Wait(1)),
        Err(error) if error.code == Code::StorageUnavailable => {
            error.log(&caller.request_id);
            (StatusCode::SERVICE_UNAVAILABLE, SignInNotice::Unavailable)
        }
        Err(error) => return Err(Failure::from(error)),
    };
    let next = Some(next).filter(|next| is_path_of_ours(next)).unwrap_or_default();
    let mut shown = page(status, &SignInPage { email, next, issuer: issuer_name(&state), notice: Some(notice) })?;
    if let SignInNotice::Wait(seconds) = notice {
        shown.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(shown)
}

/// `POST /sign-out`
pub async fn sign_out(AxumState(state): AxumState<State>, From(caller): From, headers: HeaderMap) -> Answer {
    if let Some(signed_in) = auth::session(&state.core, &state.web, &headers, &caller).await? {
        sessions::sign_out(&state.core, &signed_in).await?;
    }
    let cookie = auth::end_cookie(&state.web);
    let to = Redirect::to("/sign-in?done=signed-out");
    let response: Response = (AppendHeaders([(header::SET_COOKIE, cookie)]), to).into_response();
    Ok(response)
}

/// What the issuer is called, if there is one.
pub fn issuer_name(state: &State) -> Option<String> {
    state.core.issuer.as_ref().map(|issuer| issuer.name().to_owned())
}

/// The path to go on to after signing in.
pub fn or_home(next: &str) -> &str {
    if is_path_of_ours(next) { next } else { HOME }
}
