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
    second_factor,
    sessions::{Caller, SignedIn},
    throttle::Try,
};
use crate::error::{Code, Error, Result};

/// Sets a member's own password, which takes the old one, and ends their other sessions.
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
    prove(core, &member, "old_password", old, caller).await?;
    let hash = members::hash(core, new).await?;
    let mut tx = core.store.write().await?;
    let told = ("member.password", Changes::default().secret("password"));
    set(core, &mut tx, member, hash, &signed_in.session_id, actor, told).await?;
    Ok(tx.commit().await?)
}

/// Who was let in again.
pub struct Recovered {
    /// The member, with the new password.
    pub member: Member,
    /// They had a second factor, which is gone.
    pub had_second_factor: bool,
}

/// Sets the password of the member with this e-mail, takes their second factor away and ends all their sessions: for who
/// has a shell on the machine and lost the password, or the app and the recovery codes.
///
/// # Errors
/// [`Code::NotFound`]; a refused password; a storage failure.
pub async fn recover(core: &Core, email: &str, new: Zeroizing<String>) -> Result<Recovered> {
    let email = email.trim();
    let unknown = || Error::new(Code::NotFound, format!("there is no member with the e-mail {email:?}"));
    let found = store::members::find_by_email(&mut core.store.read().await?, &name::fold(email)).await?;
    let mut member = found.ok_or_else(unknown)?;
    let hash = members::hash(core, new).await?;
    let had_second_factor = !member.second_factor.is_empty();
    let mut tx = core.store.write().await?;
    store::invitations::delete_of(&mut tx, &member.id).await?;
    second_factor::clear(&mut tx, &mut member).await?;
    let changes = Changes::default().secret("password").field("second_factor", had_second_factor, false);
    let member = set(core, &mut tx, member, hash, "", &Actor::command("recover"), ("member.recover", changes)).await?;
    tx.commit().await?;
    Ok(Recovered { member, had_second_factor })
}

/// Lets a member go on who gives their password, in the field of that name. Wrong tries wait longer and longer, apart
/// from those of signing in.
///
/// # Errors
/// The refused field; [`Code::TooManyAttempts`]; a storage failure.
pub(super) async fn prove(
    core: &Core,
    member: &Member,
    field: &str,
    password: Zeroizing<String>,
    caller: &Caller,
) -> Result<()> {
    let who = Try::new(&format!("password of {}", member.id), caller.address);
    let throttle = &core.sign_ins.throttle;
    throttle.begin(&who, core.clock.now_ms()).map_err(|seconds| {
        Error::new(Code::TooManyAttempts, format!("too many tries with a wrong password; try again in {seconds} s"))
    })?;
    match members::verify(core, Some(member.password_hash.clone()), password).await {
        Ok(true) => {
            throttle.forgive(&who);
            Ok(())
        }
        Ok(false) => Err(Error::field(field, "is not your password now")),
        Err(error) => {
            throttle.forgive(&who);
            Err(error)
        }
    }
}

async fn set(
    core: &Core,
    tx: &mut Write,
    mut member: Member,
    hash: String,
    kept_session: &str,
    actor: &Actor,
    (action, changes): (&str, Changes),
) -> Result<Member> {
    let now = core.clock.now_ms();
    (member.password_hash, member.version, member.updated_at) = (hash, member.version + 1, now);
    store::members::update(tx, &member).await?;
    store::sessions::delete_others(tx, &member.id, kept_session).await?;
    store::pending_sign_ins::delete_of(tx, &member.id).await?;
    record(tx, actor, now, action, target(&member), changes).await?;
    Ok(member)
}
