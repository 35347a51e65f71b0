//! Agent keys: what agents authenticate with. Shown once, kept as a keyed hash, good for 90 days.

use store::{
    Handle, Standing, Write,
    agent_keys::{AgentKey, AgentSecretRow},
};
use vault::{AgentSecret, Keyring};
use zeroize::Zeroizing;

use super::{
    Core,
    actor::Actor,
    agent_key_defaults, agent_secrets,
    audit::{ChangeTarget, Changes, record},
    change::{check_version, name_error},
    clock::{DAY_MS, rfc3339},
    idempotency::{Idempotency, Outcome},
    ids,
    key_limits::KeyLimits,
    name::Name,
    roles::{Permission, Reach},
    roster, tags,
};
use crate::error::{Code, Error, Result};

/// From how many days before its end a key ends soon.
pub const SOON_DAYS: i64 = 14;

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 500;

/// What a key is good for at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Valid and usable.
    Active,
    /// Past its expiry, for good.
    Expired,
    /// Switched off, for now.
    Disabled,
}

impl Status {
    /// The status of a key at `now`.
    pub fn of(key: &AgentKey, now: i64) -> Status {
        if key.expires_at <= now {
            Status::Expired
        } else if key.disabled_at > 0 {
            Status::Disabled
        } else {
            Status::Active
        }
    }

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Expired => "expired",
            Status::Disabled => "disabled",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Status> {
        [Status::Active, Status::Expired, Status::Disabled].into_iter().find(|status| status.as_str() == text)
    }
}

/// A new key with its secret, which nobody can read again.
pub struct Created {
    /// The key.
    pub key: AgentKey,
    /// Its secret.
    pub secret: Zeroizing<String>,
}

/// A key to be made.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// After how many days it ends; the policy's maximum where that is not said.
    pub expires_in_days: Option<i64>,
    /// What it may call.
    pub limits: KeyLimits,
    /// What it is for.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The member whose it is; whoever makes it where `None`.
    pub owner_id: Option<String>,
}

/// A key that is good to be inserted.
pub(super) struct Draft {
    key: AgentKey,
    secret: AgentSecret,
    row: AgentSecretRow,
    limits: KeyLimits,
}

impl Draft {
    /// Checks what it is to be, and mints it.
    pub(super) fn new(
        core: &Core,
        keyring: &Keyring,
        actor: &Actor,
        new: NewKey,
        default: &KeyLimits,
        now: i64,
    ) -> Result<Draft> {
        let named = Error::both(Name::parse(&new.name), parse_days(core, new.expires_in_days));
        let about = Error::both(parse_description(&new.description), tags::parse(&new.tags));
        let (((name, days), limits), (description, tags)) = Error::both(Error::both(named, new.limits.check()), about)?;
        check_widening(actor, default, &limits.clone().or(default))?;
        check_tags(actor, &[], &tags)?;
        let id = ids::mint("ak", now, &core.entropy)?;
        let (secret, row) = agent_secrets::mint(core, keyring, &id, now)?;
        let key = AgentKey {
            id,
            name: name.text,
            name_key: name.key,
            masked_secret: secret.mask(),
            member_id: new.owner_id.unwrap_or_else(|| actor.member_id.clone()),
            created_by_id: actor.id.clone(),
            created_by_name: actor.name.clone(),
            limits: limits.to_column(),
            secrets: agent_secrets::canonical([&row]),
            description,
            tags: tags::to_column(&tags),
            created_at: now,
            expires_at: now + days * DAY_MS,
            disabled_at: 0,
            leaked_at: 0,
            version: 1,
            mac: String::new(),
            last_used_at: 0,
        };
        Ok(Draft { key, secret, row, limits })
    }

    /// Its name, as names are compared.
    pub(super) fn name_key(&self) -> &str {
        &self.key.name_key
    }

    /// Inserts it, and records that.
    pub(super) async fn insert(self, tx: &mut Write, actor: &Actor, now: i64) -> Result<Created> {
        let Draft { key, secret, row, limits } = self;
        check_owner(tx, actor, &actor.member_id, &key.member_id).await?;
        store::agent_keys::insert(tx, &key, &row).await.map_err(|error| name_error(error, &key.name))?;
        let words = Some(limits.words()).filter(|words| !words.is_empty());
        let changes = Changes::default()
            .field("name", (), key.name.as_str())
            .field("expires_at", (), rfc3339(key.expires_at))
            .field("limits", (), words)
            .field("description", (), some(&key.description))
            .field("tags", (), some(key.tags.trim()));
        record(tx, actor, now, "agent_key.create", target(&key), changes).await?;
        Ok(Created { key, secret: secret.expose_once() })
    }
}

/// Creates a key.
///
/// # Errors
/// A refused name, number of days or limit, a name that is taken, a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    new: NewKey,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<Created>> {
    let now = core.clock.now_ms();
    // Held to the end: a rotation waits for whatever was begun with older keys.
    let keyring = core.store.keyring();
    let default = agent_key_defaults::get(core).await?.1;
    let draft = Draft::new(core, &keyring, actor, new, &default, now)?;
    let mut tx = core.store.write().await?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    let created = draft.insert(&mut tx, actor, now).await?;
    Idempotency::note(idempotency, &mut tx, &created.key.id, now).await?;
    tx.commit().await?;
    Ok(Outcome::Done(created))
}

/// Routes beyond inference are opened by whoever may change providers: also to a key of one's own they give what the
/// general key may do. Other limits are widened by whoever may edit everybody's keys: who has keys of their own may narrow
/// them.
fn check_widening(actor: &Actor, before: &KeyLimits, after: &KeyLimits) -> Result<()> {
    if after.opens_more_than(before) && !actor.authority.may(Permission::WriteProviders) {
        let detail = "must not open further routes, which you may not decide; ask somebody who may change providers";
        return Err(Error::field("limits/allowed_routes", detail).forbidding());
    }
    if actor.authority.reach(Permission::EditAgentKeys) < Reach::All
        && let Some(wider) = after.wider_than(before)
    {
        let detail = "must not be wider than it is, which you may not decide; ask somebody who may edit all agent keys";
        return Err(Error::field(wider, detail).forbidding());
    }
    Ok(())
}

/// How many days a key lives.
fn parse_days(core: &Core, days: Option<i64>) -> Result<i64> {
    let max = core.agent_key_max_days;
    let days = days.unwrap_or(max);
    if (1..=max).contains(&days) {
        return Ok(days);
    }
    Err(Error::field("expires_in_days", format!("must be from 1 to {max}, the policy's maximum")))
}

/// The key with this id.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get(core: &Core, id: &str) -> Result<AgentKey> {
    found(&mut core.store.read().await?, id).await
}

/// The key with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get_standing(core: &Core, id: &str) -> Result<Standing<AgentKey>> {
    found_standing(&mut core.store.read().await?, id).await
}

/// Tags are given by whoever may edit everybody's keys: policies let in by them. Anybody takes them off their own.
fn check_tags(actor: &Actor, before: &[String], after: &[String]) -> Result<()> {
    let is_new = after.iter().any(|tag| !before.contains(tag));
    if is_new && actor.authority.reach(Permission::EditAgentKeys) < Reach::All {
        let detail = "must not have more tags than there are, which you may not decide; ask somebody who may edit all agent keys";
        return Err(Error::field("tags", detail).forbidding());
    }
    Ok(())
}

/// Whose key it is from now on: another member's only where the actor may edit everybody's.
async fn check_owner(db: &mut impl Handle, actor: &Actor, before: &str, after: &str) -> Result<()> {
    if before == after {
        return Ok(());
    }
    // Whoever has a key may have a new secret of it: to give one away is as good as to create one for somebody.
    if actor.authority.reach(Permission::CreateAgentKeys) < Reach::All {
        let detail = "you may not give agent keys to others; ask somebody who may create keys for all";
        return Err(Error::new(Code::Forbidden, detail));
    }
    match store::members::get(db, after).await? {
        Some(member) if roster::Status::of(&member) == roster::Status::Active => Ok(()),
        _ => Err(Error::field("owner_id", "must be the id of a member who has joined")),
    }
}

/// Lets a description through: up to 500 characters, without control characters but line breaks.
fn parse_description(text: &str) -> Result<String> {
    let text = text.trim().replace("\r\n", "\n");
    let is_odd = |c: char| c.is_control() && c != '\n';
    match text.chars().count() <= MAX_DESCRIPTION && !text.chars().any(is_odd) {
        true => Ok(text),
        false => Err(Error::field(
            "description",
            format!("must be {MAX_DESCRIPTION} characters at most, without control characters"),
        )),
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Makes other limits from those that hold.
pub type LimitsChange = Box<dyn FnOnce(KeyLimits) -> Result<KeyLimits> + Send>;

/// What an edit changes; a field that is `None` stays.
#[derive(Default)]
pub struct Edit {
    /// A new name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// All its tags.
    pub tags: Option<Vec<String>>,
    /// Another member whose it is.
    pub owner_id: Option<String>,
    /// Other limits, made from those that hold.
    pub limits: Option<LimitsChange>,
}

/// Edits a key. Its limits hold from its next call on.
///
/// # Errors
/// [`Code::VersionMismatch`] where `version` is given and no longer right; a refused field; [`Code::NotFound`];
/// [`Code::Forbidden`] where a limit of one's own key would be wider, or its owner another.
pub async fn edit(core: &Core, actor: &Actor, id: &str, version: Option<i64>, edit: Edit) -> Result<AgentKey> {
    let Edit { name, description, tags, owner_id, limits } = edit;
    let name = name.as_deref().map(Name::parse).transpose();
    let description = description.as_deref().map(parse_description).transpose();
    let tags = tags.as_deref().map(tags::parse).transpose();
    let (name, (description, tags)) = Error::both(name, Error::both(description, tags))?;
    let mut db = core.store.read().await?;
    let seen_owner = found(&mut db, id).await?.member_id;
    if let Some(owner_id) = &owner_id {
        check_owner(&mut db, actor, &seen_owner, owner_id).await?;
    }
    drop(db);
    let default = agent_key_defaults::get(core).await?.1;
    change(core, actor, id, version, "agent_key.edit", |key, _now| {
        // Who may do this was decided by whose key it was.
        if key.member_id != seen_owner {
            return Err(Error::new(
                Code::VersionMismatch,
                "the key was given to somebody else meanwhile; read it again",
            ));
        }
        if let Some(tags) = &tags {
            check_tags(actor, &tags::of_column(&key.tags), tags)?;
        }
        if let Some(limits) = limits {
            let before = KeyLimits::of_column(&key.limits)?;
            let after = limits(before.clone())?.check()?;
            check_widening(actor, &before.or(&default), &after.clone().or(&default))?;
            key.limits = after.to_column();
        }
        if let Some(name) = name {
            (key.name, key.name_key) = (name.text, name.key);
        }
        key.description = description.unwrap_or_else(|| std::mem::take(&mut key.description));
        key.tags = tags.map_or_else(|| std::mem::take(&mut key.tags), |tags| tags::to_column(&tags));
        key.member_id = owner_id.unwrap_or_else(|| std::mem::take(&mut key.member_id));
        Ok(())
    })
    .await
}

/// Switches a key off, at once and with its open streams, or on again. An expired key cannot be revived.
///
/// # Errors
/// [`Code::ValidationFailed`] for an expired key; [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn set_disabled(
    core: &Core,
    actor: &Actor,
    id: &str,
    version: Option<i64>,
    disabled: bool,
) -> Result<AgentKey> {
    let action = if disabled { "agent_key.disable" } else { "agent_key.enable" };
    change(core, actor, id, version, action, |key, now| {
        if key.expires_at <= now {
            return Err(Error::new(
                Code::ValidationFailed,
                format!("{} has expired and cannot be switched on or off; create a new key", key.name),
            ));
        }
        match (disabled, key.disabled_at > 0) {
            (true, false) => key.disabled_at = now,
            (false, true) => key.disabled_at = 0,
            _ => {}
        }
        Ok(())
    })
    .await
}

/// Ends a key that was found where it should not be: at once, for ever, and with its open streams.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub(super) async fn end_leaked(core: &Core, actor: &Actor, id: &str, found_at: &str) -> Result<AgentKey> {
    let found_at = printable(found_at);
    change_noting(core, actor, id, None, "agent_key.revoke_leaked", |key, now| {
        key.leaked_at = now;
        key.expires_at = key.expires_at.min(now);
        Ok(Changes::default().field("found_at", (), some(&found_at)))
    })
    .await
}

/// Somebody else's text as a line of the audit log: at most 300 characters, none of them a control character.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Deletes a key, a damaged one as well. Its next call is refused, and its open streams end.
///
/// # Errors
/// [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn delete(core: &Core, actor: &Actor, id: &str, version: Option<i64>) -> Result<()> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let key = found_standing(&mut tx, id).await?.row;
    check_version(key.version, version)?;
    store::agent_keys::delete(&mut tx, id).await?;
    store::callers::delete_of_key(&mut tx, id).await?;
    let changes = Changes::default().field("name", key.name.as_str(), ());
    record(&mut tx, actor, now, "agent_key.delete", target(&key), changes).await?;
    let committed = tx.commit().await;
    // Also where the commit failed: it may have happened all the same, and forgetting is always safe.
    core.keys.forget(id, true);
    Ok(committed?)
}

async fn change(
    core: &Core,
    actor: &Actor,
    id: &str,
    version: Option<i64>,
    action: &str,
    apply: impl FnOnce(&mut AgentKey, i64) -> Result<()>,
) -> Result<AgentKey> {
    change_noting(core, actor, id, version, action, |key, now| apply(key, now).map(|()| Changes::default())).await
}

/// The same, with more to be recorded than what the key's row tells.
async fn change_noting(
    core: &Core,
    actor: &Actor,
    id: &str,
    version: Option<i64>,
    action: &str,
    apply: impl FnOnce(&mut AgentKey, i64) -> Result<Changes>,
) -> Result<AgentKey> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let before = found(&mut tx, id).await?;
    check_version(before.version, version)?;
    let mut key = before.clone();
    let changes = apply(&mut key, now)?;
    if key == before {
        return Ok(before);
    }
    let mut changes = changes
        .field("name", before.name.as_str(), key.name.as_str())
        .field("description", some(&before.description), some(&key.description))
        .field("tags", some(before.tags.trim()), some(key.tags.trim()))
        .field("member_id", before.member_id.as_str(), key.member_id.as_str())
        .field("disabled", before.disabled_at > 0, key.disabled_at > 0)
        .field("expires_at", rfc3339(before.expires_at), rfc3339(key.expires_at));
    if key.limits != before.limits {
        let words =
            |column| KeyLimits::of_column(column).map(|limits| Some(limits.words()).filter(|words| !words.is_empty()));
        changes = changes.field("limits", words(&before.limits)?, words(&key.limits)?);
    }
    key.version += 1;
    store::agent_keys::update(&mut tx, &key).await.map_err(|error| name_error(error, &key.name))?;
    record(&mut tx, actor, now, action, target(&key), changes).await?;
    let committed = tx.commit().await;
    core.keys.forget(id, key.disabled_at > 0 || key.expires_at <= now);
    committed?;
    Ok(key)
}

pub(super) async fn found(db: &mut impl Handle, id: &str) -> Result<AgentKey> {
    store::agent_keys::get(db, id).await?.ok_or_else(|| Error::not_found("agent key", id))
}

async fn found_standing(db: &mut impl Handle, id: &str) -> Result<Standing<AgentKey>> {
    store::agent_keys::get_standing(db, id).await?.ok_or_else(|| Error::not_found("agent key", id))
}

pub(super) fn target(key: &AgentKey) -> ChangeTarget<'_> {
    ChangeTarget { kind: "agent_key", id: &key.id, name: &key.name }
}
