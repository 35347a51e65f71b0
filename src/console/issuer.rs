//! Signing in at the issuer, by OpenID Connect: the way there, and back.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Answer, State, account,
    assets::ASSET_VERSION,
    failure::Failure,
    forms::{Form, Refused, sentence},
    invitation,
    list::Params,
    page,
    session::{Session, is_path_of_ours},
    setup::token_of,
    shell::{Flash, Nav},
    sign_in::or_home,
};
use crate::{
    auth::{self, Cookie},
    domain::{
        identities,
        issuer_round_trip::{self, Outward, Returned},
        roster,
    },
    error::{Code, Error},
    request::From,
};

const ACCOUNT: &str = "/settings/account";

/// A page that goes on by itself: where a redirect may not lead (from a form to another site), or would leave strict
/// cookies behind (from another site to a page of ours).
#[derive(Clone, Debug, Template)]
#[template(path = "going_on.html")]
pub struct GoingOnPage {
    /// Where to.
    pub href: String,
    /// What the issuer is called, where it is on the way to it.
    pub issuer: Option<String>,
}

/// Why nobody was signed in.
#[derive(Clone, Debug, Template)]
#[template(path = "issuer_problem.html")]
pub struct IssuerProblemPage {
    /// The answer's status.
    pub status: u16,
    /// The issuer cannot be asked; else it, or Keyward, refused.
    pub is_unavailable: bool,
    /// What happened, and what to do.
    pub detail: String,
    /// To find it in the log by.
    pub request_id: String,
}

/// Where to go on.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct OutwardParams {
    next: String,
}

/// What the issuer sends back.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ReturnParams {
    state: String,
    code: Option<String>,
    error: Option<String>,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    password: String,
    token: String,
    what: String,
}

/// `GET /sign-in/oidc?next=/path`: to the issuer. Changes nothing here.
pub async fn outward(
    AxumState(state): AxumState<State>,
    From(caller): From,
    Params(params): Params<OutwardParams>,
) -> Answer {
    let next = Some(params.next).filter(|next| is_path_of_ours(next)).unwrap_or_default();
    match issuer_round_trip::sign_in(&state.core, &next).await {
        Ok(Outward { url, sealed }) => {
            let cookie = auth::set_cookie(&state.web, Cookie::RoundTrip, &sealed);
            Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to(&url)).into_response())
        }
        Err(error) => problem(error, &caller.request_id),
    }
}

/// `GET /sign-in/oidc/callback?state=&code=`: back from the issuer.
pub async fn returned(
    AxumState(state): AxumState<State>,
    From(caller): From,
    Params(params): Params<ReturnParams>,
    headers: HeaderMap,
) -> Answer {
    let sealed = auth::cookie_value(&state.web, &headers, Cookie::RoundTrip);
    let answer = match (params.error, params.code) {
        (None, Some(code)) => Ok(code),
        (error, _) => Err(error.unwrap_or_else(|| String::from("no code came back"))),
    };
    let returned = issuer_round_trip::returned(&state.core, sealed, &params.state, answer, &caller).await;
    let ended = auth::unset_cookie(&state.web, Cookie::RoundTrip);
    let (cookies, href) = match returned {
        Ok(Returned::SignedIn(session, next)) => {
            (vec![auth::start_cookie(&state.web, &session), ended], or_home(&next).to_owned())
        }
        Ok(Returned::Linked) => (vec![ended], format!("{ACCOUNT}?done={}", Flash::IdentityLinked.code())),
        Err(error) => return problem(error, &caller.request_id),
    };
    let shown = page(StatusCode::OK, &GoingOnPage { href, issuer: None })?;
    Ok(with_cookies(shown, cookies))
}

/// `POST /settings/account/identity`: `password`, and `what`, which is `link` or `unlink`.
pub async fn change(
    AxumState(state): AxumState<State>,
    session: Session,
    From(caller): From,
    form: Form<Fields>,
) -> Answer {
    let Fields { password, what, .. } = form.fields;
    let (signed_in, password) = (session.signed_in(), Zeroizing::new(password));
    let refused = if what == "unlink" {
        match identities::unlink(&state.core, signed_in, password, &caller).await {
            Ok(()) => {
                return Ok(Redirect::to(&format!("{ACCOUNT}?done={}", Flash::IdentityUnlinked.code())).into_response());
            }
            Err(error) => error,
        }
    } else {
        match issuer_round_trip::link(&state.core, signed_in, password, &caller).await {
            Ok(outward) => return to_issuer(&state, outward),
            Err(error) => error,
        }
    };
    let refused = Refused::by(&session, refused)?;
    let member = roster::get(&state.core, &session.actor().member_id).await?;
    account::show(&state, session.shell(Nav::Settings), member, refused, true).await
}

/// `POST /invitation/identity`: `token`.
pub async fn join(AxumState(state): AxumState<State>, From(caller): From, form: Form<Fields>) -> Answer {
    let token = form.fields.token;
    match issuer_round_trip::join(&state.core, token_of(&token)).await {
        Ok(outward) => to_issuer(&state, outward),
        Err(error) if error.code == Code::ValidationFailed => {
            error.log(&caller.request_id);
            invitation::show(&state, token, Refused::of(&error))
        }
        Err(error) => problem(error, &caller.request_id),
    }
}

/// On to the issuer by a page: from a form, a redirect to another site is forbidden.
fn to_issuer(state: &State, outward: Outward) -> Answer {
    let Outward { url, sealed } = outward;
    let issuer = state.core.issuer.as_ref().map(|issuer| issuer.name().to_owned());
    let shown = page(StatusCode::OK, &GoingOnPage { href: url, issuer })?;
    Ok(with_cookies(shown, vec![auth::set_cookie(&state.web, Cookie::RoundTrip, &sealed)]))
}

fn with_cookies(shown: Response, cookies: Vec<String>) -> Response {
    let cookies: Vec<_> = cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)).collect();
    (AppendHeaders(cookies), shown).into_response()
}

/// The page that says why nobody was signed in.
fn problem(error: Error, request_id: &str) -> Answer {
    let is_about_it = matches!(
        error.code,
        Code::IdentityRefused
            | Code::IssuerUnavailable
            | Code::InvalidBody
            | Code::NameTaken
            | Code::Unauthenticated
            | Code::ValidationFailed
    );
    if !is_about_it {
        return Err(Failure::from(error));
    }
    error.log(request_id);
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let shown = IssuerProblemPage {
        status: status.as_u16(),
        is_unavailable: error.code == Code::IssuerUnavailable,
        detail: sentence(&error.detail),
        request_id: request_id.to_owned(),
    };
    page(status, &shown)
}
