//! The lists of models, in the shape of the wire format that asks.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use llm::WireFormat;
use serde_json::{Value, json};

use super::{GatewayBody, claim::MODEL_LISTS};
use crate::{
    domain::{Core, catalog::ModelEntry, clock::rfc3339, key_limits::KeyLimits},
    error::{Code, Error, Result},
};

/// Answers, with the models that a key may use, `GET /v1/models`, `GET /v1/models/{name}` and their twins in the other wire formats, in the shape of `wire`.
///
/// # Errors
/// [`Code::ModelNotFound`]; [`Code::StorageUnavailable`].
pub fn list(core: &Core, path: &str, wire: WireFormat, limits: &KeyLimits) -> Result<Response<GatewayBody>> {
    let below = MODEL_LISTS.iter().find_map(|list| path.strip_prefix(list));
    let name = below.unwrap_or_default().trim_start_matches('/');
    let catalog = core.catalog();
    let body = if name.is_empty() {
        let allowed = catalog.models()?.filter(|model| allows(limits, model));
        list_of(wire, allowed.map(|model| entry(wire, model)).collect())
    } else {
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let model = catalog.models()?.find(|model| *model.name == *name).filter(|model| allows(limits, model));
        entry(wire, model.ok_or_else(|| Error::new(Code::ModelNotFound, format!("there is no model {name:?}")))?)
    };
    let mut response = Response::new(GatewayBody::full(Bytes::from(body.to_string())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn allows(limits: &KeyLimits, model: &ModelEntry) -> bool {
    limits.allows_model(&model.name, &model.provider.name, &model.upstream_model)
}

fn entry(wire: WireFormat, model: &ModelEntry) -> Value {
    match wire {
        WireFormat::OpenAi | WireFormat::Azure => json!({
            "id": &*model.name,
            "object": "model",
            "created": model.created_at / 1000,
            "owned_by": model.provider.name,
        }),
        WireFormat::Anthropic => json!({
            "type": "model",
            "id": &*model.name,
            "display_name": &*model.name,
            "created_at": rfc3339(model.created_at),
        }),
        WireFormat::Gemini => json!({
            "name": format!("models/{}", model.name),
            "displayName": &*model.name,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens", "embedContent"],
        }),
    }
}

fn list_of(wire: WireFormat, models: Vec<Value>) -> Value {
    match wire {
        WireFormat::OpenAi | WireFormat::Azure => json!({ "object": "list", "data": models }),
        WireFormat::Anthropic => {
            let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
            json!({ "first_id": id(models.first()), "last_id": id(models.last()), "has_more": false, "data": models })
        }
        WireFormat::Gemini => json!({ "models": models }),
    }
}
