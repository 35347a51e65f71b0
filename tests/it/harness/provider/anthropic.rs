//! Anthropic's wire format.

use serde_json::{Value, json};

use super::{Exact, events, plain};

/// The answer to a path of this wire format.
pub fn answer(path: &str, body: &Value) -> Option<Exact> {
    if path.ends_with("/v1/messages/count_tokens") {
        Some(plain(&json!({ "input_tokens": 14 })))
    } else if !path.ends_with("/v1/messages") {
        None
    } else if body["stream"] == true {
        Some(events(&message_events(body)))
    } else {
        let content = json!([{ "type": "text", "text": "Hello there" }]);
        Some(plain(&message(body, &content, &json!("end_turn"), 12)))
    }
}

fn message(body: &Value, content: &Value, stop_reason: &Value, output_tokens: u64) -> Value {
    let usage = json!({
        "input_tokens": 9,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    });
    json!({
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn message_events(body: &Value) -> Vec<String> {
    let event = |name: &str, mut data: Value| {
        data["type"] = json!(name);
        format!("event: {name}\ndata: {data}\n\n")
    };
    let text = |text: &str| json!({ "index": 0, "delta": { "type": "text_delta", "text": text } });
    let end = json!({
        "delta": { "stop_reason": "end_turn", "stop_sequence": null },
        "usage": { "output_tokens": 12 },
    });
    vec![
        event("message_start", json!({ "message": message(body, &json!([]), &Value::Null, 1) })),
        event("content_block_start", json!({ "index": 0, "content_block": { "type": "text", "text": "" } })),
        event("ping", json!({})),
        event("content_block_delta", text("Hello")),
        event("content_block_delta", text(" there")),
        event("content_block_stop", json!({ "index": 0 })),
        event("message_delta", end),
        event("message_stop", json!({})),
    ]
}
