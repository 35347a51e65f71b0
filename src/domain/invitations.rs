//! Invitations: how further members come in. The link is shown once, good for a week and for one use.

use store::{Handle, Write, invitations::Invitation, members::Member};
use vault::OneTimeToken;
use zeroize::Zeroizing;

use super::{
    Core,
    access::Authority,
    actor::Actor,
    audit::{Changes, record},
    clock::DAY_MS,
    idempotency::{Idempotency, Outcome},
    ids,
    members::{self, parse_email},
    name::{self, Name},
    roles::{Permission, Role},
    roster::{check_covers, email_error, found, parse_role, target},
    sessions::{self, Caller},
};
use crate::error::{Code, Error, Result};

/// How long an invitation is good for, in days.
pub const DAYS: i64 = 7;

/// Who is invited.
#[derive(Debug, Clone, Default)]
pub struct Invited {
    /// What they will sign in with.
    pub email: String,
    /// What they are called; what stands before the `@` where absent.
    pub name: Option<String>,
    /// Their role; [`Role::Member`], which may least, where absent.
    pub role: Option<String>,
}

/// A member who was invited, and the token of their link, which nobody can read again.
pub struct Made {
    /// The member, without a password so far.
    pub member: Member,
    /// The token, for the fragment of the link.
    pub token: Zeroizing<String>,
    /// When it ends, in milliseconds since 1970.
    pub expires_at: i64,
}

/// Makes a member who has yet to set a password, and the invitation to do so.
///
/// # Errors
/// A refused e-mail, name or role; [`Code::Forbidden`] for a role that may do more than the actor;
/// [`Code::NameTaken`]; a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    invited: Invited,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<Made>> {
    let email = parse_email(&invited.email);
    let start: String = invited.email.trim().split('@').next().unwrap_or_default().chars().take(64).collect();
    let named = Error::both(email, Name::parse(invited.name.as_deref().unwrap_or(&start)));
    let role = invited.role.as_deref().map_or(Ok(Role::Member), parse_role);
    let ((email, name), role) = Error::both(named, role)?;
    check_covers(core, actor, role.as_str(), None).await?;
    let now = core.clock.now_ms();
    let member = Member {
        id: ids::mint("mb", now, &core.entropy)?,
        email_key: name::fold(&email),
        name: name.text,
        email,
        role: role.as_str().to_owned(),
        password_hash: String::new(),
        second_factor: String::new(),
        mail_warnings: String::new(),
        created_at: now,
        updated_at: now,
        version: 1,
        mac: String::new(),
    };
    let mut tx = core.store.write().await?;
    let (invitation, token) = mint(core, actor, &member.id, now)?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    store::members::insert(&mut tx, &member).await.map_err(|error| email_error(error, &member.email))?;
    store::invitations::replace(&mut tx, &invitation).await?;
    Idempotency::note(idempotency, &mut tx, &member.id, now).await?;
    let changes = Changes::default()
        .field("email", (), member.email.as_str())
        .field("name", (), member.name.as_str())
        .field("role", (), member.role.as_str());
    record(&mut tx, actor, now, "member.invite", target(&member), changes).await?;
    tx.commit().await?;
    Ok(Outcome::Done(Made { member, token, expires_at: invitation.expires_at }))
}

/// Another invitation for somebody who has set no password yet, in place of the one before.
///
/// # Errors
/// [`Code::ValidationFailed`] for a member who has; [`Code::Forbidden`] for one who may do more than the actor;
/// [`Code::NotFound`]; a storage failure.
pub async fn renew(core: &Core, actor: &Actor, id: &str) -> Result<Made> {
    let now = core.clock.now_ms();
    let held = found(&mut core.store.read().await?, id).await?;
    check_covers(core, actor, &held.role, None).await?;
    let mut tx = core.store.write().await?;
    let (invitation, token) = mint(core, actor, id, now)?;
    let member = found(&mut tx, id).await?;
    if member.role != held.role {
        return Err(Error::new(Code::VersionMismatch, format!("the role of {} was changed meanwhile", member.name)));
    }
    if !member.password_hash.is_empty() {
        let detail = format!("{} has joined already; keyward recover sets a new password", member.name);
        return Err(Error::new(Code::ValidationFailed, detail));
    }
    store::invitations::replace(&mut tx, &invitation).await?;
    record(&mut tx, actor, now, "member.invite", target(&member), Changes::default()).await?;
    tx.commit().await?;
    Ok(Made { member, token, expires_at: invitation.expires_at })
}

/// Sets the invited member's password and signs them in; gives the session's token. One transaction, which needs the
/// invitation: of two at once only one has it.
///
/// # Errors
/// A refused token or password; a storage failure.
pub async fn claim(
    core: &Core,
    token: &str,
    password: Zeroizing<String>,
    caller: &Caller,
) -> Result<Zeroizing<String>> {
    let token = OneTimeToken::parse(token.trim()).map_err(|_| refused_token())?;
    // Nobody without the token makes us hash passwords.
    find(core, &mut core.store.read().await?, &token).await?;
    let password_hash = members::hash(core, password).await?;
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let mut member = take_parsed(core, &mut tx, &token).await?;
    (member.password_hash, member.version, member.updated_at) = (password_hash, member.version + 1, now);
    store::members::update(&mut tx, &member).await?;
    let session = sessions::insert(core, &mut tx, &member).await?;
    let actor = sessions::actor_of(&member, caller);
    record(&mut tx, &actor, now, "member.join", target(&member), Changes::default().secret("password")).await?;
    tx.commit().await?;
    Ok(session)
}

/// Whether an invitation is good now.
///
/// # Errors
/// A refused token; a storage failure.
pub(super) async fn check(core: &Core, token: &str) -> Result<()> {
    let token = OneTimeToken::parse(token.trim()).map_err(|_| refused_token())?;
    find(core, &mut core.store.read().await?, &token).await?;
    Ok(())
}

/// Uses an invitation up in a transaction of the caller's; gives the member, who has yet to join.
///
/// # Errors
/// A refused token; a storage failure.
pub(super) async fn take(core: &Core, tx: &mut Write, token: &str) -> Result<Member> {
    let token = OneTimeToken::parse(token.trim()).map_err(|_| refused_token())?;
    take_parsed(core, tx, &token).await
}

async fn take_parsed(core: &Core, tx: &mut Write, token: &OneTimeToken) -> Result<Member> {
    let invitation = find(core, tx, token).await?;
    if !store::invitations::take(tx, &invitation.id).await? {
        return Err(refused_token());
    }
    let member = store::members::get(tx, &invitation.member_id).await?.ok_or_else(refused_token)?;
    if member.password_hash.is_empty() { Ok(member) } else { Err(refused_token()) }
}

fn mint(core: &Core, actor: &Actor, member_id: &str, now: i64) -> Result<(Invitation, Zeroizing<String>)> {
    let token = OneTimeToken::mint(&core.entropy)?;
    let digest = core.store.keyring().digest(token.sha256());
    let invitation = Invitation {
        id: ids::mint("in", now, &core.entropy)?,
        member_id: member_id.to_owned(),
        pepper_id: digest.pepper,
        digest: digest.value,
        created_at: now,
        expires_at: now + DAYS * DAY_MS,
        invited_by: actor.member_id.clone(),
        mac: String::new(),
    };
    Ok((invitation, token.expose_once()))
}

async fn find(core: &Core, db: &mut impl Handle, token: &OneTimeToken) -> Result<Invitation> {
    for digest in core.store.keyring().digests(token.sha256()) {
        if let Some(row) = store::invitations::find(db, &digest.value).await?
            && row.pepper_id == digest.pepper
            && row.expires_at > core.clock.now_ms()
            && still_may_invite(db, &row).await?
        {
            return Ok(row);
        }
    }
    Err(refused_token())
}

/// Whether who made the invitation may still make it: a link left behind by a removed admin makes nobody a member.
async fn still_may_invite(db: &mut impl Handle, invitation: &Invitation) -> Result<bool> {
    if invitation.invited_by.is_empty() {
        return Ok(true);
    }
    let Some(inviter) = store::members::get(db, &invitation.invited_by).await? else { return Ok(false) };
    let Some(invited) = store::members::get(db, &invitation.member_id).await? else { return Ok(false) };
    let authority = Authority::of_member(&inviter.role);
    Ok(authority.may(Permission::WriteMembers) && Role::parse(&invited.role).is_some_and(|role| authority.covers(role)))
}

fn refused_token() -> Error {
    Error::field(
        "token",
        "is not an invitation that is good now: it was used, replaced, is older than a week, or whoever made it may not \
         invite any more; ask for a new one",
    )
}
