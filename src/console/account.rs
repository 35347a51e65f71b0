//! Settings → Your account: who one is here, the password, and warnings by e-mail.

use askama::Template;
use axum::{
    extract::State as AxumState,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use store::members::Member;
use zeroize::Zeroizing;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    forms::{Form, Refused},
    list::{ListParams, Params},
    members::role_words,
    moment::Moment,
    page,
    session::Session,
    setup::password_min,
    shell::{Flash, Nav, Shell},
    sign_in::issuer_name,
};
use crate::{
    domain::{identities, mail, members, new_password, roster, second_factor},
    request::From,
};

/// `GET /settings/account`. `POST` to the same: `old_password`, `password`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// Around it.
    pub shell: Shell,
    /// The member's name.
    pub name: String,
    /// What they sign in with.
    pub email: String,
    /// Their role, in words.
    pub role: String,
    /// Their second factor, if they have one.
    pub second_factor: Option<Factor>,
    /// Whether they have a password.
    pub has_password: bool,
    /// What the issuer is called that one can sign in at, if there is one.
    pub issuer: Option<String>,
    /// Since when an identity is linked, if one is.
    pub identity_since: Option<Moment>,
    /// Why the password was refused that linking takes.
    pub identity_error: Option<String>,
    /// Why the old password was refused.
    pub old_error: Option<String>,
    /// Why the new one was refused.
    pub new_error: Option<String>,
    /// Whether they are told by e-mail; `None` where there is no mail server.
    pub mail_wanted: Option<bool>,
    /// Fewest characters of a password.
    pub password_min: u32,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// A second factor that is on.
#[derive(Clone, Debug)]
pub struct Factor {
    /// Since when.
    pub since: Moment,
    /// Recovery codes that are left.
    pub codes_left: usize,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    old_password: String,
    password: String,
}

/// `GET /settings/account`
pub async fn form(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    let member = roster::get(&state.core, &session.actor().member_id).await?;
    show(&state, session.shell(Nav::Settings).saying(&params.done), member, Refused::nothing(), false).await
}

/// `POST /settings/account`
pub async fn save(
    AxumState(state): AxumState<State>,
    session: Session,
    From(caller): From,
    form: Form<Fields>,
) -> Answer {
    let Fields { old_password, password } = form.fields;
    let (old, new) = (Zeroizing::new(old_password), Zeroizing::new(password));
    match new_password::change(&state.core, session.signed_in(), old, new, &caller).await {
        Ok(()) => {
            let done = Flash::PasswordChanged.code();
            Ok(Redirect::to(&format!("/settings/account?done={done}")).into_response())
        }
        Err(error) => {
            let refused = Refused::by(&session, error)?;
            let member = roster::get(&state.core, &session.actor().member_id).await?;
            show(&state, session.shell(Nav::Settings), member, refused, false).await
        }
    }
}

/// What was chosen.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct MailFields {
    mail: String,
}

/// `POST /settings/account/mail`: `mail`, `on` or `off`.
pub async fn choose_mail(AxumState(state): AxumState<State>, session: Session, form: Form<MailFields>) -> Answer {
    mail::choose(&state.core, session.actor(), form.fields.mail != "off").await?;
    Ok(Redirect::to(&format!("/settings/account?done={}", Flash::MailChosen.code())).into_response())
}

/// The page.
pub async fn show(
    state: &State,
    shell: Shell,
    member: Member,
    mut refused: Refused,
    shows_identity_error: bool,
) -> Answer {
    let now = state.core.clock.now_ms();
    let factor = second_factor::standing(&state.core, &member).await?;
    let identity = identities::of(&state.core, &member.id).await?;
    // Of two fields for a password, the one that was sent.
    let old_error = refused.take("old_password");
    let (new_error, identity_error) = match shows_identity_error {
        true => (None, refused.take("password")),
        false => (refused.take("password"), None),
    };
    let shown = AccountPage {
        shell,
        role: role_words(&member.role),
        second_factor: factor
            .map(|factor| Factor { since: Moment::new(factor.since, now), codes_left: factor.codes_left }),
        has_password: members::has_password(&member),
        issuer: issuer_name(state),
        mail_wanted: state.core.mailer.as_ref().map(|_| mail::is_wanted(&member)),
        identity_since: identity.map(|identity| Moment::new(identity.created_at, now)),
        identity_error,
        old_error,
        new_error,
        name: member.name,
        email: member.email,
        password_min: password_min(),
        error: refused.rest(),
    };
    page(refused.status, &shown)
}
