//! Gemini's wire format.

use serde_json::{Value, json};

use super::{Exact, events, plain};

/// The answer to a path of this wire format.
pub fn answer(path: &str, body: &Value) -> Option<Exact> {
    let (_, call) = path.split_once("/models/")?;
    let (model, method) = call.rsplit_once(':')?;
    if let Some(other) = named_otherwise(body, model) {
        return Some(refusal(&format!("{other} in the body is not models/{model} in the path")));
    }
    let embedding = json!({ "values": [0.25, -0.5] });
    match method {
        "generateContent" => Some(plain(&content(model, "Hello there", json!("STOP"), 12))),
        "streamGenerateContent" => {
            let first = content(model, "Hello", Value::Null, 3);
            let last = content(model, " there", json!("STOP"), 12);
            Some(events(&[event(&first), event(&last)]))
        }
        "embedContent" => Some(plain(&json!({ "embedding": embedding }))),
        "batchEmbedContents" => {
            let items = body["requests"].as_array().map_or(0, Vec::len);
            Some(plain(&json!({ "embeddings": vec![embedding; items] })))
        }
        "countTokens" => Some(plain(&json!({ "totalTokens": 14 }))),
        _ => None,
    }
}

/// The model that the body names where it is another than the path's, which Gemini refuses.
fn named_otherwise<'b>(body: &'b Value, model: &str) -> Option<&'b str> {
    let items = body["requests"].as_array().into_iter().flatten();
    let places = [body, &body["generateContentRequest"]].into_iter().chain(items);
    let mut names = places.filter_map(|place| place["model"].as_str());
    names.find(|name| name.strip_prefix("models/") != Some(model))
}

fn refusal(message: &str) -> Exact {
    let body = json!({ "error": { "code": 400, "message": message, "status": "INVALID_ARGUMENT" } });
    Exact::new(400, &[("content-type", "application/json")], &body.to_string())
}

fn content(model: &str, text: &str, finish: Value, output_tokens: u64) -> Value {
    let mut candidate = json!({ "index": 0, "content": { "role": "model", "parts": [{ "text": text }] } });
    if !finish.is_null() {
        candidate["finishReason"] = finish;
    }
    let usage = json!({
        "promptTokenCount": 9,
        "candidatesTokenCount": output_tokens,
        "totalTokenCount": 9 + output_tokens,
    });
    json!({ "candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "response-1" })
}

/// Google ends its lines the long way.
fn event(data: &Value) -> String {
    format!("data: {data}\r\n\r\n")
}
