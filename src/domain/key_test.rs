//! 'Test key': the cheapest authenticated call to a provider, and its own words.

use store::{Handle, general_keys::GeneralKey, providers::Provider};
use vault::{Place, ProviderSecret};

use super::{
    Core, catalog,
    general_keys::{self, parse_value},
    links, models, providers,
};
use crate::error::{Code, Error, Result};

/// What a provider said.
#[derive(Debug, Clone)]
pub struct TestResult {
    /// Whether it took the key.
    pub ok: bool,
    /// Its status; `None` where there was no answer.
    pub status: Option<u16>,
    /// Its own words, or why there is no answer.
    pub detail: String,
    /// Its name in Keyward.
    pub provider: String,
}

/// Tests a stored key: at the provider that `provider_id` names, or else at the first one it is linked to.
///
/// # Errors
/// [`Code::NotFound`]; a refused `provider_id`; [`Code::OriginNotBound`] where the value may not go there.
pub async fn stored(core: &Core, id: &str, provider_id: Option<&str>) -> Result<TestResult> {
    let mut db = core.store.read().await?;
    let key = general_keys::found(&mut db, id).await?;
    let provider_id = match provider_id {
        Some(provider_id) => provider_id.to_owned(),
        None => first_provider(&mut db, &key).await?,
    };
    let provider = provider(&mut db, &provider_id).await?;
    drop(db);
    let secret = opened(core, &key, &provider).await?;
    let result = ask(core, &provider, &secret).await?;
    let health = core.health.of(id, &key.health);
    let now = core.clock.now_ms();
    match result.status {
        Some(_) if result.ok => health.accepted(now, now),
        Some(status) if status == 401 || status == 400 => health.refused(now, &result.detail),
        _ => {}
    }
    Ok(result)
}

/// A stored key's value, for a provider.
///
/// # Errors
/// [`Code::OriginNotBound`] where the value may not go there; a storage failure.
pub(super) async fn opened(core: &Core, key: &GeneralKey, provider: &Provider) -> Result<ProviderSecret> {
    let (_, where_to) = providers::target_of(core, provider)?;
    let copies = store::general_keys::copies(&mut core.store.read().await?, &key.id).await?;
    let binding = where_to.binding();
    let copy = copies.iter().find(|copy| copy.binding == binding.canonical()).ok_or_else(|| {
        Error::new(
            Code::OriginNotBound,
            format!("the value of {} was not saved for {}; link it there first", key.name, binding.origin()),
        )
    })?;
    core.store.keyring().open_bound(&catalog::sealed_place(copy), binding, &copy.sealed).map_err(|error| {
        Error::new(Code::StorageUnavailable, format!("the stored value of {} cannot be read: {error}", key.name))
            .with_cause(error)
    })
}

/// Tests a value that somebody just typed, at a provider.
///
/// # Errors
/// A refused `value` or `provider_id`.
pub async fn typed(core: &Core, value: String, provider_id: &str) -> Result<TestResult> {
    /// In no table: the sealed form lives as long as this call.
    const NOWHERE: Place<'static> = Place { table: "general_key_secrets", row: "gs_typed", field: "typed", version: 1 };
    let value = parse_value(value)?;
    let provider = provider(&mut core.store.read().await?, provider_id).await?;
    let (_, where_to) = providers::target_of(core, &provider)?;
    let binding = where_to.binding();
    let keyring = &core.store.keyring();
    // Only what is sealed for an origin can be opened for it, and only that can be sent.
    let sealed = keyring.seal(&core.entropy, &NOWHERE, Some(binding), &value)?;
    let secret = keyring.open_bound(&NOWHERE, binding, &sealed).map_err(|error| {
        Error::new(Code::Internal, "a cryptographic operation failed; see the log").with_cause(error)
    })?;
    ask(core, &provider, &secret).await
}

/// Tests a value that somebody just typed for a stored key: at the provider that `provider_id` names, or else at the
/// first one the key is linked to.
///
/// # Errors
/// [`Code::NotFound`]; a refused `value` or `provider_id`.
pub async fn typed_for(core: &Core, id: &str, value: String, provider_id: Option<&str>) -> Result<TestResult> {
    let provider_id = match provider_id {
        Some(provider_id) => provider_id.to_owned(),
        None => {
            let mut db = core.store.read().await?;
            let key = general_keys::found(&mut db, id).await?;
            first_provider(&mut db, &key).await?
        }
    };
    typed(core, value, &provider_id).await
}

/// Tests the key that calls to a provider are made with.
///
/// # Errors
/// [`Code::NotFound`]; [`Code::NoGeneralKey`] where none is linked.
pub async fn of_provider(core: &Core, id: &str) -> Result<TestResult> {
    let view = providers::get(core, id).await?;
    let key = view.keys.first().ok_or_else(|| none_linked(&view.provider.name))?;
    stored(core, &key.general_key_id, Some(id)).await
}

/// Tests the key that calls to a model are made with: its own, or else its provider's.
///
/// # Errors
/// [`Code::NotFound`]; [`Code::NoGeneralKey`] where none is linked.
pub async fn of_model(core: &Core, id: &str) -> Result<TestResult> {
    let view = models::get(core, id).await?;
    let provider_id = view.model.provider_id;
    let keys = match view.keys.is_empty() {
        true => links::keys_of(&mut core.store.read().await?, &provider_id).await?,
        false => view.keys,
    };
    let key = keys.first().ok_or_else(|| none_linked(&view.model.name))?;
    stored(core, &key.general_key_id, Some(&provider_id)).await
}

/// Asks the provider about a key.
async fn ask(core: &Core, provider: &Provider, secret: &ProviderSecret) -> Result<TestResult> {
    let (kind, target) = providers::target_of(core, provider)?;
    let result = |ok, status, detail| TestResult { ok, status, detail, provider: provider.name.clone() };
    let answer = match core.egress.check_key(&core.pool, kind, &target, secret).await {
        Ok(answer) => answer,
        Err(error) => return Ok(result(false, None, error.to_string())),
    };
    let words = if answer.accepted { None } else { llm::error_message(&answer.body) };
    let detail = match words {
        Some(words) => secret.blot(&words).chars().take(300).collect(),
        None if answer.accepted => format!("{} took the key", kind.label()),
        None => format!("{} answered {}", kind.label(), answer.status),
    };
    Ok(result(answer.accepted, Some(answer.status), detail))
}

async fn first_provider(db: &mut impl Handle, key: &GeneralKey) -> Result<String> {
    let unlinked = || {
        Error::field("provider_id", format!("{} is not linked to anything; link it, or say where to test it", key.name))
    };
    let link = store::links::of_general_key(db, &key.id).await?.into_iter().next().ok_or_else(unlinked)?;
    if link.target_kind == "provider" {
        return Ok(link.target_id);
    }
    let model = store::models::get(db, &link.target_id).await?.ok_or_else(unlinked)?;
    Ok(model.provider_id)
}

async fn provider(db: &mut impl Handle, id: &str) -> Result<Provider> {
    store::providers::get(db, id)
        .await?
        .ok_or_else(|| Error::field("provider_id", format!("there is no provider {id}")))
}

/// No general key is linked.
pub(super) fn none_linked(name: &str) -> Error {
    Error::new(Code::NoGeneralKey, format!("no general key is linked for {name}; link one first"))
}
