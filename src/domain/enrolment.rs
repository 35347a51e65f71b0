//! Setting a second factor up. Until a code proves that the app has the secret, nothing of it is stored: the page carries
//! it along, sealed for the session it is set up in.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use store::{members::Member, second_factors::SecondFactor};
use vault::{Place, TotpSecret};
use zeroize::Zeroizing;

use super::{
    Core,
    audit::{Changes, record},
    ids, new_password,
    roster::{self, target},
    second_factor::{RecoveryCodes, place, refused_code, replace_codes, too_many, who},
    sessions::{Caller, SignedIn},
};
use crate::error::{Code, Error, Result};

/// How long a secret may stand on a page before it is confirmed, in milliseconds.
const GOOD_FOR_MS: i64 = 30 * 60_000;

/// A secret that is to be put into an app.
pub struct Enrolment {
    /// As text: base32.
    pub secret: Zeroizing<String>,
    /// As the address that apps read: `otpauth://totp/…`.
    pub uri: Zeroizing<String>,
    /// The same sealed, for the form that confirms it.
    pub sealed: String,
}

/// A fresh secret for who is signed in.
///
/// # Errors
/// A cryptographic failure.
pub fn begin(core: &Core, signed_in: &SignedIn, member: &Member) -> Result<Enrolment> {
    let secret = TotpSecret::generate(&core.entropy)?;
    let mut bytes = Zeroizing::new(secret.as_bytes().to_vec());
    bytes.extend_from_slice(&(core.clock.now_ms() + GOOD_FOR_MS).to_be_bytes());
    let sealed = core.store.keyring().seal_bytes(&core.entropy, &on_page(signed_in), &bytes)?;
    Ok(shown(&secret, sealed, member))
}

/// The same secret again, where its code was refused; a fresh one where it is too old.
///
/// # Errors
/// A cryptographic failure.
pub fn again(core: &Core, signed_in: &SignedIn, member: &Member, sealed: &str) -> Result<Enrolment> {
    match opened(core, signed_in, sealed) {
        Some(secret) => Ok(shown(&secret, sealed.to_owned(), member)),
        None => begin(core, signed_in, member),
    }
}

/// Turns the second factor on, which takes the password and a code of the app. Ends the member's other sessions, which
/// began without one.
///
/// # Errors
/// A refused `password` or `code`; [`Code::TooManyAttempts`]; [`Code::ValidationFailed`] where there is one already; a
/// storage failure.
pub async fn confirm(
    core: &Core,
    signed_in: &SignedIn,
    sealed: &str,
    password: Zeroizing<String>,
    code: &str,
    caller: &Caller,
) -> Result<RecoveryCodes> {
    let actor = &signed_in.actor;
    let mut member = roster::get(core, &actor.member_id).await?;
    if !member.second_factor.is_empty() {
        return Err(Error::new(Code::ValidationFailed, "your second factor is on already; its codes were shown then"));
    }
    let secret = opened(core, signed_in, sealed).ok_or_else(|| {
        Error::new(
            Code::ValidationFailed,
            "this took too long, or was begun elsewhere: here is a new secret for your app",
        )
    })?;
    new_password::prove(core, &member, "password", password, caller).await?;
    let (now, who) = (core.clock.now_ms(), who(&member, caller));
    core.sign_ins.throttle.begin(&who, now).map_err(too_many)?;
    let digits: String = code.chars().filter(|letter| !letter.is_whitespace()).collect();
    let step = secret.step_of(&digits, now / 1000).ok_or_else(refused_code)?;
    core.sign_ins.throttle.clear(&who);
    let factor = SecondFactor {
        id: ids::mint("sf", now, &core.entropy)?,
        member_id: member.id.clone(),
        sealed: core.store.keyring().seal_bytes(&core.entropy, &place(&member.id), secret.as_bytes())?,
        last_step: step,
        created_at: now,
        version: 1,
        mac: String::new(),
    };
    let mut tx = core.store.write().await?;
    store::second_factors::replace(&mut tx, &factor).await?;
    let codes = replace_codes(core, &mut tx, &member.id).await?;
    (member.second_factor, member.version, member.updated_at) = (factor.id, member.version + 1, now);
    store::members::update(&mut tx, &member).await?;
    store::sessions::delete_others(&mut tx, &member.id, &signed_in.session_id).await?;
    let changes = Changes::default().field("second_factor", false, true);
    record(&mut tx, actor, now, "member.second_factor_on", target(&member), changes).await?;
    tx.commit().await?;
    Ok(codes)
}

/// In no table: sealed for one session, on its way through a page.
fn on_page(signed_in: &SignedIn) -> Place<'_> {
    Place { table: "second_factors", row: &signed_in.session_id, field: "enrolment", version: 1 }
}

/// The secret that a page carried, unless it is too old or another session's.
fn opened(core: &Core, signed_in: &SignedIn, sealed: &str) -> Option<TotpSecret> {
    let bytes = core.store.keyring().open_bytes(&on_page(signed_in), sealed).ok()?;
    let (secret, ends_at) = bytes.split_at_checked(TotpSecret::BYTES)?;
    let ends_at = i64::from_be_bytes(ends_at.try_into().ok()?);
    (core.clock.now_ms() < ends_at).then(|| TotpSecret::from_bytes(secret))?
}

fn shown(secret: &TotpSecret, sealed: String, member: &Member) -> Enrolment {
    let text = secret.to_base32();
    let account = utf8_percent_encode(&member.email, NON_ALPHANUMERIC);
    let uri = Zeroizing::new(format!(
        "otpauth://totp/Keyward:{account}?secret={}&issuer=Keyward&algorithm=SHA1&digits=6&period=30",
        *text
    ));
    Enrolment { secret: text, uri, sealed }
}
