//! The way to the issuer and back. What belongs to it travels in a cookie of that browser, sealed for its state, so that
//! nothing is stored for those who never come back, and nobody else's answer fits.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use store::Write;
use vault::{OneTimeToken, Place};
use zeroize::Zeroizing;

use super::{
    Core, identities,
    issuer::{Issuer, Proofs},
    new_password, roster,
    sessions::{Caller, SignedIn},
};
use crate::error::{Code, Error, Result};

/// How long the round trip may take, in milliseconds.
pub const MAX_AGE_MS: i64 = 10 * 60_000;

/// A member who is about to be sent to the issuer.
pub struct Outward {
    /// Where to.
    pub url: String,
    /// For the browser's cookie.
    pub sealed: String,
}

/// What came of a round trip.
pub enum Returned {
    /// Somebody is signed in: the session's token, and where they wanted to go.
    SignedIn(Zeroizing<String>, String),
    /// A member has this identity from now on.
    Linked,
}

/// What it is for.
#[derive(Serialize, Deserialize)]
enum Purpose {
    /// To sign in, and go on to that path.
    SignIn { next: String },
    /// To link the identity to the member of this session.
    Link { session_id: String, member_id: String },
    /// To accept an invitation.
    Join { token: String },
}

#[derive(Serialize, Deserialize)]
struct Trip {
    proofs: Proofs,
    ends_at: i64,
    purpose: Purpose,
}

/// Sends somebody to the issuer to sign in.
///
/// # Errors
/// [`Code::NotFound`] where no issuer is set; [`Code::IssuerUnavailable`].
pub async fn sign_in(core: &Core, next: &str) -> Result<Outward> {
    begin(core, Purpose::SignIn { next: next.to_owned() }).await
}

/// Sends a member to the issuer to link an identity, which takes their password.
///
/// # Errors
/// A refused `password`; [`Code::TooManyAttempts`]; [`Code::NotFound`]; [`Code::IssuerUnavailable`]; a storage failure.
pub async fn link(core: &Core, signed_in: &SignedIn, password: Zeroizing<String>, caller: &Caller) -> Result<Outward> {
    let member = roster::get(core, &signed_in.actor.member_id).await?;
    new_password::prove(core, &member, "password", password, caller).await?;
    begin(core, Purpose::Link { session_id: signed_in.session_id.clone(), member_id: member.id }).await
}

/// Sends somebody who was invited to the issuer, to join with what it says of them instead of a password.
///
/// # Errors
/// A refused `token`; [`Code::NotFound`]; [`Code::IssuerUnavailable`]; a storage failure.
pub async fn join(core: &Core, token: &str) -> Result<Outward> {
    super::invitations::check(core, token).await?;
    begin(core, Purpose::Join { token: token.to_owned() }).await
}

/// Takes up what came back: `sealed` from the cookie, `state` and `code` from the address, or the issuer's `error` in
/// place of the code.
///
/// # Errors
/// [`Code::InvalidBody`] where it was not begun in this browser, took too long, or came back before;
/// [`Code::IdentityRefused`]; [`Code::IssuerUnavailable`]; what [`identities`] refuses; a storage failure.
pub async fn returned(
    core: &Core,
    sealed: Option<&str>,
    state: &str,
    answer: std::result::Result<String, String>,
    caller: &Caller,
) -> Result<Returned> {
    let issuer = issuer(core)?;
    let trip = sealed.and_then(|sealed| opened(core, sealed, state)).ok_or_else(|| not_begun_here(issuer))?;
    let code = answer.map_err(|error| {
        let error: String = error.chars().filter(|letter| letter.is_ascii_graphic()).take(64).collect();
        Error::new(Code::IdentityRefused, format!("{} refused this sign-in: {error}", issuer.name()))
    })?;
    let proven = issuer.prove(core, code, trip.proofs).await?;
    let used = Used { state, ends_at: trip.ends_at };
    match trip.purpose {
        Purpose::SignIn { next } => {
            let session = identities::sign_in(core, issuer, &proven, &used, caller).await?;
            Ok(Returned::SignedIn(session, next))
        }
        Purpose::Link { session_id, member_id } => {
            identities::link(core, &session_id, &member_id, &proven, &used, caller).await?;
            Ok(Returned::Linked)
        }
        Purpose::Join { token } => {
            let session = identities::join(core, &token, &proven, &used, caller).await?;
            Ok(Returned::SignedIn(session, String::new()))
        }
    }
}

/// A round trip that has come to its end.
pub(super) struct Used<'a> {
    state: &'a str,
    ends_at: i64,
}

impl Used<'_> {
    /// Uses the round trip up, in the transaction of what it is for.
    ///
    /// # Errors
    /// [`Code::InvalidBody`] where it was used before.
    pub(super) async fn up(&self, core: &Core, tx: &mut Write) -> Result<()> {
        let digest = core.store.keyring().session_mac(format!("oidc-state\n{}", self.state).as_bytes());
        let digest = URL_SAFE_NO_PAD.encode(digest);
        if store::identities::use_state(tx, &digest, self.ends_at, core.clock.now_ms()).await? {
            return Ok(());
        }
        Err(Error::new(Code::InvalidBody, "this sign-in came back before, and is good once: begin again"))
    }
}

/// The issuer that is set.
///
/// # Errors
/// [`Code::NotFound`] where there is none.
pub(super) fn issuer(core: &Core) -> Result<&Issuer> {
    core.issuer.as_ref().ok_or_else(|| Error::new(Code::NotFound, "sign-in by OpenID Connect is not set up here"))
}

async fn begin(core: &Core, purpose: Purpose) -> Result<Outward> {
    let mint = || OneTimeToken::mint(&core.entropy).map(OneTimeToken::expose_once);
    let (state, nonce, verifier) = (mint()?, mint()?, mint()?);
    let proofs = Proofs { nonce: nonce.to_string(), verifier: verifier.to_string() };
    let url = issuer(core)?.authorize_url(core, &state, &proofs).await?;
    let trip = Trip { proofs, ends_at: core.clock.now_ms() + MAX_AGE_MS, purpose };
    let bytes = serde_json::to_vec(&trip)
        .map(Zeroizing::new)
        .map_err(|error| Error::new(Code::Internal, "a sign-in could not be begun").with_cause(error))?;
    let sealed = core.store.keyring().seal_bytes(&core.entropy, &in_cookie(&state), &bytes)?;
    Ok(Outward { url, sealed })
}

/// In no table: sealed for one state, on its way through a browser.
fn in_cookie(state: &str) -> Place<'_> {
    Place { table: "identities", row: state, field: "round_trip", version: 1 }
}

fn opened(core: &Core, sealed: &str, state: &str) -> Option<Trip> {
    let bytes = core.store.keyring().open_bytes(&in_cookie(state), sealed).ok()?;
    let trip: Trip = serde_json::from_slice(&bytes).ok()?;
    (core.clock.now_ms() < trip.ends_at).then_some(trip)
}

fn not_begun_here(issuer: &Issuer) -> Error {
    let detail = format!(
        "this sign-in with {} was not begun in this browser, took longer than ten minutes, or another one was begun \
         since: begin again",
        issuer.name()
    );
    Error::new(Code::InvalidBody, detail)
}
