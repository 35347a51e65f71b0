//! Errors as RFC 9457 problems.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    Modify, ToSchema,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use crate::error::{Code, Error};

/// An error of the management API.
#[derive(Debug)]
pub struct Problem(pub Error);

/// The error behind an answer, on its way to the log.
#[derive(Clone)]
pub struct Refusal(pub Arc<Error>);

/// What a handler answers.
pub type ApiResult<T> = Result<T, Problem>;

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Problem {
        Problem(error.into())
    }
}

/// RFC 9457 problem details, with the stable `code`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A URI that names the problem, below `/docs`.
    r#type: String,
    /// A short title.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, to what, and what to do.
    detail: String,
    /// The stable code.
    code: &'static str,
    /// The refused fields.
    errors: Vec<ProblemField>,
    /// More for programs: what a general key is linked to, a provider's models.
    #[serde(flatten)]
    #[schema(ignore)]
    extension: serde_json::Map<String, serde_json::Value>,
}

/// A refused field.
#[derive(Serialize, ToSchema)]
pub struct ProblemField {
    /// A JSON pointer into the body, or `?name` for a query parameter.
    pointer: String,
    /// What is wrong with it, and what it may be.
    detail: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem(error) = self;
        let code = error.code;
        let body = ProblemBody {
            r#type: format!("/docs#{}", code.as_str()),
            title: code.title(),
            status: code.status(),
            detail: error.detail.clone(),
            code: code.as_str(),
            errors: error
                .fields
                .iter()
                .map(|field| ProblemField { pointer: field.pointer.clone(), detail: field.detail.clone() })
                .collect(),
            extension: error.extension.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        };
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if code == Code::StorageUnavailable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(Refusal(Arc::new(error)));
        response
    }
}

/// What every answer says about itself: it is what it says it is, and nobody on the way keeps it.
pub async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A path that is none. It is not repeated: somebody may have put a key into it.
pub async fn no_such_path() -> Problem {
    Problem(Error::new(Code::NotFound, "there is nothing at this path; /docs lists the paths of the API"))
}

/// A method that is not for its path.
pub async fn wrong_method() -> Problem {
    Problem(Error::new(Code::MethodNotAllowed, "this method is not for this path; /docs lists what is"))
}

/// Adds the bearer token to the description.
pub struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A management token, kwm_…"));
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("management_token", SecurityScheme::Http(scheme.build()));
        openapi.security = Some(vec![SecurityRequirement::new("management_token", Vec::<String>::new())]);
    }
}
