//! The description of the management API.

use axum::{
    extract::State as AxumState,
    http::header,
    response::{IntoResponse, Response},
};

use super::State;

/// `/openapi.json`
pub async fn description(AxumState(state): AxumState<State>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], state.description.to_string()).into_response()
}
