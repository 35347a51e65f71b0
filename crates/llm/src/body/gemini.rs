//! Gemini's path names the model, and some of its bodies name it once more: each item of a batch has to.

use std::borrow::Cow;

use super::{BodyError, Field};
use crate::json::{Cursor, push_quoted};

/// The body with the model `to` in every place that names the model `from`; `None` where there is no such place.
///
/// Every other byte stays as it was, and so does a body that is not JSON: the provider will say so.
pub fn rename_gemini_model(body: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(std::str::from_utf8(body).ok()?);
    let mut names = Vec::new();
    cursor.space();
    object(&mut cursor, Place::Top, &mut names).ok()?;
    names.retain(|name| name.value.strip_prefix(PREFIX) == Some(from));
    if names.is_empty() {
        return None;
    }
    let to = format!("{PREFIX}{to}");
    let mut out = Vec::with_capacity(body.len() + names.len() * to.len());
    let mut at = 0;
    for name in names {
        out.extend_from_slice(&body[at..name.span.start]);
        push_quoted(&mut out, &to);
        at = name.span.end;
    }
    out.extend_from_slice(&body[at..]);
    Some(out)
}

const PREFIX: &str = "models/";

/// How far in: a model is named at the top and one level below it, nowhere else.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Top,
    Below,
}

type Names<'a> = Vec<Field<Cow<'a, str>>>;

fn object<'a>(cursor: &mut Cursor<'a>, place: Place, names: &mut Names<'a>) -> Result<(), BodyError> {
    cursor.expect(b'{')?;
    cursor.space();
    if cursor.eat(b'}') {
        return Ok(());
    }
    loop {
        let (key, _) = cursor.key()?;
        match (key, cursor.peek()) {
            ("model", Some(b'"')) => names.push(super::model(cursor)?),
            ("requests", Some(b'[')) if place == Place::Top => array(cursor, names)?,
            // Of a call that counts tokens; both spellings are read.
            ("generateContentRequest" | "generate_content_request", Some(b'{')) if place == Place::Top => {
                object(cursor, Place::Below, names)?;
            }
            _ => cursor.value(DEPTH)?,
        }
        cursor.space();
        if !cursor.eat(b',') {
            return Ok(cursor.expect(b'}')?);
        }
        cursor.space();
    }
}

fn array<'a>(cursor: &mut Cursor<'a>, names: &mut Names<'a>) -> Result<(), BodyError> {
    cursor.expect(b'[')?;
    cursor.space();
    if cursor.eat(b']') {
        return Ok(());
    }
    loop {
        match cursor.peek() {
            Some(b'{') => object(cursor, Place::Below, names)?,
            _ => cursor.value(DEPTH)?,
        }
        cursor.space();
        if !cursor.eat(b',') {
            return Ok(cursor.expect(b']')?);
        }
        cursor.space();
    }
}

/// What any value found here stands within, at most.
const DEPTH: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(body: &str) -> Option<String> {
        rename_gemini_model(body.as_bytes(), "small", "v/\"1\"").map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_place_that_names_the_model_is_changed_and_nothing_else() {
        let cases = [
            (
                r#" {"requests" : [{"model": "models/small","content":{"parts":[{"text":"models/small"}]}}, {"model":"models\/small"}, 1, {}] } "#,
                r#" {"requests" : [{"model": "models/v/\"1\"","content":{"parts":[{"text":"models/small"}]}}, {"model":"models/v/\"1\""}, 1, {}] } "#,
            ),
            (r#"{"model":"models/small","x":1e0}"#, r#"{"model":"models/v/\"1\"","x":1e0}"#),
            (
                r#"{"generateContentRequest":{"contents":[],"model":"models/small"}}"#,
                r#"{"generateContentRequest":{"contents":[],"model":"models/v/\"1\""}}"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(renamed(body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn what_names_no_such_model_stays() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"requests":[]}"#,
            r#"{"requests":[{"model":"models/other"}]}"#,
            r#"{"contents":[{"model":"models/small"}]}"#,
            r#"{"model":{"model":"models/small"}}"#,
            r#"{"requests":[{"requests":[{"model":"models/small"}]}]}"#,
            r#"{"model":"models/small""#,
            r#"{"model":"models/small","requests":[{"model":}]}"#,
        ] {
            assert_eq!(renamed(body), None, "{body}");
        }
        assert_eq!(rename_gemini_model(b"{\"model\":\"models/small\xff\"}", "small", "x"), None);
        let nested = format!("{}1{}", r#"{"generateContentRequest":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(renamed(&nested), None);
    }
}
