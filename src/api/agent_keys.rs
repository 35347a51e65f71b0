//! `/api/v1/agent-keys`

use axum::{
    Json,
    extract::{Path, State as AxumState},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use store::agent_keys::AgentKey;
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    extract::{Caller, IfMatch, JsonBody, Params},
    key_limits::{Limits, LimitsPatch},
    problem::{ApiResult, ProblemBody},
    types::{CreatedBy, List, Resource, not_null, object, object_or_null, present},
};
use crate::{
    domain::{
        agent_key_defaults, agent_key_list,
        agent_key_new::{self, Created, NewKey},
        agent_keys::{self, Edit, LimitsChange, Status},
        agent_secrets,
        clock::{rfc3339, rfc3339_or_none},
        idempotency::Outcome,
        key_limits::KeyLimits,
        paging::ListQuery,
        tags,
    },
    error::Error,
};

/// An agent key: what an agent authenticates with. Its secret is shown once, in the answer to its
/// creation or rotation.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentKey)]
pub struct Body {
    #[schema(example = "ak_01JD")]
    id: String,
    #[schema(example = "ABC-Key")]
    name: String,
    /// `active`, `expired` or `disabled`.
    #[schema(example = "active")]
    status: &'static str,
    /// The secret's first and last four characters.
    #[schema(example = "kw_a******WXYZ")]
    masked_secret: String,
    created_at: String,
    last_used_at: Option<String>,
    created_by: CreatedBy,
    expires_at: String,
    /// When it was reported as leaked, which ended it for good.
    leaked_at: Option<String>,
    /// The member whose it is.
    owner_id: String,
    /// What it is for.
    description: String,
    /// Words to find it by, and that policies ask for.
    #[schema(example = json!(["prod", "team:search"]))]
    tags: Vec<String>,
    /// Its own.
    limits: Limits,
    /// Those that hold: its own, and the default ones where it has none; null where these cannot be read.
    effective_limits: Option<Limits>,
    /// Only in the answer to the creation or the rotation, that once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A new agent key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAgentKey)]
pub struct New {
    /// 1 to 64 characters, unique ignoring case.
    name: String,
    /// Its life in days; the policy's maximum (90) where absent.
    #[schema(minimum = 1)]
    expires_in_days: Option<i64>,
    /// At most 500 characters.
    description: Option<String>,
    /// At most 20 words of 1 to 63 small letters, digits and `-_.:/`.
    tags: Option<Vec<String>>,
    /// The member whose it is; whoever creates it where absent. Only who may edit everybody's keys can name another.
    owner_id: Option<String>,
    #[serde(default, deserialize_with = "object_or_null")]
    limits: Option<LimitsPatch>,
}

impl New {
    /// As the domain takes it.
    ///
    /// # Errors
    /// A refused limit.
    pub(super) fn parse(self) -> Result<NewKey, Error> {
        let New { name, expires_in_days, description, tags, owner_id, limits } = self;
        let limits = limits.unwrap_or_default().apply(KeyLimits::default())?;
        let (description, tags) = (description.unwrap_or_default(), tags.unwrap_or_default());
        Ok(NewKey { name, expires_in_days, limits, description, tags, owner_id, issued: None })
    }
}

/// An edit of an agent key (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentKeyEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// All of them; null takes them away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Option<Vec<String>>>,
    /// Another member. Only who may edit everybody's keys can give one away.
    #[serde(default, deserialize_with = "not_null")]
    owner_id: Option<String>,
    #[serde(default, deserialize_with = "object")]
    limits: Option<LimitsPatch>,
}

/// How to rotate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentKeyRotation)]
pub struct Rotation {
    /// How long the old secret lives on, in seconds: from 0 (it ends at once) to 604800; 86400 where absent.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<i64>,
}

/// A secret of an agent key, without itself.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentSecret)]
pub struct SecretBody {
    #[schema(example = "as_01JD")]
    id: String,
    /// Its first and last four characters.
    #[schema(example = "kw_a******WXYZ")]
    masked_secret: String,
    /// `current` (the one to use), `ending` (replaced, and still good) or `ended`.
    #[schema(example = "current")]
    status: &'static str,
    created_at: String,
    ends_at: String,
    /// Whether the old one is still called shows here.
    last_used_at: Option<String>,
}

/// The secrets of an agent key.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentSecretList)]
pub struct SecretList {
    /// The newest first.
    items: Vec<SecretBody>,
}

/// Nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Which agent keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AgentKeyParams {
    /// Part of the name, in any case.
    search: Option<String>,
    /// `active`, `expired` or `disabled`.
    status: Option<String>,
    /// One tag that they have.
    tag: Option<String>,
    /// `expires_at` (the default), `name`, `created_at` or `last_used_at`, behind `-` for descending order.
    sort: Option<String>,
    /// Rows a page, from 1 to 200; 50 where absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List agent keys
#[utoipa::path(get, path = "/api/v1/agent-keys", tag = "Agent keys", params(AgentKeyParams),
    responses((status = 200, body = List<Body>), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Params(params): Params<AgentKeyParams>,
) -> ApiResult<Json<List<Body>>> {
    let AgentKeyParams { search, status, tag, sort, limit, cursor } = params;
    let query = ListQuery { search, sort, limit, cursor };
    let page = agent_key_list::list(&state.core, &actor, &query, status.as_deref(), tag.as_deref()).await?;
    let now = state.core.clock.now_ms();
    let default = default_limits(&state).await;
    Ok(List::of(page, |key| render(key, default.as_ref(), now, None)))
}

/// Create an agent key
#[utoipa::path(post, path = "/api/v1/agent-keys", tag = "Agent keys", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once; a replay leaves the secret out")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<New>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let created = agent_key_new::create(&state.core, &actor, body.value.parse()?, idempotency.as_ref()).await?;
    made(&state, created).await
}

/// Read an agent key
#[utoipa::path(get, path = "/api/v1/agent-keys/{id}", tag = "Agent keys", params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Resource<Body>> {
    let key = agent_keys::get(&state.core, &id).await?;
    resource(&state, key).await
}

/// Edit an agent key
///
/// Its limits hold from its next call on.
#[utoipa::path(patch, path = "/api/v1/agent-keys/{id}", tag = "Agent keys", request_body = Patch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let Patch { name, description, tags, owner_id, limits } = body.value;
    let edit = Edit {
        name,
        description: description.map(Option::unwrap_or_default),
        tags: tags.map(Option::unwrap_or_default),
        owner_id,
        limits: limits.map(|limits| -> LimitsChange { Box::new(|held| limits.apply(held)) }),
    };
    let key = agent_keys::edit(&state.core, &actor, &id, version, edit).await?;
    resource(&state, key).await
}

/// Delete an agent key
///
/// Its next call is refused, and its open streams end.
#[utoipa::path(delete, path = "/api/v1/agent-keys/{id}", tag = "Agent keys",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
) -> ApiResult<StatusCode> {
    agent_keys::delete(&state.core, &actor, &id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Disable an agent key
#[utoipa::path(post, path = "/api/v1/agent-keys/{id}/disable", tag = "Agent keys", request_body = Option<Empty>,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn disable(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    _: JsonBody<Empty>,
) -> ApiResult<Resource<Body>> {
    let key = agent_keys::set_disabled(&state.core, &actor, &id, version, true).await?;
    resource(&state, key).await
}

/// Enable an agent key
#[utoipa::path(post, path = "/api/v1/agent-keys/{id}/enable", tag = "Agent keys", request_body = Option<Empty>,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn enable(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    _: JsonBody<Empty>,
) -> ApiResult<Resource<Body>> {
    let key = agent_keys::set_disabled(&state.core, &actor, &id, version, false).await?;
    resource(&state, key).await
}

/// Rotate an agent key
///
/// Answers like the creation, with a new secret that is good for as long as a new key's. The old one ends after the
/// overlap, or at its own end where that comes first; both are the same key meanwhile. Only while the key is active, else
/// 409 `agent_key_not_active`. While an earlier overlap runs, 409 `rotation_under_way`, but for an overlap of 0, which
/// ends every earlier secret at once.
#[utoipa::path(post, path = "/api/v1/agent-keys/{id}/rotate", tag = "Agent keys", request_body = Option<Rotation>,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read"),
        ("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once; a replay leaves the secret out")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn rotate(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Rotation>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let overlap = body.value.overlap_seconds;
    let rotated = agent_secrets::rotate(&state.core, &actor, &id, version, overlap, idempotency.as_ref()).await?;
    made(&state, rotated).await
}

/// Retire the old secret of an agent key
///
/// Ends the secret at once that the last rotation let live on: its next call is refused, and its open streams end. Harmless
/// where there is none.
#[utoipa::path(post, path = "/api/v1/agent-keys/{id}/retire", tag = "Agent keys", request_body = Option<Empty>,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn retire(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    _: JsonBody<Empty>,
) -> ApiResult<Resource<Body>> {
    let key = agent_secrets::retire(&state.core, &actor, &id, version).await?;
    resource(&state, key).await
}

/// List the secrets of an agent key
///
/// The current one, and after a rotation the one before it, each with its last use.
#[utoipa::path(get, path = "/api/v1/agent-keys/{id}/secrets", tag = "Agent keys", params(("id" = String, Path)),
    responses((status = 200, body = SecretList), (status = "default", body = ProblemBody)))]
pub async fn secrets(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<SecretList>> {
    let secrets = agent_secrets::list(&state.core, &id).await?;
    let items = secrets
        .into_iter()
        .map(|secret| SecretBody {
            id: secret.id,
            masked_secret: secret.masked_secret,
            status: secret.status.as_str(),
            created_at: rfc3339(secret.created_at),
            ends_at: rfc3339(secret.ends_at),
            last_used_at: rfc3339_or_none(secret.last_used_at),
        })
        .collect();
    Ok(Json(SecretList { items }))
}

/// The default limits; `None` where they cannot be read: what was done is told all the same, and a secret is shown.
pub(super) async fn default_limits(state: &State) -> Option<KeyLimits> {
    agent_key_defaults::get(&state.core).await.map_err(|error| error.log("")).ok().map(|(_, limits)| limits)
}

/// The answer that shows a secret, that once.
async fn made(state: &State, outcome: Outcome<Created>) -> ApiResult<Resource<Body>> {
    let (key, secret) = match outcome {
        Outcome::Done(created) => (created.key, Some(created.secret.to_string())),
        Outcome::Replay(id) => (agent_keys::get(&state.core, &id).await?, None),
    };
    let location = format!("/api/v1/agent-keys/{}", key.id);
    let version = key.version;
    let default = default_limits(state).await;
    let body = render(key, default.as_ref(), state.core.clock.now_ms(), secret);
    Ok(Resource::created(body, version, location).with_secret())
}

async fn resource(state: &State, key: AgentKey) -> ApiResult<Resource<Body>> {
    let version = key.version;
    let default = default_limits(state).await;
    Ok(Resource::read(render(key, default.as_ref(), state.core.clock.now_ms(), None), version))
}

/// A key, with its secret where that is shown.
pub(super) fn render(key: AgentKey, default: Option<&KeyLimits>, now: i64, secret: Option<String>) -> Body {
    // What this version cannot tell it does not show; a key with such limits serves nobody here.
    let limits = KeyLimits::of_column(&key.limits).unwrap_or_default();
    Body {
        status: Status::of(&key, now).as_str(),
        id: key.id,
        name: key.name,
        masked_secret: key.masked_secret,
        created_at: rfc3339(key.created_at),
        last_used_at: rfc3339_or_none(key.last_used_at),
        created_by: CreatedBy { id: key.created_by_id, name: key.created_by_name },
        expires_at: rfc3339(key.expires_at),
        leaked_at: rfc3339_or_none(key.leaked_at),
        owner_id: key.member_id,
        description: key.description,
        tags: tags::of_column(&key.tags),
        effective_limits: default.map(|default| Limits::new(limits.clone().or(default))),
        limits: Limits::new(limits),
        secret,
    }
}
