//! The secrets of an agent key: the one that is handed out, and the one before it, which a rotation lets live on for a
//! while, so that no call fails while agents change over. At most these two live at a time, and both are the same key.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use store::agent_keys::{AgentKey, AgentSecretRow};
use vault::{AgentSecret, Keyring, TokenKind};

use super::{
    Core,
    actor::Actor,
    agent_key_new::Created,
    agent_keys::{Status, found, target},
    audit::{Changes, record},
    change::check_version,
    clock::{DAY_MS, rfc3339},
    idempotency::{Idempotency, Outcome},
    ids,
};
use crate::error::{Code, Error, Result};

/// How long the old secret lives on where nothing else is said, in seconds: a day.
pub const DEFAULT_OVERLAP_SECONDS: i64 = 86_400;
/// The longest that it lives on, in seconds: seven days.
pub const MAX_OVERLAP_SECONDS: i64 = 7 * 86_400;
/// How often it is looked whether a secret's time has come, which the clock decides and no timer.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What a secret is good for at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretStatus {
    /// It is the one that agents are to use; it ends with its key.
    Current,
    /// It was replaced, and still lives.
    Ending,
    /// It is over.
    Ended,
}

impl SecretStatus {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            SecretStatus::Current => "current",
            SecretStatus::Ending => "ending",
            SecretStatus::Ended => "ended",
        }
    }
}

/// A secret of an agent key, without itself.
#[derive(Debug, Clone)]
pub struct SecretView {
    /// Its id.
    pub id: String,
    /// Its mask.
    pub masked_secret: String,
    /// What it is good for.
    pub status: SecretStatus,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it ends, or its key with it.
    pub ends_at: i64,
    /// When it was used last; 0 where never.
    pub last_used_at: i64,
}

/// Gives a key a new secret, good for as long as the policy lets a new key live. The old one lives on for
/// `overlap_seconds`, or until its own end where that comes first; with 0 every earlier one ends at once.
///
/// # Errors
/// A refused overlap; [`Code::AgentKeyNotActive`]; [`Code::RotationUnderWay`] where the secret before the last one still
/// lives; [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn rotate(
    core: &Arc<Core>,
    actor: &Actor,
    id: &str,
    version: Option<i64>,
    overlap_seconds: Option<i64>,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<Created>> {
    let overlap_ms = parse_overlap(overlap_seconds)? * 1000;
    let now = core.clock.now_ms();
    // Held to the end: a rotation of the keys inside waits for whatever was begun with older ones.
    let keyring = core.store.keyring();
    let (secret, new) = mint(core, &keyring, id, now)?;
    let mut tx = core.store.write().await?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    let before = found(&mut tx, id).await?;
    check_version(before.version, version)?;
    check_active(&before, now)?;
    let mut kept = Vec::new();
    let mut over = Vec::new();
    for old in untouched(&mut tx, &before).await? {
        if end_of(&old, &before) <= now {
            store::agent_secrets::delete(&mut tx, &old.id, now).await?;
            continue;
        }
        if old.ends_at > 0 && overlap_ms > 0 {
            return Err(under_way(&before, &old));
        }
        let old = end(&mut tx, old, &before, now + overlap_ms).await?;
        over.push((old.id.clone(), old.ends_at));
        kept.push(old);
    }
    store::agent_secrets::insert(&mut tx, &new).await?;
    let key = AgentKey {
        masked_secret: secret.mask(),
        secrets: canonical(kept.iter().chain([&new])),
        expires_at: now + core.agent_key_max_days * DAY_MS,
        version: before.version + 1,
        ..before.clone()
    };
    store::agent_keys::update(&mut tx, &key).await?;
    Idempotency::note(idempotency, &mut tx, id, now).await?;
    let changes = over.iter().fold(
        Changes::default().secret("secret").field("expires_at", rfc3339(before.expires_at), rfc3339(key.expires_at)),
        |changes, (_, ends_at)| changes.field("old_secret_ends_at", (), rfc3339(*ends_at)),
    );
    record(&mut tx, actor, now, "agent_key.rotate", target(&key), changes).await?;
    let committed = tx.commit().await;
    // Also where the commit failed: it may have happened all the same, and forgetting is always safe.
    core.keys.forget(id, false);
    let (ended, ending): (Vec<_>, Vec<_>) = over.into_iter().partition(|(_, ends_at)| *ends_at <= now);
    for (secret_id, _) in ended {
        core.keys.forget_secret(id, &secret_id);
    }
    committed?;
    for (secret_id, ends_at) in ending {
        end_in_time(core, id.to_owned(), secret_id, ends_at);
    }
    Ok(Outcome::Done(Created { key, secret: secret.expose_once() }))
}

/// Ends the secret at once that a rotation let live on: its next call is refused, and its open streams end. Harmless
/// where there is none.
///
/// # Errors
/// [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn retire(core: &Core, actor: &Actor, id: &str, version: Option<i64>) -> Result<AgentKey> {
    retire_noting(core, actor, id, version, Changes::default()).await
}

/// The same, with more to be recorded.
///
/// # Errors
/// As for [`retire`].
pub(super) async fn retire_noting(
    core: &Core,
    actor: &Actor,
    id: &str,
    version: Option<i64>,
    mut changes: Changes,
) -> Result<AgentKey> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let before = found(&mut tx, id).await?;
    check_version(before.version, version)?;
    let mut secrets = untouched(&mut tx, &before).await?;
    let mut over = Vec::new();
    for secret in secrets.iter_mut().filter(|secret| secret.ends_at > 0 && end_of(secret, &before) > now) {
        changes = changes.field("old_secret_ends_at", rfc3339(end_of(secret, &before)), rfc3339(now));
        *secret = end(&mut tx, secret.clone(), &before, now).await?;
        over.push(secret.id.clone());
    }
    if over.is_empty() {
        return Ok(before);
    }
    let key = AgentKey { secrets: canonical(&secrets), version: before.version + 1, ..before };
    store::agent_keys::update(&mut tx, &key).await?;
    record(&mut tx, actor, now, "agent_key.retire", target(&key), changes).await?;
    let committed = tx.commit().await;
    for secret_id in over {
        core.keys.forget_secret(id, &secret_id);
    }
    committed?;
    Ok(key)
}

/// The secrets of a key, the newest first; damaged ones are left out.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn list(core: &Core, id: &str) -> Result<Vec<SecretView>> {
    if let Err(error) = core.meter.flush(core).await {
        // What is written down can be read all the same; the rest follows.
        error.log("");
    }
    let now = core.clock.now_ms();
    let mut db = core.store.snapshot().await?;
    let key = found(&mut db, id).await?;
    let mut views: Vec<_> = untouched(&mut db, &key).await?.into_iter().map(|secret| view(&key, secret, now)).collect();
    views.reverse();
    Ok(views)
}

/// Takes over what another process did to the secrets of a key: those that are over end with their streams, those that
/// end later do so in time.
///
/// # Errors
/// A storage failure.
pub async fn take_over(core: &Arc<Core>, id: &str) -> Result<()> {
    // First: until the streams are ended as well, nobody is let in by what is over.
    core.keys.forget(id, false);
    end_streams_of_ended(core, id).await
}

/// Ends the open streams of a key whose secrets are over, or of all of them where the key itself is; those whose secrets
/// end later end in time.
///
/// # Errors
/// A storage failure.
pub async fn end_streams_of_ended(core: &Arc<Core>, id: &str) -> Result<()> {
    let now = core.clock.now_ms();
    let mut db = core.store.snapshot().await?;
    let key = match store::agent_keys::get(&mut db, id).await {
        Err(store::StoreError::Tampered { .. }) => None,
        found => found?.filter(|key| key.disabled_at == 0),
    };
    let Some(key) = key else {
        core.keys.forget(id, true);
        return Ok(());
    };
    let secrets = untouched(&mut db, &key).await?;
    let lives = |secret_id: &str| secrets.iter().any(|secret| secret.id == secret_id && end_of(secret, &key) > now);
    for secret_id in core.keys.open_secrets(id).iter().filter(|secret_id| !lives(secret_id)) {
        core.keys.forget_secret(id, secret_id);
    }
    for secret in secrets.iter().filter(|secret| secret.ends_at > now) {
        end_in_time(core, id.to_owned(), secret.id.clone(), end_of(secret, &key));
    }
    Ok(())
}

/// A new secret for the key `id`, and the row that knows it.
///
/// # Errors
/// A failure of the system's random source.
pub(super) fn mint(core: &Core, keyring: &Keyring, id: &str, now: i64) -> Result<(AgentSecret, AgentSecretRow)> {
    let secret = AgentSecret::mint(TokenKind::Agent, &core.entropy)?;
    let row = row(core, keyring, id, now, secret.token().sha256(), secret.mask())?;
    Ok((secret, row))
}

/// The row that knows a secret of the key `id` by its SHA-256.
///
/// # Errors
/// A failure of the system's random source.
pub(super) fn row(
    core: &Core,
    keyring: &Keyring,
    id: &str,
    now: i64,
    sha256: &[u8; 32],
    masked_secret: String,
) -> Result<AgentSecretRow> {
    let digest = keyring.digest(sha256);
    Ok(AgentSecretRow {
        id: ids::mint("as", now, &core.entropy)?,
        agent_key_id: id.to_owned(),
        pepper_id: digest.pepper,
        digest: digest.value,
        created_at: now,
        ends_at: 0,
        masked_secret,
        version: 1,
        mac: String::new(),
        last_used_at: 0,
    })
}

/// Secrets as the row of their key holds them, under its MAC.
pub(super) fn canonical<'a>(secrets: impl IntoIterator<Item = &'a AgentSecretRow>) -> String {
    secrets.into_iter().map(told).collect::<Vec<_>>().join(" ")
}

/// Whether a key's row tells of this secret, with this end; a row from before it told them takes any.
pub(super) fn is_told(key: &AgentKey, secret: &AgentSecretRow) -> bool {
    key.secrets == "?" || key.secrets.split(' ').any(|entry| entry == told(secret))
}

/// When a secret ends, or its key with it.
pub(super) fn end_of(secret: &AgentSecretRow, key: &AgentKey) -> i64 {
    if secret.ends_at == 0 { key.expires_at } else { secret.ends_at.min(key.expires_at) }
}

fn told(secret: &AgentSecretRow) -> String {
    format!("{}*{}", secret.id, secret.ends_at)
}

fn view(key: &AgentKey, secret: AgentSecretRow, now: i64) -> SecretView {
    let ends_at = end_of(&secret, key);
    let status = match secret.ends_at {
        _ if ends_at <= now => SecretStatus::Ended,
        0 => SecretStatus::Current,
        _ => SecretStatus::Ending,
    };
    // Rows from before secrets had masks of their own are those of keys that were never rotated.
    let masked_secret = Some(secret.masked_secret).filter(|mask| !mask.is_empty());
    SecretView {
        masked_secret: masked_secret.unwrap_or_else(|| key.masked_secret.clone()),
        id: secret.id,
        status,
        created_at: secret.created_at,
        ends_at,
        last_used_at: secret.last_used_at,
    }
}

/// The secrets of a key that are as Keyward wrote them, the oldest first.
async fn untouched(db: &mut impl store::Handle, key: &AgentKey) -> Result<Vec<AgentSecretRow>> {
    let rows = store::agent_secrets::of_key(db, &key.id).await?;
    Ok(rows.into_iter().filter(|row| !row.is_damaged).map(|row| row.row).filter(|row| is_told(key, row)).collect())
}

/// Lets a secret end at `at`, or at its own end where that comes first.
async fn end(tx: &mut store::Write, secret: AgentSecretRow, key: &AgentKey, at: i64) -> Result<AgentSecretRow> {
    let masked_secret = match secret.masked_secret.is_empty() {
        true => key.masked_secret.clone(),
        false => secret.masked_secret.clone(),
    };
    let ended =
        AgentSecretRow { ends_at: at.min(end_of(&secret, key)), masked_secret, version: secret.version + 1, ..secret };
    store::agent_secrets::set_end(tx, &ended).await?;
    Ok(ended)
}

/// Ends the open streams of a secret when its time has come; calls that begin later are refused by its row.
fn end_in_time(core: &Arc<Core>, id: String, secret_id: String, ends_at: i64) {
    let weak: Weak<Core> = Arc::downgrade(core);
    core.control.spawn(async move {
        while let Some(core) = weak.upgrade() {
            let left = ends_at - core.clock.now_ms();
            if left <= 0 {
                return core.keys.forget_secret(&id, &secret_id);
            }
            drop(core);
            let left = Duration::from_millis(left.unsigned_abs());
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    });
}

fn parse_overlap(seconds: Option<i64>) -> Result<i64> {
    let seconds = seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS);
    if (0..=MAX_OVERLAP_SECONDS).contains(&seconds) {
        return Ok(seconds);
    }
    Err(Error::field("overlap_seconds", format!("must be from 0 to {MAX_OVERLAP_SECONDS}, which is seven days")))
}

fn check_active(key: &AgentKey, now: i64) -> Result<()> {
    let what_to_do = match Status::of(key, now) {
        Status::Active => return Ok(()),
        Status::Disabled => "is disabled; enable it first",
        Status::Expired if key.leaked_at > 0 => "was reported as leaked; create a new key",
        Status::Expired => "has expired; create a new key",
    };
    Err(Error::new(Code::AgentKeyNotActive, format!("{} cannot be rotated: it {what_to_do}", key.name)))
}

fn under_way(key: &AgentKey, old: &AgentSecretRow) -> Error {
    Error::new(
        Code::RotationUnderWay,
        format!(
            "the secret of {} that the last rotation replaced still lives, until {}; retire it with POST \
             /api/v1/agent-keys/{}/retire and rotate again, or rotate with overlap_seconds 0, which ends every earlier \
             secret at once",
            key.name,
            rfc3339(end_of(old, key)),
            key.id
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_lasts_from_nothing_to_seven_days_and_a_day_where_none_is_named() {
        assert_eq!(parse_overlap(None).expect("the default"), 86_400);
        assert_eq!(parse_overlap(Some(604_800)).expect("seven days"), 604_800);
        for wrong in [-1, 604_801, i64::MAX] {
            assert_eq!(parse_overlap(Some(wrong)).expect_err("refused").fields[0].pointer, "/overlap_seconds");
        }
    }
}
