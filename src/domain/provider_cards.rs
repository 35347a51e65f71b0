//! Providers together with their models and the keys they are called with, as people look at them.

use std::collections::HashMap;

use store::{Handle, general_keys::GeneralKey, models::Model, providers::Provider};

use super::{
    Core, links, name,
    paging::{self, ListQuery, Page, total},
    providers::{self, SORTS},
};
use crate::error::Result;

/// A provider with its models.
#[derive(Debug, Clone)]
pub struct ProviderCard {
    /// The provider.
    pub provider: Provider,
    /// The general key linked to it.
    pub key: Option<GeneralKey>,
    /// Its models, by name, each with a key of its own: those that match where only they do, and only the first ones.
    pub models: Vec<(Model, Option<GeneralKey>)>,
    /// How many models it has, or how many match.
    pub models_total: usize,
}

/// A page of providers whose name matches, or the name of one of whose models does; at most `models` of each.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list(core: &Core, query: &ListQuery, models: usize) -> Result<Page<ProviderCard>> {
    let keyring = &core.store.keyring();
    let (listing, scope) = paging::listing(query, "provider_cards", &SORTS, keyring)?;
    let mut db = core.store.read().await?;
    let rows = store::providers::list_with_models(&mut db, &listing).await?;
    let counted = store::providers::count_with_models(&mut db, &listing).await?;
    let mut page = paging::page(rows, listing.limit, counted, &scope, keyring, |row| providers::place(row, &listing));
    let mut keys = Keys::default();
    let mut items = Vec::with_capacity(page.items.len());
    for provider in std::mem::take(&mut page.items) {
        items.push(card(&mut db, &mut keys, provider, &listing.search, models).await?);
    }
    let Page { next_cursor, previous_cursor, total, total_is_exact, .. } = page;
    Ok(Page { items, next_cursor, previous_cursor, total, total_is_exact })
}

/// One provider with all its models, as a page of its own; empty where it is gone.
///
/// # Errors
/// A storage failure.
pub async fn only(core: &Core, id: &str) -> Result<Page<ProviderCard>> {
    let mut db = core.store.read().await?;
    let mut items = Vec::new();
    if let Some(provider) = store::providers::get(&mut db, id).await? {
        items.push(card(&mut db, &mut Keys::default(), provider, "", usize::MAX).await?);
    }
    let (total, total_is_exact) = total(i64::try_from(items.len()).unwrap_or(0));
    Ok(Page { items, next_cursor: None, previous_cursor: None, total, total_is_exact })
}

/// Every provider, by name, with the general key linked to it, for pickers.
///
/// # Errors
/// A storage failure.
pub async fn choices(core: &Core) -> Result<Vec<(Provider, Option<GeneralKey>)>> {
    let mut db = core.store.read().await?;
    let keys: HashMap<String, GeneralKey> =
        store::general_keys::all(&mut db).await?.into_iter().map(|key| (key.id.clone(), key)).collect();
    let links: HashMap<String, String> =
        store::links::all(&mut db).await?.into_iter().map(|link| (link.target_id, link.general_key_id)).collect();
    let mut rows = store::providers::all(&mut db).await?.untouched;
    rows.sort_by(|a, b| a.name_key.cmp(&b.name_key));
    let linked = |provider: &Provider| links.get(&provider.id).and_then(|id| keys.get(id)).cloned();
    Ok(rows.into_iter().map(|provider| (provider.clone(), linked(&provider))).collect())
}

/// Keys that were read already.
#[derive(Default)]
struct Keys(HashMap<String, Option<GeneralKey>>);

impl Keys {
    async fn linked_to(&mut self, db: &mut impl Handle, target_id: &str) -> Result<Option<GeneralKey>> {
        let Some(share) = links::keys_of(db, target_id).await?.into_iter().next() else { return Ok(None) };
        let id = share.general_key_id;
        if let Some(known) = self.0.get(&id) {
            return Ok(known.clone());
        }
        // To be shown only: a damaged one's own page tells about it.
        let key = store::general_keys::get_standing(db, &id).await?.map(|key| key.row);
        self.0.insert(id, key.clone());
        Ok(key)
    }
}

async fn card(
    db: &mut impl Handle,
    keys: &mut Keys,
    provider: Provider,
    search: &str,
    most: usize,
) -> Result<ProviderCard> {
    let key = keys.linked_to(db, &provider.id).await?;
    let mut found = store::models::of_provider(db, &provider.id).await?;
    if !provider.name_key.contains(search) {
        found.retain(|model| name::fold(&model.name).contains(search));
    }
    let models_total = found.len();
    found.truncate(most);
    let mut models = Vec::with_capacity(found.len());
    for model in found {
        let own = keys.linked_to(db, &model.id).await?;
        models.push((model, own));
    }
    Ok(ProviderCard { provider, key, models, models_total })
}
