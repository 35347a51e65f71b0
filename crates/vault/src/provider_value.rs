//! A general key's value, as somebody entered it.

use zeroize::Zeroizing;

/// A checked value of a general key that has not been bound to an origin yet. Cannot be printed, cloned or compared;
/// zeroized on drop. It can only be masked and sealed.
pub struct ProviderValue(Zeroizing<String>);

impl ProviderValue {
    /// The longest value in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Trims whitespace around `text` and checks that the rest can stand in a header and is no slip of the hand.
    ///
    /// # Errors
    /// Says what is wrong with the text, never what stands in it.
    pub fn parse(text: String) -> Result<ProviderValue, ValueError> {
        let text = Zeroizing::new(text);
        let value = text.trim();
        if value.is_empty() {
            return Err(ValueError::Empty);
        }
        if value.len() > Self::MAX_BYTES {
            return Err(ValueError::TooLong);
        }
        if value.starts_with("kw_") || value.starts_with("kwm_") {
            return Err(ValueError::KeywardKey);
        }
        if value.contains("******") || value.contains(['•', '●']) {
            return Err(ValueError::Mask);
        }
        if !value.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ValueError::NotPrintable);
        }
        Ok(ProviderValue(Zeroizing::new(value.to_owned())))
    }

    /// What a list shows: the first 3 characters, `******` and the last 3; a value under 12 characters is masked whole.
    pub fn mask(&self) -> String {
        let value = self.0.as_str();
        if value.len() < 12 {
            return "******".to_owned();
        }
        // A value is ASCII, so bytes are characters.
        format!("{}******{}", &value[..3], &value[value.len() - 3..])
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A value that this crate sealed itself. `None` if the bytes are none it would have sealed.
    pub(crate) fn from_opened(bytes: &[u8]) -> Option<ProviderValue> {
        let text = std::str::from_utf8(bytes).ok()?;
        let sound = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        sound.then(|| ProviderValue(Zeroizing::new(text.to_owned())))
    }
}

opaque_debug!(ProviderValue);

/// Why a text is no value of a general key. Carries nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing but whitespace.
    #[error("the value is empty; paste the key your provider gave you")]
    Empty,
    /// More than [`ProviderValue::MAX_BYTES`].
    #[error("the value is longer than 4096 bytes; paste the key alone")]
    TooLong,
    /// Cannot stand in a header.
    #[error("the value holds spaces, line breaks or characters outside printable ASCII; paste the key alone")]
    NotPrintable,
    /// One of Keyward's own keys.
    #[error("the value is a Keyward key (kw_ or kwm_), not a provider's; paste the key your provider gave you")]
    KeywardKey,
    /// The mask of a value instead of the value.
    #[error("the value is a mask, not a key; leave the field empty to keep the stored value, or paste the whole key")]
    Mask,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ProviderValue, ValueError> {
        ProviderValue::parse(text.to_owned())
    }

    #[test]
    fn trims_and_keeps_printable_ascii() {
        assert_eq!(parse(" \t!~key\"\\/%\r\n").unwrap().as_str(), "!~key\"\\/%");
        assert!(parse(&"a".repeat(4096)).is_ok());
    }

    #[test]
    fn refuses_what_is_no_providers_key() {
        for (text, expected) in [
            ("", ValueError::Empty),
            (" \n\t ", ValueError::Empty),
            ("sk-a b", ValueError::NotPrintable),
            ("sk-a\nb", ValueError::NotPrintable),
            ("sk-a\0b", ValueError::NotPrintable),
            ("sk-\u{7f}", ValueError::NotPrintable),
            ("sk-é", ValueError::NotPrintable),
            ("sk\u{200b}-a", ValueError::NotPrintable),
            ("kw_abc", ValueError::KeywardKey),
            (" kwm_abc", ValueError::KeywardKey),
            ("sk-******xyz", ValueError::Mask),
            ("******", ValueError::Mask),
            ("••••", ValueError::Mask),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text:?}");
        }
        assert_eq!(parse(&"a".repeat(4097)).unwrap_err(), ValueError::TooLong);
    }

    #[test]
    fn masks_first_and_last_three_and_short_ones_whole() {
        assert_eq!(parse("sk-abcdefxyz").unwrap().mask(), "sk-******xyz");
        assert_eq!(parse("sk-abcdexyz").unwrap().mask(), "******");
        assert_eq!(parse("a").unwrap().mask(), "******");
    }
}
