//! Links: a general key to a provider or a model, and the sealed copies that let its value go there.
//!
//! The rule (promise 1): a value is sealed for the places it was saved for. The first link binds it, when made by
//! whoever entered the value; every other place needs the value again.

use serde::Serialize;
use store::{
    Handle, StoreError, Write,
    general_keys::{GeneralKey, SealedCopy},
    links::Link,
    models::Model,
    providers::Provider,
};
use vault::{Binding, ProviderValue};

use super::{Core, actor::Actor, catalog::sealed_place, ids, key_set::MAX_KEYS};
use crate::{
    egress::Target,
    error::{Code, Error, Result},
};

/// The largest weight of a linked key.
const MAX_WEIGHT: i64 = 100;

/// What a general key is linked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkedTo {
    /// `provider` or `model`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A general key linked to a provider or model, with its share of the agent keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyShare {
    /// The general key's id.
    pub general_key_id: String,
    /// Its weight among the keys of the same provider or model, from 1 to 100.
    pub weight: i64,
}

impl KeyShare {
    /// A key on its own.
    pub fn whole(general_key_id: String) -> KeyShare {
        KeyShare { general_key_id, weight: 1 }
    }

    /// The one key of that id, or none.
    pub fn only(general_key_id: Option<String>) -> Vec<KeyShare> {
        general_key_id.map(KeyShare::whole).into_iter().collect()
    }
}

/// What a link is about to point at.
pub struct LinkTarget<'a> {
    /// `provider` or `model`.
    pub kind: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Where its calls go.
    pub target: &'a Target,
}

/// Parses the value that was given again.
///
/// # Errors
/// A refused field `general_key_value`.
pub fn parse_value_again(value: Option<String>) -> Result<Option<ProviderValue>> {
    value
        .map(|text| ProviderValue::parse(text).map_err(|error| Error::field("general_key_value", error.to_string())))
        .transpose()
}

/// Links these general keys to a target instead of what was linked. `given` is the value of one of them, where it was
/// not saved for this place.
///
/// # Errors
/// [`Code::ValidationFailed`] where there is no such key, or too many; [`Code::OriginNotBound`] where a value may not go
/// there.
pub async fn set(
    core: &Core,
    tx: &mut Write,
    at: &LinkTarget<'_>,
    keys: &[KeyShare],
    given: Option<&ProviderValue>,
    actor: &Actor,
) -> Result<()> {
    check(keys)?;
    store::links::delete_of_target(tx, at.id).await?;
    let mut rows = Vec::with_capacity(keys.len());
    for share in keys {
        let id = &share.general_key_id;
        rows.push(store::general_keys::get(tx, id).await?.ok_or_else(|| {
            Error::field("general_key_id", format!("there is no general key {id}; GET /api/v1/general-keys lists them"))
        })?);
    }
    let now = core.clock.now_ms();
    for (at_ms, (share, key)) in (now..).zip(keys.iter().zip(&rows)) {
        // Of several keys, the value belongs to the one it looks like.
        let is_its_value = |value: &&ProviderValue| keys.len() == 1 || is_value_of(core, value, key);
        allow(core, tx, key, at.target.binding(), given.filter(is_its_value), actor).await?;
        let link = Link {
            // Ids sort by time, so that keys of one weight keep the order they were given in.
            id: ids::mint("ln", at_ms, &core.entropy)?,
            target_kind: at.kind.to_owned(),
            target_id: at.id.to_owned(),
            general_key_id: share.general_key_id.clone(),
            weight: share.weight,
            created_at: now,
            version: 1,
            mac: String::new(),
        };
        store::links::insert(tx, &link).await?;
    }
    Ok(())
}

fn check(keys: &[KeyShare]) -> Result<()> {
    if keys.len() > MAX_KEYS {
        return Err(Error::field("general_keys", format!("must be at most {MAX_KEYS} keys")));
    }
    for (at, share) in keys.iter().enumerate() {
        if !(1..=MAX_WEIGHT).contains(&share.weight) {
            return Err(Error::field("general_keys", format!("must have weights from 1 to {MAX_WEIGHT}")));
        }
        if keys[..at].iter().any(|other| other.general_key_id == share.general_key_id) {
            return Err(Error::field("general_keys", format!("has {} twice", share.general_key_id)));
        }
    }
    Ok(())
}

/// Makes sure that the key's value may go to `binding`.
///
/// # Errors
/// [`Code::OriginNotBound`].
pub async fn allow(
    core: &Core,
    tx: &mut Write,
    key: &GeneralKey,
    binding: &Binding,
    given: Option<&ProviderValue>,
    actor: &Actor,
) -> Result<()> {
    if let Some(value) = given
        && !is_value_of(core, value, key)
    {
        return Err(Error::field(
            "general_key_value",
            format!(
                "is not the value of {} ({}); to replace the value, edit the general key",
                key.name, key.masked_value
            ),
        ));
    }
    let copies = store::general_keys::copies(tx, &key.id).await?;
    if copies.iter().any(|copy| copy.binding == binding.canonical()) {
        return Ok(());
    }
    let unbound = copies.iter().find(|copy| copy.binding.is_empty());
    if let Some(value) = given {
        // The first link binds, also where the value was given with it: no copy stays that could go anywhere.
        if let Some(copy) = unbound {
            store::general_keys::delete_copy(tx, &copy.id).await?;
        }
        return seal_copy(core, tx, &key.id, Some(binding), value).await;
    }
    if let Some(copy) = unbound.filter(|_| !actor.member_id.is_empty() && actor.member_id == key.value_entered_by) {
        let value = core.store.keyring().open_unbound(&sealed_place(copy), &copy.sealed).map_err(|error| {
            Error::new(Code::StorageUnavailable, format!("the stored value of {} cannot be read: {error}", key.name))
                .with_cause(error)
        })?;
        store::general_keys::delete_copy(tx, &copy.id).await?;
        return seal_copy(core, tx, &key.id, Some(binding), &value).await;
    }
    let mut error = Error::new(
        Code::OriginNotBound,
        format!(
            "the value of {} was not saved for {}; to send it there, give the value again as general_key_value",
            key.name,
            binding.origin()
        ),
    );
    error.extension = Some(("not_bound", serde_json::json!({ "general_key": key.name, "origin": binding.origin() })));
    Err(error)
}

/// Whether somebody entered the value of this key again. Of a row from before values were marked, only the mask tells.
pub fn is_value_of(core: &Core, value: &ProviderValue, key: &GeneralKey) -> bool {
    match key.value_mark.as_str() {
        "" => value.mask() == key.masked_value,
        mark => core.store.keyring().is_marked(&key.id, value, mark),
    }
}

/// Seals a value for one place, or for none yet.
///
/// # Errors
/// A storage or cryptographic failure.
pub async fn seal_copy(
    core: &Core,
    tx: &mut Write,
    general_key_id: &str,
    binding: Option<&Binding>,
    value: &ProviderValue,
) -> Result<()> {
    let now = core.clock.now_ms();
    let mut copy = SealedCopy {
        id: ids::mint("gs", now, &core.entropy)?,
        general_key_id: general_key_id.to_owned(),
        binding: binding.map(|binding| binding.canonical().to_owned()).unwrap_or_default(),
        sealed: String::new(),
        created_at: now,
        version: 1,
        mac: String::new(),
    };
    copy.sealed = core.store.keyring().seal(&core.entropy, &sealed_place(&copy), binding, value)?;
    Ok(store::general_keys::insert_copy(tx, &copy).await?)
}

/// The general keys linked to a target, the heaviest first.
///
/// # Errors
/// A storage failure.
pub async fn keys_of(db: &mut impl Handle, target_id: &str) -> Result<Vec<KeyShare>> {
    let links = store::links::of_target(db, target_id).await?;
    Ok(links.into_iter().map(|link| KeyShare { general_key_id: link.general_key_id, weight: link.weight }).collect())
}

/// The linked keys as the row of their provider or model holds them, under its MAC.
pub fn canonical(keys: &[KeyShare]) -> String {
    let mut keys: Vec<_> = keys.iter().map(|share| format!("{}*{}", share.general_key_id, share.weight)).collect();
    keys.sort();
    keys.join(" ")
}

/// Refuses to go on from links that are not those the row of their provider or model tells.
///
/// # Errors
/// A refused field `general_keys`.
pub fn check_intact(told: &str, keys: &[KeyShare], name: &str) -> Result<()> {
    if is_intact(told, keys) {
        return Ok(());
    }
    Err(Error::field(
        "general_keys",
        format!("of {name} were changed outside Keyward; choose again which general keys {name} is called with"),
    ))
}

/// Whether these links are those the row of their provider or model tells; a row from before it told them takes any.
pub fn is_intact(told: &str, keys: &[KeyShare]) -> bool {
    told == "?" || told == canonical(keys)
}

/// Refuses where the links of some provider or model are not those its row tells.
///
/// # Errors
/// A refused field `general_keys`.
pub async fn check_all_intact(tx: &mut Write, linked_to: &[LinkedTo]) -> Result<()> {
    for link in linked_to {
        let told = if link.kind == "provider" {
            store::providers::get(tx, &link.id).await?.map(|provider| provider.linked)
        } else {
            store::models::get(tx, &link.id).await?.map(|model| model.linked)
        };
        check_intact(told.as_deref().unwrap_or("?"), &keys_of(tx, &link.id).await?, &link.name)?;
    }
    Ok(())
}

/// Writes down in the row of a provider or model which keys are linked to it now.
///
/// # Errors
/// A storage failure.
pub async fn tell(tx: &mut Write, kind: &str, id: &str, now: i64) -> Result<()> {
    let linked = canonical(&keys_of(tx, id).await?);
    if kind == "provider" {
        if let Some(provider) = store::providers::get(tx, id).await? {
            let version = provider.version + 1;
            store::providers::update(tx, &Provider { linked, version, updated_at: now, ..provider }).await?;
        }
    } else if let Some(model) = store::models::get(tx, id).await? {
        let version = model.version + 1;
        store::models::update(tx, &Model { linked, version, updated_at: now, ..model }).await?;
    }
    Ok(())
}

/// Keys in the order [`keys_of`] gives them in.
pub fn heaviest_first(mut keys: Vec<KeyShare>) -> Vec<KeyShare> {
    keys.sort_by_key(|share| -share.weight);
    keys
}

/// The names of linked keys for the audit log, each with its weight where there are several.
///
/// # Errors
/// A storage failure.
pub async fn named(db: &mut impl Handle, keys: &[KeyShare]) -> Result<Option<String>> {
    let mut names = Vec::with_capacity(keys.len());
    for share in keys {
        let key = store::general_keys::get(db, &share.general_key_id).await?;
        let name = key.map_or_else(|| share.general_key_id.clone(), |key| key.name);
        names.push(if keys.len() == 1 { name } else { format!("{name} (weight {})", share.weight) });
    }
    Ok(Some(names.join(", ")).filter(|names| !names.is_empty()))
}

/// What a general key is linked to, with names.
///
/// # Errors
/// A storage failure.
pub async fn linked_to(db: &mut impl Handle, general_key_id: &str) -> Result<Vec<LinkedTo>> {
    let mut linked = Vec::new();
    for link in store::links::of_general_key(db, general_key_id).await? {
        let name = if link.target_kind == "provider" {
            store::providers::get(db, &link.target_id).await.map(|found| found.map(|provider| provider.name))
        } else {
            store::models::get(db, &link.target_id).await.map(|found| found.map(|model| model.name))
        };
        let name = match name {
            // It is used for nothing, and must not hide what it is linked to.
            Err(StoreError::Tampered { .. }) => Some(String::from("(damaged)")),
            name => name?,
        };
        if let Some(name) = name {
            linked.push(LinkedTo { kind: link.target_kind, id: link.target_id, name });
        }
    }
    Ok(linked)
}
