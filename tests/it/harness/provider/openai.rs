//! OpenAI's wire format, and what Azure adds to it.

use serde_json::{Value, json};

use super::{Exact, events, plain};

/// The answer to a path of this wire format.
pub fn answer(path: &str, body: &Value) -> Option<Exact> {
    let of_azure = path.starts_with("/openai/deployments/");
    if path.ends_with("/models") {
        let model = json!({ "id": "small", "object": "model", "created": 1, "owned_by": "fake" });
        Some(plain(&json!({ "object": "list", "data": [model] })))
    } else if path.ends_with("/embeddings") {
        Some(plain(&embeddings(body)))
    } else if !path.ends_with("/chat/completions") {
        None
    } else if body["stream"] == true {
        let filter = of_azure.then(filter_event);
        Some(events(&filter.into_iter().chain(chat_events(body)).collect::<Vec<_>>()))
    } else {
        Some(plain(&chat(body)))
    }
}

/// The answer to any other path.
pub fn whatever(path: &str, body: &Value) -> Exact {
    plain(&json!({ "object": "whatever", "path": path, "model": body["model"], "usage": usage() }))
}

fn usage() -> Value {
    json!({ "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21 })
}

fn embeddings(body: &Value) -> Value {
    let embedding = match body["encoding_format"].as_str() {
        // The same two numbers, as little-endian floats of 32 bits in base64.
        Some("base64") => json!("AACAPgAAAL8="),
        _ => json!([0.25, -0.5]),
    };
    let item = json!({ "object": "embedding", "index": 0, "embedding": embedding });
    let usage = json!({ "prompt_tokens": 5, "total_tokens": 5 });
    json!({ "object": "list", "model": body["model"], "data": [item], "usage": usage })
}

fn chat(body: &Value) -> Value {
    let message = json!({ "role": "assistant", "content": "Hello there" });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    json!({ "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice], "usage": usage() })
}

/// A chat's stream, with the chunk of usage only where it was asked for.
fn chat_events(body: &Value) -> Vec<String> {
    let with_usage = body["stream_options"]["include_usage"] == true;
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": choices });
        if with_usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let part = |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    let mut events = vec![
        chunk(part(json!({ "role": "assistant", "content": "Hello" }), Value::Null), Value::Null),
        chunk(part(json!({ "content": " there" }), Value::Null), Value::Null),
        chunk(part(json!({}), json!("stop")), Value::Null),
    ];
    if with_usage {
        events.push(chunk(json!([]), usage()));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// Azure's first chunk: what its content filter found in the prompt, and no choice.
fn filter_event() -> String {
    let results = json!({ "hate": { "filtered": false, "severity": "safe" } });
    let filter = json!([{ "prompt_index": 0, "content_filter_results": results }]);
    let chunk =
        json!({ "id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": filter });
    format!("data: {chunk}\n\n")
}
