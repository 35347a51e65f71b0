//! Signing in, the second step: the code.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    failure::Failure,
    forms::Form,
    list::{Params, href},
    page,
    session::is_path_of_ours,
    sign_in::or_home,
};
use crate::{
    auth::{self, Cookie},
    domain::second_step::{self, SecondStep},
    error::Code,
    request::From,
};

/// `GET /sign-in/code?next=/path`, after the password. `POST` to the same: `code`, `next`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "sign_in_code.html")]
pub struct SignInCodePage {
    /// A path of this console to go to afterwards, checked by the handler; may be empty.
    pub next: String,
    /// Said above the form.
    pub notice: Option<CodeNotice>,
}

/// Why the code is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeNotice {
    /// Not a code that is good now.
    Refused,
    /// Too many tries; to be tried again in so many seconds.
    Wait(u64),
    /// The database is away: nothing is known about the code.
    Unavailable,
}

/// Where to go on.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct CodeParams {
    next: String,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    code: String,
    next: String,
}

/// `GET /sign-in/code`
pub async fn form(
    AxumState(state): AxumState<State>,
    Params(params): Params<CodeParams>,
    headers: HeaderMap,
) -> Answer {
    let next = Some(params.next).filter(|next| is_path_of_ours(next)).unwrap_or_default();
    let is_open = match auth::cookie_value(&state.web, &headers, Cookie::SecondStep) {
        Some(token) => second_step::is_open(&state.core, token).await?,
        None => false,
    };
    if !is_open {
        return Ok(Redirect::to(&href("/sign-in", &[("next", &next)])).into_response());
    }
    page(StatusCode::OK, &SignInCodePage { next, notice: None })
}

/// `POST /sign-in/code`
pub async fn take(
    AxumState(state): AxumState<State>,
    From(caller): From,
    headers: HeaderMap,
    form: Form<Fields>,
) -> Answer {
    let Fields { code, next } = form.fields;
    let next = Some(next).filter(|next| is_path_of_ours(next)).unwrap_or_default();
    let Some(token) = auth::cookie_value(&state.web, &headers, Cookie::SecondStep) else {
        return Ok(start_again(&state, &next));
    };
    let (status, notice) = match second_step::take(&state.core, token, &code, &caller).await {
        Ok(SecondStep::Done(session)) => {
            let cookies = [auth::start_cookie(&state.web, &session), ended(&state)];
            let cookies = AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie)));
            return Ok((cookies, Redirect::to(or_home(&next))).into_response());
        }
        Ok(SecondStep::StartAgain) => return Ok(start_again(&state, &next)),
        Ok(SecondStep::Refused) => (StatusCode::UNAUTHORIZED, CodeNotice::Refused),
        Ok(SecondStep::Wait(seconds)) => (StatusCode::TOO_MANY_REQUESTS, CodeNotice::Wait(seconds)),
        Err(error) if error.code == Code::StorageUnavailable => {
            error.log(&caller.request_id);
            (StatusCode::SERVICE_UNAVAILABLE, CodeNotice::Unavailable)
        }
        Err(error) => return Err(Failure::from(error)),
    };
    let mut shown = page(status, &SignInCodePage { next, notice: Some(notice) })?;
    if let CodeNotice::Wait(seconds) = notice {
        shown.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(shown)
}

fn ended(state: &State) -> String {
    auth::unset_cookie(&state.web, Cookie::SecondStep)
}

fn start_again(state: &State, next: &str) -> Response {
    let to = Redirect::to(&href("/sign-in", &[("next", next), ("done", "start-again")]));
    (AppendHeaders([(header::SET_COOKIE, ended(state))]), to).into_response()
}
