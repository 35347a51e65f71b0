//! The four wire formats, and what errors look like in each.

use serde_json::{Value, json};

use crate::Kind;

/// The shape of requests and answers on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireFormat {
    /// OpenAI's, which most providers speak.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// Azure OpenAI: OpenAI's bodies with Azure's paths and errors.
    Azure,
}

impl WireFormat {
    /// An error of ours, in the shape that a client of this format expects; `code` is one of the contract's.
    pub fn error_body(self, status: u16, code: &str, message: &str) -> Vec<u8> {
        let body = match self {
            WireFormat::OpenAi => json!({"error": {
                "message": message, "type": openai_type(status, code), "param": null, "code": code,
            }}),
            WireFormat::Anthropic => json!({"type": "error", "error": {
                "type": anthropic_type(status), "message": message, "code": code,
            }}),
            WireFormat::Gemini => json!({"error": {
                "code": status, "message": message, "status": gemini_status(status),
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "keyward",
                }],
            }}),
            WireFormat::Azure => json!({"error": {"code": code, "message": message}}),
        };
        body.to_string().into_bytes()
    }
}

/// Whether a provider's answer means that it does not accept the key.
///
/// That is a 401, or the 400 by which Gemini and xAI say the same.
pub fn refuses_key(kind: Kind, status: u16, body: &[u8]) -> bool {
    match (status, kind) {
        (401, _) => true,
        (400, Kind::Gemini) => parse(body).is_some_and(|error| gemini_reason_is_key(&error)),
        (400, Kind::Xai) => error_message(body).is_some_and(|message| speaks_of_key(&message)),
        _ => false,
    }
}

/// The provider's own words in an error body, in whichever of the known shapes it comes.
///
/// `error.message`, `error`, `message`, `detail` or `msg`, also within an array. Not shortened, and not searched for
/// the key: that is for whoever shows it.
pub fn error_message(body: &[u8]) -> Option<String> {
    let body = parse(body)?;
    words(&body).map(str::to_owned)
}

fn parse(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

fn words(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()),
        Value::Array(items) => items.iter().find_map(words),
        Value::Object(members) => {
            ["error", "message", "detail", "msg"].iter().find_map(|name| members.get(*name).and_then(words))
        }
        _ => None,
    }
}

/// Gemini's compatible path wraps its errors in an array.
fn gemini_reason_is_key(body: &Value) -> bool {
    let body = body.get(0).unwrap_or(body);
    let details = body.pointer("/error/details").and_then(Value::as_array);
    let by_reason = details.is_some_and(|details| {
        details.iter().any(|detail| detail.get("reason").and_then(Value::as_str) == Some("API_KEY_INVALID"))
    });
    // Without details, only the exact opening counts: the rest of a message may quote the caller.
    let message = body.pointer("/error/message").and_then(Value::as_str);
    by_reason || (details.is_none() && message.is_some_and(|text| text.starts_with("API key not valid")))
}

/// Looks at the opening words only, for further on a message may quote the caller.
fn speaks_of_key(message: &str) -> bool {
    let opening: String = message.chars().take(32).collect();
    opening.to_ascii_lowercase().contains("api key")
}

fn openai_type(status: u16, code: &str) -> &'static str {
    match status {
        403 => "permission_error",
        429 if code == "insufficient_quota" => "insufficient_quota",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        504 => "DEADLINE_EXCEEDED",
        501.. => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wire: WireFormat, status: u16, code: &str) -> Value {
        serde_json::from_slice(&wire.error_body(status, code, "say \"please\"\n")).unwrap()
    }

    #[test]
    fn errors_have_the_shape_of_the_format() {
        assert_eq!(
            shown(WireFormat::OpenAi, 401, "invalid_api_key"),
            json!({"error": {"message": "say \"please\"\n", "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}})
        );
        assert_eq!(
            shown(WireFormat::Anthropic, 401, "invalid_api_key"),
            json!({"type": "error", "error": {"type": "authentication_error", "message": "say \"please\"\n", "code": "invalid_api_key"}})
        );
        assert_eq!(
            shown(WireFormat::Gemini, 401, "invalid_api_key"),
            json!({"error": {"code": 401, "message": "say \"please\"\n", "status": "UNAUTHENTICATED", "details": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "invalid_api_key", "domain": "keyward"}]}})
        );
        assert_eq!(
            shown(WireFormat::Azure, 401, "invalid_api_key"),
            json!({"error": {"code": "invalid_api_key", "message": "say \"please\"\n"}})
        );
        assert_eq!(shown(WireFormat::OpenAi, 429, "insufficient_quota")["error"]["type"], "insufficient_quota");
        assert_eq!(shown(WireFormat::Anthropic, 503, "provider_busy")["error"]["type"], "overloaded_error");
        assert_eq!(shown(WireFormat::Gemini, 502, "upstream_unreachable")["error"]["status"], "UNAVAILABLE");
    }

    const GEMINI_401: &[u8] = include_bytes!("../testdata/gemini/401.json");

    #[test]
    fn a_refused_key_is_known_by_its_answer() {
        let xai = br#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***."}"#;
        let xai_other = br#"{"code":"x","error":"The model you asked for, 'my API key', does not exist"}"#;
        let wrapped = [b"[", GEMINI_401, b"]"].concat();
        let other =
            br#"{"error":{"code":400,"message":"Invalid value: API key not valid","status":"INVALID_ARGUMENT"}}"#;
        let cases: [(Kind, u16, &[u8], bool); 10] = [
            (Kind::OpenAi, 401, b"", true),
            (Kind::Ollama, 401, b"not json", true),
            (Kind::Gemini, 400, GEMINI_401, true),
            (Kind::Gemini, 400, &wrapped, true),
            (Kind::Gemini, 400, other, false),
            (Kind::OpenAi, 400, GEMINI_401, false),
            (Kind::Xai, 400, xai, true),
            (Kind::Xai, 400, xai_other, false),
            (Kind::Xai, 403, xai, false),
            (Kind::Gemini, 400, b"", false),
        ];
        for (kind, status, body, refused) in cases {
            assert_eq!(refuses_key(kind, status, body), refused, "{kind:?} {status} {}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn the_providers_own_words_are_found() {
        let cases: [(&[u8], Option<&str>); 10] = [
            (br#"{"error":{"message":"no"}}"#, Some("no")),
            (br#"{"type":"error","error":{"type":"x","message":"no"}}"#, Some("no")),
            (br#"{"error":"no"}"#, Some("no")),
            (br#"{"object":"error","message":"no","type":"t","code":1}"#, Some("no")),
            (br#"{"message":"no","id":"1"}"#, Some("no")),
            (br#"[{"error":{"message":"no"}}]"#, Some("no")),
            (br#"{"detail":[{"loc":[],"msg":"no"}]}"#, Some("no")),
            (br#"{"message":{"detail":[{"msg":"no"}]}}"#, Some("no")),
            (br#"{"error":{"message":" "}}"#, None),
            (b"<html>", None),
        ];
        for (body, expected) in cases {
            assert_eq!(error_message(body).as_deref(), expected, "{}", String::from_utf8_lossy(body));
        }
    }
}
