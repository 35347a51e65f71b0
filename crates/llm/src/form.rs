//! The body of a call with files: `multipart/form-data` (RFC 7578), read only for the model it asks for.

use std::ops::Range;

use memchr::memmem::{Finder, find};

/// The longest head of a part that is read, in bytes.
const MAX_PART_HEAD: usize = 8 * 1024;
/// The most parts of a form.
const MAX_PARTS: usize = 256;

/// What the gateway needs to know of a form; its files stay bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form<'a> {
    /// The model asked for.
    pub model: &'a str,
    /// Whether `stream` is `true`.
    pub stream: bool,
    bytes: &'a [u8],
    span: Range<usize>,
}

/// Why a form is refused, in words for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The content type names no boundary.
    #[error("the content-type of a form has to be multipart/form-data with a boundary of 1 to 70 characters")]
    NoBoundary,
    /// The parts do not fit together.
    #[error("the form is not valid multipart/form-data at byte {at}")]
    Invalid {
        /// Offset of the part that does not fit.
        at: usize,
    },
    /// No part named `model`.
    #[error("the form has no field `model`; it names the model to call")]
    NoModel,
    /// A field that decides something stands there twice, or in other letters.
    #[error("`{0}` has to stand in the form once, in exactly these letters")]
    Ambiguous(&'static str),
    /// `model` is a file, or no text.
    #[error("`model` has to be a plain text field")]
    ModelNotText,
}

/// The boundary that a content type names.
///
/// # Errors
/// [`FormError::NoBoundary`], also where a parameter stands twice or in a form that readers take differently.
pub fn boundary(content_type: &[u8]) -> Result<&str, FormError> {
    let text = std::str::from_utf8(content_type).map_err(|_| FormError::NoBoundary)?;
    let mut parts = text.split(';').map(str::trim);
    if !parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data")) {
        return Err(FormError::NoBoundary);
    }
    let mut found = None;
    for parameter in parts {
        let (name, value) = parameter.split_once('=').ok_or(FormError::NoBoundary)?;
        if name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return Err(FormError::NoBoundary);
        }
    }
    let value = found.ok_or(FormError::NoBoundary)?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    // RFC 2046, section 5.1.1, without the space.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    let fits = (1..=70).contains(&value.len()) && value.bytes().all(allowed);
    fits.then_some(value).ok_or(FormError::NoBoundary)
}

/// Reads a form in one pass.
///
/// # Errors
/// [`FormError`]: whatever two readers could take for two different forms is refused.
pub fn scan_form<'a>(bytes: &'a [u8], boundary: &str) -> Result<Form<'a>, FormError> {
    let delimiter = format!("--{boundary}");
    let between = format!("\r\n{delimiter}");
    let between = Finder::new(&between);
    if !bytes.starts_with(delimiter.as_bytes()) {
        return Err(FormError::Invalid { at: 0 });
    }
    let (mut model, mut stream) = (None, None);
    let mut at = delimiter.len();
    for _ in 0..MAX_PARTS {
        let rest = &bytes[at..];
        if rest.starts_with(b"--") {
            let (model, span) = model.ok_or(FormError::NoModel)?;
            return Ok(Form { model, stream: stream == Some(true), bytes, span });
        }
        if !rest.starts_with(b"\r\n") {
            return Err(FormError::Invalid { at });
        }
        let invalid = FormError::Invalid { at };
        // The line end before the head counts, so that an empty head is seen.
        let head = find(&rest[..rest.len().min(MAX_PART_HEAD)], b"\r\n\r\n").ok_or(invalid)?;
        let part = field(&rest[..head]).ok_or(invalid)?;
        let start = at + head + 4;
        let end = start + between.find(&bytes[start..]).ok_or(invalid)?;
        let value = &bytes[start..end];
        match known(&part.name)? {
            Some("model") => {
                let text = std::str::from_utf8(value).ok().filter(|_| !part.is_file).ok_or(FormError::ModelNotText)?;
                if model.replace((text, start..end)).is_some() {
                    return Err(FormError::Ambiguous("model"));
                }
            }
            Some(_) if stream.replace(value.eq_ignore_ascii_case(b"true")).is_some() => {
                return Err(FormError::Ambiguous("stream"));
            }
            _ => {}
        }
        at = end + 2 + delimiter.len();
    }
    Err(FormError::Invalid { at })
}

impl Form<'_> {
    /// The form with another model; every other byte stays as it was.
    pub fn rename(&self, model: &str) -> Vec<u8> {
        let mut renamed = Vec::with_capacity(self.bytes.len() + model.len());
        renamed.extend_from_slice(&self.bytes[..self.span.start]);
        renamed.extend_from_slice(model.as_bytes());
        renamed.extend_from_slice(&self.bytes[self.span.end..]);
        renamed
    }
}

struct Part {
    name: String,
    is_file: bool,
}

/// The name in the one `Content-Disposition` of a part's head.
fn field(head: &[u8]) -> Option<Part> {
    let head = std::str::from_utf8(head).ok()?;
    let mut found = None;
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-disposition") && found.replace(disposition(value)?).is_some() {
            return None;
        }
    }
    found
}

fn disposition(value: &str) -> Option<Part> {
    let mut rest = value.trim().strip_prefix("form-data")?;
    let (mut field_name, mut is_file) = (None, false);
    while let Some(parameter) = rest.trim_start().strip_prefix(';') {
        let (name, value) = parameter.trim_start().split_once('=')?;
        let (text, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        match name {
            // What stands before an escaped quote would be read differently by different readers.
            "name" if text.ends_with('\\') || field_name.replace(text.to_owned()).is_some() => return None,
            "filename" | "filename*" => is_file = true,
            _ => {}
        }
        rest = after;
    }
    rest.trim().is_empty().then_some(())?;
    Some(Part { name: field_name?, is_file })
}

/// The field that decides something, if the name is one.
fn known(name: &str) -> Result<Option<&'static str>, FormError> {
    for field in ["model", "stream"] {
        if name == field {
            return Ok(Some(field));
        }
        if name.trim().eq_ignore_ascii_case(field) {
            return Err(FormError::Ambiguous(field));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut text = String::new();
        for (head, value) in parts {
            text += &format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n");
        }
        (text + "--b--\r\n").into_bytes()
    }

    #[test]
    fn the_model_is_found_and_renamed_and_every_other_byte_stays() {
        let file = "name=\"file\"; filename=\"a;b.mp3\"\r\nContent-Type: audio/mpeg";
        let bytes = form(&[("name=\"model\"", "whisper"), ("name=stream", "true"), (file, "\0\u{1}--bx\r\n--")]);
        let found = scan_form(&bytes, "b").expect("a form");
        assert_eq!((found.model, found.stream), ("whisper", true));
        let renamed = String::from_utf8(found.rename("whisper-1")).expect("text");
        assert_eq!(renamed, String::from_utf8(bytes.clone()).expect("text").replace("whisper", "whisper-1"));
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        let twice = form(&[("name=\"model\"", "a"), ("name=\"model\"", "b")]);
        assert_eq!(scan_form(&twice, "b"), Err(FormError::Ambiguous("model")));
        assert_eq!(scan_form(&form(&[("name=\"Model\"", "a")]), "b"), Err(FormError::Ambiguous("model")));
        let file = form(&[("name=\"model\"; filename=\"x\"", "a")]);
        assert_eq!(scan_form(&file, "b"), Err(FormError::ModelNotText));
        assert_eq!(scan_form(&form(&[("name=\"prompt\"", "a")]), "b"), Err(FormError::NoModel));
        for broken in [
            &b""[..],
            b"x--b\r\n",
            b"--b\r\n\r\n\r\n--b--",
            b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na",
        ] {
            assert!(matches!(scan_form(broken, "b"), Err(FormError::Invalid { .. })), "{broken:?}");
        }
    }

    #[test]
    fn a_boundary_is_read_or_refused() {
        assert_eq!(boundary(b"multipart/form-data; boundary=abc-1"), Ok("abc-1"));
        assert_eq!(boundary(b"Multipart/Form-Data; charset=utf-8; Boundary=\"a=b\""), Ok("a=b"));
        for wrong in [
            "multipart/form-data",
            "multipart/mixed; boundary=a",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            "application/json",
        ] {
            assert_eq!(boundary(wrong.as_bytes()), Err(FormError::NoBoundary), "{wrong}");
        }
    }
}
