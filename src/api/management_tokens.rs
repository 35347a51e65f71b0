//! `/api/v1/management-tokens`

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
    types::{CreatedBy, List, Resource, not_null},
};
use crate::domain::{
    clock::{rfc3339, rfc3339_or_none},
    idempotency::Outcome,
    management_tokens::{self, NewToken, TokenView},
    paging::ListQuery,
    scopes::Scopes,
};

/// A management token: what automation calls this API with. It may do what its scopes say, as far as its owner's role
/// lets them. Its secret is shown once, in the answer to its creation.
#[derive(Serialize, ToSchema)]
#[schema(as = ManagementToken)]
pub struct Body {
    #[schema(example = "mt_01JD")]
    id: String,
    #[schema(example = "ci")]
    name: String,
    /// `active` or `expired`.
    #[schema(example = "active")]
    status: &'static str,
    #[schema(example = json!(["agent-keys:read", "agent-keys:write"]))]
    scopes: Vec<&'static str>,
    /// The secret's first and last four characters.
    #[schema(example = "kwm_******WXYZ")]
    masked_secret: String,
    created_at: String,
    last_used_at: Option<String>,
    /// The member whose it is; it ends with them.
    created_by: CreatedBy,
    expires_at: String,
    /// Only in the answer to the creation, that once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A new management token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewManagementToken)]
pub struct New {
    /// 1 to 64 characters, unique ignoring case.
    name: String,
    /// `general-keys:read`, `general-keys:write`, the same of `agent-keys`, `providers`, `models`, `policies`,
    /// `webhooks`, `members` and `management-tokens`; `audit:read`, `usage:read`, `metrics:read`, `introspect`. At least one, none that you have not.
    #[schema(min_items = 1)]
    scopes: Vec<String>,
    /// Its life in days, up to 365; 90 where absent. No longer than that of the token that makes it.
    #[schema(minimum = 1, maximum = 365)]
    expires_in_days: Option<i64>,
}

/// An edit of a management token (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManagementTokenEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    scopes: Option<Vec<String>>,
}

/// Which management tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TokenParams {
    /// Part of the name, in any case.
    search: Option<String>,
    /// `active` or `expired`.
    status: Option<String>,
    /// `name` (the default), `created_at`, `expires_at` or `last_used_at`, behind `-` for descending order.
    sort: Option<String>,
    /// Rows a page, from 1 to 200; 50 where absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List management tokens
///
/// Those of everybody, or your own, as your role lets you.
#[utoipa::path(get, path = "/api/v1/management-tokens", tag = "Management tokens", params(TokenParams),
    responses((status = 200, body = List<Body>), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Params(params): Params<TokenParams>,
) -> ApiResult<Json<List<Body>>> {
    let TokenParams { search, status, sort, limit, cursor } = params;
    let query = ListQuery { search, sort, limit, cursor };
    let status = status.as_deref().unwrap_or_default();
    let page = management_tokens::list_standing(&state.core, &actor, &query, status).await?;
    let now = state.core.clock.now_ms();
    Ok(List::of(page.untouched(), |view| render(view, now, None)))
}

/// Create a management token
///
/// It is yours: it may no more than you may, and ends with you.
#[utoipa::path(post, path = "/api/v1/management-tokens", tag = "Management tokens", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once; a replay leaves the secret out")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<New>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let New { name, scopes, expires_in_days } = body.value;
    let new = NewToken { name, scopes, expires_in_days };
    let (view, secret) = match management_tokens::create(&state.core, &actor, new, idempotency.as_ref()).await? {
        Outcome::Done(created) => (created.view, Some(created.secret.to_string())),
        Outcome::Replay(id) => (management_tokens::get(&state.core, &id).await?, None),
    };
    let location = format!("/api/v1/management-tokens/{}", view.token.id);
    let version = view.token.version;
    Ok(Resource::created(render(view, state.core.clock.now_ms(), secret), version, location).with_secret())
}

/// Read a management token
#[utoipa::path(get, path = "/api/v1/management-tokens/{id}", tag = "Management tokens", params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Resource<Body>> {
    let view = management_tokens::get(&state.core, &id).await?;
    let version = view.token.version;
    Ok(Resource::read(render(view, state.core.clock.now_ms(), None), version))
}

/// Edit a management token
///
/// Its name, or its scopes: fewer, or such as you have yourself.
#[utoipa::path(patch, path = "/api/v1/management-tokens/{id}", tag = "Management tokens", request_body = Patch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let Patch { name, scopes } = body.value;
    let edited = management_tokens::edit(&state.core, &actor, &id, version, name.as_deref(), scopes.as_deref()).await?;
    let version = edited.token.version;
    Ok(Resource::read(render(edited, state.core.clock.now_ms(), None), version))
}

/// Delete a management token
///
/// Its next call is refused.
#[utoipa::path(delete, path = "/api/v1/management-tokens/{id}", tag = "Management tokens",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
) -> ApiResult<StatusCode> {
    management_tokens::delete(&state.core, &actor, &id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn render(view: TokenView, now: i64, secret: Option<String>) -> Body {
    let TokenView { token, owner_name } = view;
    Body {
        status: if token.expires_at <= now { "expired" } else { "active" },
        scopes: Scopes::of_column(&token.scopes).names().collect(),
        id: token.id,
        name: token.name,
        masked_secret: token.masked_secret,
        created_at: rfc3339(token.created_at),
        last_used_at: rfc3339_or_none(token.last_used_at),
        created_by: CreatedBy { id: token.member_id, name: owner_name },
        expires_at: rfc3339(token.expires_at),
        secret,
    }
}
