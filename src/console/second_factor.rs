//! Settings → Your account → Second factor: set it up, make new recovery codes, turn it off.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use store::members::Member;
use zeroize::Zeroizing;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    forms::{Form, Refused},
    moment::Moment,
    page, qr,
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::{
    domain::{
        enrolment, roster,
        second_factor::{self, RECOVERY_CODES, RecoveryCodes},
    },
    request::From,
};

const ACCOUNT: &str = "/settings/account";

/// `GET /settings/account/second-factor`, while there is none. `POST` to the same: `sealed`, `password`, `code`.
#[derive(Template)]
#[template(path = "second_factor_new.html")]
pub struct NewSecondFactorPage {
    /// Around it.
    pub shell: Shell,
    /// Nobody may do anything here before they have one.
    pub is_required: bool,
    /// The secret as an outline of dark squares, side by side.
    pub qr: qr::Outline,
    /// The secret as an address for the app on this very device.
    pub uri: Zeroizing<String>,
    /// The secret as text, in groups of four.
    pub secret: Zeroizing<String>,
    /// The secret, sealed, for the form.
    pub sealed: String,
    /// Why the password was refused.
    pub password_error: Option<String>,
    /// Why the code was refused.
    pub code_error: Option<String>,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// `GET /settings/account/second-factor`, where there is one. `POST …/codes` and `POST …/off`: `password`, `code`.
#[derive(Template)]
#[template(path = "second_factor.html")]
pub struct SecondFactorPage {
    /// Around it.
    pub shell: Shell,
    /// Since when.
    pub since: Moment,
    /// Recovery codes that are left.
    pub codes_left: usize,
    /// Recovery codes that one gets.
    pub codes_of: usize,
    /// Why the password was refused.
    pub password_error: Option<String>,
    /// Why the code was refused.
    pub code_error: Option<String>,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// The answer, `no-store`, to what made recovery codes: the one time they are seen.
#[derive(Template)]
#[template(path = "recovery_codes.html")]
pub struct RecoveryCodesPage {
    /// Around it.
    pub shell: Shell,
    /// The codes.
    pub codes: RecoveryCodes,
    /// The second factor was turned on just now.
    pub is_new: bool,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    sealed: String,
    password: String,
    code: String,
    what: String,
}

/// `GET /settings/account/second-factor`
pub async fn form(AxumState(state): AxumState<State>, session: Session) -> Answer {
    show(&state, &session, "", Refused::nothing()).await
}

/// `POST /settings/account/second-factor`
pub async fn confirm(
    AxumState(state): AxumState<State>,
    session: Session,
    From(caller): From,
    form: Form<Fields>,
) -> Answer {
    let Fields { sealed, password, code, .. } = form.fields;
    let (core, signed_in) = (&state.core, session.signed_in());
    match enrolment::confirm(core, signed_in, &sealed, Zeroizing::new(password), &code, &caller).await {
        Ok(codes) => show_codes(&session, codes, true),
        Err(error) => show(&state, &session, &sealed, Refused::by(&session, error)?).await,
    }
}

/// `POST /settings/account/second-factor/change`: `password`, `code`, and `what`, which is `codes` or `off`.
pub async fn change(
    AxumState(state): AxumState<State>,
    session: Session,
    From(caller): From,
    form: Form<Fields>,
) -> Answer {
    let Fields { password, code, what, .. } = form.fields;
    let (core, signed_in, password) = (&state.core, session.signed_in(), Zeroizing::new(password));
    if what == "off" {
        return match second_factor::turn_off(core, signed_in, password, &code, &caller).await {
            Ok(()) => Ok(Redirect::to(&format!("{ACCOUNT}?done={}", Flash::SecondFactorOff.code())).into_response()),
            Err(error) => show(&state, &session, "", Refused::by(&session, error)?).await,
        };
    }
    match second_factor::new_codes(core, signed_in, password, &code, &caller).await {
        Ok(codes) => show_codes(&session, codes, false),
        Err(error) => show(&state, &session, "", Refused::by(&session, error)?).await,
    }
}

async fn show(state: &State, session: &Session, sealed: &str, refused: Refused) -> Answer {
    let member = roster::get(&state.core, &session.actor().member_id).await?;
    match second_factor::standing(&state.core, &member).await? {
        Some(standing) => show_standing(state, session, &standing, refused),
        None => show_new(state, session, &member, sealed, refused),
    }
}

fn show_standing(state: &State, session: &Session, standing: &second_factor::Standing, mut refused: Refused) -> Answer {
    let shown = SecondFactorPage {
        shell: session.shell(Nav::Settings),
        since: Moment::new(standing.since, state.core.clock.now_ms()),
        codes_left: standing.codes_left,
        codes_of: RECOVERY_CODES,
        password_error: refused.take("password"),
        code_error: refused.take("code"),
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

fn show_new(state: &State, session: &Session, member: &Member, sealed: &str, mut refused: Refused) -> Answer {
    let enrolment = enrolment::again(&state.core, session.signed_in(), member, sealed)?;
    let shown = NewSecondFactorPage {
        shell: session.shell(Nav::Settings),
        is_required: state.core.require_second_factor,
        qr: qr::outline(&enrolment.uri)?,
        secret: in_groups(&enrolment.secret),
        uri: enrolment.uri,
        sealed: enrolment.sealed,
        password_error: refused.take("password"),
        code_error: refused.take("code"),
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

fn show_codes(session: &Session, codes: RecoveryCodes, is_new: bool) -> Answer {
    page(StatusCode::OK, &RecoveryCodesPage { shell: session.shell(Nav::Settings), codes, is_new })
}

/// Text in groups of four, which is easier to type.
fn in_groups(text: &str) -> Zeroizing<String> {
    let mut grouped = Zeroizing::new(String::with_capacity(text.len() + text.len() / 4));
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            grouped.push(' ');
        }
        grouped.push(letter);
    }
    grouped
}
