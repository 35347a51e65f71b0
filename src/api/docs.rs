//! The description of the management API.

use axum::{
    extract::State as AxumState,
    http::header,
    response::{IntoResponse, Response},
};

use super::State;

/// The description as JSON, with ids of operations that differ from resource to resource (`agent_keys_create`) and
/// with the media type that problems have.
pub fn complete(description: &utoipa::openapi::OpenApi) -> String {
    let mut document = serde_json::to_value(description).unwrap_or_default();
    let paths = document["paths"].as_object_mut();
    for operation in paths.into_iter().flatten().flat_map(|(_, methods)| methods.as_object_mut().into_iter().flatten())
    {
        let tag = operation.1["tags"][0].as_str().unwrap_or_default().to_lowercase().replace(' ', "_");
        let verb = operation.1["operationId"].as_str().unwrap_or_default().to_owned();
        operation.1["operationId"] = format!("{tag}_{verb}").into();
        if let Some(content) = operation.1["responses"]["default"]["content"].as_object_mut()
            && let Some(problem) = content.remove("application/json")
        {
            content.insert(String::from("application/problem+json"), problem);
        }
    }
    document.to_string()
}

/// `/openapi.json`
pub async fn description(AxumState(state): AxumState<State>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], state.description.to_string()).into_response()
}
