//! Agent keys that another product issued: taken over by the SHA-256 of their secrets, so that no agent needs a new one.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;
use store::{Handle, Write, agent_keys::AgentKey};
use vault::Token;

use super::{
    Core,
    actor::Actor,
    agent_key_bulk::MAX_AT_ONCE,
    agent_key_defaults,
    agent_key_new::{Draft, Issued, NewKey},
    foreign_keys::{self, ForeignKey, Issuer},
    key_limits::KeyLimits,
    name::{MAX_CHARS, fold},
    roles::{Permission, Reach},
};
use crate::error::{Code, Error, Result};

/// The most of what is wrong that is told at once.
const MAX_TOLD: usize = 20;
/// The highest number behind a name.
const MAX_NUMBER: u32 = 10_000;
/// What is left of a name's characters where a number comes behind it.
const ROOM: usize = 6;

/// Whether there are secrets that another product issued. While there are none, what has not the form of a key of ours is
/// refused without asking the database.
#[derive(Debug, Default)]
pub struct ForeignSecrets(AtomicBool);

impl ForeignSecrets {
    /// A presented secret that may be one of theirs.
    pub fn token(&self, text: &[u8]) -> Option<Token> {
        self.0.load(Ordering::Acquire).then(|| Token::foreign(text)).flatten()
    }

    /// Says that there are some.
    pub fn expect(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Looks whether there are. That there are none any more is not noticed before the next start: an import may be under way.
    ///
    /// # Errors
    /// A storage failure; what was known holds on.
    pub async fn look(&self, db: &mut impl Handle) -> Result<()> {
        if store::agent_secrets::has_foreign(db).await? {
            self.expect();
        }
        Ok(())
    }
}

/// What came of an import: by the place of each key in the list.
#[derive(Debug, Default)]
pub struct Imported {
    /// Those that are agent keys now.
    pub created: Vec<(usize, AgentKey)>,
    /// Those that are not, and why.
    pub skipped: Vec<(usize, String)>,
    /// What could not be taken over.
    pub notes: Vec<(usize, String)>,
}

/// Lets through who may import.
///
/// # Errors
/// [`Code::Forbidden`].
pub fn check(actor: &Actor) -> Result<()> {
    if actor.authority.reach(Permission::CreateAgentKeys) < Reach::All {
        let detail = "keys of another product are imported by whoever may create agent keys for all";
        return Err(Error::new(Code::Forbidden, detail));
    }
    Ok(())
}

/// Takes keys over, all that can be or none; those that are here already stay as they are. With `is_trial` nothing is written.
/// `owner_id` is whose those are that name no owner; the actor's where `None`.
///
/// # Errors
/// None or too many keys; what is wrong with any of them, with its place in the pointer; [`Code::Forbidden`] for who may not
/// create keys for everybody; a storage failure.
pub async fn import(
    core: &Core,
    actor: &Actor,
    issuer: Issuer,
    rows: Vec<Value>,
    owner_id: Option<String>,
    is_trial: bool,
) -> Result<Imported> {
    check(actor)?;
    if rows.is_empty() || rows.len() > MAX_AT_ONCE {
        return Err(Error::field("agent_keys", format!("must hold 1 to {MAX_AT_ONCE} keys")));
    }
    let keys = read(issuer, rows)?;
    let now = core.clock.now_ms();
    // Held to the end: a rotation waits for whatever was begun with older keys.
    let keyring = core.store.keyring();
    let default = agent_key_defaults::get(core).await?.1;
    // Before anybody waits for the write.
    let unpriced = core.catalog().unpriced().unwrap_or_default();
    let mut imported = Imported::default();
    let mut names = Names::default();
    let mut seen = HashSet::new();
    let mut tx = core.store.write().await?;
    for (at, key) in keys.into_iter().enumerate() {
        if !seen.insert(key.sha256) {
            imported.skipped.push((at, String::from("it stands in the list twice")));
            continue;
        }
        if let Some(why) = key.left_out {
            imported.skipped.push((at, why.to_owned()));
            continue;
        }
        if key.expires_at.is_some_and(|at| at <= now) {
            imported.skipped.push((at, String::from("it has expired")));
            continue;
        }
        if let Some(why) = known_as(core, &mut tx, &key.sha256).await? {
            imported.skipped.push((at, why));
            continue;
        }
        let days_left = key.expires_at.map(|at| at - now);
        let mut notes = key.notes.clone();
        notes.extend(useless(core, &key.limits, &default, &unpriced));
        let new = NewKey {
            name: names.free(&mut tx, &key.name).await?,
            expires_in_days: None,
            limits: key.limits,
            description: key.description,
            tags: key.tags,
            owner_id: key.owner_id.or_else(|| owner_id.clone()),
            issued: Some(Issued {
                sha256: key.sha256,
                masked_secret: key.masked_secret,
                ends_in_ms: days_left,
                is_disabled: key.is_disabled,
            }),
        };
        let draft = Draft::new(core, &keyring, actor, new, &default, now).map_err(|error| error.within(&place(at)))?;
        let created = draft.insert(&mut tx, actor, now).await.map_err(|error| error.within(&place(at)))?;
        imported.notes.extend(notes.into_iter().map(|note| (at, note)));
        if days_left.is_some_and(|left| now + left > created.key.expires_at) {
            let note =
                format!("it ends in {} days already, the policy's maximum; rotate it before", core.agent_key_max_days);
            imported.notes.push((at, note));
        }
        imported.created.push((at, created.key));
    }
    if !is_trial && !imported.created.is_empty() {
        // Before the commit: a secret that is there must never be refused for its form.
        core.foreign_secrets.expect();
        tx.commit().await?;
    }
    Ok(imported)
}

/// What the catalog as it is makes of its limits: models that are not here, and a budget in money that shuts those without prices.
fn useless(core: &Core, limits: &KeyLimits, default: &KeyLimits, unpriced: &[String]) -> Vec<String> {
    let limits = limits.clone().or(default);
    let catalog = core.catalog();
    let mut notes = Vec::new();
    let is_elsewhere = |model: &&String| !model.contains('*') && catalog.resolve(model).is_err();
    let missing: Vec<_> = limits.allowed_models.iter().filter(is_elsewhere).map(String::as_str).collect();
    if !missing.is_empty() && missing != ["all-team-models"] {
        notes.push(format!("there is no model {} here yet", missing.join(", ")));
    }
    if limits.counts_money() {
        let shut = unpriced.iter().filter(|model| limits.allows_model(model, "", "")).map(String::as_str);
        let shut: Vec<_> = shut.collect();
        if !shut.is_empty() {
            notes.push(format!("its budget in money shuts models without prices: {}", shut.join(", ")));
        }
    }
    notes
}

/// Every key of the list, or what is wrong with some.
fn read(issuer: Issuer, rows: Vec<Value>) -> Result<Vec<ForeignKey>> {
    let mut keys = Vec::with_capacity(rows.len());
    let mut wrong: Option<Error> = None;
    for (at, row) in rows.into_iter().enumerate() {
        match foreign_keys::parse(issuer, row).map_err(|error| error.within(&place(at))) {
            Ok(key) => keys.push(key),
            Err(error) => match &mut wrong {
                None => wrong = Some(error),
                Some(first) if first.fields.len() < MAX_TOLD => first.fields.extend(error.fields),
                Some(_) => {}
            },
        }
    }
    wrong.map_or(Ok(keys), Err)
}

/// Why a secret is not to be taken over, where it was already.
async fn known_as(core: &Core, tx: &mut Write, sha256: &[u8; 32]) -> Result<Option<String>> {
    for digest in core.store.keyring().digests(sha256) {
        let id = match store::agent_keys::find_secret(tx, &digest.value).await {
            Ok(Some(secret)) => secret.agent_key_id,
            Ok(None) if store::agent_secrets::has_ended(tx, &digest.value).await? => {
                return Ok(Some(String::from("it was here, and was deleted or rotated")));
            }
            Ok(None) => continue,
            Err(store::StoreError::Tampered { .. }) => {
                return Ok(Some(String::from("it is here already, in a damaged row")));
            }
            Err(error) => return Err(error.into()),
        };
        let key = store::agent_keys::get_standing(tx, &id).await?;
        return Ok(Some(match key {
            Some(key) => format!("it is here already, as {}", key.row.name),
            None => String::from("it is here already"),
        }));
    }
    Ok(None)
}

/// Names that are free: those of other products need not differ.
#[derive(Default)]
struct Names {
    given: HashSet<String>,
    /// How far the numbers behind a wanted name have come.
    numbers: HashMap<String, u32>,
}

impl Names {
    async fn free(&mut self, tx: &mut Write, wanted: &str) -> Result<String> {
        let short: String = wanted.trim().chars().take(MAX_CHARS - ROOM).collect();
        let number = self.numbers.entry(fold(wanted.trim())).or_default();
        while *number < MAX_NUMBER {
            *number += 1;
            let name = if *number == 1 { wanted.to_owned() } else { format!("{} {number}", short.trim_end()) };
            let key = fold(name.trim());
            if !self.given.contains(&key) && !store::agent_keys::has_name(tx, &key).await? {
                self.given.insert(key);
                return Ok(name);
            }
        }
        Err(Error::field("name", "is that of very many keys; give this one another"))
    }
}

fn place(at: usize) -> String {
    format!("/agent_keys/{at}")
}
