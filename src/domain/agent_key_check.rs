//! Decides about the agent keys that calls bring: from memory, or from the database where one was not used lately.

use std::{net::IpAddr, sync::Arc};

use store::{
    Store,
    agent_keys::{AgentKey, AgentSecretRow},
};
use vault::{Token, TokenKind};

use super::{
    Core, agent_key_defaults, agent_secrets, clock::rfc3339, key_cache::CachedKey, key_limits::KeyLimits, meter::Used,
    tags, use_mark::UseMark,
};
use crate::error::{Code, Error, Result};

/// How often a key is read again that is changed meanwhile.
const LOOK_UP_TRIES: usize = 16;

/// Decides about a presented secret: from memory, or from the database where it was not used lately. Never says that
/// a key is bad when the database could not tell.
///
/// `caller` is where it came from; `None` where somebody only asks about it.
///
/// # Errors
/// [`Code::InvalidApiKey`], [`Code::ExpiredApiKey`], [`Code::DisabledApiKey`], [`Code::IpNotAllowed`]; [`Code::StorageUnavailable`].
pub async fn authenticate(core: &Arc<Core>, token: &Token, caller: Option<IpAddr>) -> Result<Arc<CachedKey>> {
    let key = known(core, token).await?;
    let now = core.clock.now_ms();
    if let Some(address) = caller {
        core.callers.note(&key, address, key.ends_at <= now || key.disabled, now);
    }
    if key.ends_at <= now {
        let (name, ended) = (&key.name, rfc3339(key.ends_at));
        let detail = match key.is_replaced {
            true => format!("this secret of the agent key {name:?} was replaced and ended on {ended}; use the new one"),
            false if key.leaked => {
                format!(
                    "the agent key {name:?} was reported as leaked on {ended} and is over for good; create a new one"
                )
            }
            false => format!("the agent key {name:?} expired on {ended}; create a new one in Keyward"),
        };
        return Err(refused(Code::ExpiredApiKey, &key, detail));
    }
    if key.disabled {
        return Err(refused(
            Code::DisabledApiKey,
            &key,
            format!("the agent key {:?} is disabled; an administrator of Keyward can enable it", key.name),
        ));
    }
    if let Some(address) = caller {
        key.limits.check_address(address)?;
    }
    core.meter.touch(Used::AgentKey, &key.used, now);
    Ok(key)
}

/// The key of a secret, good or over: from memory, or from the database.
///
/// # Errors
/// [`Code::InvalidApiKey`] where there is none; [`Code::StorageUnavailable`].
pub async fn known(core: &Arc<Core>, token: &Token) -> Result<Arc<CachedKey>> {
    core.lease.check()?;
    match core.keys.get(token.sha256()) {
        Some(key) => Ok(key),
        None => look_up(core, token).await,
    }
}

/// Ends the open streams of keys that were deleted or disabled, and of secrets that ended, without a word to this process.
///
/// # Errors
/// A storage failure.
pub async fn end_streams_of_revoked(core: &Arc<Core>) -> Result<()> {
    for id in core.keys.with_open_streams() {
        agent_secrets::end_streams_of_ended(core, &id).await?;
    }
    Ok(())
}

fn refused(code: Code, key: &CachedKey, detail: String) -> Error {
    tracing::debug!(reason = code.as_str(), agent_key = %key.id, "agent key refused");
    Error::new(code, detail)
}

/// Asks the database, in the runtime that owns its connections.
async fn look_up(core: &Arc<Core>, token: &Token) -> Result<Arc<CachedKey>> {
    if token.kind() != TokenKind::Agent {
        return Err(Error::new(
            Code::InvalidApiKey,
            "this is a management token, which is for /api/v1; agents authenticate with an agent key (kw_…)",
        ));
    }
    let busy = || Error::new(Code::StorageUnavailable, "too many keys are looked up at the moment; try again");
    let place = core.look_ups.place(token.sha256()).await.ok_or_else(busy)?;
    if let Some(key) = core.keys.get(token.sha256()) {
        return Ok(key);
    }
    if place.is_missed() {
        return Err(unknown());
    }
    let turn = place.turn().await.ok_or_else(busy)?;
    let sha256 = *token.sha256();
    let owner = Arc::clone(core);
    let task = core.control.spawn(async move {
        // With the question, whoever leaves meanwhile.
        let _turn = turn;
        // A key that is changed while it is read is read again: the answer must hold when it is given.
        for _ in 0..LOOK_UP_TRIES {
            let generation = owner.keys.generation();
            let Some(Found { key, secret, ends_at, default_limits }) = find(&owner.store, &sha256).await? else {
                place.note_miss();
                return Ok(None);
            };
            let (id, secret_id): (Arc<str>, Arc<str>) = (key.id.into(), secret.id.into());
            let limits = KeyLimits::of_column(&key.limits)?.or(&default_limits);
            let tags = tags::of_column(&key.tags);
            let quotas = limits.quotas().into_boxed_slice();
            let is_counted = !quotas.is_empty() || limits.calls_in_flight.is_some();
            let spending = is_counted.then(|| owner.spending.of(&id));
            let filled = owner.keys.fill(sha256, (&id, &secret_id), generation, |held, revocation| CachedKey {
                held,
                last_callers: Default::default(),
                used: Arc::new(UseMark::of_part(Arc::clone(&id), Arc::clone(&secret_id))),
                id: Arc::clone(&id),
                name: key.name,
                member_id: key.member_id.into(),
                created_by: key.created_by_name,
                issued_at: secret.created_at,
                ends_at,
                is_replaced: secret.ends_at > 0,
                leaked: key.leaked_at > 0,
                disabled: key.disabled_at > 0,
                revocation,
                tags: tags.into(),
                limits,
                quotas,
                spending,
            });
            if filled.is_some() {
                drop(place);
                return Ok(filled);
            }
        }
        Err(Error::new(Code::StorageUnavailable, "keys change faster than they can be read; try again"))
    });
    let found = task.await.unwrap_or_else(|error| {
        Err(Error::new(Code::StorageUnavailable, "the key cannot be looked up at the moment; try again")
            .with_cause(error))
    })?;
    found.ok_or_else(unknown)
}

fn unknown() -> Error {
    tracing::debug!(reason = "unknown", "agent key refused");
    Error::new(Code::InvalidApiKey, "there is no such agent key; it may have been deleted")
}

/// A key, as one of its secrets finds it.
struct Found {
    key: AgentKey,
    secret: AgentSecretRow,
    /// When the secret ends, or the key with it.
    ends_at: i64,
    default_limits: KeyLimits,
}

async fn find(store: &Store, sha256: &[u8; 32]) -> Result<Option<Found>> {
    // Both rows from one state: a rotation between the two reads would make a good secret look like one put back.
    let mut db = store.snapshot().await?;
    for digest in store.keyring().digests(sha256) {
        let secret = match store::agent_keys::find_secret(&mut db, &digest.value).await {
            // Somebody altered the row: that is a bad key, told in the log, and no outage.
            Err(store::StoreError::Tampered { .. }) => return Ok(None),
            other => other?,
        };
        let Some(secret) = secret else { continue };
        let key = match store::agent_keys::get(&mut db, &secret.agent_key_id).await {
            Err(store::StoreError::Tampered { .. }) => return Ok(None),
            other => other?,
        };
        let Some(key) = key else { continue };
        if secret.pepper_id != digest.pepper {
            tracing::error!(agent_key = %key.id, "agent key refused: its digest and its pepper do not belong together");
            return Ok(None);
        }
        if !agent_secrets::is_told(&key, &secret) {
            tracing::error!(
                agent_key = %key.id, secret = %secret.id,
                "agent key refused: its row does not tell of this secret, which was put back outside Keyward"
            );
            return Ok(None);
        }
        let ends_at = agent_secrets::end_of(&secret, &key);
        let default_limits = agent_key_defaults::limits(&mut db).await?;
        return Ok(Some(Found { key, secret, ends_at, default_limits }));
    }
    Ok(None)
}
