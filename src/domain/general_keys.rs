//! General keys: credentials of providers, stored sealed, never read back.

use store::{
    Handle, Listing, SortValue, Standing,
    general_keys::{GeneralKey, GeneralKeySort},
};
use vault::{Binding, ProviderValue};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    change::{check_version, name_error},
    idempotency::{Idempotency, Outcome},
    ids,
    key_health::Health,
    links::{self, LinkTarget, LinkedTo},
    name::Name,
    paging::{self, ListQuery, Page, Sorts},
    providers,
};
use crate::error::{Code, Error, Result};

const KIND: &str = "general_key";
const SORTS: Sorts<GeneralKeySort> = Sorts {
    all: &[
        ("name", GeneralKeySort::Name, true),
        ("created_at", GeneralKeySort::CreatedAt, false),
        ("updated_at", GeneralKeySort::UpdatedAt, false),
        ("last_used_at", GeneralKeySort::LastUsedAt, false),
    ],
    default_descending: false,
};

/// A general key with what it is linked to.
#[derive(Debug, Clone)]
pub struct GeneralKeyView {
    /// The key.
    pub key: GeneralKey,
    /// Its links.
    pub linked_to: Vec<LinkedTo>,
}

/// Creates a key.
///
/// # Errors
/// A refused name or value, a name that is taken, a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    name: &str,
    value: String,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<GeneralKeyView>> {
    let (name, value) = Error::both(Name::parse(name), parse_value(value))?;
    let now = core.clock.now_ms();
    let id = ids::mint("gk", now, &core.entropy)?;
    // Held to the end: a rotation waits for whatever was begun with older keys.
    let keyring = core.store.keyring();
    let key = GeneralKey {
        value_mark: keyring.value_mark(&id, &value),
        id,
        name: name.text,
        name_key: name.key,
        masked_value: value.mask(),
        value_entered_by: actor.member_id.clone(),
        created_by_id: actor.id.clone(),
        created_by_name: actor.name.clone(),
        created_at: now,
        updated_at: now,
        version: 1,
        mac: String::new(),
        last_used_at: 0,
        health: String::new(),
        health_at: 0,
        health_detail: String::new(),
    };
    let mut tx = core.store.write().await?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    store::general_keys::insert(&mut tx, &key).await.map_err(|error| name_error(error, &key.name))?;
    links::seal_copy(core, &mut tx, &key.id, None, &value).await?;
    Idempotency::note(idempotency, &mut tx, &key.id, now).await?;
    let changes = Changes::default().field("name", (), key.name.as_str()).secret("value");
    record(&mut tx, actor, now, "general_key.create", target(&key), changes).await?;
    tx.commit().await?;
    Ok(Outcome::Done(GeneralKeyView { key, linked_to: Vec::new() }))
}

/// The key with this id.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get(core: &Core, id: &str) -> Result<GeneralKeyView> {
    let mut db = core.store.read().await?;
    let key = found(&mut db, id).await?;
    let linked_to = links::linked_to(&mut db, id).await?;
    Ok(GeneralKeyView { key, linked_to })
}

/// The key with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get_standing(core: &Core, id: &str) -> Result<Standing<GeneralKeyView>> {
    let mut db = core.store.read().await?;
    let Standing { row: key, is_damaged } = found_standing(&mut db, id).await?;
    let linked_to = links::linked_to(&mut db, id).await?;
    Ok(Standing { row: GeneralKeyView { key, linked_to }, is_damaged })
}

/// A page of keys, with any health or only this one; damaged ones are left out.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list(core: &Core, query: &ListQuery, health: Option<Health>) -> Result<Page<GeneralKeyView>> {
    Ok(list_standing(core, query, health).await?.untouched())
}

/// A page of keys as they stand, with any health or only this one.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list_standing(
    core: &Core,
    query: &ListQuery,
    health: Option<Health>,
) -> Result<Page<Standing<GeneralKeyView>>> {
    let health = health.map(Health::as_column);
    let keyring = &core.store.keyring();
    let (listing, scope) = paging::listing(query, "general_keys", &SORTS, keyring)?;
    let mut db = core.store.read().await?;
    let mut views = Vec::new();
    for Standing { row: key, is_damaged } in store::general_keys::list(&mut db, &listing, health).await? {
        let linked_to = links::linked_to(&mut db, &key.id).await?;
        views.push(Standing { row: GeneralKeyView { key, linked_to }, is_damaged });
    }
    let counted = store::general_keys::count(&mut db, &listing, health).await?;
    Ok(paging::page(views, listing.limit, counted, &scope, keyring, |view| place(&view.row.key, &listing)))
}

/// Every key, by name, for pickers.
///
/// # Errors
/// A storage failure.
pub async fn all(core: &Core) -> Result<Vec<GeneralKey>> {
    let mut keys = store::general_keys::all(&mut core.store.read().await?).await?;
    keys.sort_by(|a, b| a.name_key.cmp(&b.name_key));
    Ok(keys)
}

/// What an edit changes.
#[derive(Debug, Default)]
pub struct Edit {
    /// A new name.
    pub name: Option<String>,
    /// A new value.
    pub value: Option<String>,
}

/// Edits a key. A new value replaces the old one everywhere the key is linked, and nowhere else.
///
/// # Errors
/// [`Code::VersionMismatch`] where `version` is given and no longer right; a refused field; [`Code::NotFound`].
pub async fn edit(core: &Core, actor: &Actor, id: &str, version: Option<i64>, edit: Edit) -> Result<GeneralKeyView> {
    let name = edit.name.as_deref().map(Name::parse).transpose();
    let (name, value) = Error::both(name, edit.value.map(parse_value).transpose())?;
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let before = found(&mut tx, id).await?;
    check_version(before.version, version)?;
    let mut key = before.clone();
    let mut changes = Changes::default();
    if let Some(name) = name {
        changes = changes.field("name", before.name.as_str(), name.text.as_str());
        (key.name, key.name_key) = (name.text, name.key);
    }
    if let Some(value) = &value {
        changes = changes.secret("value");
        key.masked_value = value.mask();
        key.value_mark = core.store.keyring().value_mark(id, value);
        key.value_entered_by = actor.member_id.clone();
        reseal(core, &mut tx, id, value).await?;
        store::general_keys::note_health(&mut tx, id, "", 0, "").await?;
    }
    let linked_to = links::linked_to(&mut tx, id).await?;
    if changes.is_empty() {
        return Ok(GeneralKeyView { key: before, linked_to });
    }
    key.updated_at = now;
    key.version += 1;
    store::general_keys::update(&mut tx, &key).await.map_err(|error| name_error(error, &key.name))?;
    record(&mut tx, actor, now, "general_key.edit", target(&key), changes).await?;
    tx.commit().await?;
    if value.is_some() {
        core.health.forget(id);
    }
    core.refresh().await;
    Ok(GeneralKeyView { key, linked_to })
}

/// Deletes a key, a damaged one as well; one that is linked only with `force`, which unlinks it.
///
/// # Errors
/// [`Code::Linked`] with the links; [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn delete(core: &Core, actor: &Actor, id: &str, version: Option<i64>, force: bool) -> Result<()> {
    let mut tx = core.store.write().await?;
    let key = found_standing(&mut tx, id).await?.row;
    check_version(key.version, version)?;
    let linked_to = links::linked_to(&mut tx, id).await?;
    links::check_all_intact(&mut tx, &linked_to).await?;
    if !linked_to.is_empty() && !force {
        let names: Vec<_> = linked_to.iter().map(|link| format!("{} {}", link.kind, link.name)).collect();
        let mut error = Error::new(
            Code::Linked,
            format!(
                "{} is linked to {}, which would stop working; unlink it there, or delete it with ?force=true",
                key.name,
                names.join(", ")
            ),
        );
        error.extension = Some(("linked_to", serde_json::to_value(&linked_to).unwrap_or_default()));
        return Err(error);
    }
    finish_delete(core, tx, actor, &key, &linked_to, None).await
}

/// Deletes a key after linking another one wherever it was linked: all of it or nothing.
///
/// # Errors
/// A refused field `replacement_id`; [`Code::OriginNotBound`] where the other key's value may not go to one of the
/// places; [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn replace(core: &Core, actor: &Actor, id: &str, version: Option<i64>, replacement_id: &str) -> Result<()> {
    let mut tx = core.store.write().await?;
    let key = found(&mut tx, id).await?;
    check_version(key.version, version)?;
    let other = store::general_keys::get(&mut tx, replacement_id)
        .await?
        .filter(|other| other.id != key.id)
        .ok_or_else(|| Error::field("replacement_id", "must be another key that exists"))?;
    let linked_to = links::linked_to(&mut tx, id).await?;
    links::check_all_intact(&mut tx, &linked_to).await?;
    for link in &linked_to {
        let provider_id = match link.kind.as_str() {
            "provider" => Some(link.id.clone()),
            _ => store::models::get(&mut tx, &link.id).await?.map(|model| model.provider_id),
        };
        let Some(provider_id) = provider_id else { continue };
        let Some(provider) = store::providers::get(&mut tx, &provider_id).await? else { continue };
        let (_, target) = providers::target_of(core, &provider)?;
        let at = LinkTarget { kind: &link.kind, id: &link.id, target: &target };
        let mut keys = links::keys_of(&mut tx, &link.id).await?;
        let is_there = keys.iter().any(|share| share.general_key_id == other.id);
        keys.retain(|share| share.general_key_id != key.id || !is_there);
        for share in keys.iter_mut().filter(|share| share.general_key_id == key.id) {
            share.general_key_id.clone_from(&other.id);
        }
        links::set(core, &mut tx, &at, &keys, None, actor).await?;
    }
    finish_delete(core, tx, actor, &key, &linked_to, Some(&other.name)).await
}

async fn finish_delete(
    core: &Core,
    mut tx: store::Write,
    actor: &Actor,
    key: &GeneralKey,
    linked_to: &[LinkedTo],
    replaced_by: Option<&str>,
) -> Result<()> {
    let now = core.clock.now_ms();
    store::links::delete_of_general_key(&mut tx, &key.id).await?;
    for link in linked_to {
        links::tell(&mut tx, &link.kind, &link.id, now).await?;
    }
    store::general_keys::delete(&mut tx, &key.id).await?;
    let changes = linked_to.iter().fold(Changes::default().field("name", key.name.as_str(), ()), |changes, link| {
        changes.field(&format!("link of {} {}", link.kind, link.name), key.name.as_str(), replaced_by)
    });
    record(&mut tx, actor, now, "general_key.delete", target(key), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(())
}

/// Seals a new value for every place the key is linked to now, instead of the old one.
async fn reseal(core: &Core, tx: &mut store::Write, id: &str, value: &ProviderValue) -> Result<()> {
    let mut bindings: Vec<Binding> = Vec::new();
    for link in store::links::of_general_key(tx, id).await? {
        let provider_id = if link.target_kind == "provider" {
            Some(link.target_id)
        } else {
            store::models::get(tx, &link.target_id).await?.map(|model| model.provider_id)
        };
        let Some(provider_id) = provider_id else { continue };
        if let Some(provider) = store::providers::get(tx, &provider_id).await? {
            let (_, target) = providers::target_of(core, &provider)?;
            if !bindings.contains(target.binding()) {
                bindings.push(target.binding().clone());
            }
        }
    }
    for copy in store::general_keys::copies(tx, id).await? {
        store::general_keys::delete_copy(tx, &copy.id).await?;
    }
    if bindings.is_empty() {
        return links::seal_copy(core, tx, id, None, value).await;
    }
    for binding in &bindings {
        links::seal_copy(core, tx, id, Some(binding), value).await?;
    }
    Ok(())
}

pub(super) fn parse_value(value: String) -> Result<ProviderValue> {
    ProviderValue::parse(value).map_err(|error| Error::field("value", error.to_string()))
}

pub(super) async fn found(db: &mut impl Handle, id: &str) -> Result<GeneralKey> {
    store::general_keys::get(db, id).await?.ok_or_else(|| Error::not_found("general key", id))
}

async fn found_standing(db: &mut impl Handle, id: &str) -> Result<Standing<GeneralKey>> {
    store::general_keys::get_standing(db, id).await?.ok_or_else(|| Error::not_found("general key", id))
}

fn target(key: &GeneralKey) -> ChangeTarget<'_> {
    ChangeTarget { kind: KIND, id: &key.id, name: &key.name }
}

fn place(key: &GeneralKey, listing: &Listing<GeneralKeySort>) -> (SortValue, String) {
    let value = match listing.sort {
        GeneralKeySort::Name => SortValue::Text(key.name_key.clone()),
        GeneralKeySort::CreatedAt => SortValue::Int(key.created_at),
        GeneralKeySort::UpdatedAt => SortValue::Int(key.updated_at),
        GeneralKeySort::LastUsedAt => SortValue::Int(key.last_used_at),
    };
    (value, key.id.clone())
}
