//! The catalog: providers, models, links and opened general keys, as one immutable snapshot that is swapped whole.
//! Dropping the last reference to a snapshot wipes the secrets it held.

use std::{collections::HashMap, sync::Arc};

use llm::Kind;
use store::general_keys::SealedCopy;
use vault::{Place, ProviderSecret};

use super::{Core, key_cache::UseMark};
use crate::{
    egress::Target,
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
}

/// What a provider or model authenticates with.
#[derive(Clone)]
pub enum KeyLink {
    /// Nothing is linked.
    None,
    /// This key.
    Open(Arc<OpenKey>),
    /// A key is linked, and cannot be used: the text says why.
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
    /// Its own link.
    pub key: KeyLink,
}

/// A model.
pub struct ModelEntry {
    /// As agents name it.
    pub name: Arc<str>,
    /// As its provider names it.
    pub upstream_model: String,
    /// Its provider.
    pub provider: Arc<ProviderEntry>,
    /// Its link, or else its provider's.
    pub key: KeyLink,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
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
}

/// The snapshot.
pub struct Catalog {
    read: bool,
    models: HashMap<Arc<str>, ModelEntry>,
    providers: HashMap<String, Arc<ProviderEntry>>,
    listed: Vec<Arc<str>>,
}

impl Catalog {
    /// The catalog before it was read.
    pub fn unread() -> Catalog {
        Catalog { read: false, models: HashMap::new(), providers: HashMap::new(), listed: Vec::new() }
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
            });
        }
        if let Some((provider, upstream)) = model.split_once('/')
            && let (Some(provider), false) = (self.providers.get(provider), upstream.is_empty())
        {
            return Ok(Route {
                provider: Arc::clone(provider),
                key: provider.key.clone(),
                model_name: model.into(),
                upstream_model: upstream.to_owned(),
                is_known: false,
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

    /// The provider with this name.
    ///
    /// # Errors
    /// [`Code::ProviderNotFound`]; [`Code::StorageUnavailable`] while the catalog is unread.
    pub fn provider(&self, name: &str) -> Result<Arc<ProviderEntry>> {
        self.check_read()?;
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
        Ok(providers.chain(models).collect())
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

fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}

/// Reads the catalog.
pub(super) async fn read(core: &Core) -> Result<Catalog> {
    let mut db = core.store.read().await?;
    let providers = store::providers::all(&mut db).await?;
    let models = store::models::all(&mut db).await?;
    let links = store::links::all(&mut db).await?;
    let keys: HashMap<_, _> =
        store::general_keys::all(&mut db).await?.into_iter().map(|key| (key.id.clone(), key)).collect();
    let mut copies: HashMap<String, Vec<SealedCopy>> = HashMap::new();
    for copy in store::general_keys::all_copies(&mut db).await? {
        copies.entry(copy.general_key_id.clone()).or_default().push(copy);
    }
    drop(db);

    let mut opener = Opener { core, copies, keys, opened: HashMap::new() };
    let linked: HashMap<&str, &str> =
        links.iter().map(|link| (link.target_id.as_str(), link.general_key_id.as_str())).collect();
    let mut by_id = HashMap::new();
    for row in providers {
        let Some(kind) = Kind::parse(&row.kind) else { continue };
        let target = Target::parse(&row.base_url, kind, core.egress.policy()).map_err(|error| error.to_string());
        let key = opener.link(linked.get(row.id.as_str()).copied(), &target);
        let entry = ProviderEntry { id: row.id.as_str().into(), name: row.name, kind, target, key };
        by_id.insert(row.id, Arc::new(entry));
    }
    let mut entries = HashMap::new();
    for row in models {
        let Some(provider) = by_id.get(&row.provider_id) else { continue };
        let key = match linked.get(row.id.as_str()) {
            Some(own) => opener.link(Some(own), &provider.target),
            None => provider.key.clone(),
        };
        let name: Arc<str> = row.name.as_str().into();
        let entry = ModelEntry {
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
    Ok(Catalog { read: true, models: entries, providers, listed })
}

/// Opens each linked key once for each binding.
struct Opener<'a> {
    core: &'a Core,
    copies: HashMap<String, Vec<SealedCopy>>,
    keys: HashMap<String, store::general_keys::GeneralKey>,
    opened: HashMap<(String, String), KeyLink>,
}

impl Opener<'_> {
    fn link(&mut self, general_key_id: Option<&str>, target: &std::result::Result<Target, String>) -> KeyLink {
        let Some(id) = general_key_id else { return KeyLink::None };
        let target = match target {
            Ok(target) => target,
            Err(why) => return KeyLink::Refused(why.as_str().into()),
        };
        let place = (id.to_owned(), target.binding().canonical().to_owned());
        if let Some(link) = self.opened.get(&place) {
            return link.clone();
        }
        let link = match self.open(id, target) {
            Ok(key) => KeyLink::Open(Arc::new(key)),
            Err(why) => {
                tracing::error!(general_key = id, origin = target.binding().origin(), %why, "general key refused");
                KeyLink::Refused(why.into())
            }
        };
        self.opened.insert(place, link.clone());
        link
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
        Ok(OpenKey { name: key.name.clone(), secret, used: Arc::new(UseMark::new(id.into())) })
    }
}

/// The place a sealed copy is bound to.
pub(super) fn sealed_place(copy: &SealedCopy) -> Place<'_> {
    Place { table: "general_key_secrets", row: &copy.id, field: "sealed", version: copy.version }
}
