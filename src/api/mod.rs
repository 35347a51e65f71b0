//! The management API: `/api/v1`, one file per resource. A handler parses, calls the domain once, and renders.

mod access;
mod agent_key_bulk;
mod agent_key_defaults;
mod agent_key_import;
mod agent_keys;
mod audit_events;
mod docs;
mod extract;
mod general_keys;
mod installation;
mod introspection;
mod key_limits;
mod leaks;
mod linked_keys;
mod mail;
mod management_tokens;
mod members;
mod model_import;
mod models;
mod operations;
mod policies;
mod problem;
mod providers;
mod types;
mod usage;
mod webhooks;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::problem::Security;
use crate::{config::WebConfig, domain::Core, metrics::Metrics};

/// What handlers work with.
#[derive(Clone)]
pub struct State {
    /// The rules.
    pub core: Arc<Core>,
    /// Where Keyward is reached.
    pub web: Arc<WebConfig>,
    /// What `/metrics` tells.
    pub metrics: Arc<Metrics>,
    /// The description of this API, as JSON.
    description: Arc<str>,
}

/// The description's frame; the paths come from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keyward management API",
        description = "Keeps the API keys of an LLM platform: general keys, agent keys, providers, models, and the \
                       members who administer them. \
                       Authenticate with a management token (kwm_…) as a bearer token. Errors are RFC 9457 problems. \
                       Every resource has an ETag; send it as If-Match to change only what you have seen. Send an \
                       Idempotency-Key with a POST to carry it out once.",
        license(name = "Apache-2.0")
    ),
    modifiers(&Security)
)]
struct Description;

/// Whether the path is answered here; the console has the rest.
pub fn claims(path: &str) -> bool {
    matches!(path, "/api" | "/livez" | "/readyz" | "/metrics" | "/openapi.json" | "/oauth2/introspect" | "/leaks")
        || path.starts_with("/api/")
}

/// Everything on the control runtime but the console: management API, its description, operations. Gives the
/// description as well, for whoever wants to show it.
pub fn router(core: Arc<Core>, web: Arc<WebConfig>, metrics: Arc<Metrics>) -> (Router, Arc<str>) {
    let (api, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(general_keys::list, general_keys::create))
        .routes(routes!(general_keys::read, general_keys::edit, general_keys::delete))
        .routes(routes!(general_keys::test))
        .routes(routes!(agent_keys::list, agent_keys::create))
        .routes(routes!(agent_keys::read, agent_keys::edit, agent_keys::delete))
        .routes(routes!(agent_key_bulk::create))
        .routes(routes!(agent_key_bulk::disable))
        .routes(routes!(agent_key_bulk::enable))
        .routes(routes!(agent_key_bulk::delete))
        .routes(routes!(agent_key_defaults::read, agent_key_defaults::edit))
        .routes(routes!(agent_key_bulk::tag))
        .routes(routes!(agent_key_import::import))
        .routes(routes!(leaks::revoke))
        .routes(routes!(agent_keys::disable))
        .routes(routes!(agent_keys::enable))
        .routes(routes!(agent_keys::rotate))
        .routes(routes!(agent_keys::retire))
        .routes(routes!(agent_keys::secrets))
        .routes(routes!(providers::list, providers::create))
        .routes(routes!(providers::read, providers::edit, providers::delete))
        .routes(routes!(model_import::available))
        .routes(routes!(model_import::import))
        .routes(routes!(models::list, models::create))
        .routes(routes!(models::read, models::edit, models::delete))
        .routes(routes!(policies::list, policies::create))
        .routes(routes!(policies::read, policies::edit, policies::delete))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::read, webhooks::edit, webhooks::delete))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(mail::test))
        .routes(routes!(members::list, members::create))
        .routes(routes!(members::read, members::edit, members::delete))
        .routes(routes!(members::invite))
        .routes(routes!(members::remove_second_factor))
        .routes(routes!(management_tokens::list, management_tokens::create))
        .routes(routes!(management_tokens::read, management_tokens::edit, management_tokens::delete))
        .routes(routes!(audit_events::list))
        .routes(routes!(usage::read))
        .routes(routes!(installation::read))
        .routes(routes!(introspection::introspect))
        .split_for_parts();
    let description: Arc<str> = docs::complete(&description).into();
    let state = State { core, web, metrics, description: Arc::clone(&description) };
    let router = api
        .route("/leaks", post(leaks::report))
        .route("/livez", get(operations::live))
        .route("/readyz", get(operations::ready))
        .route("/metrics", get(operations::metrics))
        .route("/openapi.json", get(docs::description))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), extract::check_host))
        .layer(middleware::map_response(problem::harden))
        .with_state(state);
    (router, description)
}
