//! The body of a request: which model it asks for and whether it streams, without building anything.

mod gemini;

use std::borrow::Cow;
use std::ops::Range;

pub use gemini::rename_gemini_model;

use crate::json::{Cursor, Fault, MAX_DEPTH, push_quoted, unescape};

/// What the gateway needs to know of a request body; all else in it stays bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// The model asked for, where the body names one.
    pub model: Option<Field<Cow<'a, str>>>,
    /// Whether `stream` is true.
    pub stream: bool,
    bytes: &'a [u8],
    inside: Inside,
    options: Option<Options>,
}

/// A value, and the bytes it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<T> {
    /// The value, unescaped.
    pub value: T,
    /// Where it stands in the body, quotes included.
    pub span: Range<usize>,
}

/// Why a body is refused, in words for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Nothing but white space.
    #[error("the request body is empty; send a JSON object")]
    Empty,
    /// Starts with U+FEFF.
    #[error("the request body starts with a byte order mark; send UTF-8 without one")]
    ByteOrderMark,
    /// Starts like some other JSON value.
    #[error("the request body is not a JSON object; it has to start with `{{`")]
    NotAnObject,
    /// Not JSON, or not UTF-8.
    #[error("the request body is not valid JSON at byte {at}; send one JSON object in UTF-8 and nothing after it")]
    Invalid {
        /// Offset of the first byte that does not fit.
        at: usize,
    },
    /// Nested past the limit.
    #[error("the request body is nested deeper than {MAX_DEPTH} levels; flatten it")]
    TooDeep,
    /// A field that decides something stands there twice, and two readers could take different ones.
    #[error("`{0}` stands in the request body more than once; send it once")]
    Repeated(&'static str),
    /// A field that decides something, in letters that some readers would take for it and others not.
    #[error("a field of the request body is a misspelt `{0}`; write it in exactly these letters, without escapes")]
    Misspelt(&'static str),
    /// `model` is there but is no text.
    #[error("`model` has to be a string")]
    ModelNotString,
    /// A switch that is neither true, false nor null.
    #[error("`{0}` has to be true or false")]
    NotBoolean(&'static str),
    /// `stream_options` is neither an object nor null.
    #[error("`stream_options` has to be an object")]
    OptionsNotObject,
}

/// Reads a request body in one pass.
///
/// The whole of it is checked against RFC 8259, so that what one reader takes every reader takes. Beyond that, the
/// fields Keyward decides by (`model`, `stream`, `stream_options` and its `include_usage`) are refused where they are
/// repeated, misspelt or of another type. Errors are found in the order of the bytes.
pub fn scan(body: &[u8]) -> Result<Body<'_>, BodyError> {
    let text = std::str::from_utf8(body).map_err(|e| BodyError::Invalid { at: e.valid_up_to() })?;
    if text.starts_with('\u{feff}') {
        return Err(BodyError::ByteOrderMark);
    }
    let mut cursor = Cursor::new(text);
    cursor.space();
    match cursor.peek() {
        None => return Err(BodyError::Empty),
        Some(b'{') => {}
        Some(_) => return Err(BodyError::NotAnObject),
    }
    let (mut model, mut stream, mut options) = (None, None, None);
    let inside = members(&mut cursor, &["model", "stream", "stream_options"], |cursor, known| match known {
        Some("model") => set_once(&mut model, "model", self::model(cursor)?),
        Some("stream") => set_once(&mut stream, "stream", switch(cursor, "stream", 1)?.value),
        Some(name) => set_once(&mut options, name, self::options(cursor)?),
        None => Ok(cursor.value(1)?),
    })?;
    cursor.space();
    match cursor.peek() {
        None => Ok(Body { model, stream: stream == Some(Switch::On), bytes: body, inside, options }),
        Some(_) => Err(cursor.fault().into()),
    }
}

impl Body<'_> {
    /// Whether the caller itself asked for usage on the stream.
    pub fn asked_for_usage(&self) -> bool {
        match &self.options {
            Some(Options::Object { include_usage: Some(field), .. }) => field.value == Switch::On,
            _ => false,
        }
    }

    /// The body with another model and, with `include_usage`, with usage asked for; `None` where that changes nothing.
    ///
    /// Every other byte stays as it was. A body without a model is given none: on such routes the path names it.
    pub fn rewrite(&self, model: Option<&str>, include_usage: bool) -> Option<Vec<u8>> {
        let model = self.model_edit(model);
        let usage = if include_usage { self.usage_edit() } else { None };
        let mut edits = [model, usage];
        edits.sort_by_key(|edit| edit.as_ref().map(|(span, _)| span.start));
        if edits.iter().all(Option::is_none) {
            return None;
        }
        let added: usize = edits.iter().flatten().map(|(_, with)| with.room()).sum();
        let mut out = Vec::with_capacity(self.bytes.len() + added);
        let mut from = 0;
        for (span, with) in edits.iter().flatten() {
            out.extend_from_slice(&self.bytes[from..span.start]);
            match with {
                With::Quoted(text) => push_quoted(&mut out, text),
                With::Json(text) => out.extend_from_slice(text.as_bytes()),
            }
            from = span.end;
        }
        out.extend_from_slice(&self.bytes[from..]);
        Some(out)
    }

    fn model_edit<'m>(&self, model: Option<&'m str>) -> Option<Edit<'m>> {
        let (field, model) = (self.model.as_ref()?, model?);
        (field.value != model).then(|| (field.span.clone(), With::Quoted(model)))
    }

    fn usage_edit(&self) -> Option<Edit<'static>> {
        let (span, text) = match &self.options {
            None => (
                self.inside.start(),
                match self.inside.empty {
                    true => r#""stream_options":{"include_usage":true}"#,
                    false => r#""stream_options":{"include_usage":true},"#,
                },
            ),
            Some(Options::Null(span)) => (span.clone(), r#"{"include_usage":true}"#),
            Some(Options::Object { include_usage: Some(field), .. }) => match field.value {
                Switch::On => return None,
                _ => (field.span.clone(), "true"),
            },
            Some(Options::Object { include_usage: None, inside }) => (
                inside.start(),
                match inside.empty {
                    true => r#""include_usage":true"#,
                    false => r#""include_usage":true,"#,
                },
            ),
        };
        Some((span, With::Json(text)))
    }
}

impl From<Fault> for BodyError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Invalid(at) => BodyError::Invalid { at },
            Fault::TooDeep => BodyError::TooDeep,
        }
    }
}

type Edit<'a> = (Range<usize>, With<'a>);

enum With<'a> {
    Quoted(&'a str),
    Json(&'static str),
}

impl With<'_> {
    fn room(&self) -> usize {
        match self {
            With::Quoted(text) => text.len() + 2,
            With::Json(text) => text.len(),
        }
    }
}

/// Where an object's members start, just after its brace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inside {
    at: usize,
    empty: bool,
}

impl Inside {
    fn start(self) -> Range<usize> {
        self.at..self.at
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Options {
    Null(Range<usize>),
    Object { inside: Inside, include_usage: Option<Field<Switch>> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    On,
    Off,
    Null,
}

/// Walks an object's members; `read` has to pass the value, and is told the name where it is one of `names`.
fn members<'a>(
    cursor: &mut Cursor<'a>,
    names: &[&'static str],
    mut read: impl FnMut(&mut Cursor<'a>, Option<&'static str>) -> Result<(), BodyError>,
) -> Result<Inside, BodyError> {
    cursor.expect(b'{')?;
    let at = cursor.at();
    cursor.space();
    if cursor.eat(b'}') {
        return Ok(Inside { at, empty: true });
    }
    loop {
        let start = cursor.at();
        let (key, escaped) = cursor.key()?;
        let name = known(key, escaped, names, start)?;
        read(cursor, name)?;
        cursor.space();
        if !cursor.eat(b',') {
            cursor.expect(b'}')?;
            return Ok(Inside { at, empty: false });
        }
        cursor.space();
    }
}

/// The one of `names` that this key is, or an error where it only looks like one.
fn known(key: &str, escaped: bool, names: &[&'static str], start: usize) -> Result<Option<&'static str>, BodyError> {
    if let Some(name) = names.iter().find(|name| **name == key) {
        return Ok(Some(name));
    }
    let lookalike = if escaped {
        let key = unescape(key).ok_or(BodyError::Invalid { at: start })?;
        names.iter().find(|name| folds_to(&key, name))
    } else {
        names.iter().find(|name| folds_to(key, name))
    };
    match lookalike {
        Some(name) => Err(BodyError::Misspelt(name)),
        None => Ok(None),
    }
}

/// Whether Unicode's simple case folding makes `key` this name, which is lower-case ASCII.
///
/// Only two characters outside ASCII fold into it: the long s and the Kelvin sign.
fn folds_to(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.len() >= name.len() && key.chars().map(fold).eq(name.chars())
}

fn set_once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), BodyError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(BodyError::Repeated(name)),
    }
}

fn model<'a>(cursor: &mut Cursor<'a>) -> Result<Field<Cow<'a, str>>, BodyError> {
    let start = cursor.at();
    if cursor.peek() != Some(b'"') {
        cursor.value(1)?;
        return Err(BodyError::ModelNotString);
    }
    let (inside, escaped) = cursor.string()?;
    let value = match escaped {
        false => Cow::Borrowed(inside),
        true => Cow::Owned(unescape(inside).ok_or(BodyError::Invalid { at: start })?),
    };
    Ok(Field { value, span: start..cursor.at() })
}

fn switch(cursor: &mut Cursor<'_>, name: &'static str, depth: usize) -> Result<Field<Switch>, BodyError> {
    let start = cursor.at();
    let value = match cursor.peek() {
        Some(b't') => Some(Switch::On),
        Some(b'f') => Some(Switch::Off),
        Some(b'n') => Some(Switch::Null),
        _ => None,
    };
    cursor.value(depth)?;
    let value = value.ok_or(BodyError::NotBoolean(name))?;
    Ok(Field { value, span: start..cursor.at() })
}

fn options(cursor: &mut Cursor<'_>) -> Result<Options, BodyError> {
    const NAME: &str = "stream_options.include_usage";
    let start = cursor.at();
    match cursor.peek() {
        Some(b'{') => {
            let mut include_usage = None;
            let inside = members(cursor, &["include_usage"], |cursor, known| match known {
                Some(_) => set_once(&mut include_usage, NAME, switch(cursor, NAME, 2)?),
                None => Ok(cursor.value(2)?),
            })?;
            Ok(Options::Object { inside, include_usage })
        }
        other => {
            cursor.value(1)?;
            match other {
                Some(b'n') => Ok(Options::Null(start..cursor.at())),
                _ => Err(BodyError::OptionsNotObject),
            }
        }
    }
}

#[cfg(test)]
mod tests;
