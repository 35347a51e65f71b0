//! `/api/v1/policies`

use axum::{
    Json,
    extract::{Path, State as AxumState},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use store::policies::Policy;
use utoipa::ToSchema;

use super::{
    State,
    extract::{Caller, IfMatch, JsonBody, Params},
    problem::{ApiResult, ProblemBody},
    types::{CreatedBy, List, ListParams, Resource, not_null, object, object_or_null, present},
};
use crate::{
    domain::{
        clock::rfc3339,
        idempotency::Outcome,
        policies::{self, NewPolicy, Requirements, RoutesFrom},
    },
    error::{Error, Result},
};

/// What a verification at `/auth/policies/{name}/verify` asks of an agent key, beside that it is good.
#[derive(Serialize, ToSchema)]
#[schema(as = Policy)]
pub struct Body {
    #[schema(example = "po_01JD")]
    id: String,
    #[schema(example = "internal-search")]
    name: String,
    requires: Requires,
    created_at: String,
    updated_at: String,
    created_by: CreatedBy,
}

/// What a policy asks. An empty list asks nothing.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyRequirements)]
pub struct Requires {
    /// Models that the key must be allowed to call, all of them.
    models: Vec<String>,
    /// Tags that the key must have, all of them.
    #[schema(example = json!(["prod"]))]
    tags: Vec<String>,
    /// Patterns, in which `*` stands for any text: the path of the call must match one of them.
    #[schema(example = json!(["/search*"]))]
    routes: Vec<String>,
    /// Where that path stands: `path` (behind `/verify`), or in the header `x-forwarded-uri` or `x-original-uri`. A proxy that
    /// passes its callers' headers on must set that header itself.
    #[schema(example = "path")]
    routes_from: &'static str,
    /// How long the answer that a key is good may be kept, in seconds; with 0 it may not. For so long a key that was revoked
    /// goes on.
    cache_seconds: u32,
}

/// A new policy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPolicy)]
pub struct New {
    /// 1 to 64 characters without a slash, unique ignoring case.
    name: String,
    #[serde(default, deserialize_with = "object_or_null")]
    requires: Option<Asks>,
}

/// An edit of a policy (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    #[serde(default, deserialize_with = "object")]
    requires: Option<Asks>,
}

/// What it asks: what is absent stays (or is nothing, for a new policy), null or an empty list asks nothing.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyRequirementsEdit)]
pub struct Asks {
    /// At most 100 names of models.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    models: Option<Option<Vec<String>>>,
    /// At most 20.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Option<Vec<String>>>,
    /// At most 100 patterns that begin with `/` or `*`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    routes: Option<Option<Vec<String>>>,
    /// `path`, `x-forwarded-uri` or `x-original-uri`.
    #[serde(default, deserialize_with = "not_null")]
    routes_from: Option<String>,
    /// From 0 to 300.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(minimum = 0, maximum = 300)]
    cache_seconds: Option<u32>,
}

impl Asks {
    fn apply(self, mut requires: Requirements) -> Result<Requirements> {
        if let Some(models) = self.models {
            requires.models = models.unwrap_or_default();
        }
        if let Some(tags) = self.tags {
            requires.tags = tags.unwrap_or_default();
        }
        if let Some(routes) = self.routes {
            requires.routes = routes.unwrap_or_default();
        }
        if let Some(from) = self.routes_from {
            let known = RoutesFrom::ALL.into_iter().find(|known| known.as_str() == from);
            requires.routes_from = known.ok_or_else(|| {
                Error::field("requires/routes_from", "must be path, x-forwarded-uri or x-original-uri")
            })?;
        }
        if let Some(seconds) = self.cache_seconds {
            requires.cache_seconds = seconds;
        }
        Ok(requires)
    }
}

/// List policies
#[utoipa::path(get, path = "/api/v1/policies", tag = "Verification", params(ListParams),
    responses((status = 200, body = List<Body>), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Params(params): Params<ListParams>,
) -> ApiResult<Json<List<Body>>> {
    let page = policies::list(&state.core, &params.into()).await?.untouched();
    Ok(List::of(page, render))
}

/// Create a policy
#[utoipa::path(post, path = "/api/v1/policies", tag = "Verification", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<New>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let New { name, requires } = body.value;
    let new = NewPolicy { name, requires: requires.unwrap_or_default().apply(Requirements::default())? };
    let policy = match policies::create(&state.core, &actor, new, idempotency.as_ref()).await? {
        Outcome::Done(policy) => policy,
        Outcome::Replay(id) => policies::get(&state.core, &id).await?,
    };
    let (version, location) = (policy.version, format!("/api/v1/policies/{}", policy.id));
    Ok(Resource::created(render(policy), version, location))
}

/// Read a policy
#[utoipa::path(get, path = "/api/v1/policies/{id}", tag = "Verification", params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Resource<Body>> {
    let policy = policies::get(&state.core, &id).await?;
    let version = policy.version;
    Ok(Resource::read(render(policy), version))
}

/// Edit a policy
///
/// The next verification goes by it; answers that may be kept go on until their time is over.
#[utoipa::path(patch, path = "/api/v1/policies/{id}", tag = "Verification", request_body = Patch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let Patch { name, requires } = body.value;
    let requires = requires.unwrap_or_default();
    let policy =
        policies::edit(&state.core, &actor, &id, version, name.as_deref(), |held| requires.apply(held)).await?;
    let version = policy.version;
    Ok(Resource::read(render(policy), version))
}

/// Delete a policy
///
/// Whoever asks by it gets 404 from then on, and lets nobody in.
#[utoipa::path(delete, path = "/api/v1/policies/{id}", tag = "Verification",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
) -> ApiResult<StatusCode> {
    policies::delete(&state.core, &actor, &id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn render(policy: Policy) -> Body {
    // What this version cannot tell it does not show; by such a policy nobody is let in here.
    let requires = Requirements::of_column(&policy.requires).unwrap_or_default();
    Body {
        id: policy.id,
        name: policy.name,
        requires: Requires {
            models: requires.models,
            tags: requires.tags,
            routes: requires.routes,
            routes_from: requires.routes_from.as_str(),
            cache_seconds: requires.cache_seconds,
        },
        created_at: rfc3339(policy.created_at),
        updated_at: rfc3339(policy.updated_at),
        created_by: CreatedBy { id: policy.created_by_id, name: policy.created_by_name },
    }
}
