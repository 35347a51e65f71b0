//! Sessions: how members sign in to the console, stay signed in, and sign out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use store::{StoreError, Write, members::Member, sessions::Session};
use vault::OneTimeToken;
use zeroize::Zeroizing;

use super::{
    Core,
    access::Authority,
    actor::{Actor, ActorKind},
    audit::{ChangeTarget, Changes, record},
    clock::{DAY_MS, HOUR_MS},
    ids, members,
    meter::Used,
    name, roster, second_step,
    throttle::{Throttle, Try},
    use_mark::UseMark,
};
use crate::error::Result;

/// How long a session lives at most, in milliseconds.
pub const MAX_AGE_MS: i64 = 7 * DAY_MS;
/// How long a session may lie unused, in milliseconds.
const MAX_IDLE_MS: i64 = 12 * HOUR_MS;
/// How exactly the last use of a session is noted, in milliseconds.
const USE_STEP_MS: i64 = 60_000;
/// How often refused sign-ins are written to the audit log, at most, in milliseconds.
const REFUSED_EVERY_MS: i64 = 60_000;

/// Where a request came from.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its address.
    pub address: IpAddr,
    /// Its id.
    pub request_id: String,
}

/// A member who is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The session's id.
    pub session_id: String,
    /// The member, as the audit log remembers them.
    pub actor: Actor,
    /// This installation asks for a second factor, and they have none: they may set one up, and nothing else.
    pub needs_second_factor: bool,
}

/// What came of a try to sign in.
pub enum SignIn {
    /// The session's token, for the cookie; nobody can read it again.
    Done(Zeroizing<String>),
    /// The password was right, and a code is to follow; holds the token that the browser comes back with.
    Code(Zeroizing<String>),
    /// Wrong e-mail or password, and not which of them.
    Refused,
    /// Too many tries; the next one in so many seconds.
    Wait(u64),
}

/// Signs a member in.
///
/// # Errors
/// A storage failure, or too many sign-ins at once: nothing is known about the password then.
pub async fn sign_in(core: &Core, email: &str, password: Zeroizing<String>, caller: &Caller) -> Result<SignIn> {
    let email_key = name::fold(email.trim());
    let who = Try::new(&email_key, caller.address);
    if let Err(seconds) = core.sign_ins.throttle.begin(&who, core.clock.now_ms()) {
        return Ok(SignIn::Wait(seconds));
    }
    match check(core, &email_key, password).await {
        Ok((Some(member), true)) if !member.second_factor.is_empty() => {
            core.sign_ins.throttle.forgive(&who);
            Ok(SignIn::Code(second_step::begin(core, &member).await?))
        }
        Ok((Some(member), true)) => {
            let token = start(core, &member, caller).await?;
            core.sign_ins.throttle.succeeded(who, core.clock.now_ms());
            Ok(SignIn::Done(token))
        }
        Ok((member, _)) => {
            refused(core, member, caller).await?;
            Ok(SignIn::Refused)
        }
        Err(error) => {
            core.sign_ins.throttle.forgive(&who);
            Err(error)
        }
    }
}

/// Notes a sign-in that was refused.
///
/// # Errors
/// A storage failure.
pub(super) async fn refused(core: &Core, member: Option<Member>, caller: &Caller) -> Result<()> {
    core.sign_ins.note_refused(member, caller);
    record_refused(core).await
}

/// Finds the member and checks the password, in the same time whether there is one or not.
async fn check(core: &Core, email_key: &str, password: Zeroizing<String>) -> Result<(Option<Member>, bool)> {
    let member = store::members::find_by_email(&mut core.store.read().await?, email_key).await?;
    // Who is invited and has set no password yet, or joined without one, is as good as nobody.
    let hash = member.as_ref().map(|member| member.password_hash.clone());
    let good = members::verify(core, hash, password).await?;
    Ok((member, good))
}

async fn start(core: &Core, member: &Member, caller: &Caller) -> Result<Zeroizing<String>> {
    let mut tx = core.store.write().await?;
    let token = insert(core, &mut tx, member).await?;
    let actor = actor_of(member, caller);
    record(&mut tx, &actor, core.clock.now_ms(), "member.sign_in", roster::target(member), Changes::default()).await?;
    tx.commit().await?;
    Ok(token)
}

/// Starts a session in a transaction of the caller's; gives its token.
///
/// # Errors
/// A storage failure.
pub(super) async fn insert(core: &Core, tx: &mut Write, member: &Member) -> Result<Zeroizing<String>> {
    let now = core.clock.now_ms();
    let token = OneTimeToken::mint(&core.entropy)?;
    let digest = core.store.keyring().digest(token.sha256());
    let session = Session {
        id: ids::mint("se", now, &core.entropy)?,
        member_id: member.id.clone(),
        pepper_id: digest.pepper,
        digest: digest.value,
        created_at: now,
        expires_at: now + MAX_AGE_MS,
        mac: String::new(),
        last_used_at: 0,
    };
    store::sessions::insert(tx, &session).await?;
    Ok(token.expose_once())
}

/// Who is signed in with this token; `None` where nobody is, or no longer.
///
/// # Errors
/// A storage failure.
pub async fn authenticate(core: &Core, token: &str, caller: &Caller) -> Result<Option<SignedIn>> {
    let Ok(token) = OneTimeToken::parse(token) else { return Ok(None) };
    let mut db = core.store.read().await?;
    let mut found = None;
    for digest in core.store.keyring().digests(token.sha256()) {
        let session = match store::sessions::find(&mut db, &digest.value).await {
            // Somebody altered the row: that is no session, told in the log, and no outage.
            Err(StoreError::Tampered { .. }) => None,
            other => other?,
        };
        found = session.filter(|session| session.pepper_id == digest.pepper);
        if found.is_some() {
            break;
        }
    }
    let Some(session) = found else { return Ok(None) };
    let now = core.clock.now_ms();
    let last_used = session.created_at.max(session.last_used_at);
    if session.expires_at <= now || last_used + MAX_IDLE_MS <= now {
        return Ok(None);
    }
    let Some(member) = store::members::get(&mut db, &session.member_id).await? else { return Ok(None) };
    if last_used + USE_STEP_MS <= now {
        core.meter.touch(Used::Session, &Arc::new(UseMark::new(session.id.as_str().into())), now);
    }
    // Who has no password signs in at the issuer, which asks for whatever it asks for.
    let needs_second_factor =
        core.require_second_factor && member.second_factor.is_empty() && members::has_password(&member);
    Ok(Some(SignedIn { session_id: session.id, actor: actor_of(&member, caller), needs_second_factor }))
}

/// Signs a member out: the session is gone.
///
/// # Errors
/// A storage failure.
pub async fn sign_out(core: &Core, signed_in: &SignedIn) -> Result<()> {
    let actor = &signed_in.actor;
    let mut tx = core.store.write().await?;
    store::sessions::delete(&mut tx, &signed_in.session_id).await?;
    let target = ChangeTarget { kind: "member", id: &actor.member_id, name: &actor.name };
    record(&mut tx, actor, core.clock.now_ms(), "member.sign_out", target, Changes::default()).await?;
    tx.commit().await?;
    Ok(())
}

/// What is kept in memory about signing in.
#[derive(Debug, Default)]
pub struct SignIns {
    pub(super) throttle: Throttle,
    refused: Mutex<Refused>,
}

/// Refused sign-ins that are not in the audit log yet.
#[derive(Debug, Default)]
struct Refused {
    /// By the member's id; all unknown accounts together under the empty one, whatever was typed: it may have been a
    /// password in the wrong field.
    waiting: HashMap<String, Attempts>,
    recorded_at: i64,
}

#[derive(Debug)]
struct Attempts {
    name: String,
    count: u64,
    last: Caller,
}

impl SignIns {
    fn note_refused(&self, member: Option<Member>, caller: &Caller) {
        let (id, name) = match member {
            Some(member) => (member.id, member.name),
            None => (String::new(), String::from("unknown account")),
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = refused.waiting.entry(id).or_insert(Attempts { name, count: 0, last: caller.clone() });
        attempts.count += 1;
        attempts.last = caller.clone();
    }

    fn take_refused(&self, now: i64, every: i64) -> HashMap<String, Attempts> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.waiting.is_empty() || now - refused.recorded_at < every {
            return HashMap::new();
        }
        refused.recorded_at = now;
        std::mem::take(&mut refused.waiting)
    }
}

/// Writes refused sign-ins to the audit log: the first at once, those of the next minute together as one event for
/// each account, so that a flood of them cannot grow the log without bound.
///
/// # Errors
/// A storage failure; those attempts stay unrecorded, except in the server's log.
pub async fn record_refused(core: &Core) -> Result<()> {
    record_refused_of(core, REFUSED_EVERY_MS).await
}

/// Writes down what is left before Keyward stops.
///
/// # Errors
/// As [`record_refused`].
pub async fn record_last_refused(core: &Core) -> Result<()> {
    record_refused_of(core, 0).await
}

async fn record_refused_of(core: &Core, every: i64) -> Result<()> {
    let now = core.clock.now_ms();
    let waiting = core.sign_ins.take_refused(now, every);
    if waiting.is_empty() {
        return Ok(());
    }
    for (id, attempts) in &waiting {
        tracing::warn!(member = %id, count = attempts.count, address = %attempts.last.address, "sign-ins refused");
    }
    let mut tx = core.store.write().await?;
    if store::members::count(&mut tx).await? == 0 {
        // The audit chain stays empty until the first run, which needs it to be.
        return Ok(());
    }
    for (id, attempts) in &waiting {
        let actor = Actor::nobody(&attempts.last.address.to_string(), &attempts.last.request_id);
        let target = ChangeTarget { kind: "member", id, name: &attempts.name };
        let changes = Changes::default().field("attempts", (), attempts.count);
        record(&mut tx, &actor, now, "member.sign_in_refused", target, changes).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// A member as an actor.
pub(super) fn actor_of(member: &Member, caller: &Caller) -> Actor {
    Actor {
        kind: ActorKind::Member,
        id: member.id.clone(),
        name: member.name.clone(),
        member_id: member.id.clone(),
        address: caller.address.to_string(),
        request_id: caller.request_id.clone(),
        authority: Authority::of_member(&member.role),
    }
}
