//! An opened general key, tied to where it may go.

use crate::{Binding, ProviderValue};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use zeroize::Zeroizing;

/// An opened value and its binding. Cannot be printed, cloned, serialised or compared; the memory that holds it is
/// zeroized when the last header made from it is dropped.
pub struct ProviderSecret {
    /// `Bearer ` and the value; `bare` is a slice of the same memory.
    bearer: Bytes,
    bare: Bytes,
    /// Base64 texts that betray the value, longest first.
    encodings: Vec<Zeroizing<String>>,
    binding: Binding,
}

const BEARER: &str = "Bearer ";
const REDACTED: &str = "[redacted]";

impl ProviderSecret {
    /// The bytes of the header that authenticates at the provider: `Bearer ` and the value, or the bare value,
    /// whichever `header_prefix` (`"Bearer "` or `""`) asks for. Costs a reference count, no copy.
    ///
    /// `None` where `binding` is not the one the value was saved for, or for another prefix.
    pub fn expose_secret(&self, binding: &Binding, header_prefix: &str) -> Option<Bytes> {
        if *binding != self.binding {
            return None;
        }
        match header_prefix {
            BEARER => Some(self.bearer.clone()),
            "" => Some(self.bare.clone()),
            _ => None,
        }
    }

    /// Where the value may go.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Whether the value stands in `haystack`: raw, JSON-escaped, percent-encoded or in base64 (standard or URL-safe,
    /// alone or inside a longer encoded text).
    pub fn occurs_in(&self, haystack: &[u8]) -> bool {
        self.find(haystack, 0).is_some()
    }

    /// `text` with `[redacted]` in place of every form of the value that [`ProviderSecret::occurs_in`] finds.
    pub fn blot(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut done = 0;
        while let Some((start, end)) = self.find(text.as_bytes(), done) {
            // Every form begins and ends with an ASCII character, so these are character boundaries.
            clean.push_str(&text[done..start]);
            clean.push_str(REDACTED);
            done = end;
        }
        clean.push_str(&text[done..]);
        clean
    }

    /// The credential of a service that Keyward itself uses, as its operator set it: for that service alone.
    pub fn of_service(value: &ProviderValue, binding: Binding) -> ProviderSecret {
        ProviderSecret::new(value, binding)
    }

    pub(crate) fn new(value: &ProviderValue, binding: Binding) -> ProviderSecret {
        let value = value.as_str();
        let mut text = Zeroizing::new(Vec::with_capacity(BEARER.len() + value.len()));
        text.extend_from_slice(BEARER.as_bytes());
        text.extend_from_slice(value.as_bytes());
        let bearer = Bytes::from_owner(text);
        ProviderSecret {
            bare: bearer.slice(BEARER.len()..),
            bearer,
            encodings: base64_forms(value.as_bytes()),
            binding,
        }
    }

    /// Start and end of the first form of the value at or after `from`.
    fn find(&self, haystack: &[u8], from: usize) -> Option<(usize, usize)> {
        // No form is shorter than the value itself, or than the shortest part of its base64 texts.
        let shortest = self.encodings.last().map_or(self.bare.len(), |form| form.len().min(self.bare.len()));
        let end = (haystack.len() + 1).saturating_sub(shortest);
        (from..end).find_map(|start| {
            let rest = &haystack[start..];
            let escaped = [Escape::None, Escape::Percent, Escape::Json]
                .iter()
                .find_map(|escape| escape.match_length(rest, &self.bare));
            let encoded = || {
                let forms = self.encodings.iter();
                forms.map(|form| form.as_bytes()).find(|form| rest.starts_with(form)).map(<[u8]>::len)
            };
            escaped.or_else(encoded).map(|length| (start, start + length))
        })
    }
}

opaque_debug!(ProviderSecret);

/// A way of writing bytes in which each byte may stand for itself or be escaped.
#[derive(Clone, Copy)]
enum Escape {
    None,
    /// `%2F`, RFC 3986, either case.
    Percent,
    /// `\/`, `\"`, `\\` and `\u002f`, RFC 8259.
    Json,
}

impl Escape {
    /// How many bytes at the start of `text` stand for `value`, if they do.
    fn match_length(self, text: &[u8], value: &[u8]) -> Option<usize> {
        let mut at = 0;
        for &expected in value {
            let (byte, length) = self.first(text.get(at..)?)?;
            if byte != expected {
                return None;
            }
            at += length;
        }
        Some(at)
    }

    /// The first byte that `text` stands for, and how many bytes of `text` write it.
    fn first(self, text: &[u8]) -> Option<(u8, usize)> {
        let literal = text.first().map(|&byte| (byte, 1));
        match (self, text) {
            (Escape::Percent, [b'%', high, low, ..]) => hex(*high, *low).map(|b| (b, 3)).or(literal),
            (Escape::Json, [b'\\', b'u', b'0', b'0', high, low, ..]) => hex(*high, *low).map(|b| (b, 6)).or(literal),
            (Escape::Json, [b'\\', quoted @ (b'/' | b'"' | b'\\'), ..]) => Some((*quoted, 2)),
            _ => literal,
        }
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// The base64 texts that hold `value`: encoded alone, and the part that stays the same wherever it stands in a longer
/// text (at each of the three offsets; the characters it shares with its neighbours are left out).
fn base64_forms(value: &[u8]) -> Vec<Zeroizing<String>> {
    /// Shorter parts would match by chance.
    const SHORTEST_PART: usize = 8;
    let mut forms: Vec<Zeroizing<String>> = Vec::new();
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        forms.push(Zeroizing::new(engine.encode(value)));
        for offset in 0..3 {
            let mut shifted = Zeroizing::new(Vec::with_capacity(offset + value.len()));
            shifted.resize(offset, 0);
            shifted.extend_from_slice(value);
            let text = Zeroizing::new(engine.encode(&*shifted));
            let part = &text[(offset * 8).div_ceil(6)..shifted.len() * 8 / 6];
            if part.len() >= SHORTEST_PART {
                forms.push(Zeroizing::new(part.to_owned()));
            }
        }
    }
    forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup_by(|a, b| a.as_str() == b.as_str());
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    const VALUE: &str = "sk-\"a/b\\c%41+~?>xyz";

    fn binding(header: &'static str) -> Binding {
        Binding::new("https://a.example:443", "", header, "")
    }

    fn secret(value: &str) -> ProviderSecret {
        let value = ProviderValue::parse(value.to_owned()).unwrap();
        ProviderSecret::new(&value, binding("x-api-key"))
    }

    #[test]
    fn exposes_both_renderings_to_its_own_binding_only() {
        let secret = secret("sk-1");
        let own = binding("x-api-key");
        let bearer = secret.expose_secret(&own, "Bearer ").unwrap();
        let bare = secret.expose_secret(&own, "").unwrap();
        assert_eq!((&bearer[..], &bare[..]), (&b"Bearer sk-1"[..], &b"sk-1"[..]));
        assert_eq!(bare.as_ptr(), bearer[7..].as_ptr(), "one memory, no copy");
        assert!(secret.expose_secret(&own, "Basic ").is_none());
        assert!(secret.expose_secret(&binding("api-key"), "").is_none());
        assert_eq!(secret.binding(), &own);
    }

    #[test]
    fn header_outlives_the_secret() {
        let secret = secret("sk-1");
        let bare = secret.expose_secret(&binding("x-api-key"), "").unwrap();
        drop(secret);
        assert_eq!(&bare[..], b"sk-1");
    }

    #[test]
    fn blots_every_form() {
        let secret = secret(VALUE);
        let percent = |upper: bool| -> String {
            let one = |b: u8| {
                if upper { format!("%{b:02X}") } else { format!("%{b:02x}") }
            };
            let each = VALUE.bytes();
            each.map(|b| if b.is_ascii_alphanumeric() || b == b'-' { char::from(b).to_string() } else { one(b) })
                .collect()
        };
        let unicode: String = VALUE.bytes().map(|b| format!("\\u{b:04x}")).collect();
        for form in [
            VALUE.to_owned(),
            VALUE.replace('\\', "\\\\").replace('"', "\\\""),
            VALUE.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/"),
            unicode,
            percent(true),
            percent(false),
            STANDARD_NO_PAD.encode(VALUE),
            URL_SAFE_NO_PAD.encode(VALUE),
        ] {
            let text = format!("é «{form}» and {form}é");
            assert_eq!(secret.blot(&text), "é «[redacted]» and [redacted]é");
            assert!(secret.occurs_in(text.as_bytes()));
        }
        for text in [
            STANDARD.encode(format!("{VALUE}:")),
            STANDARD.encode(format!("u:{VALUE}")),
            URL_SAFE.encode(format!("u{VALUE}!!")),
        ] {
            assert!(secret.occurs_in(text.as_bytes()));
            assert!(secret.blot(&text).contains(REDACTED));
        }
    }

    #[test]
    fn leaves_other_text_alone() {
        let secret = secret(VALUE);
        let text = "Incorrect API key: sk-\"a/b. é 100% \\u00 %4";
        assert_eq!(secret.blot(text), text);
        assert!(!secret.occurs_in(b"\xff%"));
        assert_eq!(secret.blot(""), "");
    }

    proptest! {
        #[test]
        fn blot_leaves_nothing(value in "[!-~]{13,40}", before: String, after: String) {
            prop_assume!(!value.contains("******"));
            let value = format!("s{value}");
            let text = format!("{before}{value}{after}");
            let secret = secret(&value);
            prop_assert!(secret.occurs_in(text.as_bytes()));
            prop_assert!(!secret.blot(&text).contains(&value));
        }

        #[test]
        fn search_never_panics(value in "[!-)+-~]{1,8}", haystack: Vec<u8>) {
            if let Ok(value) = ProviderValue::parse(value) {
                ProviderSecret::new(&value, binding("x-api-key")).occurs_in(&haystack);
            }
        }
    }
}
