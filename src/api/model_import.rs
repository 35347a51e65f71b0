//! `/api/v1/providers/{id}/available-models` and `/import-models`

use axum::{
    Json,
    extract::{Path, State as AxumState},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    State,
    extract::{Caller, JsonBody},
    models,
    problem::{ApiResult, ProblemBody},
};
use crate::domain::model_import::{self, Imported};

/// A model that a provider has.
#[derive(Serialize, ToSchema)]
pub struct AvailableModel {
    /// The provider's name for it.
    upstream_model: String,
    /// The id of the model that it is already.
    model_id: Option<String>,
}

/// All of them.
#[derive(Serialize, ToSchema)]
pub struct AvailableModels {
    items: Vec<AvailableModel>,
}

/// Which models to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelImport {
    /// The provider's names for them; 1 to 1,000.
    upstream_models: Vec<String>,
}

/// A name that no model was made of.
#[derive(Serialize, ToSchema)]
pub struct SkippedModel {
    upstream_model: String,
    /// Why not.
    detail: String,
}

/// What became of an import.
#[derive(Serialize, ToSchema)]
pub struct ImportedModels {
    /// The models that were made.
    items: Vec<models::Body>,
    skipped: Vec<SkippedModel>,
}

/// List the models a provider has
///
/// Asks the provider, with its general key.
#[utoipa::path(get, path = "/api/v1/providers/{id}/available-models", tag = "Providers", params(("id" = String, Path)),
    responses((status = 200, body = AvailableModels), (status = "default", body = ProblemBody)))]
pub async fn available(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<AvailableModels>> {
    let offered = model_import::offered(&state.core, &id).await?;
    let items = offered
        .into_iter()
        .map(|one| AvailableModel { upstream_model: one.upstream_model, model_id: one.model.map(|(id, _)| id) });
    Ok(Json(AvailableModels { items: items.collect() }))
}

/// Make models of a provider's
///
/// Each is called as the provider calls it. A name that is taken already is left out and told.
#[utoipa::path(post, path = "/api/v1/providers/{id}/import-models", tag = "Providers", request_body = ModelImport,
    params(("id" = String, Path)),
    responses((status = 200, body = ImportedModels), (status = "default", body = ProblemBody)))]
pub async fn import(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    body: JsonBody<ModelImport>,
) -> ApiResult<Json<ImportedModels>> {
    let Imported { made, skipped } = model_import::import(&state.core, &actor, &id, body.value.upstream_models).await?;
    let skipped = skipped.into_iter().map(|(upstream_model, detail)| SkippedModel { upstream_model, detail });
    Ok(Json(ImportedModels { items: made.into_iter().map(models::render).collect(), skipped: skipped.collect() }))
}
