//! Digests of secrets, MACs of rows, the audit chain: HMAC-SHA256 (RFC 2104, FIPS 198-1).

use crate::{Keyring, ProviderValue, envelope, framing::Framed, keyring::Live};
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// No table: what value marks are made under, so that none is the MAC of any row.
const VALUE_MARKS: &str = "general_keys/value_mark";

/// A secret as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The id of the pepper it was made with.
    pub pepper: String,
    /// Base64url of HMAC-SHA256 of the secret's SHA-256, 43 characters.
    pub value: String,
}

/// One column under a row MAC. Its type counts: `Text("1")` is not `Int(1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacField<'a> {
    /// A TEXT column.
    Text(&'a str),
    /// A BIGINT column.
    Int(i64),
}

impl Keyring {
    /// The digest under which a new secret is stored: with the newest pepper.
    pub fn digest(&self, sha256: &[u8; 32]) -> Digest {
        let (id, pepper) = self.pepper.newest();
        digest(id, pepper, sha256)
    }

    /// The digests under which a presented secret may be stored: one per live pepper, newest first.
    pub fn digests(&self, sha256: &[u8; 32]) -> Vec<Digest> {
        self.pepper.iter().map(|(id, pepper)| digest(id, pepper, sha256)).collect()
    }

    /// What tells later whether somebody entered the same value of this general key again. A MAC, not a hash: without the
    /// key it cannot be searched for.
    pub fn value_mark(&self, general_key_id: &str, value: &ProviderValue) -> String {
        self.row_mac(VALUE_MARKS, general_key_id, &[MacField::Text(value.as_str())])
    }

    /// Whether `value` is the one that `mark` was made of.
    pub fn is_marked(&self, general_key_id: &str, value: &ProviderValue, mark: &str) -> bool {
        self.verify_row_mac(VALUE_MARKS, general_key_id, &[MacField::Text(value.as_str())], mark).is_ok()
    }

    /// The MAC of a row that grants or limits authority, `v1.<key id>.<base64url>`: over installation, table, row id,
    /// MAC version and every field in the caller's order.
    pub fn row_mac(&self, table: &str, row: &str, fields: &[MacField<'_>]) -> String {
        write_mac(&self.row_mac, &self.row_message(table, row, fields))
    }

    /// Checks a row's MAC, in constant time.
    ///
    /// # Errors
    /// [`MacError`]: the row must then grant nothing.
    pub fn verify_row_mac(&self, table: &str, row: &str, fields: &[MacField<'_>], mac: &str) -> Result<(), MacError> {
        verify_mac(&self.row_mac, &self.row_message(table, row, fields), mac)
    }

    /// The MAC of an audit event, `v1.<key id>.<base64url>`: over installation, the previous event's MAC (`""` before
    /// the first) and the event's bytes.
    pub fn audit_mac(&self, previous: &str, event: &[u8]) -> String {
        write_mac(&self.audit, &self.audit_message(previous, event))
    }

    /// Checks an audit event's MAC, in constant time.
    ///
    /// # Errors
    /// [`MacError`]: the event, or one before it, was altered.
    pub fn verify_audit_mac(&self, previous: &str, event: &[u8], mac: &str) -> Result<(), MacError> {
        verify_mac(&self.audit, &self.audit_message(previous, event), mac)
    }

    /// HMAC-SHA256 under the newest session key, for cursors and fingerprints of bodies. The caller puts a label that
    /// names the use in front of `bytes`, and compares in constant time where a caller presents the result.
    pub fn session_mac(&self, bytes: &[u8]) -> [u8; 32] {
        let (_, key) = self.session.newest();
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(key, bytes).as_ref());
        out
    }

    fn row_message(&self, table: &str, row: &str, fields: &[MacField<'_>]) -> Framed {
        let start = Framed::new("keyward/row-mac")
            .text(&self.installation)
            .text(table)
            .text(row)
            .int(ROW_MAC_VERSION)
            .count(fields.len());
        fields.iter().fold(start, |framed, field| match field {
            MacField::Text(text) => framed.text(text),
            MacField::Int(number) => framed.int(*number),
        })
    }

    fn audit_message(&self, previous: &str, event: &[u8]) -> Framed {
        Framed::new("keyward/audit/v1").text(&self.installation).text(previous).bytes(event)
    }
}

/// Why a MAC does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not the text of a MAC.
    #[error("the row's MAC is not in the expected format; restore the row from a backup")]
    Malformed,
    /// Made with a key that is not live.
    #[error(
        "the row's MAC names the key {key_id:?}, which this installation does not have; restore the database from a backup"
    )]
    UnknownKey {
        /// The id in the text.
        key_id: String,
    },
    /// The row, its place or the MAC was altered.
    #[error("the row does not fit its MAC: it was altered outside Keyward and is refused; restore it from a backup")]
    Mismatch,
}

const ROW_MAC_VERSION: i64 = 1;

fn digest(id: &str, pepper: &hmac::Key, sha256: &[u8; 32]) -> Digest {
    Digest { pepper: id.to_owned(), value: URL_SAFE_NO_PAD.encode(hmac::sign(pepper, sha256)) }
}

fn write_mac(keys: &Live<hmac::Key>, message: &Framed) -> String {
    let (id, key) = keys.newest();
    envelope::write(id, hmac::sign(key, message.as_bytes()).as_ref())
}

fn verify_mac(keys: &Live<hmac::Key>, message: &Framed, text: &str) -> Result<(), MacError> {
    let (id, tag) = envelope::parse(text).ok_or(MacError::Malformed)?;
    let key = keys.find(id).ok_or_else(|| MacError::UnknownKey { key_id: id.to_owned() })?;
    hmac::verify(key, message.as_bytes(), &tag).map_err(|_| MacError::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entropy, Purpose};
    use proptest::prelude::*;

    const FIELDS: [MacField<'static>; 3] = [MacField::Text("MY_AGENT"), MacField::Int(1), MacField::Text("active")];

    fn keyring() -> Keyring {
        Keyring::unwrapped("in_1", &Entropy::seeded(31))
    }

    /// Every text that differs from `text` in one bit.
    fn flipped(text: &str) -> impl Iterator<Item = String> {
        (0..text.len() * 7).map(move |at| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at / 7] ^= 1 << (at % 7);
            String::from_utf8(bytes).unwrap()
        })
    }

    /// RFC 4231, test case 2.
    #[test]
    fn hmac_known_answer() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let tag = hmac::sign(&key, b"what do ya want for nothing?");
        assert_eq!(tag.as_ref()[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }

    #[test]
    fn row_mac_holds_for_its_row_only() {
        let keyring = keyring();
        let mac = keyring.row_mac("agent_keys", "ak_1", &FIELDS);
        let verify = |table: &str, row: &str, fields: &[MacField<'_>]| keyring.verify_row_mac(table, row, fields, &mac);
        assert_eq!(verify("agent_keys", "ak_1", &FIELDS), Ok(()));
        let refused = Err(MacError::Mismatch);
        assert_eq!(verify("members", "ak_1", &FIELDS), refused);
        assert_eq!(verify("agent_keys", "ak_2", &FIELDS), refused);
        assert_eq!(verify("agent_keysa", "k_1", &FIELDS), refused);
        let [name, one, status] = FIELDS;
        for fields in [
            &[][..],
            &[name, one],
            &[name, status, one],
            &[name, one, status, one],
            &[name, MacField::Int(2), status],
            &[name, MacField::Text("1"), status],
            &[name, one, MacField::Text("disabled")],
            &[MacField::Text("MY_AGENTx"), one, status],
        ] {
            assert_eq!(verify("agent_keys", "ak_1", fields), refused, "{fields:?}");
        }
    }

    #[test]
    fn row_mac_belongs_to_its_installation() {
        let mut keyring = keyring();
        let mac = keyring.row_mac("t", "r", &FIELDS);
        keyring.installation = "in_2".to_owned();
        let refused = keyring.verify_row_mac("t", "r", &FIELDS, &mac);
        assert_eq!(refused, Err(MacError::Mismatch));
    }

    #[test]
    fn every_flipped_bit_of_a_mac_is_refused() {
        let keyring = keyring();
        let mac = keyring.row_mac("t", "r", &FIELDS);
        for text in flipped(&mac) {
            assert!(keyring.verify_row_mac("t", "r", &FIELDS, &text).is_err());
        }
        for end in 0..mac.len() {
            let short = &mac[..end];
            assert!(keyring.verify_row_mac("t", "r", &FIELDS, short).is_err());
        }
        let unknown = keyring.audit_mac("", b"event");
        let error = keyring.verify_row_mac("t", "r", &FIELDS, &unknown);
        assert!(matches!(error, Err(MacError::UnknownKey { .. })));
    }

    #[test]
    fn audit_chain_breaks_where_it_was_altered() {
        let keyring = keyring();
        let first = keyring.audit_mac("", b"first");
        let second = keyring.audit_mac(&first, b"second");
        assert_eq!(keyring.verify_audit_mac("", b"first", &first), Ok(()));
        assert_eq!(keyring.verify_audit_mac(&first, b"second", &second), Ok(()));
        let refused = Err(MacError::Mismatch);
        assert_eq!(keyring.verify_audit_mac("", b"second", &second), refused);
        assert_eq!(keyring.verify_audit_mac(&first, b"Second", &second), refused);
        for text in flipped(&second) {
            assert!(keyring.verify_audit_mac(&first, b"second", &text).is_err());
        }
    }

    #[test]
    fn digests_use_every_live_pepper_newest_first() {
        let entropy = Entropy::seeded(32);
        let old = Keyring::unwrapped("in_1", &entropy);
        let new = old.with_second(Purpose::Pepper, &entropy);
        let hash = [7; 32];
        assert_eq!(old.digests(&hash), [old.digest(&hash)]);
        assert_eq!(new.digests(&hash), [new.digest(&hash), old.digest(&hash)]);
        assert!(new.digest(&hash).pepper.starts_with("pepper-000002-"));
        assert_eq!(new.digest(&hash).value.len(), 43);
        assert_ne!(new.digest(&hash), new.digest(&[8; 32]));
    }

    #[test]
    fn session_mac_depends_on_key_and_bytes() {
        let keyring = keyring();
        assert_eq!(keyring.session_mac(b"a"), keyring.session_mac(b"a"));
        assert_ne!(keyring.session_mac(b"a"), keyring.session_mac(b"b"));
    }

    proptest! {
        #[test]
        fn arbitrary_macs_are_refused(text: String, tag: Vec<u8>) {
            let keyring = keyring();
            prop_assert!(keyring.verify_row_mac("t", "r", &FIELDS, &text).is_err());
            let near = envelope::write(keyring.row_mac.newest().0, &tag);
            prop_assert!(keyring.verify_row_mac("t", "r", &FIELDS, &near).is_err());
        }
    }
}
