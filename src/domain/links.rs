//! Links: a general key to a provider or a model, and the sealed copies that let its value go there.
//!
//! The rule (promise 1): a value is sealed for the places it was saved for. The first link binds it, when made by
//! whoever entered the value; every other place needs the value again.

use serde::Serialize;
use store::{
    Handle, Write,
    general_keys::{GeneralKey, SealedCopy},
    links::Link,
};
use vault::{Binding, ProviderValue};

use super::{Core, actor::Actor, catalog::sealed_place, ids};
use crate::{
    egress::Target,
    error::{Code, Error, Result},
};

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

/// Links `general_key_id` to a target instead of what was linked, or unlinks it where that is `None`.
///
/// # Errors
/// [`Code::ValidationFailed`] where there is no such key; [`Code::OriginNotBound`] where its value may not go there.
pub async fn set(
    core: &Core,
    tx: &mut Write,
    at: &LinkTarget<'_>,
    general_key_id: Option<&str>,
    given: Option<&ProviderValue>,
    actor: &Actor,
) -> Result<()> {
    store::links::delete_of_target(tx, at.id).await?;
    let Some(id) = general_key_id else { return Ok(()) };
    let key = store::general_keys::get(tx, id).await?.ok_or_else(|| {
        Error::field("general_key_id", format!("there is no general key {id}; GET /api/v1/general-keys lists them"))
    })?;
    allow(core, tx, &key, at.target.binding(), given, actor).await?;
    let now = core.clock.now_ms();
    let link = Link {
        id: ids::mint("ln", now, &core.entropy)?,
        target_kind: at.kind.to_owned(),
        target_id: at.id.to_owned(),
        general_key_id: id.to_owned(),
        weight: 1,
        created_at: now,
        version: 1,
        mac: String::new(),
    };
    Ok(store::links::insert(tx, &link).await?)
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
        && value.mask() != key.masked_value
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

/// The one general key linked to a target.
///
/// # Errors
/// A storage failure.
pub async fn general_key_of(db: &mut impl Handle, target_id: &str) -> Result<Option<String>> {
    Ok(store::links::of_target(db, target_id).await?.into_iter().next().map(|link| link.general_key_id))
}

/// What a general key is linked to, with names.
///
/// # Errors
/// A storage failure.
pub async fn linked_to(db: &mut impl Handle, general_key_id: &str) -> Result<Vec<LinkedTo>> {
    let mut linked = Vec::new();
    for link in store::links::of_general_key(db, general_key_id).await? {
        let name = if link.target_kind == "provider" {
            store::providers::get(db, &link.target_id).await?.map(|provider| provider.name)
        } else {
            store::models::get(db, &link.target_id).await?.map(|model| model.name)
        };
        if let Some(name) = name {
            linked.push(LinkedTo { kind: link.target_kind, id: link.target_id, name });
        }
    }
    Ok(linked)
}
