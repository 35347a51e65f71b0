//! The second step of signing in: the password was right, the code is still to come.

use store::{StoreError, Write, members::Member, pending_sign_ins::PendingSignIn};
use vault::OneTimeToken;
use zeroize::Zeroizing;

use super::{
    Core,
    audit::{Changes, record},
    ids,
    roster::target,
    second_factor::{self, Taken},
    sessions::{self, Caller},
    throttle::Try,
};
use crate::error::Result;

/// How long the second step may take, in milliseconds.
pub const MAX_AGE_MS: i64 = 5 * 60_000;
/// How many codes may be tried before the password is asked for again.
const MAX_ATTEMPTS: i64 = 5;

/// What came of a code.
pub enum SecondStep {
    /// The session's token, for the cookie; nobody can read it again.
    Done(Zeroizing<String>),
    /// Not a code that is good now.
    Refused,
    /// The first step took place too long ago, too many codes were tried, or this browser did not take it.
    StartAgain,
    /// Too many tries; the next one in so many seconds.
    Wait(u64),
}

/// Begins the second step in a transaction of its own; gives the token that the browser comes back with.
///
/// # Errors
/// A storage failure.
pub(super) async fn begin(core: &Core, member: &Member) -> Result<Zeroizing<String>> {
    let now = core.clock.now_ms();
    let token = OneTimeToken::mint(&core.entropy)?;
    let digest = core.store.keyring().digest(token.sha256());
    let pending = PendingSignIn {
        id: ids::mint("ps", now, &core.entropy)?,
        member_id: member.id.clone(),
        pepper_id: digest.pepper,
        digest: digest.value,
        created_at: now,
        expires_at: now + MAX_AGE_MS,
        mac: String::new(),
        attempts: 0,
    };
    let mut tx = core.store.write().await?;
    store::pending_sign_ins::insert(&mut tx, &pending).await?;
    tx.commit().await?;
    Ok(token.expose_once())
}

/// Whether this token is of a second step that may still be taken.
///
/// # Errors
/// A storage failure.
pub async fn is_open(core: &Core, token: &str) -> Result<bool> {
    Ok(find(core, token).await?.is_some())
}

/// Takes the second step with a code of the app, or a recovery code.
///
/// # Errors
/// A storage failure: nothing is known about the code then.
pub async fn take(core: &Core, token: &str, code: &str, caller: &Caller) -> Result<SecondStep> {
    let Some((pending, member)) = find(core, token).await? else { return Ok(SecondStep::StartAgain) };
    let who = second_factor::who(&member, caller);
    let throttle = &core.sign_ins.throttle;
    if let Err(seconds) = throttle.begin(&who, core.clock.now_ms()) {
        return Ok(SecondStep::Wait(seconds));
    }
    match try_code(core, &pending, &member, code, caller).await {
        Ok(SecondStep::Done(token)) => {
            throttle.clear(&who);
            throttle.succeeded(Try::new(&member.email_key, caller.address), core.clock.now_ms());
            Ok(SecondStep::Done(token))
        }
        Ok(other) => {
            sessions::refused(core, Some(member), caller).await?;
            Ok(other)
        }
        Err(error) => {
            throttle.forgive(&who);
            Err(error)
        }
    }
}

/// One transaction: the try is counted, and, where the code is good, taken, the first step ended, the session begun.
async fn try_code(
    core: &Core,
    pending: &PendingSignIn,
    member: &Member,
    code: &str,
    caller: &Caller,
) -> Result<SecondStep> {
    let mut tx = core.store.write().await?;
    if !store::pending_sign_ins::attempt(&mut tx, &pending.id, MAX_ATTEMPTS).await? {
        store::pending_sign_ins::take(&mut tx, &pending.id).await?;
        tx.commit().await?;
        return Ok(SecondStep::StartAgain);
    }
    let Some(taken) = second_factor::take(core, &mut tx, member, code).await? else {
        tx.commit().await?;
        return Ok(SecondStep::Refused);
    };
    if !store::pending_sign_ins::take(&mut tx, &pending.id).await? {
        return Ok(SecondStep::StartAgain);
    }
    let session = sessions::insert(core, &mut tx, member).await?;
    record_sign_in(core, &mut tx, member, taken, caller).await?;
    tx.commit().await?;
    Ok(SecondStep::Done(session))
}

async fn record_sign_in(core: &Core, tx: &mut Write, member: &Member, taken: Taken, caller: &Caller) -> Result<()> {
    let (actor, now) = (sessions::actor_of(member, caller), core.clock.now_ms());
    if let Taken::Recovery(left) = taken {
        let changes = Changes::default().field("recovery_codes_left", left + 1, left);
        record(tx, &actor, now, "member.recovery_code", target(member), changes).await?;
    }
    record(tx, &actor, now, "member.sign_in", target(member), Changes::default()).await?;
    Ok(())
}

async fn find(core: &Core, token: &str) -> Result<Option<(PendingSignIn, Member)>> {
    let Ok(token) = OneTimeToken::parse(token) else { return Ok(None) };
    let mut db = core.store.read().await?;
    for digest in core.store.keyring().digests(token.sha256()) {
        let pending = match store::pending_sign_ins::find(&mut db, &digest.value).await {
            // Somebody altered the row: the password is asked for again.
            Err(StoreError::Tampered { .. }) => None,
            other => other?,
        };
        let Some(pending) = pending.filter(|pending| pending.pepper_id == digest.pepper) else { continue };
        if pending.expires_at <= core.clock.now_ms() {
            return Ok(None);
        }
        let member = store::members::get(&mut db, &pending.member_id).await?;
        // Whoever took the factor away meanwhile ended this as well.
        return Ok(member.filter(|member| !member.second_factor.is_empty()).map(|member| (pending, member)));
    }
    Ok(None)
}
