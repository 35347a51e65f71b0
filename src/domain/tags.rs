//! Tags: words that agent keys are found by, and that policies ask for.

use crate::error::{Error, Result};

/// The most tags of a key.
const MAX_TAGS: usize = 20;
/// The longest tag, in bytes.
const MAX_TAG: usize = 63;
/// What a tag may be.
pub const RULE: &str = "must hold at most 20 words of 1 to 63 small letters, digits and - _ . : /";

/// Tags that can be some, sorted, each once.
///
/// # Errors
/// A refused field `tags`.
pub fn parse(texts: &[String]) -> Result<Vec<String>> {
    let mut tags: Vec<String> = texts.iter().map(|text| text.trim().to_owned()).collect();
    tags.sort();
    tags.dedup();
    match tags.len() <= MAX_TAGS && tags.iter().all(|tag| is_tag(tag)) {
        true => Ok(tags),
        false => Err(Error::field("tags", RULE)),
    }
}

/// Whether a text can be a tag.
pub fn is_tag(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.:/".contains(&byte);
    (1..=MAX_TAG).contains(&text.len()) && text.bytes().all(is_part)
}

/// For the column of the store: between spaces, so that each can be looked for; empty for none.
pub fn to_column(tags: &[String]) -> String {
    match tags {
        [] => String::new(),
        tags => format!(" {} ", tags.join(" ")),
    }
}

/// From the column of the store.
pub fn of_column(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_and_read_as_they_were_written() {
        let some = ["team:a", "prod", " prod ", "v1.2/x_y"].map(String::from);
        let tags = parse(&some).expect("good ones");
        assert_eq!(tags, ["prod", "team:a", "v1.2/x_y"]);
        assert_eq!(to_column(&tags), " prod team:a v1.2/x_y ");
        assert_eq!(of_column(&to_column(&tags)), tags);
        assert!(of_column("").is_empty() && to_column(&[]).is_empty());
        for bad in ["", "Prod", "a b", "é", "a,b", &"x".repeat(64)] {
            assert!(parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(parse(&(0..21).map(|number| format!("t{number}")).collect::<Vec<_>>()).is_err());
    }
}
