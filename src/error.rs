//! One error: a stable code, a text for the caller, and a private cause that never leaves the process.

use std::error::Error as StdError;

use store::StoreError;

/// What went wrong, as programs know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is explained by its title below")]
pub enum Code {
    InvalidBody,
    ConflictingCredentials,
    UnsupportedWireFormat,
    InvalidApiKey,
    ExpiredApiKey,
    DisabledApiKey,
    RouteNotAllowed,
    ModelNotFound,
    ProviderNotFound,
    BodyTooLarge,
    UnsupportedEncoding,
    UpstreamUnreachable,
    ProviderRefusedKey,
    NoGeneralKey,
    ProviderBusy,
    StorageUnavailable,
    UpstreamTimeout,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    NameTaken,
    Linked,
    HasModels,
    OriginNotBound,
    VersionMismatch,
    ValidationFailed,
    IdempotencyMismatch,
    WrongHost,
    Internal,
}

impl Code {
    /// The code, its HTTP status and a title.
    const fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Code::InvalidBody => ("invalid_body", 400, "The request cannot be read"),
            Code::ConflictingCredentials => ("conflicting_credentials", 400, "Two different credentials in one call"),
            Code::UnsupportedWireFormat => {
                ("unsupported_wire_format", 400, "The model does not speak this wire format")
            }
            Code::InvalidApiKey => ("invalid_api_key", 401, "The agent key is not valid"),
            Code::ExpiredApiKey => ("expired_api_key", 401, "The agent key has expired"),
            Code::DisabledApiKey => ("disabled_api_key", 401, "The agent key is disabled"),
            Code::RouteNotAllowed => ("route_not_allowed", 403, "The agent key may not use this route"),
            Code::ModelNotFound => ("model_not_found", 404, "There is no such model"),
            Code::ProviderNotFound => ("provider_not_found", 404, "There is no such provider"),
            Code::BodyTooLarge => ("body_too_large", 413, "The body is too large"),
            Code::UnsupportedEncoding => ("unsupported_encoding", 415, "The body is encoded"),
            Code::UpstreamUnreachable => ("upstream_unreachable", 502, "The provider cannot be reached"),
            Code::ProviderRefusedKey => ("provider_refused_key", 502, "The provider refused its key"),
            Code::NoGeneralKey => ("no_general_key", 503, "No general key is linked"),
            Code::ProviderBusy => ("provider_busy", 503, "Too many calls are in flight"),
            Code::StorageUnavailable => ("storage_unavailable", 503, "The storage is unavailable"),
            Code::UpstreamTimeout => ("upstream_timeout", 504, "The provider did not answer in time"),
            Code::Unauthenticated => ("unauthenticated", 401, "A management token is needed"),
            Code::Forbidden => ("forbidden", 403, "Not allowed"),
            Code::NotFound => ("not_found", 404, "Not found"),
            Code::MethodNotAllowed => ("method_not_allowed", 405, "This method is not for this path"),
            Code::NotAcceptable => ("unsupported_media_type", 415, "The body must be JSON"),
            Code::NameTaken => ("name_taken", 409, "The name is taken"),
            Code::Linked => ("linked", 409, "The general key is linked"),
            Code::HasModels => ("has_models", 409, "The provider has models"),
            Code::OriginNotBound => ("origin_not_bound", 409, "The general key is not bound to this origin"),
            Code::VersionMismatch => ("version_mismatch", 412, "Somebody else changed it"),
            Code::ValidationFailed => ("validation_failed", 422, "A value was refused"),
            Code::IdempotencyMismatch => ("idempotency_mismatch", 422, "The idempotency key was used for another body"),
            Code::WrongHost => ("wrong_host", 421, "This host name is not served here"),
            Code::Internal => ("internal_error", 500, "Keyward failed"),
        }
    }

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
    /// An error without a cause.
    pub fn new(code: Code, detail: impl Into<String>) -> Error {
        Error { code, detail: detail.into(), fields: Vec::new(), extension: None, cause: None }
    }

    /// Attaches what only the log may know.
    pub fn with_cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.cause = Some(cause.into());
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

    /// Writes the failure to the log: once, where it is handled. Only failures of ours are worth a line.
    pub fn log(&self, request_id: &str) {
        match (&self.cause, self.code.status()) {
            (Some(cause), _) => {
                tracing::error!(code = self.code.as_str(), request_id, detail = %self.detail, cause = %Chain(cause.as_ref()), "request failed");
            }
            (None, 500..) => {
                tracing::error!(code = self.code.as_str(), request_id, detail = %self.detail, "request failed")
            }
            (None, _) => {
                tracing::debug!(code = self.code.as_str(), request_id, detail = %self.detail, "request refused")
            }
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
                Code::StorageUnavailable,
                format!(
                    "{table} {id} fails its integrity check, so it is not used; restore it from a backup or delete it"
                ),
            )
            .with_cause(error),
            StoreError::Unavailable(_) | StoreError::Unsupported(_) => {
                Error::new(Code::StorageUnavailable, "the database does not answer; nothing was changed; try again")
                    .with_cause(error)
            }
        }
    }
}

impl From<vault::VaultError> for Error {
    fn from(error: vault::VaultError) -> Error {
        Error::new(Code::Internal, "a cryptographic operation failed; see the log").with_cause(error)
    }
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
