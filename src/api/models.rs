//! `/api/v1/models`

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
    linked_keys::{self, KeyToLink, LinkedKey, wished},
    problem::{ApiResult, ProblemBody},
    types::{List, ListParams, Resource, not_null, objects_or_null, present, some_objects},
};
use crate::domain::{
    clock::rfc3339,
    idempotency::Outcome,
    models::{self, Edit, ModelView, NewModel},
    prices::Price,
};

/// A model that agents may name.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
pub struct Body {
    #[schema(example = "md_01JD")]
    id: String,
    #[schema(example = "gpt-5")]
    name: String,
    provider_id: String,
    /// As its provider names it.
    upstream_model: String,
    /// Its own general key, of several the heaviest; null where it inherits its provider's.
    general_key_id: Option<String>,
    /// All its own general keys, the heaviest first.
    general_keys: Vec<LinkedKey>,
    /// What a million tokens sent to it cost, in millionths of the currency; null where that is not known.
    #[schema(example = 2500000)]
    input_price_micros: Option<i64>,
    /// What a million tokens it answers cost, likewise.
    output_price_micros: Option<i64>,
    created_at: String,
    updated_at: String,
}

/// A new model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewModel)]
pub struct New {
    /// As agents name it: 1 to 64 characters, unique ignoring case.
    name: String,
    provider_id: String,
    /// As its provider names it; the name where absent.
    upstream_model: Option<String>,
    /// A general key of its own, which wins over its provider's.
    general_key_id: Option<String>,
    /// Several general keys instead of the one, the calls going on to the next where one is refused.
    #[serde(default, deserialize_with = "objects_or_null")]
    general_keys: Option<Vec<KeyToLink>>,
    /// That key's value, where it was not saved for the provider's origin.
    #[schema(format = Password)]
    general_key_value: Option<String>,
    /// What a million tokens sent to it cost, in millionths of the currency.
    input_price_micros: Option<i64>,
    /// What a million tokens it answers cost, likewise.
    output_price_micros: Option<i64>,
}

/// An edit of a model (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    provider_id: Option<String>,
    /// Null: the name.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    upstream_model: Option<Option<String>>,
    /// Null: inherits its provider's.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    general_key_id: Option<Option<String>>,
    /// Several general keys instead of the one; they replace what is linked.
    #[serde(default, deserialize_with = "some_objects")]
    general_keys: Option<Vec<KeyToLink>>,
    /// The linked key's value, where it would go to an origin it was not saved for.
    #[schema(format = Password)]
    general_key_value: Option<String>,
    /// Null: not known.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>)]
    input_price_micros: Option<Option<i64>>,
    /// Null: not known.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>)]
    output_price_micros: Option<Option<i64>>,
}

/// List models
#[utoipa::path(get, path = "/api/v1/models", tag = "Models", params(ListParams),
    responses((status = 200, body = List<Body>), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Params(params): Params<ListParams>,
) -> ApiResult<Json<List<Body>>> {
    let page = models::list(&state.core, &params.into()).await?;
    Ok(List::of(page, render))
}

/// Create a model
#[utoipa::path(post, path = "/api/v1/models", tag = "Models", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<New>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let New { name, provider_id, upstream_model, general_key_value, .. } = body.value;
    let price = Price { input_micros: body.value.input_price_micros, output_micros: body.value.output_price_micros };
    let keys = wished(body.value.general_key_id.map(Some), body.value.general_keys)?.unwrap_or_default();
    let new = NewModel { name, provider_id, upstream_model, keys, price, general_key_value };
    let view = match models::create(&state.core, &actor, new, idempotency.as_ref()).await? {
        Outcome::Done(view) => view,
        Outcome::Replay(id) => models::get(&state.core, &id).await?,
    };
    let location = format!("/api/v1/models/{}", view.model.id);
    let version = view.model.version;
    Ok(Resource::created(render(view), version, location))
}

/// Read a model
#[utoipa::path(get, path = "/api/v1/models/{id}", tag = "Models", params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Resource<Body>> {
    let view = models::get(&state.core, &id).await?;
    let version = view.model.version;
    Ok(Resource::read(render(view), version))
}

/// Edit a model
///
/// Whatever would send a stored key to another origin needs `general_key_value`, else 409 `origin_not_bound`.
#[utoipa::path(patch, path = "/api/v1/models/{id}", tag = "Models", request_body = Patch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let Patch { name, provider_id, upstream_model, general_key_value, .. } = body.value;
    let keys = wished(body.value.general_key_id, body.value.general_keys)?;
    let edit = Edit {
        name,
        provider_id,
        upstream_model,
        keys,
        input_micros: body.value.input_price_micros,
        output_micros: body.value.output_price_micros,
        general_key_value,
    };
    let view = models::edit(&state.core, &actor, &id, version, edit).await?;
    let version = view.model.version;
    Ok(Resource::read(render(view), version))
}

/// Delete a model
#[utoipa::path(delete, path = "/api/v1/models/{id}", tag = "Models",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
) -> ApiResult<StatusCode> {
    models::delete(&state.core, &actor, &id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A model, as it is shown.
pub fn render(view: ModelView) -> Body {
    let ModelView { model, keys } = view;
    let (general_key_id, general_keys) = linked_keys::render(keys);
    let price = Price::of_column(&model.prices);
    Body {
        id: model.id,
        name: model.name,
        provider_id: model.provider_id,
        upstream_model: model.upstream_model,
        general_key_id,
        general_keys,
        input_price_micros: price.input_micros,
        output_price_micros: price.output_micros,
        created_at: rfc3339(model.created_at),
        updated_at: rfc3339(model.updated_at),
    }
}
