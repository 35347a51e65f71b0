//! Which paths are the gateway's, and what each means.

use http::{Method, Request};
use llm::{Kind, WireFormat};

/// What a path of the gateway means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A list of models, in any wire format.
    Models,
    /// OpenAI's wire format under `/v1`; the body's `model` chooses.
    OpenAi,
    /// Anthropic's messages; the body's `model` chooses.
    Anthropic,
    /// Gemini's, under `/v1beta` or `/v1`; the path's model chooses.
    Gemini,
    /// Azure's deployments; the path's model chooses.
    Azure,
    /// A provider's own API under `/providers/{name}`.
    Provider,
    /// An agent, an MCP server or another service under `/agents/{name}`.
    Service,
    /// OpenAI's WebSocket, in any of these places; the query's model chooses.
    Realtime,
}

/// Where the wire formats have their lists of models: OpenAI, Anthropic and Gemini; Gemini's beta; Azure.
pub const MODEL_LISTS: [&str; 3] = ["/v1/models", "/v1beta/models", "/openai/models"];

/// Where Azure has its WebSocket, whose parameter for the model is named otherwise.
pub const AZURE_REALTIME: &str = "/openai/realtime";

/// Whether the gateway answers this path.
pub fn claim(method: &Method, path: &str) -> Option<Claim> {
    if path == "/v1/messages" || path == "/v1/messages/count_tokens" {
        Some(Claim::Anthropic)
    } else if method == Method::GET && MODEL_LISTS.iter().any(|list| is_or_below(path, list)) {
        Some(Claim::Models)
    } else if path.starts_with("/v1beta/models/") || (method == Method::POST && path.starts_with("/v1/models/")) {
        Some(Claim::Gemini)
    } else if method == Method::GET && is_realtime(path) {
        Some(Claim::Realtime)
    } else if path.starts_with("/v1/") {
        Some(Claim::OpenAi)
    } else if path.starts_with("/openai/deployments/") {
        Some(Claim::Azure)
    } else if path.starts_with("/providers/") {
        Some(Claim::Provider)
    } else if path.starts_with("/agents/") {
        Some(Claim::Service)
    } else {
        None
    }
}

fn is_realtime(path: &str) -> bool {
    path.ends_with("/realtime")
        && match path.strip_prefix("/providers/").and_then(|rest| rest.split_once('/')) {
            Some((_, rest)) => Kind::ALL.iter().any(|kind| llm::socket_route(*kind, rest)),
            None => matches!(path, "/v1/realtime" | AZURE_REALTIME),
        }
}

fn is_or_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The wire format that errors of ours, and lists of models, are told in.
pub fn caller_wire<B>(claim: Claim, request: &Request<B>) -> WireFormat {
    let path = request.uri().path();
    let has = |name| request.headers().contains_key(name);
    match claim {
        Claim::OpenAi | Claim::Service => WireFormat::OpenAi,
        Claim::Anthropic => WireFormat::Anthropic,
        Claim::Gemini => WireFormat::Gemini,
        Claim::Azure => WireFormat::Azure,
        Claim::Realtime if path == AZURE_REALTIME => WireFormat::Azure,
        Claim::Realtime => WireFormat::OpenAi,
        Claim::Models if path.starts_with("/openai/") => WireFormat::Azure,
        Claim::Models if path.starts_with("/v1beta/") => WireFormat::Gemini,
        Claim::Models | Claim::Provider if has("anthropic-version") => WireFormat::Anthropic,
        // Google's clients send it with every call; the path alone may be one of OpenAI's too.
        Claim::Models | Claim::Provider if has("x-goog-api-client") => WireFormat::Gemini,
        Claim::Provider if path.contains("/v1beta/models") => WireFormat::Gemini,
        Claim::Models | Claim::Provider => WireFormat::OpenAi,
    }
}
