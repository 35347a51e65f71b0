//! Identities: who members are at the issuer. By issuer and subject alone: an e-mail proves nothing.

use store::{StoreError, Write, identities::Identity, members::Member};
use zeroize::Zeroizing;

use super::{
    Core,
    audit::{Changes, record},
    first_run, ids, invitations,
    issuer::{Issuer, Proven},
    issuer_round_trip::Used,
    members::{self, NO_PASSWORD, parse_email},
    name::{self, Name},
    new_password,
    roles::Role,
    roster::{self, keep_an_owner, target},
    sessions::{self, Caller, SignedIn},
};
use crate::error::{Code, Error, Result};

/// A member's identity; `None` where they have none.
///
/// # Errors
/// [`Code::Damaged`]; a storage failure.
pub async fn of(core: &Core, member_id: &str) -> Result<Option<Identity>> {
    Ok(store::identities::of(&mut core.store.read().await?, member_id).await?)
}

/// Takes a member's own identity away, which takes their password: they sign in with it from then on.
///
/// # Errors
/// A refused `password`; [`Code::ValidationFailed`] for who has no password; [`Code::NotFound`]; a storage failure.
pub async fn unlink(core: &Core, signed_in: &SignedIn, password: Zeroizing<String>, caller: &Caller) -> Result<()> {
    let member = roster::get(core, &signed_in.actor.member_id).await?;
    if !members::has_password(&member) {
        let detail = "you have no password, so nothing would be left to sign in with; keyward recover sets one";
        return Err(Error::new(Code::ValidationFailed, detail));
    }
    let identity = of(core, &member.id).await?;
    let identity = identity.ok_or_else(|| Error::new(Code::NotFound, "no identity is linked to your account"))?;
    new_password::prove(core, &member, "password", password, caller).await?;
    let mut tx = core.store.write().await?;
    store::identities::delete_of(&mut tx, &member.id).await?;
    let changes = Changes::default().field("issuer", identity.issuer.as_str(), ());
    record(&mut tx, &signed_in.actor, core.clock.now_ms(), "member.identity_unlink", target(&member), changes).await?;
    Ok(tx.commit().await?)
}

/// Signs in who was proven: the member who has this identity, or a new one, where a group gives a role. Gives the session's
/// token.
///
/// # Errors
/// [`Code::IdentityRefused`] where no group gives a role, or the issuer tells no e-mail; [`Code::NameTaken`] where the
/// e-mail is another member's; [`Code::InvalidBody`] for a round trip that was used; a storage failure.
pub(super) async fn sign_in(
    core: &Core,
    issuer: &Issuer,
    proven: &Proven,
    used: &Used<'_>,
    caller: &Caller,
) -> Result<Zeroizing<String>> {
    let mut db = core.store.read().await?;
    let identity = store::identities::find(&mut db, &proven.issuer, &proven.subject).await?;
    let Some(identity) = identity else {
        drop(db);
        return enter(core, issuer, proven, used, caller).await;
    };
    let member = store::members::get(&mut db, &identity.member_id).await?;
    drop(db);
    let member = member.ok_or_else(|| {
        Error::new(Code::Damaged, "the member whose identity this is was deleted in the database by something else")
    })?;
    if identity.follows_groups == 1 && proven.role.is_none() {
        return Err(put_out(core, issuer, member, caller).await?);
    }
    let mut tx = core.store.write().await?;
    used.up(core, &mut tx).await?;
    let member = match proven.role {
        Some(role) if identity.follows_groups == 1 => follow(core, &mut tx, member, role, caller).await?,
        _ => member,
    };
    let session = begin(core, &mut tx, &member, caller).await?;
    tx.commit().await?;
    Ok(session)
}

/// Links an identity to the member whose session began the round trip, and still stands.
///
/// # Errors
/// [`Code::Unauthenticated`] where it does not; [`Code::NameTaken`] where the identity is somebody's, or the member has
/// one; [`Code::InvalidBody`] for a round trip that was used; a storage failure.
pub(super) async fn link(
    core: &Core,
    session_id: &str,
    member_id: &str,
    proven: &Proven,
    used: &Used<'_>,
    caller: &Caller,
) -> Result<()> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    used.up(core, &mut tx).await?;
    let session = store::sessions::get(&mut tx, session_id).await?;
    if !session.is_some_and(|session| session.member_id == member_id && session.expires_at > now) {
        return Err(Error::new(
            Code::Unauthenticated,
            "your session ended meanwhile, so nothing was linked; sign in again",
        ));
    }
    let member = roster::found(&mut tx, member_id).await?;
    insert(core, &mut tx, &member, proven, false).await?;
    let changes = Changes::default().field("issuer", (), proven.issuer.as_str());
    let actor = sessions::actor_of(&member, caller);
    record(&mut tx, &actor, now, "member.identity_link", target(&member), changes).await?;
    Ok(tx.commit().await?)
}

/// Lets somebody join who was invited, with this identity instead of a password; gives the session's token.
///
/// # Errors
/// A refused `token`; [`Code::NameTaken`] where the identity is somebody's; [`Code::InvalidBody`] for a round trip that
/// was used; a storage failure.
pub(super) async fn join(
    core: &Core,
    token: &str,
    proven: &Proven,
    used: &Used<'_>,
    caller: &Caller,
) -> Result<Zeroizing<String>> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    used.up(core, &mut tx).await?;
    let mut member = invitations::take(core, &mut tx, token).await?;
    (member.password_hash, member.version, member.updated_at) = (NO_PASSWORD.to_owned(), member.version + 1, now);
    store::members::update(&mut tx, &member).await?;
    insert(core, &mut tx, &member, proven, false).await?;
    let session = sessions::insert(core, &mut tx, &member).await?;
    let changes = Changes::default().field("issuer", (), proven.issuer.as_str());
    let actor = sessions::actor_of(&member, caller);
    record(&mut tx, &actor, now, "member.join", target(&member), changes).await?;
    tx.commit().await?;
    Ok(session)
}

/// Makes a member of somebody who was never here, where one of their groups gives a role.
async fn enter(
    core: &Core,
    issuer: &Issuer,
    proven: &Proven,
    used: &Used<'_>,
    caller: &Caller,
) -> Result<Zeroizing<String>> {
    if first_run::is_open(core).await? {
        let detail = "this Keyward has no owner yet; whoever started it makes the first one by the link it printed";
        return Err(Error::new(Code::IdentityRefused, detail));
    }
    let Some(role) = proven.role else {
        sessions::refused(core, None, caller).await?;
        return Err(no_role(issuer));
    };
    let email = proven.email.as_deref().and_then(|email| parse_email(email).ok()).ok_or_else(|| {
        let detail = format!(
            "{} told no e-mail address of yours, which members have here; whoever looks after it can add the scope email",
            issuer.name()
        );
        Error::new(Code::IdentityRefused, detail)
    })?;
    let now = core.clock.now_ms();
    let member = Member {
        id: ids::mint("mb", now, &core.entropy)?,
        email_key: name::fold(&email),
        name: name_of(proven, &email),
        email,
        role: role.as_str().to_owned(),
        password_hash: NO_PASSWORD.to_owned(),
        second_factor: String::new(),
        mail_warnings: String::new(),
        created_at: now,
        updated_at: now,
        version: 1,
        mac: String::new(),
    };
    let mut tx = core.store.write().await?;
    used.up(core, &mut tx).await?;
    store::members::insert(&mut tx, &member).await.map_err(|error| email_taken(error, issuer, &member.email))?;
    insert(core, &mut tx, &member, proven, true).await?;
    let changes = Changes::default()
        .field("email", (), member.email.as_str())
        .field("role", (), member.role.as_str())
        .field("issuer", (), proven.issuer.as_str());
    record(&mut tx, &sessions::actor_of(&member, caller), now, "member.create", target(&member), changes).await?;
    let session = begin(core, &mut tx, &member, caller).await?;
    tx.commit().await?;
    Ok(session)
}

/// Gives a member the role of their groups. The last owner stays one.
async fn follow(core: &Core, tx: &mut Write, member: Member, role: Role, caller: &Caller) -> Result<Member> {
    if member.role == role.as_str() {
        return Ok(member);
    }
    match keep_an_owner(tx, &member).await {
        Err(error) if error.code == Code::LastOwner => return Ok(member),
        kept => kept?,
    }
    let now = core.clock.now_ms();
    let before = member.role.clone();
    let role = role.as_str().to_owned();
    let member = Member { role, version: member.version + 1, updated_at: now, ..member };
    store::members::update(tx, &member).await?;
    let changes = Changes::default().field("role", before, member.role.as_str());
    record(tx, &sessions::actor_of(&member, caller), now, "member.role_follow", target(&member), changes).await?;
    Ok(member)
}

/// Ends the sessions of a member whom no group gives a role any more; gives the refusal.
async fn put_out(core: &Core, issuer: &Issuer, member: Member, caller: &Caller) -> Result<Error> {
    let mut tx = core.store.write().await?;
    store::sessions::delete_others(&mut tx, &member.id, "").await?;
    tx.commit().await?;
    sessions::refused(core, Some(member), caller).await?;
    Ok(no_role(issuer))
}

async fn begin(core: &Core, tx: &mut Write, member: &Member, caller: &Caller) -> Result<Zeroizing<String>> {
    let session = sessions::insert(core, tx, member).await?;
    let actor = sessions::actor_of(member, caller);
    record(tx, &actor, core.clock.now_ms(), "member.sign_in", target(member), Changes::default()).await?;
    Ok(session)
}

async fn insert(core: &Core, tx: &mut Write, member: &Member, proven: &Proven, follows_groups: bool) -> Result<()> {
    let now = core.clock.now_ms();
    let identity = Identity {
        id: ids::mint("id", now, &core.entropy)?,
        member_id: member.id.clone(),
        issuer: proven.issuer.clone(),
        subject: proven.subject.clone(),
        follows_groups: i64::from(follows_groups),
        created_at: now,
        mac: String::new(),
    };
    store::identities::insert(tx, &identity).await.map_err(|error| match error {
        StoreError::Taken(_) => Error::new(
            Code::NameTaken,
            "this identity is linked to a member already, or your account has another one; nothing was changed",
        ),
        other => other.into(),
    })
}

/// What the issuer calls them, or what stands before the `@`.
fn name_of(proven: &Proven, email: &str) -> String {
    let start: String = email.split('@').next().unwrap_or_default().chars().take(64).collect();
    let told = proven.name.as_deref().and_then(|name| Name::parse(name).ok());
    told.or_else(|| Name::parse(&start).ok()).map_or_else(|| String::from("member"), |name| name.text)
}

fn no_role(issuer: &Issuer) -> Error {
    let detail = format!(
        "{} proves who you are, but none of your groups has a role in this Keyward: ask an owner or admin of it to invite \
         you, or to give one of your groups a role",
        issuer.name()
    );
    Error::new(Code::IdentityRefused, detail)
}

fn email_taken(error: StoreError, issuer: &Issuer, email: &str) -> Error {
    match error {
        StoreError::Taken(_) => {
            let detail = format!(
                "{email} is the e-mail of a member already, and an e-mail does not prove that it is you: sign in as you \
                 did before, and link {} on your account page",
                issuer.name()
            );
            Error::new(Code::NameTaken, detail)
        }
        other => other.into(),
    }
}
