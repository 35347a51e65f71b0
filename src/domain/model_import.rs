//! The models that a provider says it has, and making models of them.

use std::collections::HashMap;

use super::{
    Core,
    actor::Actor,
    general_keys, key_test,
    models::{self, ModelView, NewModel},
    name::Name,
    providers,
};
use crate::error::{Code, Error, Result};

/// The most models that are made at once.
pub const MAX_AT_ONCE: usize = 1000;

/// A model that a provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The provider's name for it.
    pub upstream_model: String,
    /// The model that it is already: id and name.
    pub model: Option<(String, String)>,
    /// Why no model can be made of it under that name.
    pub refused: Option<String>,
}

/// Asks a provider for its models.
///
/// # Errors
/// [`Code::NotFound`]; [`Code::NoGeneralKey`] where it needs one and none is linked; [`Code::UpstreamUnreachable`] with
/// the provider's own words where it answers no list; [`Code::UnsupportedWireFormat`] where its kind has none.
pub async fn offered(core: &Core, provider_id: &str) -> Result<Vec<Offered>> {
    let view = providers::get(core, provider_id).await?;
    let (kind, target) = providers::target_of(core, &view.provider)?;
    let secret = match view.keys.first() {
        Some(linked) => {
            let key = general_keys::get(core, &linked.general_key_id).await?.key;
            Some(key_test::opened(core, &key, &view.provider).await?)
        }
        None if kind.needs_key() => return Err(key_test::none_linked(&view.provider.name)),
        None => None,
    };
    let failed = |why: String| Error::new(Code::UpstreamUnreachable, format!("{}: {why}", view.provider.name));
    let answer = core.egress.list_models(&core.pool, kind, &target, secret.as_ref()).await;
    let answer = answer.map_err(|error| failed(error.to_string()))?.ok_or_else(|| {
        Error::new(
            Code::UnsupportedWireFormat,
            format!("{} does not list its deployments; add each by name", kind.label()),
        )
    })?;
    if !answer.accepted {
        let words = llm::error_message(&answer.body).unwrap_or_else(|| format!("it answered {}", answer.status));
        let words = secret.as_ref().map_or_else(|| words.clone(), |secret| secret.blot(&words));
        return Err(failed(words.chars().take(300).collect()));
    }
    let names = llm::listed_models(&answer.body)
        .ok_or_else(|| failed(String::from("what it answered is no list of models")))?;
    let mut db = core.store.read().await?;
    let known = store::models::of_provider(&mut db, provider_id).await?;
    let known: HashMap<_, _> = known.into_iter().map(|model| (model.upstream_model, (model.id, model.name))).collect();
    let leaks = |name: &String| secret.as_ref().is_some_and(|secret| secret.occurs_in(name.as_bytes()));
    let offered = names.into_iter().filter(|name| !leaks(name)).map(|upstream_model| Offered {
        model: known.get(&upstream_model).cloned(),
        refused: Name::parse(&upstream_model).err().map(|error| error.reason()),
        upstream_model,
    });
    Ok(offered.collect())
}

/// What became of an import.
#[derive(Debug)]
pub struct Imported {
    /// The models that were made.
    pub made: Vec<ModelView>,
    /// Those that were not, and why.
    pub skipped: Vec<(String, String)>,
}

/// Makes a model of each of these names of a provider's, called as the provider calls it; all in one transaction. A name
/// that is taken already, or cannot be a model's, is left out and told.
///
/// # Errors
/// [`Code::NotFound`]; a refused list; a storage failure, after which none was made.
pub async fn import(core: &Core, actor: &Actor, provider_id: &str, names: Vec<String>) -> Result<Imported> {
    if names.is_empty() || names.len() > MAX_AT_ONCE {
        return Err(Error::field("upstream_models", format!("must name 1 to {MAX_AT_ONCE} models")));
    }
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    if store::providers::get(&mut tx, provider_id).await?.is_none() {
        return Err(Error::not_found("provider", provider_id));
    }
    let mut imported = Imported { made: Vec::new(), skipped: Vec::new() };
    for upstream in names {
        let name = match Name::parse(&upstream) {
            Ok(name) => name,
            Err(error) => {
                imported.skipped.push((upstream, error.reason()));
                continue;
            }
        };
        // Asked before, since a statement that fails ends the transaction on PostgreSQL.
        if store::models::is_named(&mut tx, &name.key).await? {
            imported.skipped.push((upstream, String::from("a model of this name is there already")));
            continue;
        }
        let new = NewModel {
            name: upstream.clone(),
            provider_id: provider_id.to_owned(),
            upstream_model: Some(upstream),
            ..NewModel::default()
        };
        imported.made.push(models::insert(core, &mut tx, actor, new, now).await?);
    }
    tx.commit().await?;
    core.refresh().await;
    Ok(imported)
}
