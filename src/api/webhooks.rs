//! `/api/v1/webhooks`

use axum::{
    Json,
    extract::{Path, State as AxumState},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use store::{webhook_deliveries::Delivery, webhooks::Webhook};
use utoipa::ToSchema;

use super::{
    State,
    agent_keys::Empty,
    extract::{Caller, IfMatch, JsonBody},
    problem::{ApiResult, ProblemBody},
    types::{CreatedBy, Resource, not_null, present},
};
use crate::domain::{
    actor::Actor,
    clock::{rfc3339, rfc3339_or_none},
    idempotency::Outcome,
    roles::Permission,
    webhooks::{self, Edit, NewWebhook, origin_of},
};

/// Who is told of what asks for attention. Messages are JSON with `type`, `timestamp` and `data`, signed as Standard Webhooks
/// has it: `webhook-id`, `webhook-timestamp` and `webhook-signature`. An answer of 2xx takes a message; anything else, a redirect
/// too, has it sent again after 5 seconds, 5 minutes, half an hour, and so on for three days.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct Body {
    #[schema(example = "wh_01JD")]
    id: String,
    #[schema(example = "on-call")]
    name: String,
    /// Whole for those only who may change webhooks, since it may hold a secret of the receiver's; else scheme and host.
    #[schema(example = "https://hooks.example.com/keyward")]
    url: String,
    /// `agent_key.ending` (30, 14, 7, 3 and 1 days before a key in use ends), `agent_key.budget_used` (80 and 100 %),
    /// `agent_key.ended_called`, `agent_key.leaked`, `general_key.refused`; empty for all.
    events: Vec<String>,
    created_at: String,
    updated_at: String,
    created_by: CreatedBy,
    /// What its messages are signed with, `whsec_…`: only in the answer to the creation, that once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// The webhooks.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookList)]
pub struct WebhookList {
    /// By name; there are 20 at most.
    items: Vec<Body>,
}

/// A new webhook.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhook)]
pub struct New {
    /// 1 to 64 characters, unique ignoring case.
    name: String,
    /// Where messages are posted to: https, at a public address.
    url: String,
    /// Types of events; all where absent.
    events: Option<Vec<String>>,
}

/// An edit of a webhook (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    url: Option<String>,
    /// Types of events; null or an empty list for all.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<Option<Vec<String>>>,
}

/// A message to a webhook, or an e-mail.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryBody {
    /// As in the message's `webhook-id`.
    #[schema(example = "wd_01JD")]
    id: String,
    /// The event's type.
    #[schema(example = "agent_key.ending")]
    event: String,
    /// The message's body.
    payload: String,
    created_at: String,
    /// How often it was tried.
    tries: i64,
    delivered_at: Option<String>,
    /// When it is tried again; null once it was delivered or given up.
    next_try_at: Option<String>,
    /// The last answer's status; null where there was none.
    status: Option<i64>,
    /// Why the last try failed; empty where it did not.
    detail: String,
}

/// Messages to a webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDeliveryList)]
pub struct DeliveryList {
    /// The newest 50, the newest first. They are kept for 30 days.
    items: Vec<DeliveryBody>,
}

/// List webhooks
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "Webhooks",
    responses((status = 200, body = WebhookList), (status = "default", body = ProblemBody)))]
pub async fn list(AxumState(state): AxumState<State>, Caller(actor): Caller) -> ApiResult<Json<WebhookList>> {
    let rows = webhooks::all(&state.core).await?.into_iter().filter(|row| !row.is_damaged);
    Ok(Json(WebhookList { items: rows.map(|row| render(&actor, row.row, None)).collect() }))
}

/// Create a webhook
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "Webhooks", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once; a replay leaves the secret out")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<New>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let New { name, url, events } = body.value;
    let new = NewWebhook { name, url, events: events.unwrap_or_default() };
    let (webhook, secret) = match webhooks::create(&state.core, &actor, new, idempotency.as_ref()).await? {
        Outcome::Done(created) => (created.webhook, Some(created.secret.to_string())),
        Outcome::Replay(id) => (webhooks::get(&state.core, &id).await?, None),
    };
    let (version, location) = (webhook.version, format!("/api/v1/webhooks/{}", webhook.id));
    Ok(Resource::created(render(&actor, webhook, secret), version, location).with_secret())
}

/// Read a webhook
#[utoipa::path(get, path = "/api/v1/webhooks/{id}", tag = "Webhooks", params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> ApiResult<Resource<Body>> {
    let webhook = webhooks::get(&state.core, &id).await?;
    let version = webhook.version;
    Ok(Resource::read(render(&actor, webhook, None), version))
}

/// Edit a webhook
///
/// Its secret stays. Messages that are still to be sent go where it says now.
#[utoipa::path(patch, path = "/api/v1/webhooks/{id}", tag = "Webhooks", request_body = Patch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let Patch { name, url, events } = body.value;
    let edit = Edit { name, url, events: events.map(Option::unwrap_or_default) };
    let webhook = webhooks::edit(&state.core, &actor, &id, version, edit).await?;
    let version = webhook.version;
    Ok(Resource::read(render(&actor, webhook, None), version))
}

/// Delete a webhook
///
/// With its messages, also those that are still to be sent.
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", tag = "Webhooks",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
) -> ApiResult<StatusCode> {
    webhooks::delete(&state.core, &actor, &id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send a message to a webhook for trial
///
/// Its type is `webhook.test`; what became of it, the webhook's messages tell.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/test", tag = "Webhooks", request_body = Option<Empty>,
    params(("id" = String, Path)),
    responses((status = 200, body = DeliveryBody), (status = "default", body = ProblemBody)))]
pub async fn test(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
    _: JsonBody<Empty>,
) -> ApiResult<Json<DeliveryBody>> {
    Ok(Json(told(webhooks::test(&state.core, &id).await?)))
}

/// List the messages to a webhook
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/deliveries", tag = "Webhooks", params(("id" = String, Path)),
    responses((status = 200, body = DeliveryList), (status = "default", body = ProblemBody)))]
pub async fn deliveries(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<DeliveryList>> {
    let webhook = webhooks::get(&state.core, &id).await?;
    let items = webhooks::deliveries(&state.core, &webhook.id).await?;
    Ok(Json(DeliveryList { items: items.into_iter().map(told).collect() }))
}

/// The whole URL, which may hold a secret of the receiver's, for those only who may change it.
fn render(actor: &Actor, webhook: Webhook, secret: Option<String>) -> Body {
    let is_whole = actor.authority.may(Permission::WriteWebhooks);
    let url = if is_whole { webhook.url.as_str() } else { origin_of(&webhook.url) }.to_owned();
    Body {
        id: webhook.id,
        name: webhook.name,
        url,
        events: webhook.events.split(',').filter(|event| !event.is_empty()).map(str::to_owned).collect(),
        created_at: rfc3339(webhook.created_at),
        updated_at: rfc3339(webhook.updated_at),
        created_by: CreatedBy { id: webhook.created_by_id, name: webhook.created_by_name },
        secret,
    }
}

pub(super) fn told(delivery: Delivery) -> DeliveryBody {
    DeliveryBody {
        id: delivery.id,
        event: delivery.event,
        payload: delivery.payload,
        created_at: rfc3339(delivery.created_at),
        tries: delivery.tries,
        delivered_at: rfc3339_or_none(delivery.delivered_at),
        next_try_at: rfc3339_or_none(delivery.next_try_at),
        status: Some(delivery.status).filter(|status| *status > 0),
        detail: delivery.detail,
    }
}
