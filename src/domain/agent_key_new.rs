//! New agent keys: minted here and shown once, or issued by another product and known by the hash of their secret.

use store::{
    Write,
    agent_keys::{AgentKey, AgentSecretRow},
};
use vault::{AgentSecret, Keyring};
use zeroize::Zeroizing;

use super::{
    Core,
    actor::Actor,
    agent_key_defaults,
    agent_key_rules::{check_owner, check_tags, check_widening, parse_description, some},
    agent_keys::target,
    agent_secrets,
    audit::{Changes, record},
    change::name_error,
    clock::{DAY_MS, rfc3339},
    idempotency::{Idempotency, Outcome},
    ids,
    key_limits::KeyLimits,
    name::Name,
    tags,
};
use crate::error::{Error, Result};

/// A new key with its secret, which nobody can read again.
pub struct Created {
    /// The key.
    pub key: AgentKey,
    /// Its secret; empty where another product issued it.
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
    /// Its secret, where another product issued it; minted where `None`.
    pub issued: Option<Issued>,
}

/// A secret that another product issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// SHA-256 of the secret.
    pub sha256: [u8; 32],
    /// What is shown of it.
    pub masked_secret: String,
    /// In how many milliseconds it ends, where that is before the policy's maximum.
    pub ends_in_ms: Option<i64>,
    /// Whether it is switched off.
    pub is_disabled: bool,
}

/// A key that is good to be inserted.
pub(super) struct Draft {
    key: AgentKey,
    /// `None` where another product issued it.
    secret: Option<AgentSecret>,
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
        let (secret, row) = match &new.issued {
            Some(Issued { sha256, masked_secret, .. }) => {
                (None, agent_secrets::row(core, keyring, &id, now, sha256, masked_secret.clone())?)
            }
            None => agent_secrets::mint(core, keyring, &id, now).map(|(secret, row)| (Some(secret), row))?,
        };
        let life = days * DAY_MS;
        let ends_in = new.issued.as_ref().and_then(|issued| issued.ends_in_ms).map_or(life, |left| left.min(life));
        let is_disabled = new.issued.is_some_and(|issued| issued.is_disabled);
        let key = AgentKey {
            id,
            name: name.text,
            name_key: name.key,
            masked_secret: row.masked_secret.clone(),
            member_id: new.owner_id.unwrap_or_else(|| actor.member_id.clone()),
            created_by_id: actor.id.clone(),
            created_by_name: actor.name.clone(),
            limits: limits.to_column(),
            secrets: agent_secrets::canonical([&row]),
            description,
            tags: tags::to_column(&tags),
            created_at: now,
            expires_at: now + ends_in,
            disabled_at: if is_disabled { now } else { 0 },
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
            .field("tags", (), some(key.tags.trim()))
            .field("disabled", (), Some(true).filter(|_| key.disabled_at > 0));
        let action = if secret.is_some() { "agent_key.create" } else { "agent_key.import" };
        record(tx, actor, now, action, target(&key), changes).await?;
        Ok(Created { key, secret: secret.map(AgentSecret::expose_once).unwrap_or_default() })
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

/// How many days a key lives.
fn parse_days(core: &Core, days: Option<i64>) -> Result<i64> {
    let max = core.agent_key_max_days;
    let days = days.unwrap_or(max);
    if (1..=max).contains(&days) {
        return Ok(days);
    }
    Err(Error::field("expires_in_days", format!("must be from 1 to {max}, the policy's maximum")))
}
