//! Providers: where models are, and which general key they are called with.

use llm::Kind;
use store::{CatalogSort, Handle, Listing, SortValue, Standing, providers::Provider};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    change::{check_version, name_error},
    idempotency::{Idempotency, Outcome},
    ids,
    links::{self, KeyShare, LinkTarget},
    name::Name,
    paging::{self, ListQuery, Page, Sorts},
    provider_limits::ProviderLimits,
};
use crate::{
    egress::{AddressPolicy, Target, TargetError},
    error::{Code, Error, Result},
};

/// The sort orders of providers and models.
pub(super) const SORTS: Sorts<CatalogSort> = Sorts {
    all: &[("name", CatalogSort::Name, true), ("created_at", CatalogSort::CreatedAt, false)],
    default_descending: false,
};

/// A provider with the keys linked to it.
#[derive(Debug, Clone)]
pub struct ProviderView {
    /// The provider.
    pub provider: Provider,
    /// The linked general keys, the heaviest first.
    pub keys: Vec<KeyShare>,
}

/// What a new provider is made of.
#[derive(Debug, Default)]
pub struct NewProvider {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its base URL; the kind's default where `None`.
    pub base_url: Option<String>,
    /// The general keys to link.
    pub keys: Vec<KeyShare>,
    /// What it gets at once, and how long it may take.
    pub limits: ProviderLimits,
    /// The header a service takes its credential in; `Authorization: Bearer` where `None`.
    pub credential_header: Option<String>,
    /// The value of one of the keys, where it was not saved for this origin.
    pub general_key_value: Option<String>,
}

/// Creates a provider.
///
/// # Errors
/// A refused field, a name that is taken, [`Code::OriginNotBound`], a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    new: NewProvider,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<ProviderView>> {
    let at = parse_kind(&new.kind).and_then(|kind| {
        let base_url = base_url_or_default(new.base_url, kind)?;
        let header = parse_header(new.credential_header.as_deref().unwrap_or_default(), kind)?;
        Ok((kind, parse_target(core, &base_url, kind, &header)?, header))
    });
    let (name, (kind, target, credential_header)) = Error::both(Name::parse_provider(&new.name), at)?;
    let value = links::parse_value_again(new.general_key_value)?;
    new.limits.check()?;
    let now = core.clock.now_ms();
    let provider = Provider {
        id: ids::mint("pr", now, &core.entropy)?,
        name: name.text,
        name_key: name.key,
        kind: kind.as_str().to_owned(),
        base_url: target.url().to_owned(),
        limits: new.limits.as_column(),
        linked: links::canonical(&new.keys),
        credential_header,
        created_by_id: actor.id.clone(),
        created_by_name: actor.name.clone(),
        created_at: now,
        updated_at: now,
        version: 1,
        mac: String::new(),
    };
    let mut tx = core.store.write().await?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    store::providers::insert(&mut tx, &provider).await.map_err(|error| name_error(error, &provider.name))?;
    let at = LinkTarget { kind: "provider", id: &provider.id, target: &target };
    links::set(core, &mut tx, &at, &new.keys, value.as_ref(), actor).await?;
    Idempotency::note(idempotency, &mut tx, &provider.id, now).await?;
    let changes = Changes::default()
        .field("name", (), provider.name.as_str())
        .field("kind", (), kind.as_str())
        .field("base_url", (), provider.base_url.as_str())
        .field("credential_header", (), header_words(&provider))
        .field("limits", (), provider.limits.as_str())
        .field("general_keys", (), links::named(&mut tx, &new.keys).await?);
    record(&mut tx, actor, now, "provider.create", audited(&provider), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(Outcome::Done(ProviderView { provider, keys: links::heaviest_first(new.keys) }))
}

/// The provider with this id.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get(core: &Core, id: &str) -> Result<ProviderView> {
    let mut db = core.store.read().await?;
    let provider = found(&mut db, id).await?;
    let keys = links::keys_of(&mut db, id).await?;
    Ok(ProviderView { provider, keys })
}

/// The provider with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get_standing(core: &Core, id: &str) -> Result<Standing<Provider>> {
    found_standing(&mut core.store.read().await?, id).await
}

/// A page of providers.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list(core: &Core, query: &ListQuery) -> Result<Page<ProviderView>> {
    let keyring = &core.store.keyring();
    let (listing, scope) = paging::listing(query, "providers", &SORTS, keyring)?;
    let mut db = core.store.read().await?;
    let mut views = Vec::new();
    for provider in store::providers::list(&mut db, &listing).await? {
        let keys = links::keys_of(&mut db, &provider.id).await?;
        views.push(ProviderView { provider, keys });
    }
    let counted = store::providers::count(&mut db, &listing).await?;
    Ok(paging::page(views, listing.limit, counted, &scope, keyring, |view| place(&view.provider, &listing)))
}

/// Makes other limits from those that hold.
pub type LimitsChange = Box<dyn FnOnce(ProviderLimits) -> ProviderLimits + Send>;

/// What an edit changes; a field that is `None` stays.
#[derive(Default)]
pub struct Edit {
    /// A new name.
    pub name: Option<String>,
    /// A new kind.
    pub kind: Option<String>,
    /// A new base URL, or the kind's default.
    pub base_url: Option<Option<String>>,
    /// Other general keys, or none.
    pub keys: Option<Vec<KeyShare>>,
    /// Other limits, made from those that hold.
    pub limits: Option<LimitsChange>,
    /// Another header of a service, or the usual one.
    pub credential_header: Option<Option<String>>,
    /// The value of a linked key, where it was not saved for the origin it would go to.
    pub general_key_value: Option<String>,
}

/// Edits a provider. Whatever would send a stored key to another place needs its value again.
///
/// # Errors
/// A refused field, [`Code::OriginNotBound`], [`Code::VersionMismatch`], [`Code::NotFound`].
pub async fn edit(core: &Core, actor: &Actor, id: &str, version: Option<i64>, edit: Edit) -> Result<ProviderView> {
    let value = links::parse_value_again(edit.general_key_value)?;
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let before = found(&mut tx, id).await?;
    check_version(before.version, version)?;
    let linked_before = links::keys_of(&mut tx, id).await?;
    let mut provider = before.clone();
    let name = edit.name.as_deref().map(Name::parse_provider).transpose();
    let at = parse_kind(edit.kind.as_deref().unwrap_or(&before.kind)).and_then(|kind| {
        let base_url = match edit.base_url {
            Some(base_url) => base_url_or_default(base_url, kind)?,
            None => before.base_url.clone(),
        };
        let header = match (&edit.credential_header, kind) {
            (Some(header), _) => header.clone().unwrap_or_default(),
            (None, Kind::Service) => before.credential_header.clone(),
            // The header of a service goes with the kind.
            (None, _) => String::new(),
        };
        let header = parse_header(&header, kind)?;
        Ok((kind, parse_target(core, &base_url, kind, &header)?, header))
    });
    let (name, (kind, target, credential_header)) = Error::both(name, at)?;
    if let Some(name) = name {
        (provider.name, provider.name_key) = (name.text, name.key);
    }
    provider.kind = kind.as_str().to_owned();
    provider.base_url = target.url().to_owned();
    provider.credential_header = credential_header;
    if let Some(change) = edit.limits {
        let limits = change(ProviderLimits::of_column(&before.limits));
        limits.check()?;
        provider.limits = limits.as_column();
    }
    if edit.keys.is_none() {
        links::check_intact(&before.linked, &linked_before, &before.name)?;
    }
    let linked = edit.keys.unwrap_or_else(|| linked_before.clone());
    let changes = Changes::default()
        .field("name", before.name.as_str(), provider.name.as_str())
        .field("kind", before.kind.as_str(), provider.kind.as_str())
        .field("base_url", before.base_url.as_str(), provider.base_url.as_str())
        .field("credential_header", header_words(&before), header_words(&provider))
        .field("limits", before.limits.as_str(), provider.limits.as_str())
        .field("general_keys", links::named(&mut tx, &linked_before).await?, links::named(&mut tx, &linked).await?);
    if changes.is_empty() {
        return Ok(ProviderView { provider: before, keys: linked });
    }
    // The models' own keys would go to the new place as well.
    for model in store::models::of_provider(&mut tx, id).await? {
        for own in links::keys_of(&mut tx, &model.id).await? {
            let Some(key) = store::general_keys::get(&mut tx, &own.general_key_id).await? else { continue };
            let given = value.as_ref().filter(|value| links::is_value_of(core, value, &key));
            links::allow(core, &mut tx, &key, target.binding(), given, actor).await?;
        }
    }
    let at = LinkTarget { kind: "provider", id, target: &target };
    links::set(core, &mut tx, &at, &linked, value.as_ref(), actor).await?;
    provider.linked = links::canonical(&linked);
    provider.updated_at = now;
    provider.version += 1;
    store::providers::update(&mut tx, &provider).await.map_err(|error| name_error(error, &provider.name))?;
    record(&mut tx, actor, now, "provider.edit", audited(&provider), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(ProviderView { provider, keys: links::heaviest_first(linked) })
}

/// Deletes a provider, a damaged one as well; one that has models only with `force`, which deletes them too.
///
/// # Errors
/// [`Code::HasModels`] with their names; [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn delete(core: &Core, actor: &Actor, id: &str, version: Option<i64>, force: bool) -> Result<()> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let provider = found_standing(&mut tx, id).await?.row;
    check_version(provider.version, version)?;
    let models: Vec<_> =
        store::models::of_provider_standing(&mut tx, id).await?.into_iter().map(|model| model.row).collect();
    if !models.is_empty() && !force {
        let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
        let mut error = Error::new(
            Code::HasModels,
            format!(
                "{} has the models {}; delete them first, or all together with ?force=true",
                provider.name,
                names.join(", ")
            ),
        );
        error.extension = Some(("models", serde_json::json!(names)));
        return Err(error);
    }
    let mut changes = Changes::default().field("name", provider.name.as_str(), ());
    for model in &models {
        store::links::delete_of_target(&mut tx, &model.id).await?;
        store::models::delete(&mut tx, &model.id).await?;
        changes = changes.field(&format!("model {}", model.name), model.name.as_str(), ());
    }
    store::links::delete_of_target(&mut tx, id).await?;
    store::providers::delete(&mut tx, id).await?;
    record(&mut tx, actor, now, "provider.delete", audited(&provider), changes).await?;
    tx.commit().await?;
    core.refresh().await;
    Ok(())
}

/// The kind of a stored provider, and where its calls go.
///
/// # Errors
/// [`Code::ValidationFailed`] where the base URL may not be called any more, after a change of settings.
pub(super) fn target_of(core: &Core, provider: &Provider) -> Result<(Kind, Target)> {
    let kind = parse_kind(&provider.kind)?;
    let target = parse_target(core, &provider.base_url, kind, &provider.credential_header)?;
    Ok((kind, target))
}

fn parse_kind(kind: &str) -> Result<Kind> {
    Kind::parse(kind).ok_or_else(|| {
        let known: Vec<_> = Kind::every().map(Kind::as_str).collect();
        Error::field("kind", format!("must be one of {}", known.join(", ")))
    })
}

fn base_url_or_default(base_url: Option<String>, kind: Kind) -> Result<String> {
    base_url.or_else(|| kind.default_base_url().map(str::to_owned)).ok_or_else(|| {
        Error::field("base_url", format!("is needed for {}, which has no one public address", kind.label()))
    })
}

fn parse_target(core: &Core, base_url: &str, kind: Kind, header: &str) -> Result<Target> {
    let target = judged(base_url, kind, header, core.egress.policy());
    target.map_err(|error| Error::field("base_url", error.to_string()))
}

/// Where the calls of a provider go, and how its key travels.
pub(super) fn judged(
    base_url: &str,
    kind: Kind,
    credential_header: &str,
    policy: &AddressPolicy,
) -> std::result::Result<Target, TargetError> {
    match kind {
        Kind::Service => Target::parse_agent(base_url, credential_header, policy),
        kind => Target::parse(base_url, kind, policy),
    }
}

/// Headers that are part of how a call is sent, and no place for a credential.
const NO_CREDENTIAL: [&str; 12] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "accept-encoding",
];

/// The header that a service takes its credential in, in lower case; empty for the usual one.
fn parse_header(header: &str, kind: Kind) -> Result<String> {
    let header = header.trim().to_ascii_lowercase();
    let refused = |why: &str| Err(Error::field("credential_header", why));
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if header.is_empty() {
        return Ok(header);
    }
    if kind != Kind::Service {
        return refused("is for the kind service only; other kinds have theirs");
    }
    if header.len() > 64 || !header.bytes().all(is_token) {
        return refused("must be the name of a header: letters, digits and hyphens, 64 at most");
    }
    if NO_CREDENTIAL.contains(&header.as_str())
        || ["proxy-", "sec-", "x-keyward-", "keyward-"].iter().any(|start| header.starts_with(start))
    {
        return refused("must be a header that a credential can stand in");
    }
    Ok(header)
}

fn header_words(provider: &Provider) -> Option<&str> {
    Some(provider.credential_header.as_str()).filter(|header| !header.is_empty())
}

async fn found(db: &mut impl Handle, id: &str) -> Result<Provider> {
    store::providers::get(db, id).await?.ok_or_else(|| Error::not_found("provider", id))
}

async fn found_standing(db: &mut impl Handle, id: &str) -> Result<Standing<Provider>> {
    store::providers::get_standing(db, id).await?.ok_or_else(|| Error::not_found("provider", id))
}

fn audited(provider: &Provider) -> ChangeTarget<'_> {
    ChangeTarget { kind: "provider", id: &provider.id, name: &provider.name }
}

pub(super) fn place(provider: &Provider, listing: &Listing<CatalogSort>) -> (SortValue, String) {
    let value = match listing.sort {
        CatalogSort::Name => SortValue::Text(provider.name_key.clone()),
        CatalogSort::CreatedAt => SortValue::Int(provider.created_at),
    };
    (value, provider.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_named_and_an_unknown_one_lists_them() {
        for kind in Kind::every() {
            assert_eq!(parse_kind(kind.as_str()).expect("a kind"), kind);
        }
        let error = parse_kind("skynet").expect_err("no kind");
        assert_eq!(error.code, Code::ValidationFailed);
        assert!(error.detail.contains("openai-compatible"));
    }
}
