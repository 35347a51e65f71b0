//! `/livez`, `/readyz`, `/metrics`: for whoever runs Keyward.

use axum::{
    extract::State as AxumState,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{State, extract::Caller};

/// The process lives.
pub async fn live() -> &'static str {
    "alive\n"
}

/// It can decide about keys: the catalog is read, and the database answers.
pub async fn ready(AxumState(state): AxumState<State>) -> (StatusCode, &'static str) {
    if !state.core.catalog().is_read() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: providers and models cannot be read\n");
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
pub async fn metrics(AxumState(state): AxumState<State>, Caller(_): Caller) -> Response {
    let text = state.metrics.render(&state.core);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
