//! `/api/v1/agent-keys/bulk-…`

use axum::{
    Json,
    extract::State as AxumState,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    State,
    agent_keys::{Body, New, default_limits, render},
    extract::{Caller, JsonBody},
    problem::{ApiResult, ProblemBody},
    types::objects,
};
use crate::{
    csv,
    domain::{
        actor::Actor,
        agent_key_bulk::{self, Act, MAX_AT_ONCE, Which},
        agent_keys,
        clock::rfc3339,
        idempotency::Outcome,
    },
    error::Error,
};

/// New agent keys.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAgentKeys)]
pub struct NewKeys {
    /// 1 to 1,000 keys, of names that all differ.
    #[serde(deserialize_with = "objects")]
    #[schema(min_items = 1, max_items = 1000)]
    agent_keys: Vec<New>,
}

/// The keys that were created, in the order they were sent.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedAgentKeys)]
pub struct CreatedKeys {
    /// Each with its secret, that once.
    items: Vec<Body>,
}

/// Which agent keys: those of `ids`, or those that `search` and `status` find.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentKeysChoice)]
pub struct Choice {
    /// At most 1,000.
    #[serde(default)]
    #[schema(max_items = 1000)]
    ids: Vec<String>,
    /// Part of the name, in any case.
    search: Option<String>,
    /// `active`, `expired` or `disabled`.
    status: Option<String>,
    /// One tag that they have.
    tag: Option<String>,
}

/// Which agent keys, and which tags they get and lose.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentKeysTagging)]
pub struct Tagging {
    /// At most 1,000.
    #[serde(default)]
    #[schema(max_items = 1000)]
    ids: Vec<String>,
    /// Part of the name, in any case.
    search: Option<String>,
    /// `active`, `expired` or `disabled`.
    status: Option<String>,
    /// One tag that they have.
    tag: Option<String>,
    /// Tags that they get.
    #[serde(default)]
    add: Vec<String>,
    /// Tags that they lose.
    #[serde(default)]
    remove: Vec<String>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentKeysActed)]
pub struct Acted {
    /// The ids of the keys it was done to.
    done: Vec<String>,
    /// Those it was not done to.
    failed: Vec<Failed>,
}

/// A key that something was not done to.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentKeyNotActed)]
pub struct Failed {
    id: String,
    /// Why not.
    detail: String,
}

/// Create up to 1,000 agent keys
///
/// All of them or none, with their secrets in the answer, that once: as JSON, or with `Accept: text/csv` as a table with the
/// columns id, name, secret and expires_at.
#[utoipa::path(post, path = "/api/v1/agent-keys/bulk-create", tag = "Agent keys", request_body = NewKeys,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once; a replay leaves the secrets out")),
    responses((status = 201, content((CreatedKeys = "application/json"), (String = "text/csv"))), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    headers: HeaderMap,
    body: JsonBody<NewKeys>,
) -> ApiResult<Response> {
    let idempotency = body.idempotency(&state, &actor)?;
    let place = |at: usize| format!("/agent_keys/{at}");
    let parse = |(at, new): (usize, New)| new.parse().map_err(|error| error.within(&place(at)));
    // Before each is looked at: there may be very many.
    let sent = body.value.agent_keys;
    if sent.len() > MAX_AT_ONCE {
        return Err(Error::field("agent_keys", format!("must hold 1 to {MAX_AT_ONCE} keys")).into());
    }
    let new = sent.into_iter().enumerate().map(parse).collect::<Result<Vec<_>, Error>>()?;
    let created = agent_key_bulk::create(&state.core, &actor, new, idempotency.as_ref()).await?;
    let now = state.core.clock.now_ms();
    let mut keys = Vec::new();
    match created {
        Outcome::Done(created) => {
            keys.extend(created.into_iter().map(|created| (created.key, Some(created.secret.to_string()))));
        }
        Outcome::Replay(ids) => {
            for id in ids.split(' ') {
                keys.push((agent_keys::get(&state.core, id).await?, None));
            }
        }
    }
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|accepted| accepted.contains("text/csv"));
    let mut response = if headers.get_all(header::ACCEPT).iter().any(accepts) {
        let mut table = String::from("id,name,secret,expires_at\r\n");
        for (key, secret) in keys {
            let cells = [csv::cell(&key.id), csv::cell(&key.name), csv::cell(&secret.unwrap_or_default())];
            table.push_str(&format!("{},{}\r\n", cells.join(","), rfc3339(key.expires_at)));
        }
        (StatusCode::CREATED, [(header::CONTENT_TYPE, csv::MEDIA_TYPE)], table).into_response()
    } else {
        let default = default_limits(&state).await;
        let items = keys.into_iter().map(|(key, secret)| render(key, default.as_ref(), now, secret)).collect();
        (StatusCode::CREATED, Json(CreatedKeys { items })).into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Disable many agent keys
///
/// One after the other; what fails of one is told, and the others are disabled all the same.
#[utoipa::path(post, path = "/api/v1/agent-keys/bulk-disable", tag = "Agent keys", request_body = Choice,
    responses((status = 200, body = Acted), (status = "default", body = ProblemBody)))]
pub async fn disable(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<Choice>,
) -> ApiResult<Json<Acted>> {
    act(&state, &actor, body.value, Act::Disable).await
}

/// Enable many agent keys
///
/// As with disabling.
#[utoipa::path(post, path = "/api/v1/agent-keys/bulk-enable", tag = "Agent keys", request_body = Choice,
    responses((status = 200, body = Acted), (status = "default", body = ProblemBody)))]
pub async fn enable(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<Choice>,
) -> ApiResult<Json<Acted>> {
    act(&state, &actor, body.value, Act::Enable).await
}

/// Delete many agent keys
///
/// As with disabling. A deleted key cannot be recovered.
#[utoipa::path(post, path = "/api/v1/agent-keys/bulk-delete", tag = "Agent keys", request_body = Choice,
    responses((status = 200, body = Acted), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<Choice>,
) -> ApiResult<Json<Acted>> {
    act(&state, &actor, body.value, Act::Delete).await
}

/// Tag many agent keys
///
/// As with disabling.
#[utoipa::path(post, path = "/api/v1/agent-keys/bulk-tag", tag = "Agent keys", request_body = Tagging,
    responses((status = 200, body = Acted), (status = "default", body = ProblemBody)))]
pub async fn tag(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<Tagging>,
) -> ApiResult<Json<Acted>> {
    let Tagging { ids, search, status, tag, add, remove } = body.value;
    act(&state, &actor, Choice { ids, search, status, tag }, Act::Tag { add, remove }).await
}

async fn act(state: &State, actor: &Actor, choice: Choice, act: Act) -> ApiResult<Json<Acted>> {
    let Choice { ids, search, status, tag } = choice;
    let acted = agent_key_bulk::act(&state.core, actor, Which { ids, search, status, tag }, act).await?;
    let failed = acted.failed.into_iter().map(|(id, detail)| Failed { id, detail }).collect();
    Ok(Json(Acted { done: acted.done, failed }))
}
