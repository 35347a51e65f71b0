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
    linked_keys::{self, KeyToLink, LinkedKey, wished},
    problem::{ApiResult, ProblemBody},
    types::{List, ListParams, Resource, not_null, object, object_or_null, objects_or_null, present, some_objects},
};
use crate::domain::{
    clock::rfc3339,
    idempotency::Outcome,
    provider_limits::ProviderLimits,
    providers::{self, Edit, LimitsChange, NewProvider, ProviderView},
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
    /// The linked general key; of several, the heaviest.
    general_key_id: Option<String>,
    /// All linked general keys, the heaviest first.
    general_keys: Vec<LinkedKey>,
    /// The header that a service takes its credential in; null for `Authorization: Bearer`, and for other kinds.
    credential_header: Option<String>,
    limits: Limits,
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
    /// `together`, `fireworks`, `cohere`, `ollama`, `vllm` or `openai-compatible`; or `service`: no provider of models, but an
    /// agent, an MCP server or another service over HTTP, which agents call at `/agents/{name}/…`.
    kind: String,
    /// What the provider's official client takes as its base URL; needed for kinds without one public address.
    base_url: Option<String>,
    /// The general key to link.
    general_key_id: Option<String>,
    /// Several general keys instead of the one, the calls going on to the next where one is refused.
    #[serde(default, deserialize_with = "objects_or_null")]
    general_keys: Option<Vec<KeyToLink>>,
    #[serde(default, deserialize_with = "object_or_null")]
    limits: Option<LimitsEdit>,
    /// Of a service: the header that it takes its credential in, as the general key holds it; `Authorization`, behind `Bearer `,
    /// where absent.
    credential_header: Option<String>,
    /// That key's value, where it was not saved for this origin.
    #[schema(format = Password)]
    general_key_value: Option<String>,
}

/// What a provider gets at once, and how long it may take; null is Keyward's default.
#[derive(Serialize, ToSchema)]
pub struct Limits {
    /// The most calls at once; past them, calls get 503 `provider_busy`.
    calls_in_flight: Option<u32>,
    /// Seconds a connection may take.
    connect_seconds: Option<u32>,
    /// Seconds the head of an answer may take.
    head_seconds: Option<u32>,
    /// Seconds it may be silent within an answer.
    idle_seconds: Option<u32>,
    /// Seconds a whole call may take.
    total_seconds: Option<u32>,
}

impl From<ProviderLimits> for Limits {
    fn from(limits: ProviderLimits) -> Limits {
        let ProviderLimits { calls_in_flight, connect_seconds, head_seconds, idle_seconds, total_seconds } = limits;
        Limits { calls_in_flight, connect_seconds, head_seconds, idle_seconds, total_seconds }
    }
}

/// Other limits: what is absent stays, null is Keyward's default.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = ProviderLimitsEdit)]
pub struct LimitsEdit {
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    calls_in_flight: Option<Option<u32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    connect_seconds: Option<Option<u32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    head_seconds: Option<Option<u32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    idle_seconds: Option<Option<u32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    total_seconds: Option<Option<u32>>,
}

impl LimitsEdit {
    fn over(&self, now: ProviderLimits) -> ProviderLimits {
        ProviderLimits {
            calls_in_flight: self.calls_in_flight.unwrap_or(now.calls_in_flight),
            connect_seconds: self.connect_seconds.unwrap_or(now.connect_seconds),
            head_seconds: self.head_seconds.unwrap_or(now.head_seconds),
            idle_seconds: self.idle_seconds.unwrap_or(now.idle_seconds),
            total_seconds: self.total_seconds.unwrap_or(now.total_seconds),
        }
    }
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
    /// Several general keys instead of the one; they replace what is linked.
    #[serde(default, deserialize_with = "some_objects")]
    general_keys: Option<Vec<KeyToLink>>,
    #[serde(default, deserialize_with = "object")]
    limits: Option<LimitsEdit>,
    /// Of a service; null: `Authorization`, behind `Bearer `.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    credential_header: Option<Option<String>>,
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
    let New { name, kind, base_url, general_key_id, general_keys, limits, credential_header, general_key_value } =
        body.value;
    let keys = wished(general_key_id.map(Some), general_keys)?.unwrap_or_default();
    let limits = limits.map(|limits| limits.over(ProviderLimits::default())).unwrap_or_default();
    let new = NewProvider { name, kind, base_url, keys, limits, credential_header, general_key_value };
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
    let Patch { name, kind, base_url, general_key_id, general_keys, limits, credential_header, general_key_value } =
        body.value;
    let keys = wished(general_key_id, general_keys)?;
    let change: Option<LimitsChange> = limits.map(|limits| -> LimitsChange { Box::new(move |now| limits.over(now)) });
    let edit = Edit { name, kind, base_url, keys, limits: change, credential_header, general_key_value };
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
    let ProviderView { provider, keys } = view;
    let (general_key_id, general_keys) = linked_keys::render(keys);
    Body {
        id: provider.id,
        name: provider.name,
        kind: provider.kind,
        base_url: provider.base_url,
        credential_header: Some(provider.credential_header).filter(|header| !header.is_empty()),
        general_key_id,
        general_keys,
        limits: Limits::from(ProviderLimits::of_column(&provider.limits)),
        created_at: rfc3339(provider.created_at),
        updated_at: rfc3339(provider.updated_at),
    }
}
