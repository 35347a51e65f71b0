//! The kinds of provider, and what is particular about each.

use crate::WireFormat;

/// A kind of provider, as the management API names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names of the providers say it all")]
pub enum Kind {
    OpenAi,
    Anthropic,
    Gemini,
    AzureOpenAi,
    Mistral,
    Groq,
    DeepSeek,
    OpenRouter,
    Xai,
    Together,
    Fireworks,
    Cohere,
    Ollama,
    Vllm,
    OpenAiCompatible,
    /// No provider of models: an agent, an MCP server or another service over HTTP, which is called at `/agents`.
    Service,
}

/// The header a key travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Auth {
    /// `authorization: Bearer KEY`
    Bearer,
    /// `x-api-key: KEY`
    XApiKey,
    /// `x-goog-api-key: KEY`
    XGoogApiKey,
    /// `api-key: KEY`
    ApiKey,
}

/// The cheapest call that tells a good key from a bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCheck {
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with a leading slash, and the query where one is needed.
    pub path: &'static str,
    /// What the path is appended to.
    pub from: PathFrom,
}

/// Where a [`KeyCheck`]'s path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFrom {
    /// At the host: whatever path the base URL has is left out.
    Host,
    /// At the base URL, which users may have pointed at a proxy's sub-path.
    Base,
}

impl Kind {
    /// Every kind of provider of models, in the order of the contract.
    pub const ALL: [Kind; 15] = [
        Kind::OpenAi,
        Kind::Anthropic,
        Kind::Gemini,
        Kind::AzureOpenAi,
        Kind::Mistral,
        Kind::Groq,
        Kind::DeepSeek,
        Kind::OpenRouter,
        Kind::Xai,
        Kind::Together,
        Kind::Fireworks,
        Kind::Cohere,
        Kind::Ollama,
        Kind::Vllm,
        Kind::OpenAiCompatible,
    ];

    /// Every kind: those of providers of models, and services.
    pub fn every() -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().chain([Kind::Service])
    }

    /// The kind of that name, if there is one. Names are lower-case.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::every().find(|kind| kind.as_str() == name)
    }

    /// The name in the management API.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::OpenAi => "openai",
            Kind::Anthropic => "anthropic",
            Kind::Gemini => "gemini",
            Kind::AzureOpenAi => "azure-openai",
            Kind::Mistral => "mistral",
            Kind::Groq => "groq",
            Kind::DeepSeek => "deepseek",
            Kind::OpenRouter => "openrouter",
            Kind::Xai => "xai",
            Kind::Together => "together",
            Kind::Fireworks => "fireworks",
            Kind::Cohere => "cohere",
            Kind::Ollama => "ollama",
            Kind::Vllm => "vllm",
            Kind::OpenAiCompatible => "openai-compatible",
            Kind::Service => "service",
        }
    }

    /// The name people know it by.
    pub fn label(self) -> &'static str {
        match self {
            Kind::OpenAi => "OpenAI",
            Kind::Anthropic => "Anthropic",
            Kind::Gemini => "Google Gemini",
            Kind::AzureOpenAi => "Azure OpenAI",
            Kind::Mistral => "Mistral",
            Kind::Groq => "Groq",
            Kind::DeepSeek => "DeepSeek",
            Kind::OpenRouter => "OpenRouter",
            Kind::Xai => "xAI",
            Kind::Together => "Together AI",
            Kind::Fireworks => "Fireworks AI",
            Kind::Cohere => "Cohere",
            Kind::Ollama => "Ollama",
            Kind::Vllm => "vLLM",
            Kind::OpenAiCompatible => "OpenAI-compatible",
            Kind::Service => "Agent, MCP server or other service",
        }
    }

    /// The wire format of its native paths.
    pub fn wire(self) -> WireFormat {
        match self {
            Kind::Anthropic => WireFormat::Anthropic,
            Kind::Gemini => WireFormat::Gemini,
            Kind::AzureOpenAi => WireFormat::Azure,
            _ => WireFormat::OpenAi,
        }
    }

    /// What the official client takes as base URL; `None` where only the user can know it.
    pub fn default_base_url(self) -> Option<&'static str> {
        Some(match self {
            Kind::OpenAi => "https://api.openai.com/v1",
            Kind::Anthropic => "https://api.anthropic.com",
            Kind::Gemini => "https://generativelanguage.googleapis.com",
            Kind::Mistral => "https://api.mistral.ai/v1",
            Kind::Groq => "https://api.groq.com/openai/v1",
            Kind::DeepSeek => "https://api.deepseek.com",
            Kind::OpenRouter => "https://openrouter.ai/api/v1",
            Kind::Xai => "https://api.x.ai/v1",
            Kind::Together => "https://api.together.xyz/v1",
            Kind::Fireworks => "https://api.fireworks.ai/inference/v1",
            Kind::Cohere => "https://api.cohere.com",
            Kind::Ollama => "http://localhost:11434",
            Kind::AzureOpenAi | Kind::Vllm | Kind::OpenAiCompatible | Kind::Service => return None,
        })
    }

    /// What stands between the base URL and `/chat/completions`.
    pub fn openai_prefix(self) -> &'static str {
        match self {
            Kind::Ollama | Kind::Anthropic => "/v1",
            Kind::Cohere => "/compatibility/v1",
            Kind::Gemini => "/v1beta/openai",
            Kind::AzureOpenAi => "/openai/v1",
            _ => "",
        }
    }

    /// How a key is sent on the native paths.
    pub fn native_auth(self) -> Auth {
        match self {
            Kind::Anthropic => Auth::XApiKey,
            Kind::Gemini => Auth::XGoogApiKey,
            Kind::AzureOpenAi => Auth::ApiKey,
            _ => Auth::Bearer,
        }
    }

    /// How a key is sent on the OpenAI-compatible paths.
    pub fn openai_auth(self) -> Auth {
        match self {
            Kind::AzureOpenAi => Auth::ApiKey,
            _ => Auth::Bearer,
        }
    }

    /// Whether a call without a key is bound to fail, so that a missing link is an error of ours.
    pub fn needs_key(self) -> bool {
        !matches!(self, Kind::Ollama | Kind::Vllm | Kind::OpenAiCompatible | Kind::Service)
    }

    /// Whether everyone reaches this kind at the same address; elsewhere a base URL's path may be a tenant of its own.
    pub fn has_one_public_address(self) -> bool {
        !matches!(self, Kind::AzureOpenAi | Kind::Ollama | Kind::Vllm | Kind::OpenAiCompatible | Kind::Service)
    }

    /// Headers to add where the caller sent none of that name.
    pub fn fixed_headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::Anthropic => &[("anthropic-version", "2023-06-01")],
            _ => &[],
        }
    }

    /// The cheapest call that tells a good key from a bad one.
    ///
    /// It starts at the base URL wherever that comes to the same address by default, so that a base URL which goes
    /// through a proxy of the user's is honoured. DeepSeek and Cohere are asked at the host: users write
    /// their base URL with and without a path, and the check has one place.
    pub fn key_check(self) -> KeyCheck {
        let get = |path, from| KeyCheck { method: "GET", path, from };
        match self {
            Kind::Anthropic => get("/v1/models", PathFrom::Base),
            Kind::Gemini => get("/v1beta/models", PathFrom::Base),
            Kind::AzureOpenAi => get("/openai/models?api-version=2024-10-21", PathFrom::Base),
            Kind::DeepSeek => get("/user/balance", PathFrom::Host),
            Kind::OpenRouter => get("/key", PathFrom::Base),
            Kind::Xai => get("/api-key", PathFrom::Base),
            Kind::Cohere => KeyCheck { method: "POST", path: "/v1/check-api-key", from: PathFrom::Host },
            Kind::Ollama => get("/api/tags", PathFrom::Base),
            Kind::Service => get("", PathFrom::Base),
            _ => get("/models", PathFrom::Base),
        }
    }

    /// Where a kind lists its models; `None` for Azure, whose deployments are not listed at the resource, and for services.
    pub fn model_list(self) -> Option<(&'static str, PathFrom)> {
        match self {
            Kind::AzureOpenAi | Kind::Service => None,
            Kind::Anthropic => Some(("/v1/models?limit=1000", PathFrom::Base)),
            Kind::Gemini => Some(("/v1beta/models?pageSize=1000", PathFrom::Base)),
            Kind::DeepSeek => Some(("/models", PathFrom::Host)),
            Kind::Cohere => Some(("/v1/models?page_size=1000", PathFrom::Host)),
            Kind::Ollama => Some(("/api/tags", PathFrom::Base)),
            _ => Some(("/models", PathFrom::Base)),
        }
    }

    /// The kind whose keys look like this one; a suggestion for a form, never a decision.
    pub fn guess_from_value(value: &str) -> Option<Kind> {
        const PREFIXES: [(&str, Kind); 9] = [
            ("sk-ant-", Kind::Anthropic),
            ("sk-or-", Kind::OpenRouter),
            ("sk-proj-", Kind::OpenAi),
            ("gsk_", Kind::Groq),
            ("xai-", Kind::Xai),
            ("AIza", Kind::Gemini),
            ("fw_", Kind::Fireworks),
            ("tgp_v1_", Kind::Together),
            ("sk-svcacct-", Kind::OpenAi),
        ];
        let value = value.trim();
        if let Some((_, kind)) = PREFIXES.iter().find(|(prefix, _)| value.starts_with(prefix)) {
            return Some(*kind);
        }
        let rest = value.strip_prefix("sk-")?;
        let lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match rest.len() == 32 && rest.bytes().all(lower_hex) {
            true => Some(Kind::DeepSeek),
            false => Some(Kind::OpenAi),
        }
    }
}

impl Auth {
    /// The header's name, in lower case.
    pub fn header_name(self) -> &'static str {
        match self {
            Auth::Bearer => "authorization",
            Auth::XApiKey => "x-api-key",
            Auth::XGoogApiKey => "x-goog-api-key",
            Auth::ApiKey => "api-key",
        }
    }

    /// What stands before the key in the header's value.
    pub fn prefix(self) -> &'static str {
        match self {
            Auth::Bearer => "Bearer ",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_parse_back() {
        for kind in Kind::every() {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert!(!kind.label().is_empty());
        }
        assert_eq!(Kind::parse("OpenAI"), None);
        assert_eq!(Kind::parse(""), None);
    }

    #[test]
    fn a_kind_with_one_public_address_has_a_default() {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.has_one_public_address()) {
            let url = kind.default_base_url().unwrap();
            assert!(url.starts_with("https://") && !url.ends_with('/'), "{url}");
        }
    }

    #[test]
    fn key_checks_come_to_the_address_in_the_catalogue() {
        let expected = [
            (Kind::OpenAi, "https://api.openai.com/v1/models"),
            (Kind::Anthropic, "https://api.anthropic.com/v1/models"),
            (Kind::Gemini, "https://generativelanguage.googleapis.com/v1beta/models"),
            (Kind::Mistral, "https://api.mistral.ai/v1/models"),
            (Kind::Groq, "https://api.groq.com/openai/v1/models"),
            (Kind::DeepSeek, "https://api.deepseek.com/user/balance"),
            (Kind::OpenRouter, "https://openrouter.ai/api/v1/key"),
            (Kind::Xai, "https://api.x.ai/v1/api-key"),
            (Kind::Together, "https://api.together.xyz/v1/models"),
            (Kind::Fireworks, "https://api.fireworks.ai/inference/v1/models"),
            (Kind::Cohere, "https://api.cohere.com/v1/check-api-key"),
            (Kind::Ollama, "http://localhost:11434/api/tags"),
        ];
        for (kind, address) in expected {
            let base = kind.default_base_url().unwrap();
            assert_eq!(format!("{base}{}", kind.key_check().path), address);
        }
    }

    #[test]
    fn a_key_suggests_its_kind() {
        let cases = [
            ("sk-ant-api03-x", Some(Kind::Anthropic)),
            ("sk-or-v1-x", Some(Kind::OpenRouter)),
            (" gsk_x\n", Some(Kind::Groq)),
            ("xai-x", Some(Kind::Xai)),
            ("AIzaSyx", Some(Kind::Gemini)),
            ("fw_x", Some(Kind::Fireworks)),
            ("tgp_v1_x", Some(Kind::Together)),
            ("sk-proj-x", Some(Kind::OpenAi)),
            ("sk-abcDEF", Some(Kind::OpenAi)),
            ("sk-0123456789abcdef0123456789abcdef", Some(Kind::DeepSeek)),
            ("hello", None),
            ("", None),
        ];
        for (value, kind) in cases {
            assert_eq!(Kind::guess_from_value(value), kind, "{value}");
        }
    }
}
