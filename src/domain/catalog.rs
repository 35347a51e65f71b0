//! The catalog: providers, models, links and opened general keys, as one immutable snapshot that is swapped whole.
//! Dropping the last reference to a snapshot wipes the secrets it held.

use std::{collections::HashMap, sync::Arc};

use llm::Kind;
use store::{authentic::Sorted, general_keys::SealedCopy, links::Link, policies::Policy};
use vault::{Place, ProviderSecret};

use super::{
    Core,
    key_health::KeyHealth,
    key_set::KeySet,
    links::{self, KeyShare},
    policies::{PolicyEntry, Requirements},
    prices::Price,
    provider_limits::{DEFAULT_CALLS_IN_FLIGHT, ProviderLimits, Traffic},
    providers,
    use_mark::UseMark,
};
use crate::{
    egress::{Patience, Target},
    error::{Code, Error, Result},
};

/// A general key, opened for one binding.
pub struct OpenKey {
    /// Its name.
    pub name: String,
    /// Its value, for its binding only.
    pub secret: ProviderSecret,
    /// Notes its last use.
    pub used: Arc<UseMark>,
    /// What its provider answered last.
    pub health: Arc<KeyHealth>,
}

/// What a provider or model authenticates with.
#[derive(Clone)]
pub enum KeyLink {
    /// Nothing is linked.
    None,
    /// These keys.
    Open(Arc<KeySet>),
    /// What is linked cannot be used: the text says why.
    Refused(Arc<str>),
}

/// A provider.
pub struct ProviderEntry {
    /// Its id.
    pub id: Arc<str>,
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub kind: Kind,
    /// Where it is; an error where its base URL may not be called any more.
    pub target: std::result::Result<Target, String>,
    /// Its own links.
    pub key: KeyLink,
    /// What it gets at once.
    pub max_calls: u32,
    /// How long to wait for it.
    pub patience: Patience,
    /// What goes on at it.
    pub traffic: Arc<Traffic>,
}

/// A model.
pub struct ModelEntry {
    /// As agents name it.
    pub name: Arc<str>,
    /// As its provider names it.
    pub upstream_model: String,
    /// Its provider.
    pub provider: Arc<ProviderEntry>,
    /// Its links, or else its provider's.
    pub key: KeyLink,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
    /// What it costs.
    pub price: Price,
}

/// Where a call with a model's name goes.
pub struct Route {
    /// The provider.
    pub provider: Arc<ProviderEntry>,
    /// What it authenticates with.
    pub key: KeyLink,
    /// The model as agents name it.
    pub model_name: Arc<str>,
    /// The model as the provider names it.
    pub upstream_model: String,
    /// Whether the model is one of the catalog, and not just what the agent wrote behind a provider's name.
    pub is_known: bool,
    /// What it costs.
    pub price: Price,
}

/// The snapshot.
pub struct Catalog {
    read: bool,
    models: HashMap<Arc<str>, ModelEntry>,
    providers: HashMap<String, Arc<ProviderEntry>>,
    listed: Vec<Arc<str>>,
    /// What models cost, by their provider's id and its name for them.
    prices: HashMap<Arc<str>, HashMap<String, Price>>,
    /// Names that agents must not reach by another way, and why: what they stand for was changed outside Keyward.
    damaged: HashMap<String, String>,
    /// Whether some model was changed, whose true name nobody knows.
    has_damaged_models: bool,
    /// What verifications ask for, by the name of the policy; an error where it was changed outside Keyward.
    policies: HashMap<String, std::result::Result<Arc<PolicyEntry>, String>>,
}

impl Catalog {
    /// The catalog before it was read.
    pub fn unread() -> Catalog {
        Catalog {
            read: false,
            models: HashMap::new(),
            providers: HashMap::new(),
            listed: Vec::new(),
            prices: HashMap::new(),
            damaged: HashMap::new(),
            has_damaged_models: false,
            policies: HashMap::new(),
        }
    }

    /// The policy with this name.
    ///
    /// # Errors
    /// [`Code::PolicyNotFound`]; [`Code::StorageUnavailable`] while the catalog is unread, or for one that cannot be relied on.
    pub fn policy(&self, name: &str) -> Result<Arc<PolicyEntry>> {
        self.check_read()?;
        match self.policies.get(name) {
            Some(Ok(policy)) => Ok(Arc::clone(policy)),
            Some(Err(why)) => Err(damaged(why)),
            None => Err(Error::new(Code::PolicyNotFound, format!("there is no policy {:?}", shortened(name)))),
        }
    }

    /// Whether it can be decided from.
    pub fn is_read(&self) -> bool {
        self.read
    }

    /// Where `model` goes: a model's name wins over `provider-name/upstream-model`.
    ///
    /// # Errors
    /// [`Code::ModelNotFound`]; [`Code::StorageUnavailable`] while the catalog is unread.
    pub fn resolve(&self, model: &str) -> Result<Route> {
        self.check_read()?;
        check_model_name(model)?;
        if let Some(entry) = self.models.get(model) {
            return Ok(Route {
                provider: Arc::clone(&entry.provider),
                key: entry.key.clone(),
                model_name: Arc::clone(&entry.name),
                upstream_model: entry.upstream_model.clone(),
                is_known: true,
                price: entry.price,
            });
        }
        if let Some(why) = self.damaged.get(model) {
            return Err(damaged(why));
        }
        if let Some((provider, upstream)) = model.split_once('/')
            && self.has_damaged_models
            && !upstream.is_empty()
        {
            let why = format!("a model that was changed outside Keyward may have been named {provider}/…");
            return Err(damaged(&why));
        }
        if let Some((provider, upstream)) = model.split_once('/')
            && let (Some(provider), false) = (self.providers.get(provider), upstream.is_empty())
            && provider.kind != Kind::Service
        {
            return Ok(Route {
                provider: Arc::clone(provider),
                key: provider.key.clone(),
                model_name: model.into(),
                upstream_model: upstream.to_owned(),
                is_known: false,
                price: self.price(&provider.id, upstream),
            });
        }
        Err(Error::new(
            Code::ModelNotFound,
            format!(
                "there is no model {:?}; GET /v1/models lists the models there are, and provider-name/upstream-model \
                 reaches any model of a provider",
                shortened(model)
            ),
        ))
    }

    /// What a provider's model costs, where some model of the catalog says so: nobody pays less by another name.
    pub fn price(&self, provider_id: &str, upstream_model: &str) -> Price {
        self.prices.get(provider_id).and_then(|models| models.get(upstream_model)).copied().unwrap_or_default()
    }

    /// The provider with this name.
    ///
    /// # Errors
    /// [`Code::ProviderNotFound`]; [`Code::StorageUnavailable`] while the catalog is unread.
    pub fn provider(&self, name: &str) -> Result<Arc<ProviderEntry>> {
        self.check_read()?;
        if let Some(why) = self.damaged.get(name).filter(|_| !self.providers.contains_key(name)) {
            return Err(damaged(why));
        }
        self.providers
            .get(name)
            .cloned()
            .ok_or_else(|| Error::new(Code::ProviderNotFound, format!("there is no provider {:?}", shortened(name))))
    }

    /// The models, by name.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`] while the catalog is unread.
    pub fn models(&self) -> Result<impl Iterator<Item = &ModelEntry>> {
        self.check_read()?;
        Ok(self.listed.iter().filter_map(|name| self.models.get(name)))
    }

    /// The models of which not both prices are known, by name: a budget in money shuts them.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`] while the catalog is unread.
    pub fn unpriced(&self) -> Result<Vec<String>> {
        let names = self.models()?.filter(|model| !model.price.is_whole()).map(|model| model.name.to_string());
        Ok(names.collect())
    }

    /// What is linked and cannot be used, one sentence each.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`] while the catalog is unread.
    pub fn refused(&self) -> Result<Vec<String>> {
        self.check_read()?;
        let said = |what: &str, name: &str, key: &KeyLink| match key {
            KeyLink::Refused(why) => Some(format!("the general key of {what} {name} cannot be used: {why}")),
            _ => None,
        };
        let providers = self.providers.values().filter_map(|entry| said("provider", &entry.name, &entry.key));
        let models = self.models.values().filter_map(|entry| said("model", &entry.name, &entry.key));
        Ok(providers.chain(models).chain(self.damaged.values().cloned()).collect())
    }

    /// Whether some model was changed outside Keyward.
    pub fn has_damaged_models(&self) -> bool {
        self.has_damaged_models
    }

    fn check_read(&self) -> Result<()> {
        if self.read {
            Ok(())
        } else {
            Err(Error::new(Code::StorageUnavailable, "providers and models cannot be read at the moment; try again"))
        }
    }
}

/// Refuses what cannot be a model's name, before it is sent or counted: it has at most 256 bytes, without control
/// characters, and no key of ours.
///
/// # Errors
/// [`Code::InvalidBody`].
pub fn check_model_name(model: &str) -> Result<()> {
    if model.is_empty() || model.len() > 256 || model.chars().any(char::is_control) {
        return Err(Error::new(Code::InvalidBody, "`model` must have 1 to 256 bytes, without control characters"));
    }
    if vault::contains_token(model.as_bytes()) {
        return Err(Error::new(Code::InvalidBody, "`model` holds a Keyward key, which would reach the provider"));
    }
    Ok(())
}

fn damaged(why: &str) -> Error {
    Error::new(
        Code::StorageUnavailable,
        format!("{why}; an administrator of Keyward has to delete it, or restore it from a backup"),
    )
}

fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}

/// Reads the catalog.
pub(super) async fn read(core: &Core) -> Result<Catalog> {
    // Of one moment: a link beside an older state of its provider would look like one put there by somebody else.
    let mut db = core.store.snapshot().await?;
    let providers = store::providers::all(&mut db).await?;
    let models = store::models::all(&mut db).await?;
    let links = store::links::all(&mut db).await?;
    let keys: HashMap<_, _> =
        store::general_keys::all(&mut db).await?.into_iter().map(|key| (key.id.clone(), key)).collect();
    let mut copies: HashMap<String, Vec<SealedCopy>> = HashMap::new();
    for copy in store::general_keys::all_copies(&mut db).await? {
        copies.entry(copy.general_key_id.clone()).or_default().push(copy);
    }
    let policies = policies_of(store::policies::all(&mut db).await?);
    drop(db);

    let mut opener = Opener { core, copies, keys, opened: HashMap::new() };
    let mut linked: HashMap<&str, Vec<&Link>> = HashMap::new();
    for link in &links {
        linked.entry(link.target_id.as_str()).or_default().push(link);
    }
    let linked = |id: &str| linked.get(id).map(Vec::as_slice).unwrap_or_default();
    let mut damaged = HashMap::new();
    for row in providers.damaged {
        damaged.insert(row.name.clone(), format!("the provider {} was changed outside Keyward", row.name));
    }
    let has_damaged_models = !models.damaged.is_empty();
    for row in models.damaged {
        damaged.insert(row.name.clone(), format!("the model {} was changed outside Keyward", row.name));
    }
    let mut by_id = HashMap::new();
    for row in providers.untouched {
        let Some(kind) = Kind::parse(&row.kind) else { continue };
        let target = providers::judged(&row.base_url, kind, &row.credential_header, core.egress.policy());
        let target = target.map_err(|error| error.to_string());
        let key = opener.links(linked(&row.id), &row.linked, &target);
        let limits = ProviderLimits::of_column(&row.limits);
        let entry = ProviderEntry {
            id: row.id.as_str().into(),
            name: row.name,
            kind,
            target,
            key,
            max_calls: limits.calls_in_flight.unwrap_or(DEFAULT_CALLS_IN_FLIGHT),
            patience: limits.patience(core.egress.patience()),
            traffic: core.traffic.of(&row.id),
        };
        by_id.insert(row.id, Arc::new(entry));
    }
    let mut entries = HashMap::new();
    let mut prices: HashMap<Arc<str>, HashMap<String, Price>> = HashMap::new();
    for row in &models.untouched {
        let (price, provider) = (Price::of_column(&row.prices), by_id.get(&row.provider_id));
        if let (true, Some(provider)) = (price.is_known(), provider) {
            prices.entry(Arc::clone(&provider.id)).or_default().insert(row.upstream_model.clone(), price);
        }
    }
    for row in models.untouched {
        let Some(provider) = by_id.get(&row.provider_id) else {
            damaged.insert(
                row.name.clone(),
                format!("the provider of the model {} was changed outside Keyward", row.name),
            );
            continue;
        };
        let key = match opener.links(linked(&row.id), &row.linked, &provider.target) {
            KeyLink::None => provider.key.clone(),
            own => own,
        };
        let name: Arc<str> = row.name.as_str().into();
        let own = Price::of_column(&row.prices);
        let shared = || prices.get(&provider.id).and_then(|models| models.get(&row.upstream_model)).copied();
        let price = if own.is_known() { own } else { shared().unwrap_or_default() };
        let entry = ModelEntry {
            price,
            name: Arc::clone(&name),
            upstream_model: row.upstream_model,
            provider: Arc::clone(provider),
            key,
            created_at: row.created_at,
        };
        entries.insert(name, entry);
    }
    let mut listed: Vec<_> = entries.keys().cloned().collect();
    listed.sort();
    let providers = by_id.into_values().map(|entry| (entry.name.clone(), entry)).collect();
    Ok(Catalog { read: true, models: entries, providers, listed, prices, damaged, has_damaged_models, policies })
}

fn policies_of(rows: Sorted<Policy>) -> HashMap<String, std::result::Result<Arc<PolicyEntry>, String>> {
    let read = |row: Policy| match Requirements::of_column(&row.requires) {
        Ok(requires) => (row.name.clone(), Ok(Arc::new(PolicyEntry { name: row.name, requires }))),
        Err(error) => (row.name, Err(error.detail)),
    };
    let damaged = rows.damaged.into_iter().map(|row| {
        let why = format!("the policy {} was changed outside Keyward", row.name);
        (row.name, Err(why))
    });
    // Of one name the untouched one counts.
    damaged.chain(rows.untouched.into_iter().map(read)).collect()
}

/// Opens each linked key once for each binding.
struct Opener<'a> {
    core: &'a Core,
    copies: HashMap<String, Vec<SealedCopy>>,
    keys: HashMap<String, store::general_keys::GeneralKey>,
    opened: HashMap<(String, String), Opened>,
}

/// An opened key, or why it cannot be used.
type Opened = std::result::Result<Arc<OpenKey>, Arc<str>>;

impl Opener<'_> {
    /// What can be used of the linked keys; the others are logged and left out.
    fn links(&mut self, links: &[&Link], told: &str, target: &std::result::Result<Target, String>) -> KeyLink {
        let share = |link: &&Link| KeyShare { general_key_id: link.general_key_id.clone(), weight: link.weight };
        let found: Vec<_> = links.iter().map(share).collect();
        if !links::is_intact(told, &found) {
            return KeyLink::Refused("its links were changed outside Keyward; link the key again".into());
        }
        if links.is_empty() {
            return KeyLink::None;
        }
        let target = match target {
            Ok(target) => target,
            Err(why) => return KeyLink::Refused(why.as_str().into()),
        };
        let opened: Vec<_> = links.iter().map(|link| (self.link(&link.general_key_id, target), link.weight)).collect();
        if let [(Err(why), _), ..] = opened.as_slice()
            && opened.iter().all(|(key, _)| key.is_err())
        {
            return KeyLink::Refused(Arc::clone(why));
        }
        let usable = opened.into_iter().filter_map(|(key, weight)| Some((key.ok()?, weight)));
        KeyLink::Open(Arc::new(KeySet::new(usable)))
    }

    fn link(&mut self, id: &str, target: &Target) -> Opened {
        let place = (id.to_owned(), target.binding().canonical().to_owned());
        if let Some(opened) = self.opened.get(&place) {
            return opened.clone();
        }
        let opened = self.open(id, target).map(Arc::new).map_err(|why| {
            tracing::error!(general_key = id, origin = target.binding().origin(), %why, "general key refused");
            Arc::from(why)
        });
        self.opened.insert(place, opened.clone());
        opened
    }

    fn open(&self, id: &str, target: &Target) -> std::result::Result<OpenKey, String> {
        let key = self.keys.get(id).ok_or("its row is missing or fails its integrity check")?;
        let binding = target.binding();
        let copy = self
            .copies
            .get(id)
            .into_iter()
            .flatten()
            .find(|copy| copy.binding == binding.canonical())
            .ok_or("it is not bound to this origin, or its sealed value fails its integrity check")?;
        let place = sealed_place(copy);
        let secret =
            self.core.store.keyring().open_bound(&place, binding, &copy.sealed).map_err(|error| error.to_string())?;
        let health = self.core.health.of(id, &key.health);
        Ok(OpenKey { name: key.name.clone(), secret, used: Arc::new(UseMark::new(id.into())), health })
    }
}

/// The place a sealed copy is bound to.
pub(super) fn sealed_place(copy: &SealedCopy) -> Place<'_> {
    Place { table: "general_key_secrets", row: &copy.id, field: "sealed", version: copy.version }
}
