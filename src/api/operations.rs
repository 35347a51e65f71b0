//! `/livez`, `/readyz`, `/metrics`: for whoever runs Keyward.

use axum::{
    extract::{FromRequestParts, State as AxumState},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{State, extract::Caller, problem::Problem};
use crate::request::AtAdminAddress;

/// The process lives.
pub async fn live() -> &'static str {
    "alive\n"
}

/// It can decide about keys, and will for a while: nobody told it to stop, the catalog is read, and its lease runs where it needs one, else the database answers.
pub async fn ready(AxumState(state): AxumState<State>) -> (StatusCode, &'static str) {
    if state.core.is_leaving() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: it was told to stop\n");
    }
    if !state.core.catalog().is_read() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: providers and models cannot be read\n");
    }
    if state.core.lease.check().is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: cut off from the database for too long\n");
    }
    if state.core.lease.is_needed() {
        // Renewed a moment ago by the database, and good for all that is in memory: as the gateway has it.
        return (StatusCode::OK, "ready\n");
    }
    let database = async { store::chain::head(&mut state.core.store.read().await?).await };
    match database.await {
        Ok(_) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not ready: the database does not answer\n")
        }
    }
}

/// Figures for Prometheus.
pub async fn metrics(AxumState(state): AxumState<State>, _: Watcher) -> Response {
    let text = state.metrics.render(&state.core);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// Who may read the figures: whoever reaches the console's own address, and else who has a token or a session.
pub struct Watcher;

impl FromRequestParts<State> for Watcher {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Watcher, Problem> {
        if parts.extensions.get::<AtAdminAddress>().is_none() {
            Caller::from_request_parts(parts, state).await?;
        }
        Ok(Watcher)
    }
}
