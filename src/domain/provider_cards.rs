//! Providers together with their models and the keys they are called with, as people look at them.

use std::collections::HashMap;

use store::{Handle, Standing, general_keys::GeneralKey, models::Model, providers::Provider};

use super::{
    Core, links, name,
    paging::{self, ListQuery, Page, total},
    providers::{self, SORTS},
};
use crate::error::Result;

/// A general key linked to something, with its weight.
#[derive(Debug, Clone)]
pub struct WeighedKey {
    /// The key. To be shown only: a damaged one's own page tells about it.
    pub key: GeneralKey,
    /// Its share among the keys of the same provider or model.
    pub weight: i64,
}

/// A provider with its models.
#[derive(Debug, Clone)]
pub struct ProviderCard {
    /// The provider as it stands.
    pub provider: Standing<Provider>,
    /// The general keys linked to it, the heaviest first.
    pub keys: Vec<WeighedKey>,
    /// Its models, by name, each with the keys of its own: those that match where only they do, and only the first ones.
    pub models: Vec<(Standing<Model>, Vec<WeighedKey>)>,
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
    let place = |row: &Standing<Provider>| providers::place(&row.row, &listing);
    let mut page = paging::page(rows, listing.limit, counted, &scope, keyring, place);
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
    if let Some(provider) = store::providers::get_standing(&mut db, id).await? {
        items.push(card(&mut db, &mut Keys::default(), provider, "", usize::MAX).await?);
    }
    let (total, total_is_exact) = total(i64::try_from(items.len()).unwrap_or(0));
    Ok(Page { items, next_cursor: None, previous_cursor: None, total, total_is_exact })
}

/// The damaged models whose rows name a provider that is not there, so that they stand under none.
///
/// # Errors
/// A storage failure.
pub async fn strays(core: &Core) -> Result<Vec<Model>> {
    if !core.catalog().has_damaged_models() {
        return Ok(Vec::new());
    }
    let mut db = core.store.read().await?;
    let mut strays = Vec::new();
    for model in store::models::all(&mut db).await?.damaged {
        if store::providers::get_standing(&mut db, &model.provider_id).await?.is_none() {
            strays.push(model);
        }
    }
    Ok(strays)
}

/// Every provider, by name, with the general keys linked to it, the heaviest first, for pickers.
///
/// # Errors
/// A storage failure.
pub async fn choices(core: &Core) -> Result<Vec<(Provider, Vec<GeneralKey>)>> {
    let mut db = core.store.read().await?;
    let keys: HashMap<String, GeneralKey> =
        store::general_keys::all(&mut db).await?.into_iter().map(|key| (key.id.clone(), key)).collect();
    let mut linked: HashMap<String, Vec<GeneralKey>> = HashMap::new();
    for link in store::links::all(&mut db).await? {
        linked.entry(link.target_id).or_default().extend(keys.get(&link.general_key_id).cloned());
    }
    let mut rows = store::providers::all(&mut db).await?.untouched;
    rows.sort_by(|a, b| a.name_key.cmp(&b.name_key));
    let with_keys = |provider: Provider| {
        let keys = linked.remove(&provider.id).unwrap_or_default();
        (provider, keys)
    };
    Ok(rows.into_iter().map(with_keys).collect())
}

/// Keys that were read already.
#[derive(Default)]
struct Keys(HashMap<String, Option<GeneralKey>>);

impl Keys {
    async fn linked_to(&mut self, db: &mut impl Handle, target_id: &str) -> Result<Vec<WeighedKey>> {
        let mut found = Vec::new();
        for share in links::keys_of(db, target_id).await? {
            let id = share.general_key_id;
            if !self.0.contains_key(&id) {
                let key = store::general_keys::get_standing(db, &id).await?.map(|key| key.row);
                self.0.insert(id.clone(), key);
            }
            if let Some(Some(key)) = self.0.get(&id) {
                found.push(WeighedKey { key: key.clone(), weight: share.weight });
            }
        }
        Ok(found)
    }
}

async fn card(
    db: &mut impl Handle,
    keys: &mut Keys,
    provider: Standing<Provider>,
    search: &str,
    most: usize,
) -> Result<ProviderCard> {
    let linked = keys.linked_to(db, &provider.row.id).await?;
    let mut found = store::models::of_provider_standing(db, &provider.row.id).await?;
    if !provider.row.name_key.contains(search) {
        found.retain(|model| name::fold(&model.row.name).contains(search));
    }
    let models_total = found.len();
    found.truncate(most);
    let mut models = Vec::with_capacity(found.len());
    for model in found {
        let own = keys.linked_to(db, &model.row.id).await?;
        models.push((model, own));
    }
    Ok(ProviderCard { provider, keys: linked, models, models_total })
}
