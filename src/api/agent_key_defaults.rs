//! `/api/v1/agent-key-defaults`

use axum::extract::State as AxumState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    State,
    extract::{Caller, IfMatch, JsonBody},
    key_limits::{Limits, LimitsPatch},
    problem::{ApiResult, ProblemBody},
    types::{Resource, object},
};
use crate::domain::agent_key_defaults;

/// The limits of agent keys that have none of their own.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentKeyDefaults)]
pub struct Body {
    limits: Limits,
}

/// An edit of them (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentKeyDefaultsEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "object")]
    limits: Option<LimitsPatch>,
}

/// Read the default limits
#[utoipa::path(get, path = "/api/v1/agent-key-defaults", tag = "Agent keys",
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(AxumState(state): AxumState<State>, Caller(_): Caller) -> ApiResult<Resource<Body>> {
    let (version, limits) = agent_key_defaults::get(&state.core).await?;
    Ok(Resource::read(Body { limits: Limits::new(limits) }, version))
}

/// Edit the default limits
///
/// They hold from the next call of every agent key on, each where the key has no such limit of its own. Routes beyond inference
/// cannot be opened to all keys.
#[utoipa::path(patch, path = "/api/v1/agent-key-defaults", tag = "Agent keys", request_body = Option<Patch>,
    params(("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let limits = body.value.limits.unwrap_or_default();
    let (version, limits) = agent_key_defaults::edit(&state.core, &actor, version, |held| limits.apply(held)).await?;
    Ok(Resource::read(Body { limits: Limits::new(limits) }, version))
}
