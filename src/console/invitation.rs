//! The invitation: where somebody who was invited sets a password.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::header,
    response::{AppendHeaders, IntoResponse, Redirect},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    failure::Failure,
    forms::{Form, Refused},
    page,
    parts::Field,
    session::HOME,
    setup::{password_min, shown_again, token_of},
    shell::Flash,
    sign_in::issuer_name,
};
use crate::{auth, domain::invitations, error::Code, request::From};

/// `GET /invitation`. The token is in the fragment (`/invitation#token=…`); without the script it is pasted.
/// `POST /invitation`: `token`, `password`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "invitation.html")]
pub struct InvitationPage {
    /// As it was sent, so that another try needs no new paste.
    pub token: Field,
    /// What the issuer is called that one can join with, if there is one.
    pub issuer: Option<String>,
    /// Why the password was refused.
    pub password_error: Option<String>,
    /// Fewest characters of a password.
    pub password_min: u32,
    /// What is wrong with the whole, such as storage being away.
    pub error: Option<String>,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    token: String,
    password: String,
}

/// `GET /invitation`
pub async fn form(AxumState(state): AxumState<State>) -> Answer {
    show(&state, String::new(), Refused::nothing())
}

/// `POST /invitation`
pub async fn claim(AxumState(state): AxumState<State>, From(caller): From, form: Form<Fields>) -> Answer {
    let Fields { token, password } = form.fields;
    match invitations::claim(&state.core, token_of(&token), Zeroizing::new(password), &caller).await {
        Ok(session) => {
            let cookie = auth::start_cookie(&state.web, &session);
            let home = format!("{HOME}?done={}", Flash::Joined.code());
            Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to(&home)).into_response())
        }
        Err(error) if error.code == Code::Internal => Err(Failure::from(error)),
        Err(error) => {
            error.log(&caller.request_id);
            show(&state, token, Refused::of(&error))
        }
    }
}

/// The page, with what was pasted.
pub fn show(state: &State, token: String, mut refused: Refused) -> Answer {
    let shown = InvitationPage {
        token: Field::new(shown_again(token), refused.take("token")),
        issuer: issuer_name(state),
        password_error: refused.take("password"),
        password_min: password_min(),
        error: refused.rest(),
    };
    page(refused.status, &shown)
}
