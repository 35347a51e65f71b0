//! The first run: the setup link leads here.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::{StatusCode, header},
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
    shell::Flash,
};
use crate::{
    auth,
    domain::{
        first_run::{self, Owner},
        members::MIN_PASSWORD,
    },
    error::Code,
    request::From,
};

/// `GET /setup`, while no member exists. The one-time token is in the fragment (`/setup#token=…`, or the bare token); without
/// the script it is pasted. `POST /setup`: `token`, `name`, `email`, `password`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "setup.html")]
pub struct SetupPage {
    /// As it was sent, so that another try needs no new paste.
    pub token: Field,
    /// The first member's name.
    pub name: Field,
    /// Their e-mail.
    pub email: Field,
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
    name: String,
    email: String,
    password: String,
}

/// `GET /setup`
pub async fn form(AxumState(state): AxumState<State>) -> Answer {
    if !first_run::is_open(&state.core).await? {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    page(StatusCode::OK, &SetupPage { password_min: password_min(), ..SetupPage::default() })
}

/// `POST /setup`
pub async fn claim(AxumState(state): AxumState<State>, From(caller): From, form: Form<Fields>) -> Answer {
    let Fields { token, name, email, password } = form.fields;
    if !first_run::is_open(&state.core).await? {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    let owner = Owner { name: name.clone(), email: email.clone(), password: Zeroizing::new(password) };
    match first_run::claim(&state.core, token_of(&token), owner, &caller).await {
        Ok(session) => {
            let cookie = auth::start_cookie(&state.web, &session);
            let home = format!("/keys/general?done={}", Flash::Welcome.code());
            Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to(&home)).into_response())
        }
        // Somebody was first; perhaps the same person, who pressed the button twice.
        Err(error) if error.code == Code::Forbidden => Ok(Redirect::to("/sign-in").into_response()),
        Err(error) if error.code == Code::Internal => Err(Failure::from(error)),
        Err(error) => {
            error.log(&caller.request_id);
            let mut refused = Refused::of(&error);
            let shown = SetupPage {
                token: Field::new(shown_again(token), refused.take("token")),
                name: Field::new(name, refused.take("name")),
                email: Field::new(email, refused.take("email")),
                password_error: refused.take("password"),
                password_min: password_min(),
                error: refused.rest(),
            };
            page(refused.status, &shown)
        }
    }
}

/// What was pasted, as the page shows it again: nothing where it holds one of Keyward's keys, which have no place there.
pub fn shown_again(pasted: String) -> String {
    if vault::contains_token(pasted.as_bytes()) { String::new() } else { pasted }
}

/// The token of what was pasted: the setup link or the invitation, `#token=…`, `token=…`, or the token itself.
pub fn token_of(pasted: &str) -> &str {
    let fragment = pasted.rsplit_once('#').map_or(pasted, |(_, fragment)| fragment).trim();
    fragment.strip_prefix("token=").unwrap_or(fragment)
}

/// The fewest characters of a password.
pub fn password_min() -> u32 {
    u32::try_from(MIN_PASSWORD).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_token_is_taken_however_it_was_copied() {
        for pasted in
            ["abc-_1", " token=abc-_1\n", "#token=abc-_1", "https://keys.example.com/setup#token=abc-_1 ", "#abc-_1"]
        {
            assert_eq!(token_of(pasted), "abc-_1", "{pasted}");
        }
        assert_eq!(token_of(""), "");
    }
}
