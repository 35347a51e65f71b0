//! The first run: how an installation gets its first member.

use store::{Write, members::Member, sessions::SetupToken};
use vault::OneTimeToken;
use zeroize::Zeroizing;

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    clock::HOUR_MS,
    ids, management_tokens, members,
    name::Name,
    sessions::{self, Caller},
};
use crate::error::{Code, Error, Result};

/// What an unattended first run made.
pub struct FirstRun {
    /// The first member.
    pub member_id: String,
    /// The management token's secret, which nobody can read again.
    pub token: Option<Zeroizing<String>>,
}

/// Who becomes the first member.
pub struct Owner {
    /// Their name.
    pub name: String,
    /// Their e-mail.
    pub email: String,
    /// Their password.
    pub password: Zeroizing<String>,
}

/// Whether the first run is still to come: there is no member, and no trace that there ever was one.
///
/// # Errors
/// A storage failure.
pub async fn is_open(core: &Core) -> Result<bool> {
    let mut db = core.store.read().await?;
    Ok(!store::chain::has_traces(&mut db).await?)
}

/// Whether the members are gone, which Keyward itself never lets happen.
///
/// # Errors
/// A storage failure.
pub async fn is_orphaned(core: &Core) -> Result<bool> {
    let mut db = core.store.read().await?;
    Ok(store::members::count(&mut db).await? == 0 && store::chain::has_traces(&mut db).await?)
}

/// What is said where there were members once and are none.
pub fn without_members() -> Error {
    Error::new(
        Code::Forbidden,
        "this installation had members and has none now: they were deleted outside Keyward, so nobody can make a first \
         one again; restore the database from a backup, or make an owner on this machine with keyward recover",
    )
}

/// A fresh token that lets its holder make the first member within an hour; `None` where the first run is over. It takes the
/// place of any that was given out before, but where several servers start on one database: each of them has told one.
///
/// # Errors
/// A storage failure.
pub async fn offer(core: &Core) -> Result<Option<Zeroizing<String>>> {
    if !is_open(core).await? {
        return Ok(None);
    }
    let now = core.clock.now_ms();
    let token = OneTimeToken::mint(&core.entropy)?;
    // Held to the end: a rotation waits for whatever was begun with older keys.
    let keyring = core.store.keyring();
    let digest = keyring.digest(token.sha256());
    let row = SetupToken {
        id: ids::mint("st", now, &core.entropy)?,
        pepper_id: digest.pepper,
        digest: digest.value,
        created_at: now,
        expires_at: now + HOUR_MS,
        mac: String::new(),
    };
    let mut tx = core.store.write().await?;
    let ended = if core.store.db().is_shared() { now } else { i64::MAX };
    store::sessions::add_setup_token(&mut tx, &row, ended).await?;
    tx.commit().await?;
    Ok(Some(token.expose_once()))
}

/// Makes the first member, an owner, and signs them in; gives the session's token. One transaction that needs the
/// setup token, no member and an empty audit chain.
///
/// # Errors
/// A refused token, name, e-mail or password; [`Code::Forbidden`] where somebody was first; a storage failure.
pub async fn claim(core: &Core, token: &str, owner: Owner, caller: &Caller) -> Result<Zeroizing<String>> {
    let token = OneTimeToken::parse(token.trim()).map_err(|_| refused_token())?;
    // Nobody without the token makes us hash passwords.
    check_token(core, &mut core.store.read().await?, &token).await?;
    let who = Error::both(Name::parse(&owner.name), members::parse_email(&owner.email));
    let ((name, _), ()) = Error::both(who, members::check_password(&owner.password))?;
    let password_hash = members::hash(core, owner.password).await?;
    let mut tx = core.store.write().await?;
    let member = members::create_first(core, &mut tx, &owner.email, &name.text, password_hash).await?;
    check_token(core, &mut tx, &token).await?;
    store::sessions::delete_setup_tokens(&mut tx).await?;
    let session = sessions::insert(core, &mut tx, &member).await?;
    record_first(core, &mut tx, &sessions::actor_of(&member, caller), &member).await?;
    tx.commit().await?;
    Ok(session)
}

/// Makes the first member, an owner, and a management token where one is named: both or neither.
///
/// # Errors
/// A member exists, or did; a refused e-mail, password or name; a storage failure.
pub async fn unattended(
    core: &Core,
    email: &str,
    password: Zeroizing<String>,
    token_name: Option<&str>,
) -> Result<FirstRun> {
    let actor = Actor::command("bootstrap");
    let password_hash = members::hash(core, password).await?;
    let mut tx = core.store.write().await?;
    let name = email.trim().split('@').next().unwrap_or_default();
    let member = members::create_first(core, &mut tx, email, name, password_hash).await?;
    let token = match token_name {
        Some(name) => Some(management_tokens::create_first(core, &mut tx, &member, name).await?),
        None => None,
    };
    store::sessions::delete_setup_tokens(&mut tx).await?;
    record_first(core, &mut tx, &actor, &member).await?;
    if let Some((token, _)) = &token {
        let target = ChangeTarget { kind: "management_token", id: &token.id, name: &token.name };
        let changes = Changes::default().field("scopes", (), token.scopes.as_str());
        record(&mut tx, &actor, core.clock.now_ms(), "management_token.create", target, changes).await?;
    }
    tx.commit().await?;
    Ok(FirstRun { member_id: member.id, token: token.map(|(_, secret)| secret) })
}

async fn record_first(core: &Core, tx: &mut Write, actor: &Actor, member: &Member) -> Result<()> {
    let target = ChangeTarget { kind: "member", id: &member.id, name: &member.name };
    let changes = Changes::default().field("email", (), member.email.as_str()).field("role", (), member.role.as_str());
    let seq = record(tx, actor, core.clock.now_ms(), "member.create", target, changes).await?;
    if seq == 1 {
        return Ok(());
    }
    // On PostgreSQL two can come this far at once; the chain's first number is given out once.
    Err(Error::new(Code::Forbidden, "somebody else made the first member at the same moment; sign in"))
}

async fn check_token(core: &Core, db: &mut impl store::Handle, token: &OneTimeToken) -> Result<()> {
    for digest in core.store.keyring().digests(token.sha256()) {
        if let Some(row) = store::sessions::find_setup_token(db, &digest.value).await?
            && row.pepper_id == digest.pepper
            && row.expires_at > core.clock.now_ms()
        {
            return Ok(());
        }
    }
    Err(refused_token())
}

fn refused_token() -> Error {
    Error::field("token", "is not a setup token that is good now; start keyward serve again, which prints a new link")
}
