//! Forms: what was typed, why it was refused, and that a form sent twice is carried out once.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use vault::OneTimeToken;

use super::{State, failure::Failure, session::Session};
use crate::{
    domain::{Core, idempotency::Idempotency},
    error::{Code, Error},
};

/// The largest form, in bytes.
const MAX_FORM: usize = 64 * 1024;

/// The id in a page's address.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Failure> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Failure::not_found())?;
        Ok(Id(id))
    }
}

/// A form that was sent, of so many bytes at most.
pub struct Form<T, const MAX: usize = MAX_FORM> {
    /// What was typed.
    pub fields: T,
    bytes: Bytes,
    route: String,
}

impl<T, const MAX: usize> Form<T, MAX> {
    /// Carries the form out once: its nonce is the idempotency key.
    ///
    /// # Errors
    /// A form that is not one of ours.
    pub fn once(&self, state: &State, session: &Session, nonce: &str) -> Result<Idempotency, Failure> {
        let keyring = &state.core.store.keyring();
        Idempotency::new(nonce, session.actor(), &self.route, &self.bytes, keyring).map_err(|_| incomplete())
    }
}

impl<T: DeserializeOwned, S: Send + Sync, const MAX: usize> FromRequest<S> for Form<T, MAX> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Form<T, MAX>, Failure> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        if !content_type.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded")) {
            return Err(Error::new(Code::UnsupportedMediaType, "this is for the forms of the console's pages").into());
        }
        let route = format!("{} {}", request.method(), request.uri().path());
        let bytes = axum::body::to_bytes(request.into_body(), MAX).await.map_err(|_| {
            Failure::from(Error::new(Code::BodyTooLarge, "the form holds more than 64 KiB, or broke off"))
        })?;
        match axum::Form::<T>::from_request(as_form(bytes.clone()), &()).await {
            Ok(axum::Form(fields)) => Ok(Form { fields, bytes, route }),
            Err(_) => Err(incomplete()),
        }
    }
}

/// All fields of a form, whatever it is; `None` for what is none, or too large.
pub async fn fields(headers: &HeaderMap, body: Body) -> Option<Vec<(String, String)>> {
    let content_type = headers.get(header::CONTENT_TYPE)?.as_bytes();
    if !content_type.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded") {
        return None;
    }
    let bytes = axum::body::to_bytes(body, MAX_FORM).await.ok()?;
    Some(url::form_urlencoded::parse(&bytes).into_owned().collect())
}

fn as_form(bytes: Bytes) -> Request {
    let mut request = Request::new(bytes.into());
    *request.method_mut() = axum::http::Method::POST;
    let kind = header::HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    request
}

fn incomplete() -> Failure {
    Error::new(Code::InvalidBody, "the form is not complete; open its page again and send it from there").into()
}

/// A fresh nonce for a form.
pub fn nonce(core: &Core) -> Result<String, Failure> {
    let token = OneTimeToken::mint(&core.entropy).map_err(Error::from)?;
    Ok(token.expose_once().to_string())
}

/// The version that a form was filled in for.
pub fn version(text: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| incomplete())
}

/// What was typed, or nothing.
pub fn typed(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.trim().is_empty())
}

/// Why a form was refused, field by field.
pub struct Refused {
    /// The status of the page that shows it.
    pub status: StatusCode,
    /// A stored key's value would go where it was not saved for: the key's name, and the place.
    pub not_bound: Option<(String, String)>,
    fields: Vec<(String, String)>,
    whole: Option<String>,
}

impl Refused {
    /// What an error says about a form. What is not about the form is a failure of the page; that the storage is away is
    /// told on the form, so that what was typed stays.
    ///
    /// # Errors
    /// The failure.
    pub fn by(session: &Session, error: Error) -> Result<Refused, Failure> {
        let is_of_the_page = matches!(error.code, Code::NotFound | Code::Forbidden | Code::Internal | Code::Damaged);
        if is_of_the_page && error.fields.is_empty() {
            return Err(error.into());
        }
        error.log(&session.actor().request_id);
        Ok(Refused::of(&error))
    }

    /// What an error says about a form, whatever it is.
    pub fn of(error: &Error) -> Refused {
        let not_bound = error.extension.as_ref().filter(|(name, _)| *name == "not_bound").map(|(_, place)| {
            let text = |name: &str| place[name].as_str().unwrap_or_default().to_owned();
            (text("general_key"), without_usual_port(&text("origin")).to_owned())
        });
        let whole = match error.code {
            Code::IdempotencyMismatch => String::from(
                "This form was sent before, and what it held then is saved. Look at the list first: Save now makes \
                 another one.",
            ),
            _ => sentence(&error.detail),
        };
        Refused {
            status: match error.code {
                // No If-Match was sent, which 412 is about.
                Code::VersionMismatch => StatusCode::CONFLICT,
                code => StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            },
            fields: error
                .fields
                .iter()
                .map(|field| (field.pointer.trim_start_matches('/').to_owned(), sentence(&field.detail)))
                .collect(),
            whole: (error.fields.is_empty() && not_bound.is_none()).then_some(whole),
            not_bound,
        }
    }

    /// Nothing is refused.
    pub fn nothing() -> Refused {
        Refused { status: StatusCode::OK, not_bound: None, fields: Vec::new(), whole: None }
    }

    /// Whether nothing is refused.
    pub fn is_nothing(&self) -> bool {
        self.status == StatusCode::OK
    }

    /// Refuses one field.
    pub fn field(name: &str, why: &str) -> Refused {
        Refused::of(&Error::field(name, why))
    }

    /// Says something about the whole instead.
    pub fn whole(status: StatusCode, why: String) -> Refused {
        Refused { status, not_bound: None, fields: Vec::new(), whole: Some(why) }
    }

    /// Why a field was refused.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.swap_remove(at).1)
    }

    /// What is wrong with the whole, and with fields that the page does not have.
    pub fn rest(&mut self) -> Option<String> {
        let fields: Vec<String> = self.fields.drain(..).map(|(_, why)| why).collect();
        if fields.is_empty() { self.whole.take() } else { Some(fields.join(" ")) }
    }
}

/// An origin as people write it.
fn without_usual_port(origin: &str) -> &str {
    let usual = if origin.starts_with("https:") { ":443" } else { ":80" };
    origin.strip_suffix(usual).unwrap_or(origin)
}

/// A reason as a sentence that people read: the API's reasons go on after the field's name, and may point to the API.
pub fn sentence(detail: &str) -> String {
    let detail = detail.split("; GET /api/").next().unwrap_or_default().trim();
    let goes_on = ["must ", "is ", "holds ", "has "].iter().any(|start| detail.starts_with(start));
    let mut chars = detail.chars();
    let start: String = match chars.next() {
        Some(_) if goes_on => format!("This {detail}"),
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    };
    if start.is_empty() || start.ends_with(['.', '!', '?']) { start } else { start + "." }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_become_sentences() {
        assert_eq!(sentence("must not be empty"), "This must not be empty.");
        assert_eq!(sentence("\"X\" is taken"), "\"X\" is taken.");
        assert_eq!(
            sentence("there is no provider pr_1; GET /api/v1/providers lists them"),
            "There is no provider pr_1."
        );
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn what_a_page_has_no_field_for_is_said_about_the_whole() {
        let mut refused = Refused::field("base_url", "it has no host");
        assert_eq!(refused.take("name"), None);
        assert_eq!(refused.rest().as_deref(), Some("It has no host."));
        assert_eq!(refused.rest(), None);
    }
}
