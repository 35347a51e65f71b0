//! The lists of models, in the shape of the wire format that asks.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use serde_json::{Value, json};

use super::GatewayBody;
use crate::{
    domain::{Core, catalog::ModelEntry, clock::rfc3339},
    error::{Code, Error, Result},
};

/// Answers `GET /v1/models`, `GET /v1/models/{name}` and their Gemini twins under `/v1beta`.
///
/// # Errors
/// [`Code::ModelNotFound`]; [`Code::StorageUnavailable`].
pub fn list<B>(core: &Core, request: &Request<B>) -> Result<Response<GatewayBody>> {
    let path = request.uri().path();
    let shape = if path.starts_with("/v1beta") {
        Shape::Gemini
    } else if request.headers().contains_key("anthropic-version") {
        Shape::Anthropic
    } else {
        Shape::OpenAi
    };
    let below = path.strip_prefix("/v1beta/models").or_else(|| path.strip_prefix("/v1/models"));
    let name = below.unwrap_or_default().trim_start_matches('/');
    let catalog = core.catalog();
    let body = if name.is_empty() {
        shape.list(catalog.models()?.map(|model| shape.model(model)).collect())
    } else {
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let model = catalog.models()?.find(|model| *model.name == *name);
        shape.model(model.ok_or_else(|| Error::new(Code::ModelNotFound, format!("there is no model {name:?}")))?)
    };
    let mut response = Response::new(GatewayBody::full(Bytes::from(body.to_string())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

#[derive(Clone, Copy)]
enum Shape {
    OpenAi,
    Anthropic,
    Gemini,
}

impl Shape {
    fn model(self, model: &ModelEntry) -> Value {
        match self {
            Shape::OpenAi => json!({
                "id": &*model.name,
                "object": "model",
                "created": model.created_at / 1000,
                "owned_by": model.provider.name,
            }),
            Shape::Anthropic => json!({
                "type": "model",
                "id": &*model.name,
                "display_name": &*model.name,
                "created_at": rfc3339(model.created_at),
            }),
            Shape::Gemini => json!({
                "name": format!("models/{}", model.name),
                "displayName": &*model.name,
                "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens", "embedContent"],
            }),
        }
    }

    fn list(self, models: Vec<Value>) -> Value {
        match self {
            Shape::OpenAi => json!({ "object": "list", "data": models }),
            Shape::Anthropic => {
                let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
                json!({ "first_id": id(models.first()), "last_id": id(models.last()), "has_more": false, "data": models })
            }
            Shape::Gemini => json!({ "models": models }),
        }
    }
}
