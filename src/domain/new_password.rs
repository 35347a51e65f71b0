//! New passwords: set by members themselves, or on the machine for who has lost theirs.

use store::{Write, members::Member};
use zeroize::Zeroizing;

use super::{
    Core,
    actor::Actor,
    audit::{Changes, record},
    members::{self, check_password},
    name,
    roster::{self, target},
    sessions::{Caller, SignedIn},
    throttle::Try,
};
use crate::error::{Code, Error, Result};

/// Sets a member's own password, which takes the old one, and ends their other sessions. Wrong tries wait longer and
/// longer, apart from those of signing in.
///
/// # Errors
/// A refused `old_password` or `password`; [`Code::TooManyAttempts`]; a storage failure.
pub async fn change(
    core: &Core,
    signed_in: &SignedIn,
    old: Zeroizing<String>,
    new: Zeroizing<String>,
    caller: &Caller,
) -> Result<()> {
    check_password(&new)?;
    let actor = &signed_in.actor;
    let member = roster::get(core, &actor.member_id).await?;
    let who = Try::new(&format!("password of {}", member.id), caller.address);
    let throttle = &core.sign_ins.throttle;
    throttle.begin(&who, core.clock.now_ms()).map_err(|seconds| {
        Error::new(Code::TooManyAttempts, format!("too many tries with a wrong password; try again in {seconds} s"))
    })?;
    match members::verify(core, Some(member.password_hash.clone()), old).await {
        Ok(true) => throttle.forgive(&who),
        Ok(false) => return Err(Error::field("old_password", "is not your password now")),
        Err(error) => {
            throttle.forgive(&who);
            return Err(error);
        }
    }
    let hash = members::hash(core, new).await?;
    let mut tx = core.store.write().await?;
    set(core, &mut tx, member, hash, &signed_in.session_id, actor, "member.password").await?;
    Ok(tx.commit().await?)
}

/// Sets the password of the member with this e-mail, and ends all their sessions: for who has a shell on the machine and
/// lost the password.
///
/// # Errors
/// [`Code::NotFound`]; a refused password; a storage failure.
pub async fn recover(core: &Core, email: &str, new: Zeroizing<String>) -> Result<Member> {
    let email = email.trim();
    let unknown = || Error::new(Code::NotFound, format!("there is no member with the e-mail {email:?}"));
    let found = store::members::find_by_email(&mut core.store.read().await?, &name::fold(email)).await?;
    let member = found.ok_or_else(unknown)?;
    let hash = members::hash(core, new).await?;
    let mut tx = core.store.write().await?;
    store::invitations::delete_of(&mut tx, &member.id).await?;
    let member = set(core, &mut tx, member, hash, "", &Actor::command("recover"), "member.recover").await?;
    tx.commit().await?;
    Ok(member)
}

async fn set(
    core: &Core,
    tx: &mut Write,
    mut member: Member,
    hash: String,
    kept_session: &str,
    actor: &Actor,
    action: &str,
) -> Result<Member> {
    let now = core.clock.now_ms();
    (member.password_hash, member.version, member.updated_at) = (hash, member.version + 1, now);
    store::members::update(tx, &member).await?;
    store::sessions::delete_others(tx, &member.id, kept_session).await?;
    record(tx, actor, now, action, target(&member), Changes::default().secret("password")).await?;
    Ok(member)
}
