//! Which paths are inference, or a list of models: closed lists, so that what is new is refused until it is known.

use crate::{Kind, WireFormat};

/// Whether an agent key may call this path of a provider without being granted it by name.
///
/// `path` is what will be appended to the provider's base URL, without the query; one leading slash is ignored.
/// Files, batches, fine-tuning, stored responses, administration and everything unheard of are `false`, and so is
/// any path with a dot segment, an empty segment, or an encoded slash, dot, percent sign or control character.
pub fn inference_route(kind: Kind, method: &str, path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    if !path.split('/').all(is_plain) {
        return false;
    }
    match kind {
        Kind::Service => false,
        Kind::Anthropic => anthropic(method, path),
        Kind::Gemini => gemini(method, path),
        Kind::AzureOpenAi => azure(method, path),
        Kind::Ollama => ollama(method, path),
        Kind::Cohere => cohere(method, path),
        Kind::DeepSeek => {
            let version = path.strip_prefix("v1/").or_else(|| path.strip_prefix("beta/"));
            openai(method, version.unwrap_or(path))
        }
        Kind::Mistral => openai(method, path) || (method == "POST" && path == "fim/completions"),
        Kind::Together | Kind::Vllm | Kind::OpenAiCompatible => {
            openai(method, path) || (method == "POST" && path == "rerank")
        }
        _ => openai(method, path),
    }
}

/// Whether a path can be no other than it looks like: no server reads its segments as other ones. Its last segment may be
/// empty, and so may all of it.
pub fn plain_path(path: &str) -> bool {
    match path.rsplit_once('/') {
        Some((folders, last)) => folders.split('/').all(is_plain) && (last.is_empty() || is_plain(last)),
        None => path.is_empty() || is_plain(path),
    }
}

/// Whether the gateway serves `/v1/{path}` by the `model` field of a JSON body.
pub fn openai_route(path_after_v1: &str) -> bool {
    let path = path_after_v1.strip_prefix('/').unwrap_or(path_after_v1);
    JSON_ROUTES.contains(&path)
}

/// Whether the gateway serves `/v1/{path}` by the `model` field of a form (`multipart/form-data`). Also asked of longer
/// paths, which end like that.
pub fn form_route(path: &str) -> bool {
    let is_at_end = |rest: &str| rest.is_empty() || rest.ends_with('/');
    FORM_ROUTES.iter().any(|route| path.strip_suffix(route).is_some_and(is_at_end))
}

/// Whether an agent key may open a WebSocket at this path of a provider, `path` being as in [`inference_route`].
pub fn socket_route(kind: Kind, path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    match kind {
        Kind::Anthropic | Kind::Gemini | Kind::Service => false,
        Kind::AzureOpenAi => matches!(path, "openai/v1/realtime" | "openai/realtime"),
        _ => format!("{}/realtime", kind.openai_prefix()).trim_start_matches('/') == path,
    }
}

/// The wire format a provider of this kind speaks at this path, `path` being as in [`inference_route`].
///
/// Anthropic and Gemini answer in OpenAI's format on their compatible paths, and take the key the way
/// [`Kind::openai_auth`] says there.
pub fn route_wire(kind: Kind, path: &str) -> WireFormat {
    let path = path.strip_prefix('/').unwrap_or(path);
    let compatible = match kind {
        Kind::Anthropic => path == "v1/chat/completions",
        Kind::Gemini => path.starts_with("v1beta/openai/"),
        _ => false,
    };
    match compatible {
        true => WireFormat::OpenAi,
        false => kind.wire(),
    }
}

const JSON_ROUTES: [&str; 7] =
    ["chat/completions", "completions", "responses", "embeddings", "moderations", "images/generations", "audio/speech"];

const FORM_ROUTES: [&str; 4] = ["images/edits", "images/variations", "audio/transcriptions", "audio/translations"];

const GEMINI_METHODS: [&str; 5] =
    ["generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents", "countTokens"];

fn openai(method: &str, path: &str) -> bool {
    match method {
        "POST" => JSON_ROUTES.contains(&path) || FORM_ROUTES.contains(&path),
        "GET" => models(path),
        _ => false,
    }
}

/// `models`, or `models/{id}`; the id may have slashes (`meta-llama/Llama-3`).
fn models(path: &str) -> bool {
    path == "models" || path.starts_with("models/")
}

fn anthropic(method: &str, path: &str) -> bool {
    match (method, path.strip_prefix("v1/")) {
        ("POST", Some(path)) => matches!(path, "messages" | "messages/count_tokens" | "chat/completions"),
        ("GET", Some(path)) => models(path),
        _ => false,
    }
}

fn gemini(method: &str, path: &str) -> bool {
    if let Some(path) = path.strip_prefix("v1beta/openai/") {
        return openai(method, path);
    }
    let Some(path) = path.strip_prefix("v1beta/").or_else(|| path.strip_prefix("v1/")) else {
        return false;
    };
    match (method, path.strip_prefix("models/")) {
        ("POST", Some(call)) => call.rsplit_once(':').is_some_and(|(model, method)| {
            !model.is_empty() && !model.contains('/') && GEMINI_METHODS.contains(&method)
        }),
        ("GET", Some(model)) => !model.contains(['/', ':']),
        ("GET", None) => path == "models",
        _ => false,
    }
}

fn azure(method: &str, path: &str) -> bool {
    let Some(path) = path.strip_prefix("openai/") else {
        return false;
    };
    if let Some(path) = path.strip_prefix("v1/") {
        return openai(method, path);
    }
    if let Some((_, path)) = path.strip_prefix("deployments/").and_then(|rest| rest.split_once('/')) {
        return method == "POST" && openai(method, path);
    }
    (method == "GET" && models(path)) || (method == "POST" && path == "responses")
}

fn ollama(method: &str, path: &str) -> bool {
    match (method, path) {
        ("POST", "api/chat" | "api/generate" | "api/embed" | "api/embeddings") | ("GET", "api/tags") => true,
        _ => path.strip_prefix("v1/").is_some_and(|path| openai(method, path)),
    }
}

fn cohere(method: &str, path: &str) -> bool {
    const V1: [&str; 8] = ["chat", "generate", "embed", "rerank", "classify", "summarize", "tokenize", "detokenize"];
    if let Some(path) = path.strip_prefix("compatibility/v1/") {
        return openai(method, path);
    }
    match (method, path.split_once('/')) {
        ("POST", Some(("v2", path))) => matches!(path, "chat" | "embed" | "rerank"),
        ("POST", Some(("v1", path))) => V1.contains(&path),
        ("GET", Some(("v1", path))) => models(path),
        _ => false,
    }
}

/// A segment that no server can read as another path.
fn is_plain(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    if matches!(bytes, [] | b"." | b"..") {
        return false;
    }
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => match bytes.get(at + 1..at + 3).and_then(decoded) {
                // 0xc0 and 0xc1 only begin overlong forms of ASCII, which some servers decode to a slash or a dot.
                Some(b'/' | b'\\' | b'.' | b'%' | b';' | b'?' | b'#' | 0x7f | 0xc0 | 0xc1 | ..0x20) | None => {
                    return false;
                }
                Some(_) => at += 3,
            },
            b'\\' | b'?' | b'#' | b';' | 0x7f | ..=0x20 => return false,
            _ => at += 1,
        }
    }
    true
}

fn decoded(hex: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    match hex {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inference_and_model_lists_are_open() {
        let open = [
            (Kind::OpenAi, "POST", "chat/completions"),
            (Kind::OpenAi, "POST", "/audio/transcriptions"),
            (Kind::OpenAi, "POST", "images/edits"),
            (Kind::OpenAi, "GET", "models/gpt-4o"),
            (Kind::Together, "GET", "models/meta-llama/Llama-3"),
            (Kind::Together, "POST", "rerank"),
            (Kind::DeepSeek, "POST", "chat/completions"),
            (Kind::DeepSeek, "POST", "v1/chat/completions"),
            (Kind::DeepSeek, "POST", "beta/completions"),
            (Kind::Mistral, "POST", "fim/completions"),
            (Kind::Anthropic, "POST", "v1/messages"),
            (Kind::Anthropic, "POST", "v1/messages/count_tokens"),
            (Kind::Anthropic, "POST", "v1/chat/completions"),
            (Kind::Anthropic, "GET", "v1/models"),
            (Kind::Gemini, "GET", "v1beta/models"),
            (Kind::Gemini, "GET", "v1beta/models/gemini-2.5-pro"),
            (Kind::Gemini, "POST", "v1beta/models/gemini-2.5-pro:streamGenerateContent"),
            (Kind::Gemini, "POST", "v1beta/models/a:b:countTokens"),
            (Kind::Gemini, "POST", "v1beta/openai/chat/completions"),
            (Kind::AzureOpenAi, "POST", "openai/deployments/my-gpt/chat/completions"),
            (Kind::AzureOpenAi, "POST", "openai/v1/responses"),
            (Kind::AzureOpenAi, "GET", "openai/models"),
            (Kind::Ollama, "POST", "v1/chat/completions"),
            (Kind::Ollama, "POST", "api/chat"),
            (Kind::Ollama, "GET", "api/tags"),
            (Kind::Cohere, "POST", "v2/chat"),
            (Kind::Cohere, "POST", "v1/embed"),
            (Kind::Cohere, "POST", "compatibility/v1/embeddings"),
        ];
        for (kind, method, path) in open {
            assert!(inference_route(kind, method, path), "{kind:?} {method} {path}");
        }
    }

    #[test]
    fn everything_else_is_closed() {
        let closed = [
            (Kind::OpenAi, "GET", "chat/completions"),
            (Kind::OpenAi, "GET", "responses/resp_1"),
            (Kind::OpenAi, "POST", "files"),
            (Kind::OpenAi, "POST", "batches"),
            (Kind::OpenAi, "POST", "fine_tuning/jobs"),
            (Kind::OpenAi, "DELETE", "models/gpt-4o"),
            (Kind::OpenAi, "GET", "organization/users"),
            (Kind::OpenAi, "GET", "models/"),
            (Kind::OpenAi, "GET", "models/../files"),
            (Kind::OpenAi, "GET", "models/%2e%2e/files"),
            (Kind::OpenAi, "GET", "models/..%2ffiles"),
            (Kind::OpenAi, "GET", "models/%252e"),
            (Kind::OpenAi, "GET", "models/..;/files"),
            (Kind::OpenAi, "GET", "models/%zz"),
            (Kind::OpenAi, "GET", "models\\x"),
            (Kind::OpenAi, "GET", "//models"),
            (Kind::OpenAi, "POST", "v1/chat/completions"),
            (Kind::OpenAi, "POST", ""),
            (Kind::Anthropic, "POST", "v1/messages/batches"),
            (Kind::Anthropic, "GET", "v1/organizations/users"),
            (Kind::Gemini, "POST", "v1beta/models/gemini:batchGenerateContent"),
            (Kind::Gemini, "POST", "v1beta/models/:generateContent"),
            (Kind::Gemini, "POST", "v1beta/files"),
            (Kind::Gemini, "POST", "v1beta/openai/files"),
            (Kind::AzureOpenAi, "POST", "openai/files"),
            (Kind::AzureOpenAi, "POST", "openai/deployments"),
            (Kind::Ollama, "DELETE", "api/delete"),
            (Kind::Ollama, "POST", "api/pull"),
            (Kind::Cohere, "POST", "v1/datasets"),
            (Kind::Cohere, "POST", "v1/check-api-key"),
            (Kind::DeepSeek, "GET", "user/balance"),
            (Kind::OpenRouter, "GET", "key"),
        ];
        for (kind, method, path) in closed {
            assert!(!inference_route(kind, method, path), "{kind:?} {method} {path}");
        }
    }

    #[test]
    fn openai_routes_with_a_json_body() {
        assert!(openai_route("chat/completions") && openai_route("/audio/speech"));
        assert!(!openai_route("audio/transcriptions") && !openai_route("files") && !openai_route("models"));
    }

    #[test]
    fn a_socket_is_open_where_the_openai_paths_are() {
        for kind in Kind::ALL {
            let path = format!("{}/realtime", kind.openai_prefix());
            assert_eq!(socket_route(kind, &path), !matches!(kind, Kind::Anthropic | Kind::Gemini), "{kind:?} {path}");
        }
        assert!(socket_route(Kind::OpenAi, "realtime") && socket_route(Kind::AzureOpenAi, "openai/realtime"));
        for path in ["", "v1/realtime", "realtime/sessions", "models/realtime", "responses"] {
            assert!(!socket_route(Kind::OpenAi, path), "{path}");
        }
    }

    #[test]
    fn compatible_paths_speak_openai() {
        assert_eq!(route_wire(Kind::Anthropic, "v1/messages"), WireFormat::Anthropic);
        assert_eq!(route_wire(Kind::Anthropic, "/v1/chat/completions"), WireFormat::OpenAi);
        assert_eq!(route_wire(Kind::Gemini, "v1beta/openai/embeddings"), WireFormat::OpenAi);
        assert_eq!(route_wire(Kind::Gemini, "v1beta/models"), WireFormat::Gemini);
        assert_eq!(route_wire(Kind::Groq, "chat/completions"), WireFormat::OpenAi);
    }
}
