//! `/api/v1/providers`

use axum::{
    Json,
    extract::{Path, State as AxumState},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    State,
    extract::{Caller, IfMatch, JsonBody, Params},
    general_keys::DeleteParams,
    problem::{ApiResult, ProblemBody},
    types::{List, ListParams, Resource, not_null, present},
};
use crate::domain::{
    clock::rfc3339,
    idempotency::Outcome,
    providers::{self, Edit, NewProvider, ProviderView},
};

/// A provider of models.
#[derive(Serialize, ToSchema)]
#[schema(as = Provider)]
pub struct Body {
    #[schema(example = "pr_01JD")]
    id: String,
    #[schema(example = "OpenAI")]
    name: String,
    #[schema(example = "openai")]
    kind: String,
    #[schema(example = "https://api.openai.com/v1")]
    base_url: String,
    /// The linked general key.
    general_key_id: Option<String>,
    created_at: String,
    updated_at: String,
}

/// A new provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProvider)]
pub struct New {
    /// 1 to 64 characters without `/`, unique ignoring case.
    name: String,
    /// `openai`, `anthropic`, `gemini`, `azure-openai`, `mistral`, `groq`, `deepseek`, `openrouter`, `xai`,
    /// `together`, `fireworks`, `cohere`, `ollama`, `vllm` or `openai-compatible`.
    kind: String,
    /// What the provider's official client takes as its base URL; needed for kinds without one public address.
    base_url: Option<String>,
    /// The general key to link.
    general_key_id: Option<String>,
    /// That key's value, where it was not saved for this origin.
    #[schema(format = Password)]
    general_key_value: Option<String>,
}

/// An edit of a provider (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProviderEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    kind: Option<String>,
    /// Null: the kind's default.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    base_url: Option<Option<String>>,
    /// Null: unlinks.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    general_key_id: Option<Option<String>>,
    /// The linked key's value, where it would go to an origin it was not saved for.
    #[schema(format = Password)]
    general_key_value: Option<String>,
}

/// List providers
#[utoipa::path(get, path = "/api/v1/providers", tag = "Providers", params(ListParams),
    responses((status = 200, body = List<Body>), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Params(params): Params<ListParams>,
) -> ApiResult<Json<List<Body>>> {
    let page = providers::list(&state.core, &params.into()).await?;
    Ok(List::of(page, render))
}

/// Create a provider
#[utoipa::path(post, path = "/api/v1/providers", tag = "Providers", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<New>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let New { name, kind, base_url, general_key_id, general_key_value } = body.value;
    let new = NewProvider { name, kind, base_url, general_key_id, general_key_value };
    let view = match providers::create(&state.core, &actor, new, idempotency.as_ref()).await? {
        Outcome::Done(view) => view,
        Outcome::Replay(id) => providers::get(&state.core, &id).await?,
    };
    let location = format!("/api/v1/providers/{}", view.provider.id);
    let version = view.provider.version;
    Ok(Resource::created(render(view), version, location))
}

/// Read a provider
#[utoipa::path(get, path = "/api/v1/providers/{id}", tag = "Providers", params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Resource<Body>> {
    let view = providers::get(&state.core, &id).await?;
    let version = view.provider.version;
    Ok(Resource::read(render(view), version))
}

/// Edit a provider
///
/// Whatever would send a stored key to another origin needs `general_key_value`, else 409 `origin_not_bound`.
#[utoipa::path(patch, path = "/api/v1/providers/{id}", tag = "Providers", request_body = Patch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let Patch { name, kind, base_url, general_key_id, general_key_value } = body.value;
    let edit = Edit { name, kind, base_url, general_key_id, general_key_value };
    let view = providers::edit(&state.core, &actor, &id, version, edit).await?;
    let version = view.provider.version;
    Ok(Resource::read(render(view), version))
}

/// Delete a provider
#[utoipa::path(delete, path = "/api/v1/providers/{id}", tag = "Providers",
    params(("id" = String, Path), DeleteParams, ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Params(params): Params<DeleteParams>,
) -> ApiResult<StatusCode> {
    providers::delete(&state.core, &actor, &id, version, params.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn render(view: ProviderView) -> Body {
    let ProviderView { provider, general_key_id } = view;
    Body {
        id: provider.id,
        name: provider.name,
        kind: provider.kind,
        base_url: provider.base_url,
        general_key_id,
        created_at: rfc3339(provider.created_at),
        updated_at: rfc3339(provider.updated_at),
    }
}
