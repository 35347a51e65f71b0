//! Agent keys: what agents authenticate with. Shown once, kept as a keyed hash, good for 90 days.

use store::{Handle, Standing, agent_keys::AgentKey};

use super::{
    Core,
    actor::Actor,
    agent_key_defaults,
    agent_key_rules::{check_owner, check_tags, check_widening, parse_description, printable, some},
    audit::{ChangeTarget, Changes, record},
    change::{check_version, name_error},
    clock::rfc3339,
    key_limits::KeyLimits,
    name::Name,
    tags,
};
use crate::error::{Code, Error, Result};

/// From how many days before its end a key ends soon.
pub const SOON_DAYS: i64 = 14;

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
                match key.leaked_at > 0 {
                    true => format!("{} was reported as leaked and is over for good; create a new key", key.name),
                    false => format!("{} has expired and cannot be switched on or off; create a new key", key.name),
                },
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

/// Deletes a key, a damaged one as well. Its next call is refused, and its open streams end.
///
/// # Errors
/// [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn delete(core: &Core, actor: &Actor, id: &str, version: Option<i64>) -> Result<()> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let key = found_standing(&mut tx, id).await?.row;
    check_version(key.version, version)?;
    store::agent_keys::delete(&mut tx, id, now).await?;
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
