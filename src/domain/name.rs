//! Names: what people call keys, providers and models.

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};

use crate::error::Error;

/// The most characters of a name.
pub const MAX_CHARS: usize = 64;

/// A name as it was entered, trimmed, and the form that must be unique: NFKC, case folded, without ignorable
/// characters (Unicode's NFKC_Casefold).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// To show.
    pub text: String,
    /// To compare.
    pub key: String,
}

impl Name {
    /// Parses a name of 1 to 64 characters without control or format characters (the joiners that scripts and emoji
    /// need excepted).
    ///
    /// # Errors
    /// A [`Code::ValidationFailed`](crate::error::Code::ValidationFailed) of the field `name`.
    pub fn parse(text: &str) -> Result<Name, Error> {
        Name::parse_field("name", text)
    }

    fn parse_field(field: &str, text: &str) -> Result<Name, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::field(field, "must not be empty"));
        }
        let chars = text.chars().count();
        if chars > MAX_CHARS {
            return Err(Error::field(field, format!("must have at most {MAX_CHARS} characters; this has {chars}")));
        }
        if let Some(c) = text.chars().find(|c| !is_allowed(*c)) {
            return Err(Error::field(
                field,
                format!("must not hold control or format characters; this holds U+{:04X}", u32::from(c)),
            ));
        }
        let key = fold(text);
        if key.is_empty() {
            return Err(Error::field(field, "must hold at least one visible character"));
        }
        Ok(Name { text: text.to_owned(), key })
    }

    /// A provider's name: as [`Name::parse`], without a `/`, which separates it from a model's name.
    ///
    /// # Errors
    /// As [`Name::parse`].
    pub fn parse_provider(text: &str) -> Result<Name, Error> {
        if text.contains('/') {
            return Err(Error::field(
                "name",
                "must not hold a /, which separates the provider from the model where agents name both",
            ));
        }
        Name::parse(text)
    }
}

/// The form that is compared and searched.
pub fn fold(text: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let folded = CaseMapper::new().fold_string(&nfkc.normalize(text)).into_owned();
    let visible: String = folded.chars().filter(|c| !ignorable.contains(*c)).collect();
    nfkc.normalize(&visible).into_owned()
}

/// Whether a character may stand in a name: it is seen, and changes nothing about those around it.
pub(super) fn is_allowed(c: char) -> bool {
    const ZWNJ: char = '\u{200C}';
    const ZWJ: char = '\u{200D}';
    if c == ZWNJ || c == ZWJ {
        return true;
    }
    !matches!(
        CodePointMapData::<GeneralCategory>::new().get(c),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_read_the_same_have_one_key() {
        let key = |text| Name::parse(text).expect(text).key;
        assert_eq!(key("MY_API"), key(" my_api "));
        assert_eq!(key("ＭＹ＿ＡＰＩ"), key("my_api"));
        assert_eq!(key("Stra\u{DF}e"), key("STRASSE"));
        assert_eq!(key("e\u{301}t\u{E9}"), key("\u{C9}t\u{E9}"));
        assert_eq!(key("a\u{200D}b"), key("ab"));
        assert_ne!(key("a b"), key("ab"));
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "   ", "a\nb", "a\u{202E}b", "a\u{200B}b", "\u{200D}", "a\u{7}b", "a\u{FEFF}b"] {
            assert!(Name::parse(name).is_err(), "{name:?}");
        }
        assert!(Name::parse(&"x".repeat(65)).is_err());
        assert!(Name::parse(&"\u{1F469}".repeat(64)).is_ok());
        assert!(Name::parse_provider("a/b").is_err());
    }
}
