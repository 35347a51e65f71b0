//! A provider's base URL, parsed and judged.

use std::sync::Arc;

use llm::Kind;
use url::{Host, Url};
use vault::Binding;

use super::AddressPolicy;

/// Names that cloud metadata services answer under.
const METADATA_NAMES: [&str; 4] = ["metadata", "metadata.google.internal", "instance-data", "metadata.azure.internal"];

/// Where a provider's calls go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether the connection is TLS.
    pub https: bool,
    /// The host: a name in A-label form, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The value of the Host header.
    pub authority: String,
    /// The base URL's path, without a trailing slash; empty at the root.
    pub base_path: String,
    /// The origin, as connections to it are kept under.
    pub pool_key: Arc<str>,
    /// Whether the URL literally names a loopback address or `localhost`.
    pub loopback_named: bool,
    /// The header a service takes its credential in, in lower case; where it is `None` the kind says it.
    pub credential_header: Option<Arc<str>>,
    binding: Binding,
    url: String,
}

/// A base URL that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(String);

impl Target {
    /// Parses and judges the base URL of a provider of `kind`.
    ///
    /// # Errors
    /// [`TargetError`] with what is wrong: not https, an address that may not be called, user info, a query or
    /// fragment, dot segments, `//`, backslashes, encoded slashes, control characters, a trailing dot.
    pub fn parse(text: &str, kind: Kind, policy: &AddressPolicy) -> Result<Target, TargetError> {
        let auth = kind.native_auth();
        Target::parse_bound(text, policy, |origin, base_path| {
            let prefix = if kind.has_one_public_address() { "" } else { base_path };
            Binding::new(origin, prefix, auth.header_name(), auth.prefix())
        })
    }

    /// The same of a service that agents call, and that takes its credential in `header`: as it is, or, where that is empty, in
    /// `authorization` behind `Bearer `.
    ///
    /// # Errors
    /// As [`Target::parse`].
    pub fn parse_agent(text: &str, header: &str, policy: &AddressPolicy) -> Result<Target, TargetError> {
        if header.is_empty() {
            return Target::parse(text, Kind::Service, policy);
        }
        let bound = Target::parse_bound(text, policy, |origin, path| Binding::new(origin, path, header, ""));
        Ok(Target { credential_header: Some(header.into()), ..bound? })
    }

    /// The same of a service that Keyward itself uses, and that takes its credential in `header`.
    ///
    /// # Errors
    /// As [`Target::parse`].
    pub fn parse_service(text: &str, header: &'static str, policy: &AddressPolicy) -> Result<Target, TargetError> {
        Target::parse_bound(text, policy, |origin, base_path| Binding::new(origin, base_path, header, ""))
    }

    fn parse_bound(
        text: &str,
        policy: &AddressPolicy,
        bind: impl FnOnce(&str, &str) -> Binding,
    ) -> Result<Target, TargetError> {
        let refuse = |why: &str| Err(TargetError(why.to_owned()));
        if !text.contains("://") {
            return refuse("enter a full address such as https://api.example.com/v1");
        }
        if text.len() > 2048 || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return refuse("it holds spaces, control characters or backslashes, or is longer than 2048 bytes");
        }
        let Ok(url) = Url::parse(text) else {
            return refuse("enter a full address such as https://api.example.com/v1");
        };
        if !matches!(url.scheme(), "https" | "http") {
            return refuse("it must start with https://, as https://api.example.com/v1 does");
        }
        if authority_of(text).is_empty() {
            return refuse("it has no host");
        }
        if !url.username().is_empty() || url.password().is_some() || authority_of(text).contains('@') {
            return refuse("it holds a user name or password; the key belongs into a general key");
        }
        // In the path it is none, but for readers that look for the last one.
        if text.contains('@') {
            return refuse("it holds an @");
        }
        if url.query().is_some() || url.fragment().is_some() || text.contains(['?', '#']) {
            return refuse("it holds a query or a fragment");
        }
        check_path(text)?;
        let (host, loopback_named) = match url.host() {
            Some(Host::Ipv4(ip)) => (ip.to_string(), ip.is_loopback()),
            Some(Host::Ipv6(ip)) => (ip.to_string(), ip.is_loopback()),
            Some(Host::Domain(name)) => {
                if name.ends_with('.') {
                    return refuse("its host name ends with a dot");
                }
                if METADATA_NAMES.contains(&name) {
                    return refuse("metadata services are never called");
                }
                (name.to_owned(), name == "localhost" || name.ends_with(".localhost"))
            }
            None => return refuse("it has no host"),
        };
        // The address before the scheme: nobody is told that a setting would help where none does.
        let Some(port) = url.port_or_known_default().filter(|port| *port != 0) else {
            return refuse("its port cannot be called");
        };
        if let Ok(ip) = host.parse() {
            policy
                .check(std::net::SocketAddr::new(ip, port), loopback_named)
                .map_err(|why| TargetError(why.to_owned()))?;
        } else if loopback_named && !policy.allow_loopback {
            return refuse("localhost is only allowed while KEYWARD_PUBLIC_URL is a loopback address too");
        }
        if url.scheme() == "http" && !(policy.allow_private || (loopback_named && policy.allow_loopback)) {
            return refuse(
                "it must start with https://; plain http is for loopback addresses while KEYWARD_PUBLIC_URL is one \
                 too, or with KEYWARD_ALLOW_PRIVATE_UPSTREAMS=true",
            );
        }
        let base_path = url.path().trim_end_matches('/').to_owned();
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let origin = format!("{}://{bracketed}:{port}", url.scheme());
        Ok(Target {
            https: url.scheme() == "https",
            authority: match url.port() {
                Some(port) => format!("{bracketed}:{port}"),
                None => bracketed,
            },
            pool_key: origin.as_str().into(),
            binding: bind(&origin, &base_path),
            url: url.as_str().trim_end_matches('/').to_owned(),
            host,
            port,
            base_path,
            loopback_named,
            credential_header: None,
        })
    }

    /// The binding of a secret that may be sent here.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The base URL in its normal form, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn authority_of(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Judges the path as it was written, before any parser makes it look harmless.
fn check_path(text: &str) -> Result<(), TargetError> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    if path.contains("//") || path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(TargetError("its path holds an empty or dot segment".to_owned()));
    }
    // What servers could decode, or cut off, to another path than the one that is checked here.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/!$&'()*+,=:@".contains(&b);
    if !path.bytes().all(plain) {
        return Err(TargetError(
            "its path holds an encoded character, a semicolon or another one that no base URL needs".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict() -> AddressPolicy {
        AddressPolicy { allow_private: false, allow_loopback: false, own: Vec::new() }
    }

    #[test]
    fn a_good_url_keeps_its_parts() {
        let target = Target::parse("https://api.openai.com/v1/", Kind::OpenAi, &strict()).expect("a target");
        assert_eq!(target.url(), "https://api.openai.com/v1");
        assert_eq!(target.base_path, "/v1");
        assert_eq!(target.authority, "api.openai.com");
        assert_eq!(target.binding().origin(), "https://api.openai.com:443");
    }

    #[test]
    fn metadata_in_any_spelling_is_refused_whatever_the_setting() {
        let lenient = AddressPolicy { allow_private: true, allow_loopback: true, own: Vec::new() };
        for url in [
            "http://169.254.169.254/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://metadata.google.internal/v1",
            "http://METADATA.google.internal/v1",
            "http://[fd00:ec2::254]/",
            "http://169.254.169.254./",
            "http://0/",
            "http://[fe80::1]/",
            "https://0.0.0.0/v1",
        ] {
            assert!(Target::parse(url, Kind::OpenAiCompatible, &lenient).is_err(), "{url}");
        }
    }

    #[test]
    fn what_no_setting_allows_is_not_told_to_need_one() {
        for url in ["http://169.254.169.254/latest", "http://metadata.google.internal/v1", "http://[fe80::1]/"] {
            let said = Target::parse(url, Kind::OpenAiCompatible, &strict()).expect_err(url).to_string();
            assert!(said.contains("never called") && !said.contains("KEYWARD_"), "{url}: {said}");
        }
        let said = Target::parse("http://8.8.8.8/v1", Kind::OpenAi, &strict()).expect_err("plain http").to_string();
        assert!(said.contains("KEYWARD_ALLOW_PRIVATE_UPSTREAMS"), "{said}");
    }

    #[test]
    fn odd_urls_are_refused() {
        for url in [
            "",
            "https:///v1",
            "https:/v1",
            "https:v1",
            "api.openai.com",
            "ftp://api.openai.com",
            "https://user@api.openai.com/v1",
            "https://@api.openai.com/",
            "https://api.openai.com/@",
            "https://api.openai.com./v1",
            "https://api.openai.com/v1?key=1",
            "https://api.openai.com/v1#x",
            "https://api.openai.com/a/../v1",
            "https://api.openai.com//v1",
            "https://api.openai.com/a%2fb",
            "https://api.openai.com/v1%0d%0aX:y",
            "https://api.openai.com/v1/..;/x",
            "https://api.openai.com/v1%",
            "https://api.openai.com\\@evil.example/",
            "https://api openai.com/",
            "http://api.openai.com/v1",
            "https://10.0.0.1/v1",
            "https://localhost/v1",
            "https://127.1/v1",
            "https://[::1]/v1",
        ] {
            assert!(Target::parse(url, Kind::OpenAi, &strict()).is_err(), "{url}");
        }
    }

    #[test]
    fn the_path_belongs_to_the_binding_where_a_kind_has_no_public_address() {
        let bind = |url: &str, kind| Target::parse(url, kind, &strict()).expect("a target").binding().clone();
        assert_eq!(bind("https://a.example/v1", Kind::OpenAi), bind("https://a.example/v2", Kind::OpenAi));
        assert_ne!(
            bind("https://a.example/v1", Kind::OpenAiCompatible),
            bind("https://a.example/v2", Kind::OpenAiCompatible)
        );
    }
}
