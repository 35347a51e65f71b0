//! Policies: what a verification asks of an agent key, kept here and not in the hands of whoever asks.

use serde::{Deserialize, Serialize};
use store::{CatalogSort, Handle, Listing, SortValue, Standing, policies::Policy};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    change::{check_version, name_error},
    idempotency::{Idempotency, Outcome},
    ids,
    key_cache::CachedKey,
    key_limits::matches,
    name::Name,
    paging::{self, ListQuery, Page},
    providers::SORTS,
    tags,
};
use crate::error::{Code, Error, Result};

/// The most entries of a list.
const MAX_NAMED: usize = 100;
/// The longest entry, in bytes.
const MAX_ENTRY: usize = 256;
/// The longest that an answer may be kept, in seconds: for so long a key that was revoked may go on.
pub const MAX_CACHE_SECONDS: u32 = 300;

/// Where the path of the call stands that a verification is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoutesFrom {
    /// Behind `/verify` in the verification's own path.
    #[default]
    Path,
    /// In the header `X-Forwarded-Uri`, as Caddy and Traefik set it.
    XForwardedUri,
    /// In the header `X-Original-Uri`.
    XOriginalUri,
}

impl RoutesFrom {
    /// Every one.
    pub const ALL: [RoutesFrom; 3] = [RoutesFrom::Path, RoutesFrom::XForwardedUri, RoutesFrom::XOriginalUri];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            RoutesFrom::Path => "path",
            RoutesFrom::XForwardedUri => "x-forwarded-uri",
            RoutesFrom::XOriginalUri => "x-original-uri",
        }
    }
}

/// What a policy asks. An empty list asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requirements {
    /// Models that the key must be allowed to call, all of them, by name or as `provider-name/upstream-model`.
    pub models: Vec<String>,
    /// Tags that the key must have, all of them.
    pub tags: Vec<String>,
    /// Patterns: the path of the call must match one of them; `*` stands for any text.
    pub routes: Vec<String>,
    /// Where that path stands.
    pub routes_from: RoutesFrom,
    /// How long the answer that a key is good may be kept; 0 for not at all.
    pub cache_seconds: u32,
}

impl Requirements {
    /// From the column of the store.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`] for what this version does not know: it asks more than could be told.
    pub fn of_column(text: &str) -> Result<Requirements> {
        serde_json::from_str(text).map_err(|error| {
            let detail = "the policy asks what this version of Keyward does not know; run the newer one";
            Error::new(Code::StorageUnavailable, detail).with_cause(error)
        })
    }

    fn to_column(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// In words, for the audit log.
    fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.models.is_empty() {
            parts.push(format!("models {}", self.models.join(", ")));
        }
        if !self.tags.is_empty() {
            parts.push(format!("tags {}", self.tags.join(", ")));
        }
        if !self.routes.is_empty() {
            parts.push(format!("routes {} from {}", self.routes.join(", "), self.routes_from.as_str()));
        }
        if self.cache_seconds > 0 {
            parts.push(format!("kept for {} s", self.cache_seconds));
        }
        parts.join("; ")
    }

    /// Lets requirements through that can be some.
    ///
    /// # Errors
    /// A refused field.
    fn check(mut self) -> Result<Requirements> {
        let list = |name: &'static str, entries: &[String], is_good: fn(&str) -> bool, what: &str| {
            if entries.len() > MAX_NAMED {
                return Err(Error::field(name, format!("must hold at most {MAX_NAMED}")));
            }
            let is_entry = |entry: &String| {
                !entry.trim().is_empty()
                    && entry.len() <= MAX_ENTRY
                    && !entry.chars().any(char::is_control)
                    && is_good(entry)
            };
            match entries.iter().all(is_entry) {
                true => Ok(()),
                false => Err(Error::field(name, format!("must hold {what}, of 1 to {MAX_ENTRY} bytes each"))),
            }
        };
        let models = list("requires/models", &self.models, |model| !model.contains('*'), "names of models, without *");
        let routes = list(
            "requires/routes",
            &self.routes,
            |route| route.starts_with(['/', '*']),
            "paths or patterns like /v1/*",
        );
        let tags = tags::parse(&self.tags).map_err(|_| Error::field("requires/tags", tags::RULE));
        let cache = match self.cache_seconds <= MAX_CACHE_SECONDS {
            true => Ok(()),
            false => Err(Error::field(
                "requires/cache_seconds",
                format!("must be a whole number from 0 to {MAX_CACHE_SECONDS}"),
            )),
        };
        let (_, (tags, _)) = Error::both(Error::both(models, routes), Error::both(tags, cache))?;
        self.tags = tags;
        Ok(self)
    }
}

/// A policy as verifications use it.
#[derive(Debug)]
pub struct PolicyEntry {
    /// Its name.
    pub name: String,
    /// What it asks.
    pub requires: Requirements,
}

impl PolicyEntry {
    /// Lets a good key through that has all that is asked; `path` is that of the call, where it is told.
    ///
    /// # Errors
    /// [`Code::ModelNotAllowed`], [`Code::RouteNotAllowed`], [`Code::PolicyNotMet`]; [`Code::StorageUnavailable`] while the
    /// catalog is unread.
    pub fn check(&self, core: &Core, key: &CachedKey, path: Option<&str>) -> Result<()> {
        let name = &self.name;
        if let Some(tag) = self.requires.tags.iter().find(|tag| !key.tags.contains(tag)) {
            return Err(Error::new(
                Code::PolicyNotMet,
                format!("the policy {name:?} asks for agent keys with the tag {tag:?}, which this one has not"),
            ));
        }
        for model in &self.requires.models {
            let route = core.catalog().resolve(model);
            match route {
                Ok(route) => key.limits.check_model(model, &route.provider.name, &route.upstream_model)?,
                Err(error) if error.code == Code::StorageUnavailable => return Err(error),
                // What is not there nobody may call but who may call everything.
                Err(_) => key.limits.check_model(model, "", "")?,
            }
        }
        let is_open = |path: &str| self.requires.routes.iter().any(|route| matches(route.trim(), path));
        if self.requires.routes.is_empty() || path.is_some_and(|path| is_plain(path) && is_open(path)) {
            return Ok(());
        }
        let what = match path {
            Some(path) => format!("{path:?} is not one of the routes of the policy {name:?}"),
            None => format!(
                "the policy {name:?} asks for routes, and the verification does not tell which it is about ({})",
                self.requires.routes_from.as_str()
            ),
        };
        Err(Error::new(Code::RouteNotAllowed, what))
    }

    /// How long an answer that this key is good may be kept at `now`, in seconds: never beyond the key's end.
    pub fn cache_seconds(&self, key: &CachedKey, now: i64) -> i64 {
        i64::from(self.requires.cache_seconds).min((key.ends_at - now) / 1000)
    }
}

/// Whether a path is what it looks like: what climbs, or hides a slash or a dot, may be another one to the service.
fn is_plain(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(llm::plain_path)
}

/// What a new policy is made of.
#[derive(Debug, Default)]
pub struct NewPolicy {
    /// Its name.
    pub name: String,
    /// What it asks.
    pub requires: Requirements,
}

/// Creates a policy.
///
/// # Errors
/// A refused field, a name that is taken, a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    new: NewPolicy,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<Policy>> {
    let (name, requires) = Error::both(parse_name(&new.name), new.requires.check())?;
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    let policy = Policy {
        id: ids::mint("po", now, &core.entropy)?,
        name: name.text,
        name_key: name.key,
        requires: requires.to_column(),
        created_by_id: actor.id.clone(),
        created_by_name: actor.name.clone(),
        created_at: now,
        updated_at: now,
        version: 1,
        mac: String::new(),
    };
    store::policies::insert(&mut tx, &policy).await.map_err(|error| name_error(error, &policy.name))?;
    Idempotency::note(idempotency, &mut tx, &policy.id, now).await?;
    let changes = Changes::default().field("name", (), policy.name.as_str()).field("requires", (), requires.words());
    record(&mut tx, actor, now, "policy.create", target(&policy), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(Outcome::Done(policy))
}

/// The policy with this id.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get(core: &Core, id: &str) -> Result<Policy> {
    found(&mut core.store.read().await?, id).await
}

/// The policy with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get_standing(core: &Core, id: &str) -> Result<Standing<Policy>> {
    found_standing(&mut core.store.read().await?, id).await
}

/// A page of policies as they stand.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list(core: &Core, query: &ListQuery) -> Result<Page<Standing<Policy>>> {
    let keyring = &core.store.keyring();
    let (listing, scope) = paging::listing(query, "policies", &SORTS, keyring)?;
    let mut db = core.store.read().await?;
    let policies = store::policies::list(&mut db, &listing).await?;
    let counted = store::policies::count(&mut db, &listing).await?;
    Ok(paging::page(policies, listing.limit, counted, &scope, keyring, |policy| place(&policy.row, &listing)))
}

/// Edits a policy; the next verification goes by it.
///
/// # Errors
/// A refused field; [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn edit(
    core: &Core,
    actor: &Actor,
    id: &str,
    version: Option<i64>,
    name: Option<&str>,
    requires: impl FnOnce(Requirements) -> Result<Requirements>,
) -> Result<Policy> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let before = found(&mut tx, id).await?;
    check_version(before.version, version)?;
    let mut policy = before.clone();
    let asked = Requirements::of_column(&before.requires)?;
    let name = name.map(parse_name).transpose();
    let (name, asks) = Error::both(name, requires(asked.clone()).and_then(Requirements::check))?;
    if let Some(name) = name {
        (policy.name, policy.name_key) = (name.text, name.key);
    }
    policy.requires = asks.to_column();
    let changes = Changes::default().field("name", before.name.as_str(), policy.name.as_str()).field(
        "requires",
        asked.words(),
        asks.words(),
    );
    if policy == before {
        return Ok(before);
    }
    policy.updated_at = now;
    policy.version += 1;
    store::policies::update(&mut tx, &policy).await.map_err(|error| name_error(error, &policy.name))?;
    record(&mut tx, actor, now, "policy.edit", target(&policy), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(policy)
}

/// Deletes a policy, a damaged one as well. Whoever asks by it gets 404 from then on, and no key is good there.
///
/// # Errors
/// [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn delete(core: &Core, actor: &Actor, id: &str, version: Option<i64>) -> Result<()> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let standing = found_standing(&mut tx, id).await?;
    check_version(standing.row.version, version)?;
    store::policies::delete(&mut tx, id).await?;
    let changes = Changes::default().field("name", standing.row.name.as_str(), ());
    record(&mut tx, actor, now, "policy.delete", target(&standing.row), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(())
}

async fn found(db: &mut impl Handle, id: &str) -> Result<Policy> {
    store::policies::get(db, id).await?.ok_or_else(|| Error::not_found("policy", id))
}

async fn found_standing(db: &mut impl Handle, id: &str) -> Result<Standing<Policy>> {
    store::policies::get_standing(db, id).await?.ok_or_else(|| Error::not_found("policy", id))
}

fn target(policy: &Policy) -> ChangeTarget<'_> {
    ChangeTarget { kind: "policy", id: &policy.id, name: &policy.name }
}

fn place(policy: &Policy, listing: &Listing<CatalogSort>) -> (SortValue, String) {
    let value = match listing.sort {
        CatalogSort::Name => SortValue::Text(policy.name_key.clone()),
        CatalogSort::CreatedAt => SortValue::Int(policy.created_at),
    };
    (value, policy.id.clone())
}

/// A name that can stand in a URL as one segment: clients take `.` and `..` out of theirs.
fn parse_name(text: &str) -> Result<Name> {
    match text.trim() {
        "." | ".." => Err(Error::field("name", "must not be . or .., which clients take out of a URL")),
        text if text.contains('/') => Err(Error::field("name", "must not hold a /, since it stands in the verify URL")),
        text => Name::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_may_be_another_one_is_none() {
        for path in ["/", "/v1/chat", "/a%20b/", "/a.b/..c", "/a/"] {
            assert!(is_plain(path), "{path}");
        }
        for path in
            ["", "v1", "/v1/../admin", "/v1/%2e%2e/admin", "/v1%2fadmin", "/v1//admin", "/v1\\..", "/a;b", "/%25"]
        {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn requirements_are_checked_and_read_as_they_were_written() {
        let asks = Requirements {
            models: vec![String::from("gpt-5")],
            tags: vec![String::from("prod")],
            routes: vec![String::from("/v1/*")],
            routes_from: RoutesFrom::XForwardedUri,
            cache_seconds: 30,
        };
        let checked = asks.clone().check().expect("good ones");
        assert_eq!(Requirements::of_column(&checked.to_column()).expect("what was written"), checked);
        assert_eq!(asks.words(), "models gpt-5; tags prod; routes /v1/* from x-forwarded-uri; kept for 30 s");
        assert!(Requirements::of_column("{\"more\":1}").is_err());
        for bad in [
            Requirements { models: vec![String::from("gpt*")], ..Requirements::default() },
            Requirements { tags: vec![String::from("A b")], ..Requirements::default() },
            Requirements { routes: vec![String::from("v1")], ..Requirements::default() },
            Requirements { cache_seconds: 301, ..Requirements::default() },
        ] {
            assert!(bad.check().is_err());
        }
    }
}
