//! `/api/v1/general-keys`

use axum::{
    Json,
    extract::{Path, State as AxumState},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    extract::{Caller, IfMatch, JsonBody, Params},
    problem::{ApiResult, ProblemBody},
    types::{CreatedBy, Link, List, Resource, not_null},
};
use crate::domain::{
    clock::{rfc3339, rfc3339_or_none},
    general_keys::{self, Edit, GeneralKeyView},
    idempotency::Outcome,
    key_health, key_test,
    paging::ListQuery,
};
use crate::error::Error;

/// A general key: a credential of an external LLM provider. Its value cannot be read back.
#[derive(Serialize, ToSchema)]
#[schema(as = GeneralKey)]
pub struct Body {
    #[schema(example = "gk_01JD")]
    id: String,
    #[schema(example = "MY_API")]
    name: String,
    /// The value's first and last three characters.
    #[schema(example = "sk-******xyz")]
    masked_value: String,
    linked_to: Vec<Link>,
    created_at: String,
    updated_at: String,
    created_by: CreatedBy,
    last_used_at: Option<String>,
    health: Health,
}

/// What a provider answered last about a general key.
#[derive(Serialize, ToSchema)]
#[schema(as = GeneralKeyHealth)]
pub struct Health {
    /// `unknown` (never asked), `ok` or `refused`.
    #[schema(example = "ok")]
    status: &'static str,
    /// When it answered so last, to the minute.
    at: Option<String>,
    /// Its own words, where it refused.
    detail: Option<String>,
}

/// A new general key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGeneralKey)]
pub struct New {
    /// 1 to 64 characters, unique ignoring case.
    name: String,
    /// The key as the provider issued it.
    #[schema(format = Password)]
    value: String,
}

/// An edit of a general key (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GeneralKeyEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    /// Replaces the value everywhere the key is linked.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(format = Password)]
    value: Option<String>,
}

/// Which general keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GeneralKeyParams {
    /// Part of the name, in any case.
    search: Option<String>,
    /// The health: `unknown`, `ok` or `refused`.
    status: Option<String>,
    /// `name` (the default), `created_at`, `updated_at` or `last_used_at`, behind `-` for descending order.
    sort: Option<String>,
    /// Rows a page, from 1 to 200; 50 where absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// How to delete.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteParams {
    /// Deletes what depends on it as well: links of a general key, models of a provider.
    #[serde(default)]
    pub force: bool,
}

/// Where to test a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GeneralKeyTest)]
pub struct TestBody {
    /// The provider to call; the first one the key is linked to where absent.
    provider_id: Option<String>,
}

/// What the provider said.
#[derive(Serialize, ToSchema)]
#[schema(as = GeneralKeyTestResult)]
pub struct TestResult {
    /// Whether it took the key.
    ok: bool,
    /// Its HTTP status; null where there was no answer.
    status: Option<u16>,
    /// Its own words, the key blotted out.
    detail: String,
}

/// List general keys
#[utoipa::path(get, path = "/api/v1/general-keys", tag = "General keys", params(GeneralKeyParams),
    responses((status = 200, body = List<Body>), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Params(params): Params<GeneralKeyParams>,
) -> ApiResult<Json<List<Body>>> {
    let GeneralKeyParams { search, status, sort, limit, cursor } = params;
    let health = status
        .filter(|status| !status.is_empty())
        .map(|status| {
            let refused = || Error::parameter("status", "must be unknown, ok or refused");
            key_health::Health::parse(&status).ok_or_else(refused)
        })
        .transpose()?;
    let page = general_keys::list(&state.core, &ListQuery { search, sort, limit, cursor }, health).await?;
    Ok(List::of(page, render))
}

/// Create a general key
#[utoipa::path(post, path = "/api/v1/general-keys", tag = "General keys", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<New>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let New { name, value } = body.value;
    let view = match general_keys::create(&state.core, &actor, &name, value, idempotency.as_ref()).await? {
        Outcome::Done(view) => view,
        Outcome::Replay(id) => general_keys::get(&state.core, &id).await?,
    };
    let location = format!("/api/v1/general-keys/{}", view.key.id);
    let version = view.key.version;
    Ok(Resource::created(render(view), version, location))
}

/// Read a general key
#[utoipa::path(get, path = "/api/v1/general-keys/{id}", tag = "General keys", params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Resource<Body>> {
    let view = general_keys::get(&state.core, &id).await?;
    let version = view.key.version;
    Ok(Resource::read(render(view), version))
}

/// Edit a general key
#[utoipa::path(patch, path = "/api/v1/general-keys/{id}", tag = "General keys", request_body = Patch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let edit = Edit { name: body.value.name, value: body.value.value };
    let view = general_keys::edit(&state.core, &actor, &id, version, edit).await?;
    let version = view.key.version;
    Ok(Resource::read(render(view), version))
}

/// Delete a general key
#[utoipa::path(delete, path = "/api/v1/general-keys/{id}", tag = "General keys",
    params(("id" = String, Path), DeleteParams, ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Params(params): Params<DeleteParams>,
) -> ApiResult<StatusCode> {
    general_keys::delete(&state.core, &actor, &id, version, params.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Test a general key
///
/// Makes the provider's cheapest authenticated call, at a provider the key is linked to.
#[utoipa::path(post, path = "/api/v1/general-keys/{id}/test", tag = "General keys", request_body = Option<TestBody>,
    params(("id" = String, Path)),
    responses((status = 200, body = TestResult), (status = "default", body = ProblemBody)))]
pub async fn test(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
    body: JsonBody<TestBody>,
) -> ApiResult<Json<TestResult>> {
    let result = key_test::stored(&state.core, &id, body.value.provider_id.as_deref()).await?;
    Ok(Json(TestResult { ok: result.ok, status: result.status, detail: result.detail }))
}

fn render(view: GeneralKeyView) -> Body {
    let GeneralKeyView { key, linked_to } = view;
    Body {
        id: key.id,
        name: key.name,
        masked_value: key.masked_value,
        linked_to: linked_to.into_iter().map(Link::from).collect(),
        created_at: rfc3339(key.created_at),
        updated_at: rfc3339(key.updated_at),
        created_by: CreatedBy { id: key.created_by_id, name: key.created_by_name },
        last_used_at: rfc3339_or_none(key.last_used_at),
        health: Health {
            status: key_health::Health::of_column(&key.health).as_str(),
            at: rfc3339_or_none(key.health_at),
            detail: Some(key.health_detail).filter(|words| !words.is_empty()),
        },
    }
}
