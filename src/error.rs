//! One error: a stable code, a text for the caller, and a private cause that never leaves the process.

use std::error::Error as StdError;

use store::StoreError;

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// What went wrong, as programs know it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $(#[doc = $title] $name),+ }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name),+];

            /// The code, its HTTP status and a title.
            const fn facts(self) -> (&'static str, u16, &'static str) {
                match self { $(Code::$name => ($code, $status, $title)),+ }
            }
        }
    };
}

codes! {
    InvalidBody = "invalid_body", 400, "The request cannot be read";
    ConflictingCredentials = "conflicting_credentials", 400, "Two different credentials in one call";
    UnsupportedWireFormat = "unsupported_wire_format", 400, "The model does not speak this wire format";
    InvalidApiKey = "invalid_api_key", 401, "The agent key is not valid";
    ExpiredApiKey = "expired_api_key", 401, "The agent key has expired";
    DisabledApiKey = "disabled_api_key", 401, "The agent key is disabled";
    RouteNotAllowed = "route_not_allowed", 403, "The agent key may not use this route";
    ModelNotAllowed = "model_not_allowed", 403, "The agent key may not use this model";
    PolicyNotMet = "policy_not_met", 403, "The agent key has not what the policy asks";
    PolicyNotFound = "policy_not_found", 404, "There is no such policy";
    IpNotAllowed = "ip_not_allowed", 403, "The agent key may not be used from this address";
    RateLimitExceeded = "rate_limit_exceeded", 429, "The agent key was used as often as it may";
    InsufficientQuota = "insufficient_quota", 429, "The agent key has used its budget";
    ModelNotFound = "model_not_found", 404, "There is no such model";
    ProviderNotFound = "provider_not_found", 404, "There is no such provider";
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    UnsupportedEncoding = "unsupported_encoding", 415, "The body is encoded";
    UpstreamUnreachable = "upstream_unreachable", 502, "The provider cannot be reached";
    ProviderRefusedKey = "provider_refused_key", 502, "The provider refused its key";
    NoGeneralKey = "no_general_key", 503, "No general key is linked";
    ProviderBusy = "provider_busy", 503, "Too many calls are in flight";
    StorageUnavailable = "storage_unavailable", 503, "The storage is unavailable";
    Damaged = "integrity_check_failed", 503, "A row fails its integrity check";
    UpstreamTimeout = "upstream_timeout", 504, "The provider did not answer in time";
    Unauthenticated = "unauthenticated", 401, "A management token is needed";
    Forbidden = "forbidden", 403, "Not allowed";
    SecondFactorRequired = "second_factor_required", 403, "A second factor is required";
    IdentityRefused = "identity_refused", 403, "The identity does not sign in";
    IssuerUnavailable = "issuer_unavailable", 503, "The issuer cannot be asked";
    NotFound = "not_found", 404, "Not found";
    MethodNotAllowed = "method_not_allowed", 405, "This method is not for this path";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be JSON";
    NameTaken = "name_taken", 409, "The name is taken";
    Linked = "linked", 409, "The general key is linked";
    HasModels = "has_models", 409, "The provider has models";
    HasAgentKeys = "has_agent_keys", 409, "The member has agent keys";
    AgentKeyNotActive = "agent_key_not_active", 409, "The agent key is not active";
    RotationUnderWay = "rotation_under_way", 409, "An earlier secret still lives";
    LastOwner = "last_owner", 409, "The last owner stays";
    OriginNotBound = "origin_not_bound", 409, "The general key is not bound to this origin";
    VersionMismatch = "version_mismatch", 412, "Somebody else changed it";
    ValidationFailed = "validation_failed", 422, "A value was refused";
    IdempotencyMismatch = "idempotency_mismatch", 422, "The idempotency key was used for another body";
    WrongHost = "wrong_host", 421, "This host name is not served here";
    CrossSite = "cross_site", 403, "The request came from another site";
    TooManyAttempts = "too_many_attempts", 429, "Too many attempts";
    Internal = "internal_error", 500, "Keyward failed";
}

impl Code {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.facts().1
    }

    /// A short human title.
    pub const fn title(self) -> &'static str {
        self.facts().2
    }
}

/// A field of a request that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// A JSON pointer into the body, or `?name` for a query parameter.
    pub pointer: String,
    /// What is wrong with it, and what it may be.
    pub detail: String,
}

/// A failure, with what the caller may know and what only the log may.
#[derive(Debug)]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// What happened, to what, and what to do. Shown to the caller.
    pub detail: String,
    /// The refused fields.
    pub fields: Vec<FieldError>,
    /// More for programs, under a name of its own: the links of a key that cannot be deleted.
    pub extension: Option<(&'static str, serde_json::Value)>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a cause. A key of ours that somebody put where none belongs is not repeated.
    pub fn new(code: Code, detail: impl Into<String>) -> Error {
        Error { code, detail: without_tokens(detail.into()), fields: Vec::new(), extension: None, cause: None }
    }

    /// Attaches what only the log may know.
    pub fn with_cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.cause = Some(cause.into());
        self
    }

    /// The same of a part of the body, whose pointer this is: `/agent_keys/3`.
    #[must_use]
    pub fn within(mut self, part: &str) -> Error {
        if !self.fields.is_empty() {
            self.detail = format!("{part}: {}", self.detail);
        }
        for field in &mut self.fields {
            field.pointer = format!("{part}{}", field.pointer);
        }
        self
    }

    /// What is wrong, without the name of the field it is wrong with.
    pub fn reason(&self) -> String {
        self.fields.first().map_or_else(|| self.detail.clone(), |field| field.detail.clone())
    }

    /// The same of a value that others may set, and not whoever sent it.
    #[must_use]
    pub fn forbidding(self) -> Error {
        Error { code: Code::Forbidden, ..self }
    }

    /// Attaches more for programs, under a name of its own.
    pub fn with_extension(mut self, name: &'static str, value: serde_json::Value) -> Error {
        self.extension = Some((name, value));
        self
    }

    /// A refused value: `pointer` says which (a JSON pointer, or `?name`), `whole` tells it as a sentence.
    pub fn refused(pointer: String, detail: impl Into<String>, whole: String) -> Error {
        let field = FieldError { pointer, detail: detail.into() };
        Error { fields: vec![field], ..Error::new(Code::ValidationFailed, whole) }
    }

    /// A refused field of the body.
    pub fn field(name: &str, detail: impl Into<String>) -> Error {
        let detail = detail.into();
        let whole = format!("{name}: {detail}");
        Error::refused(format!("/{name}"), detail, whole)
    }

    /// Both of two results, or what is wrong with either: refused fields are told together.
    ///
    /// # Errors
    /// The first error, with the other's fields.
    pub fn both<A, B>(first: Result<A>, second: Result<B>) -> Result<(A, B)> {
        match (first, second) {
            (Ok(first), Ok(second)) => Ok((first, second)),
            (Err(mut error), Err(other)) if !error.fields.is_empty() && !other.fields.is_empty() => {
                error.detail = format!("{}; {}", error.detail, other.detail);
                error.fields.extend(other.fields);
                Err(error)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// A refused query parameter.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Error {
        let detail = detail.into();
        let whole = format!("{name}: {detail}");
        Error::refused(format!("?{name}"), detail, whole)
    }

    /// Something that is not there (any more).
    pub fn not_found(kind: &str, id: &str) -> Error {
        Error::new(Code::NotFound, format!("there is no {kind} {id}; it may have been deleted"))
    }

    /// Writes the failure to the log: once, where it is handled. Failures of ours and of providers are errors; what a
    /// caller did wrong is only worth a line to whoever looks for it.
    pub fn log(&self, request_id: &str) {
        let cause = self.cause.as_ref().map(|cause| Chain(cause.as_ref()).to_string()).unwrap_or_default();
        let (code, detail) = (self.code.as_str(), self.detail.as_str());
        if self.code.status() >= 500 {
            tracing::error!(code, request_id, detail, cause, "request failed");
        } else {
            tracing::debug!(code, request_id, detail, cause, "request refused");
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        match error {
            StoreError::Taken(_) => Error::new(Code::NameTaken, "the name is in use already; choose another one"),
            StoreError::Stale { table, .. } => Error::new(
                Code::VersionMismatch,
                format!("somebody else changed this row of {table} meanwhile; read it again"),
            ),
            StoreError::Tampered { table, ref id } => Error::new(
                Code::Damaged,
                format!(
                    "{table} {id} fails its integrity check, so it is not used; restore it from a backup or delete it"
                ),
            )
            .with_cause(error),
            StoreError::CommitFailed(_) => Error::new(
                Code::StorageUnavailable,
                "the database failed while it stored the change; read it again before you retry",
            )
            .with_cause(error),
            StoreError::Outdated => Error::new(Code::StorageUnavailable, error.to_string()),
            StoreError::Unavailable(_) | StoreError::Unsupported(_) => {
                Error::new(Code::StorageUnavailable, "the database does not answer; try again").with_cause(error)
            }
        }
    }
}

impl From<vault::VaultError> for Error {
    fn from(error: vault::VaultError) -> Error {
        Error::new(Code::Internal, "a cryptographic operation failed; see the log").with_cause(error)
    }
}

/// A text in which anything that looks like a key of ours is cut to its prefix.
fn without_tokens(text: String) -> String {
    /// Longer than any word, shorter than any key.
    const SUSPICIOUS: usize = 20;
    let mut rest = text.as_str();
    let mut clean = String::new();
    while let Some(at) = ["kw_", "kwm_"].iter().filter_map(|prefix| rest.find(prefix)).min() {
        let (before, token) = rest.split_at(at);
        let prefix = if token.starts_with("kw_") { 3 } else { 4 };
        let length = token[prefix..].bytes().take_while(u8::is_ascii_alphanumeric).count();
        clean.push_str(before);
        clean.push_str(&token[..prefix]);
        if length >= SUSPICIOUS {
            clean.push('…');
        } else {
            clean.push_str(&token[prefix..prefix + length]);
        }
        rest = &token[prefix + length..];
    }
    if clean.is_empty() { text } else { clean + rest }
}

/// An error with its sources, on one line.
struct Chain<'a>(&'a (dyn StdError + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_two_fields_is_told_at_once() {
        let refused = |name: &str| Err::<(), _>(Error::field(name, "must not be empty"));
        let error = Error::both(refused("name"), refused("value")).expect_err("both refused");
        assert_eq!(error.detail, "name: must not be empty; value: must not be empty");
        assert_eq!(error.fields.iter().map(|field| field.pointer.as_str()).collect::<Vec<_>>(), ["/name", "/value"]);
        assert_eq!(Error::both(Ok(()), refused("value")).expect_err("one refused").fields.len(), 1);
        assert!(Error::both(Ok(1), Ok(2)).is_ok());
    }

    #[test]
    fn keys_are_not_repeated_and_words_are() {
        let key = format!("kw_{}", "0".repeat(49));
        let error =
            Error::new(Code::ModelNotFound, format!("no model {key}, nor kwm_{} there; send kw_a", "1".repeat(49)));
        assert_eq!(error.detail, "no model kw_…, nor kwm_… there; send kw_a");
        assert_eq!(Error::new(Code::NotFound, "plain").detail, "plain");
    }
}
