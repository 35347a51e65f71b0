//! Models: what agents name in their calls.

use llm::Kind;
use store::{CatalogSort, Handle, Listing, SortValue, Standing, Write, models::Model, providers::Provider};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    change::{check_version, name_error},
    idempotency::{Idempotency, Outcome},
    ids,
    links::{self, KeyShare, LinkTarget},
    name::Name,
    paging::{self, ListQuery, Page},
    prices::Price,
    providers::{SORTS, target_of},
};
use crate::error::{Error, Result};

/// A model with the keys of its own.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// The model.
    pub model: Model,
    /// Its own general keys, the heaviest first; none where it inherits its provider's.
    pub keys: Vec<KeyShare>,
}

/// What a new model is made of.
#[derive(Debug, Default)]
pub struct NewModel {
    /// As agents name it.
    pub name: String,
    /// Its provider.
    pub provider_id: String,
    /// As its provider names it; the name where `None`.
    pub upstream_model: Option<String>,
    /// General keys of its own.
    pub keys: Vec<KeyShare>,
    /// What it costs.
    pub price: Price,
    /// The value of one of them, where it was not saved for this origin.
    pub general_key_value: Option<String>,
}

/// Creates a model.
///
/// # Errors
/// A refused field, a name that is taken, an origin that is not bound, a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    new: NewModel,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<ModelView>> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    let view = insert(core, &mut tx, actor, new, now).await?;
    Idempotency::note(idempotency, &mut tx, &view.model.id, now).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(Outcome::Done(view))
}

/// Writes a new model, and that it was made, in a transaction of the caller's.
///
/// # Errors
/// As [`create`].
pub(super) async fn insert(core: &Core, tx: &mut Write, actor: &Actor, new: NewModel, now: i64) -> Result<ModelView> {
    let name = Name::parse(&new.name)?;
    let upstream_model = parse_upstream(new.upstream_model.as_deref().unwrap_or(&name.text))?;
    let price = new.price.check()?;
    let value = links::parse_value_again(new.general_key_value)?;
    let provider = provider_of(tx, &new.provider_id).await?;
    let (kind, target) = target_of(core, &provider)?;
    check_has_models(kind)?;
    let model = Model {
        id: ids::mint("md", now, &core.entropy)?,
        name: name.text,
        name_key: name.key,
        provider_id: provider.id.clone(),
        upstream_model,
        linked: links::canonical(&new.keys),
        prices: price.to_column(),
        created_by_id: actor.id.clone(),
        created_by_name: actor.name.clone(),
        created_at: now,
        updated_at: now,
        version: 1,
        mac: String::new(),
    };
    store::models::insert(tx, &model).await.map_err(|error| name_error(error, &model.name))?;
    let at = LinkTarget { kind: "model", id: &model.id, target: &target };
    links::set(core, tx, &at, &new.keys, value.as_ref(), actor).await?;
    let changes = Changes::default()
        .field("name", (), model.name.as_str())
        .field("provider", (), provider.name.as_str())
        .field("upstream_model", (), model.upstream_model.as_str())
        .field("general_keys", (), links::named(tx, &new.keys).await?)
        .field("input_price_micros", (), price.input_micros)
        .field("output_price_micros", (), price.output_micros);
    record(tx, actor, now, "model.create", audited(&model), changes).await?;
    Ok(ModelView { model, keys: links::heaviest_first(new.keys) })
}

fn check_has_models(kind: Kind) -> Result<()> {
    match kind {
        Kind::Service => {
            Err(Error::field("provider_id", "must be a provider of models; a service is called at /agents/NAME/…"))
        }
        _ => Ok(()),
    }
}

/// The model with this id.
///
/// # Errors
/// [`Code::NotFound`](crate::error::Code::NotFound); a storage failure.
pub async fn get(core: &Core, id: &str) -> Result<ModelView> {
    let mut db = core.store.read().await?;
    let model = found(&mut db, id).await?;
    let keys = links::keys_of(&mut db, id).await?;
    Ok(ModelView { model, keys })
}

/// The model with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`Code::NotFound`](crate::error::Code::NotFound); a storage failure.
pub async fn get_standing(core: &Core, id: &str) -> Result<Standing<Model>> {
    found_standing(&mut core.store.read().await?, id).await
}

/// A page of models.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list(core: &Core, query: &ListQuery) -> Result<Page<ModelView>> {
    let keyring = &core.store.keyring();
    let (listing, scope) = paging::listing(query, "models", &SORTS, keyring)?;
    let mut db = core.store.read().await?;
    let mut views = Vec::new();
    for model in store::models::list(&mut db, &listing).await? {
        let keys = links::keys_of(&mut db, &model.id).await?;
        views.push(ModelView { model, keys });
    }
    let counted = store::models::count(&mut db, &listing).await?;
    Ok(paging::page(views, listing.limit, counted, &scope, keyring, |view| place(&view.model, &listing)))
}

/// What an edit changes; a field that is `None` stays.
#[derive(Debug, Default)]
pub struct Edit {
    /// A new name.
    pub name: Option<String>,
    /// Another provider.
    pub provider_id: Option<String>,
    /// Another upstream model, or the name.
    pub upstream_model: Option<Option<String>>,
    /// Other general keys, or none.
    pub keys: Option<Vec<KeyShare>>,
    /// Another price for tokens sent, or none.
    pub input_micros: Option<Option<i64>>,
    /// Another price for tokens answered, or none.
    pub output_micros: Option<Option<i64>>,
    /// The value of a linked key, where it was not saved for the origin it would go to.
    pub general_key_value: Option<String>,
}

/// Edits a model. Whatever would send a stored key to another place needs its value again.
///
/// # Errors
/// A refused field, an origin that is not bound, a version that is no longer there, a model that is not there.
pub async fn edit(core: &Core, actor: &Actor, id: &str, version: Option<i64>, edit: Edit) -> Result<ModelView> {
    let value = links::parse_value_again(edit.general_key_value)?;
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let before = found(&mut tx, id).await?;
    check_version(before.version, version)?;
    let linked_before = links::keys_of(&mut tx, id).await?;
    let mut model = before.clone();
    if let Some(name) = &edit.name {
        let name = Name::parse(name)?;
        (model.name, model.name_key) = (name.text, name.key);
    }
    if let Some(upstream) = &edit.upstream_model {
        model.upstream_model = parse_upstream(upstream.as_ref().unwrap_or(&model.name))?;
    }
    if let Some(provider_id) = edit.provider_id {
        model.provider_id = provider_id;
    }
    let price_before = Price::of_column(&model.prices);
    let price = Price {
        input_micros: edit.input_micros.unwrap_or(price_before.input_micros),
        output_micros: edit.output_micros.unwrap_or(price_before.output_micros),
    };
    model.prices = price.check()?.to_column();
    let provider = provider_of(&mut tx, &model.provider_id).await?;
    let (kind, target) = target_of(core, &provider)?;
    check_has_models(kind)?;
    let provider_before = store::providers::get(&mut tx, &before.provider_id).await?.map(|provider| provider.name);
    if edit.keys.is_none() {
        links::check_intact(&before.linked, &linked_before, &before.name)?;
    }
    let linked = edit.keys.unwrap_or_else(|| linked_before.clone());
    let changes = Changes::default()
        .field("name", before.name.as_str(), model.name.as_str())
        .field("provider", provider_before.as_deref(), Some(provider.name.as_str()))
        .field("upstream_model", before.upstream_model.as_str(), model.upstream_model.as_str())
        .field("general_keys", links::named(&mut tx, &linked_before).await?, links::named(&mut tx, &linked).await?)
        .field("input_price_micros", price_before.input_micros, price.input_micros)
        .field("output_price_micros", price_before.output_micros, price.output_micros);
    if changes.is_empty() {
        return Ok(ModelView { model: before, keys: linked });
    }
    let at = LinkTarget { kind: "model", id, target: &target };
    links::set(core, &mut tx, &at, &linked, value.as_ref(), actor).await?;
    model.linked = links::canonical(&linked);
    model.updated_at = now;
    model.version += 1;
    store::models::update(&mut tx, &model).await.map_err(|error| name_error(error, &model.name))?;
    record(&mut tx, actor, now, "model.edit", audited(&model), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(ModelView { model, keys: links::heaviest_first(linked) })
}

/// Deletes a model, a damaged one as well.
///
/// # Errors
/// A version that is no longer there, a model that is not there, a storage failure.
pub async fn delete(core: &Core, actor: &Actor, id: &str, version: Option<i64>) -> Result<()> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let model = found_standing(&mut tx, id).await?.row;
    check_version(model.version, version)?;
    store::links::delete_of_target(&mut tx, id).await?;
    store::models::delete(&mut tx, id).await?;
    let changes = Changes::default().field("name", model.name.as_str(), ());
    record(&mut tx, actor, now, "model.delete", audited(&model), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(())
}

/// The name a provider has for a model: 1 to 256 printable characters.
fn parse_upstream(text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        return Err(Error::field("upstream_model", "must have 1 to 256 bytes, without control characters"));
    }
    Ok(text.to_owned())
}

async fn provider_of(db: &mut impl Handle, id: &str) -> Result<Provider> {
    store::providers::get(db, id).await?.ok_or_else(|| {
        Error::field("provider_id", format!("there is no provider {id}; GET /api/v1/providers lists them"))
    })
}

async fn found(db: &mut impl Handle, id: &str) -> Result<Model> {
    store::models::get(db, id).await?.ok_or_else(|| Error::not_found("model", id))
}

async fn found_standing(db: &mut impl Handle, id: &str) -> Result<Standing<Model>> {
    store::models::get_standing(db, id).await?.ok_or_else(|| Error::not_found("model", id))
}

fn audited(model: &Model) -> ChangeTarget<'_> {
    ChangeTarget { kind: "model", id: &model.id, name: &model.name }
}

fn place(model: &Model, listing: &Listing<CatalogSort>) -> (SortValue, String) {
    let value = match listing.sort {
        CatalogSort::Name => SortValue::Text(model.name_key.clone()),
        CatalogSort::CreatedAt => SortValue::Int(model.created_at),
    };
    (value, model.id.clone())
}
