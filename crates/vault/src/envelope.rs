//! The text in which a key's work is stored: `v1.<key id>.<base64url without padding>`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Writes the text. `key_id` must be one that [`parse`] accepts; those made by this crate are.
pub(crate) fn write(key_id: &str, payload: &[u8]) -> String {
    format!("v1.{key_id}.{}", URL_SAFE_NO_PAD.encode(payload))
}

/// The id of the key that made a MAC or a sealed value; `None` for a text that is neither.
pub fn key_id_of(text: &str) -> Option<&str> {
    parse(text).map(|(key_id, _)| key_id)
}

/// Takes the text apart. `None` for anything [`write`] would not have written: there is one text per payload.
pub(crate) fn parse(text: &str) -> Option<(&str, Vec<u8>)> {
    let (key_id, payload) = text.strip_prefix("v1.")?.split_once('.')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if key_id.is_empty() || key_id.len() > 64 || !key_id.bytes().all(plain) {
        return None;
    }
    // The engine refuses padding and trailing bits, so every accepted text is canonical.
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    Some((key_id, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_other_versions_and_odd_ids() {
        for text in
            ["", "v1", "v1.", "v1.k", "v2.k.AA", "v1..AA", "v1.k k.AA", "v1.k.AA=", "v1.k.AB", "v1.k.A+", "v1.k.AA.AA"]
        {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(payload: Vec<u8>) {
            let text = write("data-000001-00ff", &payload);
            prop_assert_eq!(parse(&text), Some(("data-000001-00ff", payload)));
        }

        #[test]
        fn never_panics(text: String) {
            if let Some((id, payload)) = parse(&text) {
                prop_assert_eq!(write(id, &payload), text.clone());
            }
        }
    }
}
