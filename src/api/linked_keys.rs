//! The general keys of a provider or a model: one by `general_key_id`, or several by `general_keys`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::links::KeyShare,
    error::{Error, Result},
};

/// A linked general key.
#[derive(Serialize, ToSchema)]
pub struct LinkedKey {
    #[schema(example = "gk_01JD")]
    id: String,
    /// Its share of the agent keys, among the keys of the same provider or model.
    #[schema(example = 1)]
    weight: i64,
}

/// A general key to link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyToLink {
    #[schema(example = "gk_01JD")]
    id: String,
    /// From 1 to 100; 1 where absent. Each agent key keeps to one of the general keys, and goes on to the next one where
    /// that is refused, exhausted or met with a failure.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 100)]
    weight: i64,
}

fn one() -> i64 {
    1
}

/// The first of the linked keys, and all of them.
pub fn render(keys: Vec<KeyShare>) -> (Option<String>, Vec<LinkedKey>) {
    let first = keys.first().map(|key| key.general_key_id.clone());
    (first, keys.into_iter().map(|key| LinkedKey { id: key.general_key_id, weight: key.weight }).collect())
}

/// What is to be linked instead; `None` = what is linked stays.
///
/// # Errors
/// A refused field where both forms are given.
pub fn wished(one: Option<Option<String>>, several: Option<Vec<KeyToLink>>) -> Result<Option<Vec<KeyShare>>> {
    match (one, several) {
        (Some(_), Some(_)) => Err(Error::field("general_keys", "must not stand beside general_key_id; send either")),
        (Some(one), None) => Ok(Some(KeyShare::only(one))),
        (None, several) => Ok(several
            .map(|keys| keys.into_iter().map(|key| KeyShare { general_key_id: key.id, weight: key.weight }).collect())),
    }
}
